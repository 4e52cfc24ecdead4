"""Clips made of the demo's held-out drawings, of which is known what they show when."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from PIL import Image

from stand_ins.clips import Shot, write_clip

BACKGROUNDS = ("white", "black", "navy", "khaki", "pink", "darkgreen", "gray")
# How clips differ: codecs, sizes, rates, rotations, and what happens within shots.
KINDS: dict[str, dict[str, Any]] = {
    "h264 240p": {"suffix": "mp4", "codec": "libx264", "size": (426, 240)},
    "hevc 360p": {"suffix": "mp4", "codec": "libx265", "size": (640, 360)},
    "vp9 360p": {"suffix": "webm", "codec": "libvpx-vp9", "size": (640, 360)},
    "av1 480p": {"suffix": "mp4", "codec": "libsvtav1", "size": (854, 480)},
    "h264 1080p": {"suffix": "mp4", "codec": "libx264", "size": (1920, 1080)},
    "turned": {"suffix": "mp4", "codec": "libx264", "size": (426, 240), "rotation": 90},
    "unsteady": {"suffix": "mkv", "codec": "libx264", "size": (426, 240), "is_steady": False},
    "noisy": {"suffix": "mp4", "codec": "libx264", "size": (426, 240), "noise": 12},
    "faded": {"suffix": "mp4", "codec": "libx264", "size": (426, 240), "fade": 1.0},
    "zoomed": {"suffix": "mp4", "codec": "libx264", "size": (426, 240), "zoom": 1.5},
}


@dataclass(frozen=True)
class Scene:
    """A drawing, and when it is shown; seconds."""

    label: str
    start: float
    end: float


@dataclass(frozen=True)
class Clip:
    """A file, and what it shows."""

    file: Path
    kind: str
    scenes: tuple[Scene, ...]

    @property
    def cuts(self) -> list[float]:
        """Where scenes change."""
        return [scene.start for scene in self.scenes[1:]]


def make(
    folder: Path,
    labels: list[str],
    drawing: Callable[[str], Image.Image],
    *,
    scenes: int = 6,
    fps: int = 10,
) -> Iterator[Clip]:
    """Write clips of so many `labels` each, of one kind after the other, until none is left.

    Scenes take 2 to 8 seconds. Frames of a rotated clip are turned so that players show them
    upright.
    """
    dice = random.Random(0)
    for number in range(len(labels) // scenes):
        kind = list(KINDS)[number % len(KINDS)]
        options = dict(KINDS[kind])
        fade, zoom = options.pop("fade", 0.0), options.pop("zoom", 1.0)
        file = folder / f"{number:03d}.{options.pop('suffix')}"
        shots, known, at = [], [], 0.0
        for label in labels[number * scenes : (number + 1) * scenes]:
            seconds = dice.randrange(20, 81) / 10
            picture = drawing(label).convert("RGBA").rotate(-options.get("rotation", 0))
            shots.append(Shot(picture, seconds, dice.choice(BACKGROUNDS), zoom, fade))
            known.append(Scene(label, at, at + seconds))
            at += seconds
        write_clip(file, shots, fps=fps, **options)
        yield Clip(file, kind, tuple(known))
