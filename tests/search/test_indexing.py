"""What an archive does with files that come, change, move, vanish, or are none."""

from __future__ import annotations

import io
import os
import shutil
import signal
import subprocess
import sys
import tarfile
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tritonclip import Client
from tritonclip.errors import ServerUnavailable
from tritonclip_export.repository.assemble import assemble
from tritonclip_export.server.ports import Ports
from tritonclip_export.server.server import Server
from tritonclip_search import (
    Collection,
    Record,
    Report,
    SourceError,
    SpaceMismatch,
    open_collection,
)
from tritonclip_search.space import Description, Space

# Indexes without end to the work: each file takes a while to read.
INDEXER = """
import sys, time
from tritonclip import Client
from tritonclip_search import open_collection
from tritonclip_search.indexing import batch
batch._SIZE = 20
with Client(sys.argv[1], model="demo", batch_size=4, concurrency=2) as client:
    with open_collection(sys.argv[2], client) as collection:
        def tell(progress):
            print(progress.done, flush=True)
            time.sleep(0.005)
        collection.add([sys.argv[3]], on_progress=tell)
        print("finished", flush=True)
"""


def by_name(collection: Collection, where: str | None = None) -> dict[str, Record]:
    return {Path(record.path).name: record for record in collection.records(where)}


def vectors(collection: Collection) -> dict[str, np.ndarray]:
    store = collection._store
    return {one.path: one.vector for one in store.scan(collection.name, vectors=True)}


def test_what_is_stored_is_what_the_client_embeds(
    collection: Collection, pictures: Path, client: Client
) -> None:
    report = collection.add([pictures])
    assert report == Report(added=20)
    stored = vectors(collection)
    assert len(stored) == len(collection) == 20
    for path, vector in stored.items():
        np.testing.assert_array_equal(vector, client.embed_images(path))


def test_a_record_says_what_the_file_is(collection: Collection, tmp_path: Path) -> None:
    folder = tmp_path / "holiday"
    folder.mkdir()
    exif = Image.Exif()
    exif.get_ifd(0x8769)[0x9003] = "2019:08:07 06:05:04"
    Image.new("RGB", (64, 48), "red").save(folder / "a.jpg", exif=exif)
    os.utime(folder / "a.jpg", ns=(0, 1_700_000_000_123_456_789))
    collection.add([folder])
    (record,) = collection.records()
    assert (record.format, record.width, record.height) == ("JPEG", 64, 48)
    assert record.modified == 1_700_000_000_123_456
    assert record.date == 1_565_157_904_000_000
    assert record.size == (folder / "a.jpg").stat().st_size
    assert record.folders[-1] == str(folder)
    assert (record.error, record.precision) == ("", "fp32")


def test_a_second_run_embeds_nothing(collection: Collection, pictures: Path) -> None:
    collection.add([pictures])
    told: list[object] = []
    assert collection.add([pictures], on_progress=told.append) == Report(unchanged=20)
    assert not told


def test_a_changed_file_is_replaced(
    collection: Collection, pictures: Path, twemoji: dict[str, bytes], client: Client
) -> None:
    collection.add([pictures])
    collection.tag(["cat", "dog"], above=0.0)
    (pictures / "cat.png").write_bytes(twemoji["fox"])
    assert collection.add([pictures]) == Report(changed=1, unchanged=19)
    changed = str(pictures / "cat.png")
    np.testing.assert_array_equal(vectors(collection)[changed], client.embed_images(changed))
    assert len(collection) == 20
    assert by_name(collection)["cat.png"].tags == ()  # they were the cat's


def test_a_file_that_was_only_touched_keeps_its_vector_and_its_tags(
    collection: Collection, pictures: Path
) -> None:
    collection.add([pictures])
    collection.tag(["cat", "dog"], above=0.0)
    before = by_name(collection)["cat.png"]
    os.utime(pictures / "cat.png", ns=(0, 10**18))
    assert collection.add([pictures]) == Report(unchanged=20)
    after = by_name(collection)["cat.png"]
    assert after.modified == 10**15
    assert after.tags == before.tags == ("cat", "dog")


def test_a_moved_file_is_recognised_by_its_bytes(collection: Collection, pictures: Path) -> None:
    collection.add([pictures])
    collection.tag(["cat", "dog"], above=0.0)
    before = vectors(collection)
    (pictures / "pets").mkdir()
    (pictures / "cat.png").rename(pictures / "pets" / "tom.png")
    assert collection.add([pictures]) == Report(moved=1, unchanged=19)
    after = vectors(collection)
    moved = f"{pictures}/pets/tom.png"
    np.testing.assert_array_equal(after[moved], before[f"{pictures}/cat.png"])
    assert len(after) == 20
    record = by_name(collection, f"path under '{pictures}/pets'")["tom.png"]
    assert record.tags == ("cat", "dog")


def test_of_two_places_that_a_file_was_copied_to_one_is_the_move(
    collection: Collection, pictures: Path
) -> None:
    collection.add([pictures])
    shutil.copy(pictures / "cat.png", pictures / "cat 2.png")
    (pictures / "cat.png").rename(pictures / "cat 3.png")
    assert collection.add([pictures]) == Report(added=1, moved=1, unchanged=19)
    assert sorted(by_name(collection)) == sorted(file.name for file in pictures.iterdir())


