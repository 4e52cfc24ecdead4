"""What an archive does with videos that come, change, move, vanish, or are damaged."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tarfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from stand_ins.clips import Shot, write_clip
from tritonclip import Client
from tritonclip_search import Collection, Progress, Record, Report, open_collection
from tritonclip_search.records import Kind
from tritonclip_search.video import sample

Drawing = Callable[[str], Image.Image]
SHOTS = {"cat": 4.0, "rocket": 3.0, "tangerine": 5.0}

INDEXER = """
import sys
from tritonclip import Client
from tritonclip_search import open_collection
from tritonclip_search.indexing import batch
batch._LATEST = 0
with Client(sys.argv[1], model="demo", batch_size=1, concurrency=1) as client:
    with open_collection(sys.argv[2], client) as collection:
        def tell(progress):
            if progress.video:
                print(progress.video.time, flush=True)
        collection.add([sys.argv[3]], fps=8, on_progress=tell)
        print("finished", flush=True)
"""


@pytest.fixture
def clip(tmp_path: Path, drawing: Drawing) -> Path:
    """Four seconds of a cat, three of a rocket, five of a tangerine."""
    folder = tmp_path / "clips"
    folder.mkdir()
    write_clip(folder / "clip.mp4", [Shot(drawing(name), s) for name, s in SHOTS.items()], fps=12)
    return folder / "clip.mp4"


def everything(collection: Collection) -> list[Record]:
    store = collection._store
    return sorted(store.scan(collection.name, vectors=True), key=lambda r: (r.kind, r.start))


def of(records: list[Record], kind: Kind) -> list[Record]:
    return [record for record in records if record.kind is kind]


def ranges(records: list[Record], kind: Kind) -> list[tuple[float, float]]:
    return [(round(r.start, 3), round(r.end, 3)) for r in of(records, kind)]


def as_plain(records: list[Record]) -> list[tuple[object, ...]]:
    return [(r.id, r.kind, r.path, r.start, r.end, r.sha256) for r in records]


def test_a_video_is_kept_by_its_shots_and_by_frames_that_are_unlike(
    collection: Collection, clip: Path, client: Client
) -> None:
    told: list[Progress] = []
    report = collection.add([clip.parent], on_progress=told.append)
    assert (report.added, report.video_seconds) == (1, pytest.approx(12, abs=0.01))
    records = everything(collection)
    assert ranges(records, Kind.MOMENT) == [(0, 4), (4, 7), (7, 12)]
    assert ranges(records, Kind.FRAME) == [(0, 4), (4, 7), (7, 12)]  # of 12 samples
    (whole,) = of(records, Kind.VIDEO)
    assert (whole.start, whole.end) == (0, pytest.approx(12, abs=0.01))
    assert (whole.width, whole.height, whole.format) == (320, 240, "H264")
    assert {record.file for record in records} == {whole.id}
    frames = {round(frame.time, 3): frame.image for frame in sample(clip)}
    for record in of(records, Kind.FRAME):
        expected = client.embed_images(frames[round(record.start, 3)])
        np.testing.assert_array_equal(record.vector, expected)
    mean = sum(r.vector * (r.end - r.start) for r in of(records, Kind.FRAME))
    np.testing.assert_allclose(whole.vector, mean / np.linalg.norm(mean), atol=1e-6)
    times = [round(p.video.time, 3) for p in told if p.video]
    assert times == [float(n) for n in range(12)]
    assert told[-1] == Progress(1, 1)
    assert len(collection) == 1


def test_a_second_run_decodes_nothing(collection: Collection, clip: Path) -> None:
    collection.add([clip])
    before = as_plain(everything(collection))
    assert collection.add([clip]) == Report(unchanged=1)
    os.utime(clip, ns=(0, 10**18))
    assert collection.add([clip]) == Report(unchanged=1)  # its bytes are the same
    assert as_plain(everything(collection)) == before
    assert {record.modified for record in everything(collection)} == {10**15}


def test_pictures_and_videos_are_in_one_collection(
    collection: Collection, clip: Path, twemoji: dict[str, bytes]
) -> None:
    (clip.parent / "dog.png").write_bytes(twemoji["dog"])
    assert collection.add([clip.parent]).added == 2
    assert len(collection) == 2
    assert len(list(collection.records("kind = image"))) == 1


def test_of_a_changed_video_nothing_old_is_left(
    collection: Collection, clip: Path, drawing: Drawing
) -> None:
    collection.add([clip])
    write_clip(clip, [Shot(drawing("dog"), 5.0), Shot(drawing("key"), 4.0)], fps=12)
    assert collection.add([clip]).changed == 1
    assert ranges(everything(collection), Kind.MOMENT) == [(0, 5), (5, 9)]
    assert len({record.sha256 for record in everything(collection)}) == 1


def test_a_moved_video_is_recognised_by_its_bytes(collection: Collection, clip: Path) -> None:
    collection.add([clip.parent])
    collection.tag(["cat", "rocket"], above=0.0)
    before = everything(collection)
    moved = clip.rename(clip.with_name("moved.mp4"))
    assert collection.add([moved.parent]) == Report(moved=1)
    after = everything(collection)
    assert {record.path for record in after} == {str(moved)}
    assert [r.tags for r in after] == [r.tags for r in before] == [("cat", "rocket")] * len(after)
    fresh = shutil.copy(moved, moved.with_name("copy.mp4"))
    moved.unlink()
    assert collection.add([fresh, moved.parent], prune=True).moved == 1
    assert len({record.id for record in everything(collection)}) == len(before)


def test_a_vanished_video_is_removed_with_all_of_its_moments(
    collection: Collection, clip: Path, twemoji: dict[str, bytes]
) -> None:
    (clip.parent / "dog.png").write_bytes(twemoji["dog"])
    collection.add([clip.parent])
    clip.unlink()
    report = collection.add([clip.parent], prune=True)
    assert (report.vanished, report.removed) == ([str(clip)], 1)
    assert [record.kind for record in everything(collection)] == [Kind.IMAGE]


def test_a_member_of_a_shard_is_as_good_as_a_file(collection: Collection, clip: Path) -> None:
    with tarfile.open(clip.parent / "shard.tar", "w") as shard:
        shard.add(clip, "one.mp4")
        shard.add(clip, "two.mp4")
    clip.unlink()
    assert collection.add([clip.parent]).added == 2
    shots = [r for r in everything(collection) if r.path.endswith("shard.tar!/one.mp4")]
    assert ranges(shots, Kind.MOMENT) == [(0, 4), (4, 7), (7, 12)]


def test_more_frames_or_only_keyframes_are_taken_when_asked_for(
    collection: Collection, clip: Path
) -> None:
    collection.add([clip], fps=4)
    assert ranges(everything(collection), Kind.MOMENT) == [(0, 4), (4, 7), (7, 12)]
    assert len(of(everything(collection), Kind.FRAME)) >= 3
    shutil.copy(clip, clip.with_name("other.mp4"))
    collection.add([clip.with_name("other.mp4")], fast=True)
    other = [r for r in everything(collection) if r.path.endswith("other.mp4")]
    starts = {round(r.start, 1) for r in of(other, Kind.MOMENT)}
    assert starts == {0.0, 4.0, 8.0}  # where keyframes lie, not cuts


def test_what_cannot_be_decoded_is_told_with_its_range_and_the_rest_is_there(
    collection: Collection, clip: Path, tmp_path: Path, drawing: Drawing
) -> None:
    whole = tmp_path / "whole.mkv"
    write_clip(whole, [Shot(drawing(n), s) for n, s in SHOTS.items()], fps=12)
    clip.with_name("cut.mkv").write_bytes(whole.read_bytes()[: whole.stat().st_size * 6 // 10])
    clip.with_name("empty.mp4").write_bytes(b"")
    report = collection.add([clip.parent])
    assert report.added == 2
    (damage,) = report.damaged
    assert damage.path.endswith("cut.mkv")
    assert damage.reason.endswith(
        "-00:00:12 is missing, though the header says that the video goes on"
    )
    (unreadable,) = report.unreadable
    assert unreadable.path.endswith("empty.mp4")
    assert unreadable.reason.startswith("cannot be opened as a video: ")
    records = everything(collection)
    (cut,) = (r for r in of(records, Kind.VIDEO) if r.path.endswith("cut.mkv"))
    assert 4 < cut.end < 10
    assert collection.add([clip.parent]) == Report(unchanged=3)


@pytest.mark.parametrize("after", [1, 45, 80])
def test_killed_at_any_frame_it_goes_on_at_the_segment(
    clip: Path, tmp_path: Path, search_server: str, client: Client, after: int
) -> None:
    with open_collection(str(tmp_path / "undisturbed"), client) as collection:
        collection.add([clip], fps=8)
        expected = everything(collection)
    archive = str(tmp_path / "archive")
    command = [sys.executable, "-c", INDEXER, search_server, archive, str(clip)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as indexer:
        assert indexer.stdout is not None
        for _ in range(after):
            reached = float(indexer.stdout.readline())
        indexer.kill()
    with open_collection(archive, client) as collection:
        kept = of(everything(collection), Kind.MOMENT)
        assert len(kept) >= sum(end <= reached for end in (4, 7))
        resumed: list[Progress] = []
        assert collection.add([clip], fps=8, on_progress=resumed.append).added == 1
        times = [progress.video.time for progress in resumed if progress.video]
        assert times[0] == pytest.approx(max((m.end for m in kept), default=0.0))
        records = everything(collection)
    assert as_plain(records) == as_plain(expected)
    for record, other in zip(records, expected, strict=True):
        np.testing.assert_allclose(record.vector, other.vector, atol=1e-6)


def test_a_camera_that_looks_at_one_thing_for_minutes_takes_hardly_any_vector(
    collection: Collection, tmp_path: Path, drawing: Drawing
) -> None:
    write_clip(tmp_path / "wall.mp4", [Shot(drawing("castle"), 150.0)], fps=4, noise=8)
    collection.add([tmp_path / "wall.mp4"])
    records = everything(collection)
    assert ranges(records, Kind.MOMENT) == [(0, 60), (60, 120), (120, 150)]
    assert len(of(records, Kind.FRAME)) == 3  # of 150


def test_duplicates_are_sought_among_files_not_among_frames(
    collection: Collection, clip: Path
) -> None:
    shutil.copy(clip, clip.with_name("copy.mp4"))
    collection.add([clip.parent])
    _, groups = collection.duplicates(0.99)
    assert [sorted(Path(r.path).name for r in group) for group in groups] == [
        ["clip.mp4", "copy.mp4"]
    ]


def test_without_its_library_videos_are_named_and_pictures_are_indexed(
    collection: Collection,
    clip: Path,
    twemoji: dict[str, bytes],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    (clip.parent / "dog.png").write_bytes(twemoji["dog"])
    monkeypatch.setattr("tritonclip_search.indexing.indexer.has_decoder", lambda: False)
    report = collection.add([clip.parent])
    assert report.added == 1
    (problem,) = report.failed
    assert problem.reason == '1 videos need PyAV. pip install "tritonclip[video]"'
