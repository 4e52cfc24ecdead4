"""Bulk runs of this process: every kind of source, and all that may happen to one."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from bulk_files import files_below, write_tar
from tritonclip import Client
from tritonclip.types import FloatArray
from tritonclip_bulk.errors import PlanMismatch
from tritonclip_bulk.in_process import InProcess
from tritonclip_bulk.pictures import Columns
from tritonclip_bulk.pool import Endpoints
from tritonclip_bulk.run import Options, Progress, bulk
from tritonclip_export.bundle import Bundle
from tritonclip_search.errors import SourceError

TRITONCLIP = Path(sys.executable).with_name("tritonclip")
OPTIONS = Options(size=16)


def vectors_in(target: Path) -> dict[str, FloatArray]:
    tables = [pq.read_table(file) for file in sorted((target / "vectors").iterdir())]
    return {
        name: np.array(vector, np.float32)
        for table in tables
        for name, vector in zip(
            table["name"].to_pylist(), table["embedding"].to_pylist(), strict=True
        )
    }


@pytest.fixture(scope="module")
def expected(bulk_server: object, drawings: dict[str, bytes]) -> dict[str, FloatArray]:
    """What the client gives for each drawing."""
    with Client(bulk_server.grpc_url) as client:  # type: ignore[attr-defined]
        vectors = client.embed_images(list(drawings.values()))
    return dict(zip(drawings, vectors, strict=True))


@pytest.fixture
def sources(tmp_path: Path, pictures: Path, drawings: dict[str, bytes]) -> list[str]:
    """A folder, two tars, a Parquet file of pictures and one of paths, fifteen pictures each."""
    names = list(drawings)
    for name in names[15:]:
        (pictures / name).rename(tmp_path / name)
    for number in range(2):
        some = names[15 + 8 * number : 23 + 8 * number]
        write_tar(tmp_path / f"{number}.tar", {name: drawings[name] for name in some})
    structs = [{"bytes": drawings[name], "path": name} for name in names[30:45]]
    pq.write_table(pa.table({"image": structs}), tmp_path / "images.parquet")
    pq.write_table(pa.table({"path": [*names[45:], None]}), tmp_path / "paths.parquet")
    return [
        str(pictures),
        *(str(tmp_path / f) for f in ("*.tar", "images.parquet", "paths.parquet")),
    ]


def test_pictures_come_from_folders_tars_and_parquet_alike(
    sources: list[str],
    endpoints: Endpoints,
    expected: dict[str, FloatArray],
    drawings: dict[str, bytes],
    tmp_path: Path,
) -> None:
    target = tmp_path / "out"

    report = bulk(sources, str(target), endpoints, options=OPTIONS)

    found = vectors_in(target)
    names = list(drawings)
    where = {
        **{str(tmp_path / "pictures" / name): name for name in names[:15]},
        **{f"{tmp_path}/{n // 8}.tar!/{name}": name for n, name in enumerate(names[15:31])},
        **{f"{tmp_path}/images.parquet!/{n}": name for n, name in enumerate(names[30:45])},
        **{str(tmp_path / name): name for name in names[45:]},
    }
    assert found.keys() == where.keys()
    for path, name in where.items():
        np.testing.assert_allclose(found[path], expected[name], atol=1e-6)
    assert (report.rows, report.failed, report.done, report.undone) == (61, 1, 5, [])
    quarantine = json.loads((target / "quarantine.jsonl").read_text())
    assert quarantine["name"] == f"{tmp_path}/paths.parquet!/15"
    table = pq.read_table(target / "vectors" / "000004.parquet")
    assert table["name"].to_pylist() == sorted(table["name"].to_pylist())
    assert set(table["format"].to_pylist()) == {"PNG"}
    assert table["size"].to_pylist() == [len(drawings[name]) for name in names[:15]]


def test_parquet_files_are_cut_between_their_row_groups_and_named_by_a_key(
    endpoints: Endpoints, drawings: dict[str, bytes], tmp_path: Path
) -> None:
    table = pa.table(
        {"a": list(drawings.values()), "b": list(drawings.values()), "id": range(100, 160)}
    )
    pq.write_table(table, tmp_path / "two.parquet", row_group_size=10)
    out = str(tmp_path / "out")
    with pytest.raises(SourceError, match=r"no such"):
        bulk([str(tmp_path / "none")], out, endpoints)

    unclear = bulk([str(tmp_path / "two.parquet")], out, endpoints, options=OPTIONS)
    options = Options(16, Columns("a", "id"))
    clear = bulk([str(tmp_path / "two.parquet")], f"{out}2", endpoints, options=options)

    assert "several columns that may be the pictures" in unclear.undone[0]
    assert "a, b, id" in unclear.undone[0]
    assert (clear.done, clear.rows) == (3, 60)
    assert list(vectors_in(tmp_path / "out2")) == [str(number) for number in range(100, 160)]


def test_a_bundle_embeds_without_a_server(
    pictures: Path,
    bundle: Callable[[str], Bundle],
    expected: dict[str, FloatArray],
    tmp_path: Path,
) -> None:
    (pictures / "torn.png").write_bytes((pictures / "000.png").read_bytes()[:200])
    target = tmp_path / "out"

    report = bulk([str(pictures)], str(target), InProcess(bundle("demo").path), options=OPTIONS)

    assert (report.rows, report.failed) == (60, 1)
    assert "cannot be decoded" in (target / "quarantine.jsonl").read_text()
    for path, vector in vectors_in(target).items():
        np.testing.assert_allclose(vector, expected[Path(path).name], atol=1e-5)


def test_what_fails_is_put_aside_with_its_reason_and_tried_again_when_asked(
    pictures: Path, endpoints: Endpoints, drawings: dict[str, bytes], tmp_path: Path
) -> None:
    write_tar(tmp_path / "torn.tar", drawings)
    torn = (tmp_path / "torn.tar").read_bytes()
    (tmp_path / "torn.tar").write_bytes(torn[: len(torn) // 2])
    (pictures / "000.png").write_bytes(b"<html>")
    (pictures / "001.png").write_bytes(b"")
    target = tmp_path / "out"
    sources = [str(pictures), str(tmp_path / "torn.tar")]

    first = bulk(sources, str(target), endpoints, options=OPTIONS)
    quarantine = [json.loads(x) for x in (target / "quarantine.jsonl").read_text().splitlines()]
    (tmp_path / "torn.tar").write_bytes(torn)
    for name in ("000.png", "001.png"):
        (pictures / name).write_bytes(drawings[name])
    unasked = bulk(sources, str(target), endpoints, options=OPTIONS)
    asked = bulk(sources, str(target), endpoints, options=OPTIONS, retry=True)

    reasons = {problem["name"]: problem["reason"] for problem in quarantine}
    assert "not a supported image" in reasons[str(pictures / "000.png")]
    assert "empty" in reasons[str(pictures / "001.png")]
    assert "pictures could be read before that" in reasons[str(tmp_path / "torn.tar")]
    assert first.failed == 3
    assert 58 < first.rows < 118
    assert (unasked.rows, unasked.earlier) == (first.rows, 5)
    assert (asked.rows, asked.failed, asked.earlier) == (120, 0, 3)
    assert not (target / "quarantine.jsonl").exists()


def test_a_batch_of_nothing_but_bad_pictures_leaves_the_others_as_they_would_be(
    pictures: Path, endpoints: Endpoints, tmp_path: Path
) -> None:
    bulk([str(pictures)], str(tmp_path / "clean"), endpoints, options=OPTIONS)
    for number in range(16, 32):
        (pictures / f"{number:03d}.png").write_bytes(b"no picture")

    report = bulk([str(pictures)], str(tmp_path / "out"), endpoints, options=OPTIONS)

    clean, found = vectors_in(tmp_path / "clean"), vectors_in(tmp_path / "out")
    assert (report.rows, report.failed) == (44, 16)
    assert all(np.array_equal(vector, clean[path]) for path, vector in found.items())


def test_a_killed_run_goes_on_and_ends_in_the_same_bytes(
    pictures: Path, endpoints: Endpoints, environment: dict[str, str], tmp_path: Path
) -> None:
    bulk([str(pictures)], str(tmp_path / "whole"), endpoints, options=Options(size=4))
    target = tmp_path / "killed"
    arguments = [str(pictures), "--out", str(target), "--url", endpoints.urls[0], "--shard", "4"]
    kills = 0
    for number in range(10):
        run = subprocess.Popen([TRITONCLIP, "bulk", *arguments, "--json"], env=environment)
        wanted = min(15, 5 * (number + 1))
        while run.poll() is None and len(list(target.glob("receipts/*.json"))) < wanted:
            time.sleep(0.002)
        run.send_signal(signal.SIGKILL)
        if run.wait() == 0:
            break
        kills += 1
    last = subprocess.run(
        [TRITONCLIP, "bulk", *arguments, "--json"], env=environment, capture_output=True, text=True
    )

    assert kills >= 2
    assert last.returncode == 0, last.stderr
    assert json.loads(last.stdout)["rows"] == 60
    assert files_below(target) == files_below(tmp_path / "whole")


def test_a_later_run_adds_what_is_new_and_refuses_what_differs(
    pictures: Path, endpoints: Endpoints, drawings: dict[str, bytes], tmp_path: Path
) -> None:
    target = tmp_path / "pictures" / "vectors"  # within its source
    bulk([str(pictures)], str(target), endpoints, options=OPTIONS)
    before = files_below(target / "vectors")
    (pictures / "later.png").write_bytes(drawings["007.png"])
    seen: list[Progress] = []

    report = bulk([str(pictures)], str(target), endpoints, options=OPTIONS, on_progress=seen.append)
    with pytest.raises(PlanMismatch, match=r"half was False, now True"):
        bulk([str(pictures)], str(target), endpoints, options=Options(16, half=True))

    assert (report.shards, report.earlier, report.rows) == (5, 4, 61)
    assert seen[-1] == Progress(shards=5, done=5, earlier=4, rows=1, failed=0)
    assert files_below(target / "vectors").items() >= before.items()


def test_half_precision_takes_half_the_space(
    pictures: Path, endpoints: Endpoints, tmp_path: Path
) -> None:
    bulk([str(pictures)], str(tmp_path / "full"), endpoints, options=Options(60))
    bulk([str(pictures)], str(tmp_path / "half"), endpoints, options=Options(60, half=True))

    full, half = vectors_in(tmp_path / "full"), vectors_in(tmp_path / "half")
    for path, vector in full.items():
        np.testing.assert_array_equal(half[path], vector.astype(np.float16))
    sizes = [len(files_below(tmp_path / n)["vectors/000000.parquet"]) for n in ("full", "half")]
    assert sizes[1] < 0.62 * sizes[0]


def test_a_full_disk_stops_the_run_and_loses_nothing(
    pictures: Path,
    endpoints: Endpoints,
    small_disk: Callable[[int], Path],
    drawings: dict[str, bytes],
    tmp_path: Path,
) -> None:
    for number in range(60, 300):
        (pictures / f"{number}.png").write_bytes(drawings["000.png"])
    bulk([str(pictures)], str(tmp_path / "whole"), endpoints, options=OPTIONS)
    disk = small_disk(256)
    ballast = disk / "ballast"
    ballast.write_bytes(bytes(100 << 10))

    full = bulk([str(pictures)], str(disk), endpoints, options=OPTIONS)
    kept = files_below(disk / "vectors")
    ballast.unlink()
    subprocess.run(["mount", "-o", "remount,size=4m", disk], check=True)
    done = bulk([str(pictures)], str(disk), endpoints, options=OPTIONS)

    assert full.stopped
    assert "No space left on device" in full.undone[0]
    assert 0 < full.done < 19
    assert not any(name.endswith(".partial") for name in kept)
    assert (done.earlier, done.rows) == (full.done, 300)
    assert files_below(disk) == files_below(tmp_path / "whole")


def test_a_shard_that_cannot_be_read_is_named_and_done_when_it_can(
    endpoints: Endpoints, drawings: dict[str, bytes], tmp_path: Path
) -> None:
    for number in range(3):
        write_tar(tmp_path / f"{number}.tar", drawings)
    source, target = [str(tmp_path / "*.tar")], str(tmp_path / "out")
    shard = tmp_path / "1.tar"

    def vanish(_: Progress) -> None:  # between the plan and the work
        if shard.exists():
            shard.rename(tmp_path / "away")

    first = bulk(source, target, endpoints, on_progress=vanish)
    (tmp_path / "away").rename(shard)
    again = bulk(source, target, endpoints)

    assert first.undone == [f"{shard} cannot be read: No such file or directory"]
    assert (first.done, first.rows, first.stopped) == (2, 120, False)
    assert not again.undone
    assert (again.earlier, again.rows) == (2, 180)
