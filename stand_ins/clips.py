"""Video clips of which is known what they show when: drawings, cut, faded, zoomed and turned."""

from __future__ import annotations

import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

import av
from PIL import Image

_CLOCK = Fraction(1, 90_000)


@dataclass(frozen=True)
class Shot:
    """A drawing on a plain background for a while."""

    picture: Image.Image
    seconds: float
    background: str = "white"
    zoom: float = 1.0
    """Its size at the end of the shot, of that at the beginning."""
    fade: float = 0.0
    """Seconds at its end in which it dissolves into the next."""


def write_clip(
    file: Path,
    shots: Sequence[Shot],
    *,
    size: tuple[int, int] = (320, 240),
    fps: int = 24,
    codec: str = "libx264",
    keyframe_every: float = 4.0,
    rotation: int = 0,
    is_steady: bool = True,
    noise: int = 0,
    container_options: dict[str, str] | None = None,
) -> None:
    """Encode `shots` one after the other.

    Args:
        file: where to; its suffix says the container.
        shots: what to show.
        size: width and height in pixels, even.
        fps: frames a second.
        codec: as FFmpeg calls the encoder: libx264, libx265, libvpx-vp9, libsvtav1.
        keyframe_every: seconds at most between two keyframes.
        rotation: degrees counter-clockwise by which players have to turn it.
        is_steady: otherwise half of the frames are left out, at random.
        noise: how far each pixel is off at random, as of a camera in the dark.
        container_options: for the muxer.
    """
    dice = random.Random(0)
    with av.open(str(file), "w", container_options=container_options or {}) as container:
        stream = container.add_stream(codec, rate=fps)
        stream.width, stream.height = size
        stream.pix_fmt = "yuv420p"
        stream.gop_size = max(1, round(keyframe_every * fps))
        stream.codec_context.time_base = _CLOCK
        stream.options = _FAST.get(codec, {})
        if rotation:
            stream.set_display_rotation(rotation)
        for number, drawn in enumerate(_drawn(shots, size, fps)):
            if not is_steady and number and dice.random() < 0.5:
                continue
            frame = av.VideoFrame.from_image(_noisy(drawn, noise, number) if noise else drawn)
            frame.pts, frame.time_base = round(number / fps / _CLOCK), _CLOCK
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))


_FAST = {
    "libx264": {"preset": "ultrafast"},
    "libx265": {"preset": "ultrafast", "x265-params": "log-level=error"},
    "libvpx-vp9": {"deadline": "realtime", "cpu-used": "8"},
    "libsvtav1": {"preset": "12"},
}


def _drawn(shots: Sequence[Shot], size: tuple[int, int], fps: int) -> Iterator[Image.Image]:
    begin = 0.0
    number = 0
    for shot, after in zip(shots, [*shots[1:], None], strict=True):
        end = begin + shot.seconds
        still = _draw(shot, size, 0.0) if shot.zoom == 1 and not shot.fade else None
        while number / fps < end - 1e-9:
            done = (number / fps - begin) / shot.seconds
            drawn = still or _draw(shot, size, done)
            left = end - number / fps
            if after is not None and left < shot.fade:
                drawn = Image.blend(drawn, _draw(after, size, 0.0), 1 - left / shot.fade)
            yield drawn
            number += 1
        begin = end


def _draw(shot: Shot, size: tuple[int, int], done: float) -> Image.Image:
    side = round(0.7 * min(size) * (1 + (shot.zoom - 1) * done))
    picture = shot.picture.convert("RGBA").resize((side, side))
    drawn = Image.new("RGBA", size, shot.background)
    drawn.alpha_composite(picture, ((size[0] - side) // 2, (size[1] - side) // 2))
    return drawn.convert("RGB")


def _noisy(picture: Image.Image, noise: int, number: int) -> Image.Image:
    import numpy as np

    dice = np.random.default_rng(number)
    pixels = np.asarray(picture, np.int16)
    off = dice.integers(-noise, noise + 1, pixels.shape)
    return Image.fromarray(np.clip(pixels + off, 0, 255).astype(np.uint8))
