"""Clips that the tests of videos share."""

from __future__ import annotations

import io
from collections.abc import Callable
from pathlib import Path

import pytest
from PIL import Image

from stand_ins.clips import Shot, write_clip

COLOURS = ("red", "green", "blue", "yellow", "black", "white")


@pytest.fixture
def coloured(tmp_path: Path) -> Callable[..., Path]:
    """Writes a clip that changes its colour every 2.5 seconds, six times."""

    def write(name: str = "clip.mp4", **options: object) -> Path:
        shots = [Shot(Image.new("RGB", (8, 8), c), 2.5, background=c) for c in COLOURS]
        write_clip(tmp_path / name, shots, **options)  # type: ignore[arg-type]
        return tmp_path / name

    return write


@pytest.fixture(scope="session")
def drawing(twemoji: dict[str, bytes]) -> Callable[[str], Image.Image]:
    """Drawings by their names."""
    return lambda name: Image.open(io.BytesIO(twemoji[name]))