def test_what_has_vanished_is_reported_and_removed_when_asked_to(
    collection: Collection, pictures: Path
) -> None:
    collection.add([pictures])
    (pictures / "cat.png").unlink()
    gone = [str(pictures / "cat.png")]
    assert collection.add([pictures]) == Report(unchanged=19, vanished=gone)
    assert len(collection) == 20
    assert collection.add([pictures], prune=True) == Report(unchanged=19, vanished=gone, removed=1)
    assert "cat.png" not in by_name(collection)
    assert collection.add([pictures]) == Report(unchanged=19)


def test_what_lies_elsewhere_has_not_vanished(collection: Collection, pictures: Path) -> None:
    for name in ("one", "two"):
        (pictures / name).mkdir()
    (pictures / "cat.png").rename(pictures / "one" / "cat.png")
    (pictures / "dog.png").rename(pictures / "two" / "dog.png")
    collection.add([pictures])
    (pictures / "two" / "dog.png").unlink()
    assert collection.add([pictures / "one"], prune=True) == Report(unchanged=1)
    assert len(collection) == 20


def test_a_corrupt_picture_is_recorded_and_does_not_come_again_until_it_changes(
    collection: Collection, pictures: Path, twemoji: dict[str, bytes]
) -> None:
    (pictures / "cut.png").write_bytes(twemoji["fox"][:500])
    (pictures / "empty.png").write_bytes(b"")
    (pictures / "text.jpg").write_bytes(b"not an image at all")
    report = collection.add([pictures])
    assert report.added == 20
    reasons = {Path(problem.path).name: problem.reason for problem in report.unreadable}
    assert set(reasons) == {"cut.png", "empty.png", "text.jpg"}
    assert reasons["empty.png"] == "is empty (0 bytes)"
    recorded = {name: r.error for name, r in by_name(collection, "error != ''").items()}
    assert recorded == reasons
    assert len(collection) == 20
    assert collection.add([pictures]) == Report(unchanged=23)
    (pictures / "cut.png").write_bytes(twemoji["fox"])
    assert collection.add([pictures]) == Report(changed=1, unchanged=22)
    assert set(by_name(collection, "error != ''")) == {"empty.png", "text.jpg"}
    assert len(collection.add([pictures], retry=True).unreadable) == 2


def test_files_closed_to_this_user_are_tried_again(
    open_folder: Path,
    twemoji: dict[str, bytes],
    client: Client,
    nobody: Callable[[Callable[[], None]], None],
) -> None:
    for name in ("cat", "dog"):
        (open_folder / f"{name}.png").write_bytes(twemoji[name])
    (open_folder / "cat.png").chmod(0)
    (open_folder / "archive").mkdir()
    (open_folder / "archive").chmod(0o777)

    def add() -> None:
        with open_collection(str(open_folder / "archive"), client) as collection:
            for _ in range(2):
                report = collection.add([open_folder])
                (failed,) = report.failed
                assert str(failed) == f"{open_folder}/cat.png: cannot be read: Permission denied"
            assert (len(collection), report.unchanged) == (1, 1)

    client.embed_images(open_folder / "dog.png")  # so that all that it needs is imported
    nobody(add)


