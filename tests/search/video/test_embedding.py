"""What `embed` makes of clips: a vector for each, or for each frame."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from typer.testing import CliRunner, Result

from stand_ins.clips import Shot, write_clip
from tritonclip import Client
from tritonclip_cli import app
from tritonclip_search.video import pooled, sample

Run = Callable[..., Result]


@pytest.fixture
def run(
    tmp_path: Path,
    drawing: Callable[[str], Image.Image],
    search_server: str,
    monkeypatch: pytest.MonkeyPatch,
) -> Run:
    """Embeds, beside the clips `pets.mp4` and `food.mp4`."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("TRITONCLIP_URL", search_server)
    for name, labels in {"pets": ("cat", "dog"), "food": ("sushi", "lemon")}.items():
        write_clip(tmp_path / f"{name}.mp4", [Shot(drawing(x), 3.0) for x in labels], fps=8)

    def call(*arguments: str) -> Result:
        return CliRunner().invoke(app, ["embed", *arguments, "--model", "demo"])

    return call


@pytest.mark.parametrize("how", ["mean", "max", "weighted"])
def test_a_clip_is_one_vector_pooled_as_asked_for(how: str, run: Run, client: Client) -> None:
    run("pets.mp4", "food.mp4", "--pool", how, "-o", "clips.npz")
    written = np.load("clips.npz")
    assert list(written["names"]) == ["pets.mp4", "food.mp4"]
    for name, vector in zip(written["names"], written["embeddings"], strict=True):
        frames = client.embed_images([frame.image for frame in sample(name)])
        np.testing.assert_allclose(vector, pooled(frames, how), atol=1e-6)  # type: ignore[arg-type]


def test_frames_are_named_by_their_times(run: Run, client: Client) -> None:
    lines = run("pets.mp4", "--pool", "none", "--fps", "2").stdout.splitlines()
    read = [json.loads(line) for line in lines]
    assert [one["name"] for one in read] == [f"pets.mp4#t={n / 2:.3f}" for n in range(12)]
    frame = next(sample("pets.mp4", start=2.5))
    np.testing.assert_allclose(read[5]["embedding"], client.embed_images(frame.image), atol=1e-6)


def test_a_clip_that_cannot_be_decoded_fails_alone_and_leaves_its_row(run: Run) -> None:
    Path("broken.mp4").write_bytes(b"no video")
    done = run("pets.mp4", "broken.mp4", "food.mp4", "-o", "clips.npy")
    assert done.exit_code == 1
    assert "failed: broken.mp4: cannot be opened as a video" in done.stderr
    written = np.load("clips.npy")
    assert np.isnan(written).any(axis=1).tolist() == [False, True, False]


def test_pictures_are_embedded_by_themselves(run: Run) -> None:
    done = run("pets.mp4", "cat.png")
    assert done.exit_code == 1
    assert "cat.png is no video; embed pictures by themselves" in str(done.exception)
