"""Videos: ranges of time that are decided on, from files and from collections."""

from __future__ import annotations

import io
import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from typer.testing import Result

from stand_ins.clips import Shot, write_clip
from tritonclip import Client
from tritonclip_search.policy.pictures import from_files
from tritonclip_search.sources.item import Problem

Run = Callable[..., Result]
SHOTS = {"cat": 4.0, "dagger": 3.0, "guitar": 5.0}


@pytest.fixture
def clip(tmp_path: Path, twemoji: dict[str, bytes]) -> Path:
    """Four seconds of a cat, three of a dagger, five of a guitar."""
    shots = [Shot(Image.open(io.BytesIO(twemoji[name])), s) for name, s in SHOTS.items()]
    (tmp_path / "clips").mkdir()
    write_clip(tmp_path / "clips" / "clip.mp4", shots)
    return tmp_path / "clips" / "clip.mp4"


@pytest.mark.parametrize("indexed", [False, True], ids=["files", "collection"])
def test_a_video_is_decided_on_by_time_ranges(
    indexed: bool, run: Run, shop: Path, clip: Path
) -> None:
    del shop
    if indexed:
        run("index", "clips")
    where = [] if indexed else ["clips"]
    result = run("moderate", "--policy", "shop.yaml", *where, "--audit", "a.jsonl", "--json")
    assert result.exit_code == 4, result.stderr
    (blocked,) = [
        one for one in json.loads(result.stdout)["pictures"] if one["decision"] == "block"
    ]
    assert blocked["path"] == str(clip)
    assert blocked["start"] == pytest.approx(4, abs=1)
    assert blocked["end"] == pytest.approx(7, abs=1)
    assert blocked["prompt"] == "a dagger"
    assert run("policy", "audit", "a.jsonl").exit_code == 0
    shown = run("moderate", "--policy", "shop.yaml", *where, "--page", "page.html").stdout
    assert "clip.mp4" in shown
    assert " s" in shown


def test_frames_stand_for_the_time_until_the_next(client: Client, clip: Path) -> None:
    problems: list[Problem] = []
    frames = list(from_files([str(clip)], client, problems.append))
    assert problems == []
    assert [frame.start for frame in frames] == pytest.approx(list(range(12)), abs=0.05)
    assert [frame.end for frame in frames[:-1]] == [frame.start for frame in frames[1:]]
    assert len({frame.sha256 for frame in frames}) == 1
    np.testing.assert_allclose([np.linalg.norm(f.vector) for f in frames], 1, atol=1e-5)


def test_a_video_that_cannot_be_looked_at_is_no_pass(run: Run, shop: Path, clip: Path) -> None:
    del shop
    clip.write_bytes(b"nothing" * 100)
    result = run("moderate", "--policy", "shop.yaml", "clips")
    assert result.exit_code == 1
    assert "clip.mp4: " in result.stderr
    assert "0 pictures" in result.stdout