def test_a_folder_without_pictures_is_an_error(collection: Collection, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    (tmp_path / "empty" / "notes.txt").write_text("none")
    with pytest.raises(
        SourceError, match=r"no pictures or videos in .*empty; looked for files that end"
    ):
        collection.add([tmp_path / "empty"])


def test_another_model_is_refused_with_both_names(
    collection: Collection, pictures: Path, tmp_path: Path, search_server: str, client: Client
) -> None:
    collection.add([pictures])
    with Client(search_server, model="siglip") as other:
        with pytest.raises(SpaceMismatch) as raised:
            open_collection(str(tmp_path / "archive"), other)
        assert other.info().source in str(raised.value)
        assert client.info().source in str(raised.value)


def test_pictures_that_are_turned_first_are_another_space(client: Client) -> None:
    upright = Space.of(replace(client.info(), orient=True))

    with pytest.raises(SpaceMismatch, match=r"dim, exact\), and this is of .* exact, oriented\)"):
        Description(Space.of(client.info())).check("holidays", upright)


def test_another_precision_of_the_checkpoint_is_accepted_and_recorded(
    collection: Collection, pictures: Path, tmp_path: Path, bundle: Callable[[str], object]
) -> None:
    collection.add([pictures / "cat.png"])
    target = tmp_path / "repository"
    assemble([bundle("demo")], target, runtime="python")
    for config in target.glob("*/config.pbtxt"):  # it may as well be: the vectors are as good
        config.write_text(config.read_text().replace('"fp32"', '"int8"'))
    with (
        Server(target, ports=Ports(0, 0, 0)) as server,
        Client(server.grpc_url) as lower,
        open_collection(str(tmp_path / "archive"), lower) as same,
    ):
        assert same.add([pictures]) == Report(added=19, unchanged=1)
    recorded = {name: record.precision for name, record in by_name(collection).items()}
    assert recorded.pop("cat.png") == "fp32"
    assert set(recorded.values()) == {"int8"}


@pytest.mark.parametrize("after", [1, 50])
def test_killed_at_any_moment_it_loses_no_more_than_what_was_in_flight(
    tmp_path: Path, twemoji: dict[str, bytes], search_server: str, client: Client, after: int
) -> None:
    folder, archive = tmp_path / "pictures", str(tmp_path / "archive")
    folder.mkdir()
    for number, drawing in enumerate(list(twemoji.values())[:120]):
        (folder / f"{number}.png").write_bytes(drawing)
    command = [sys.executable, "-c", INDEXER, search_server, archive, str(folder)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as indexer:
        assert indexer.stdout is not None
        for _ in range(after):
            indexer.stdout.readline()
        indexer.kill()
        done = after + len(indexer.stdout.read().split())
    with open_collection(archive, client) as collection:
        kept = len(collection)
        assert done - 20 <= kept <= 120
        assert collection.add([folder]) == Report(added=120 - kept, unchanged=kept)
        stored = vectors(collection)
        assert len(stored) == 120
        embedded = client.embed_images(sorted(stored))
        np.testing.assert_array_equal(np.stack([stored[p] for p in sorted(stored)]), embedded)


def test_an_interrupt_keeps_what_was_embedded(
    tmp_path: Path, pictures: Path, search_server: str, client: Client
) -> None:
    archive = str(tmp_path / "archive")
    command = [sys.executable, "-c", INDEXER, search_server, archive, str(pictures)]
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as indexer:
        assert indexer.stdout is not None
        for _ in range(5):
            indexer.stdout.readline()
        indexer.send_signal(signal.SIGINT)
        indexer.wait(20)
    with open_collection(archive, client) as collection:
        assert len(collection) >= 5


def test_two_indexers_at_once_do_no_harm(
    tmp_path: Path, pictures: Path, search_server: str, client: Client
) -> None:
    archive = str(tmp_path / "archive")
    command = [sys.executable, "-c", INDEXER, search_server, archive, str(pictures)]
    both = [subprocess.Popen(command, stdout=subprocess.DEVNULL) for _ in range(2)]
    assert [indexer.wait(60) for indexer in both] == [0, 0]
    with open_collection(archive, client) as collection:
        assert len(list(collection.records())) == 20
        assert collection.add([pictures]) == Report(unchanged=20)


def test_a_server_that_is_down_loses_nothing(
    collection: Collection, pictures: Path, tmp_path: Path
) -> None:
    collection.add([pictures])
    with (
        Client("127.0.0.1:1", timeout=0.5, retries=0) as nowhere,
        pytest.raises(ServerUnavailable),
    ):
        open_collection(str(tmp_path / "archive"), nowhere)
    assert len(collection) == 20


def test_watching_follows_a_folder(
    collection: Collection, pictures: Path, twemoji: dict[str, bytes]
) -> None:
    reports: list[Report] = []

    class EnoughError(Exception):
        pass

    def next_step(report: Report) -> None:
        reports.append(report)
        if len(reports) == 1:
            (pictures / "fox.png").write_bytes(twemoji["fox"])
        elif len(reports) == 2:
            (pictures / "fox.png").unlink()
        else:
            raise EnoughError

    began = time.monotonic()
    with pytest.raises(EnoughError):
        collection.watch([pictures], next_step, prune=True, pause=0.1)
    assert [(r.added, r.unchanged, r.removed) for r in reports] == [
        (20, 0, 0),
        (1, 20, 0),
        (0, 20, 1),
    ]
    assert time.monotonic() - began < 30


def test_shards_are_indexed_by_their_members(
    collection: Collection, tmp_path: Path, twemoji: dict[str, bytes]
) -> None:
    with tarfile.open(tmp_path / "000.tar", "w") as archive:
        for name in ("cat", "dog", "fox"):
            member = tarfile.TarInfo(f"{name}.png")
            member.size = len(twemoji[name])
            archive.addfile(member, io.BytesIO(twemoji[name]))
    assert collection.add([tmp_path / "000.tar"]) == Report(added=3)
    assert collection.add([tmp_path / "000.tar"]) == Report(unchanged=3)
    (hit,) = collection.search("a fox", top=1)
    assert hit.path == f"{tmp_path}/000.tar!/fox.png"
    (tmp_path / "000.tar").rename(tmp_path / "001.tar")
    assert collection.add([tmp_path], prune=True) == Report(moved=3)


def test_half_precision_is_kept_by_those_who_ask_for_it(
    tmp_path: Path, pictures: Path, client: Client
) -> None:
    with open_collection(str(tmp_path / "half"), client, vectors="float16") as collection:
        collection.add([pictures])
        for path, vector in vectors(collection).items():
            whole = client.embed_images(path)
            np.testing.assert_array_equal(vector, whole.astype(np.float16).astype(np.float32))
