"""A video in every store: its shots and frames are kept, found, followed and replaced."""

from __future__ import annotations

import io
from pathlib import Path

import pytest
from PIL import Image

from stand_ins.clips import Shot, write_clip
from tritonclip import Client
from tritonclip_search import Report, open_collection
from tritonclip_search.records import Kind


@pytest.mark.slow
def test_a_search_leads_to_the_moment_in_every_store(
    store_url: str, client: Client, twemoji: dict[str, bytes], tmp_path: Path
) -> None:
    clip = tmp_path / "clip.mp4"
    shots = [Shot(Image.open(io.BytesIO(twemoji[name])), 3.0) for name in ("cat", "rocket")]
    write_clip(clip, shots, fps=12)
    with open_collection(store_url, client, "clips") as collection:
        try:
            assert collection.add([clip]).added == 1
            assert collection.add([clip]) == Report(unchanged=1)
            (best,) = collection.search("a rocket", top=1)
            assert (best.path, best.start, best.end) == (str(clip), 3, pytest.approx(6, abs=0.1))
            frames = list(collection.records("kind = frame"))
            assert [(round(one.start, 3), one.kind) for one in sorted(frames, key=_start)] == [
                (0.0, Kind.FRAME),
                (3.0, Kind.FRAME),
            ]
            (frame,) = collection.search("a cat", top=1, per="frame", where="start < 1")
            assert frame.record.kind is Kind.FRAME
            write_clip(clip, shots[:1], fps=12)
            assert collection.add([clip]).changed == 1
            assert len(list(collection.records("kind = frame"))) == 1
            clip.unlink()
            assert collection.add([tmp_path], prune=True).vanished == [str(clip)]
            assert list(collection.records()) == []
        finally:
            collection._store.drop("clips")


def _start(record: object) -> float:
    return record.start  # type: ignore[attr-defined, no-any-return]
