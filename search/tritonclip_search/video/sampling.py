"""Frames of a video at a steady rate, by their time stamps.

Never by their numbers: what phones and screen recorders write has no steady rate of frames.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

from tritonclip.errors import InvalidArgument
from tritonclip_search.errors import VideoError
from tritonclip_search.video.file import EPSILON, OnDamage, Source, Video

if TYPE_CHECKING:
    from av import VideoFrame
    from PIL.Image import Image

DEFAULT_FPS = 1.0


@dataclass(frozen=True)
class Frame:
    """A frame of a video."""

    time: float
    """When it is shown, in seconds from the beginning of the video."""
    image: Image
    """RGB, upright as players show it."""


def sample(
    source: Source,
    fps: float = DEFAULT_FPS,
    *,
    start: float = 0.0,
    fast: bool = False,
    on_damage: OnDamage = lambda _: None,
) -> Iterator[Frame]:
    """The first frame at or after each of the times 0, 1/fps, 2/fps, ...; none comes twice.

    One frame is held at a time, whatever the length. What cannot be decoded is passed over.

    Args:
        source: a path, or an open file that can seek.
        fps: how many a second.
        start: leave out what is shown before, in seconds.
        fast: only keyframes, which are decoded by themselves: many times faster, but a frame may
            come as much later than asked for as keyframes lie apart, often 2 to 10 seconds. Its
            time is right all the same.
        on_damage: told of each range that cannot be decoded.

    Raises:
        VideoError: it is no video, or not one of its frames can be decoded.
        InvalidArgument: a rate that makes no sense.
    """
    check_fps(fps)
    with Video(source, on_damage) as video:
        yield from sample_video(video, fps, start=start, fast=fast)


def sample_video(
    video: Video, fps: float, *, start: float = 0.0, fast: bool = False
) -> Iterator[Frame]:
    """`sample` of a video that is open, and read from its beginning on unless there is a `start`.

    Raises:
        VideoError: not one of its frames can be decoded.
    """
    video.wanted = start
    is_empty = True
    if start:
        video.seek(start)
    for time, frame in video.keyframes() if fast else video.frames():
        if time < video.wanted - EPSILON:
            continue
        is_empty = False
        yield Frame(time, upright(frame))
        video.wanted = (math.floor(time * fps + EPSILON) + 1) / fps
    if is_empty and not start:
        raise VideoError("not one of its frames can be decoded")


def frame_at(source: Source, time: float) -> Frame:
    """The frame that is shown at `time`, or the first one after it.

    Raises:
        VideoError: there is none.
    """
    with Video(source) as video:
        video.wanted = time
        video.seek(time)
        for at, frame in video.frames():
            if at >= time - EPSILON:
                return Frame(at, upright(frame))
    raise VideoError(f"there is no frame at {time:g} seconds")


def upright(frame: VideoFrame) -> Image:
    """As players show it: turned by the rotation that the file asks for."""
    from PIL.Image import Transpose

    turns = {90: Transpose.ROTATE_90, 180: Transpose.ROTATE_180, 270: Transpose.ROTATE_270}
    image: Image = frame.to_image()
    turn = turns.get(frame.rotation % 360)
    return image if turn is None else image.transpose(turn)


def check_fps(fps: float) -> None:
    """Refuse rates that make no sense.

    Raises:
        InvalidArgument: it is not above 0, or more than 240.
    """
    if not 0 < fps <= 240:
        raise InvalidArgument(
            f"fps is {fps:g}; ask for more than 0 and at most 240 frames a second"
        )
