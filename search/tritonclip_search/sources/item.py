"""One file to be indexed, wherever it lies."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import timedelta
from typing import BinaryIO, TypeAlias

from tritonclip.errors import InvalidArgument

_LIVE = re.compile(r"(rtsps?|rtmps?|rtp|srt|udp|tcp)://|pipe:")

SUFFIXES = (
    *(".jpg", ".jpeg", ".png", ".webp", ".gif", ".bmp", ".tif", ".tiff", ".avif", ".heic"),
    *(".heif", ".jxl"),
)
"""Endings of the files in a folder that are taken for pictures, in lower case."""
VIDEO_SUFFIXES = (
    *(".mp4", ".m4v", ".mov", ".mkv", ".webm", ".avi", ".mpg", ".mpeg", ".mts", ".m2ts", ".flv"),
    *(".wmv", ".3gp", ".ogv"),
)
"""Endings of those that are taken for videos. Not `.ts`, as more of these are TypeScript."""
MEDIA_SUFFIXES = (*SUFFIXES, *VIDEO_SUFFIXES)


def is_video(path: str) -> bool:
    """Whether a file is taken for a video; a `.ts` is, where it was asked for by its name."""
    return path.lower().endswith((*VIDEO_SUFFIXES, ".ts"))


def is_live(name: str) -> bool:
    """Whether a source has no end: `rtsp://`, `rtmp://`, `srt://`, `udp://`, `tcp://`, `pipe:`."""
    return _LIVE.match(name) is not None


def age(text: str) -> timedelta:
    """What `90m`, `12h` or `30d` mean.

    Raises:
        InvalidArgument: it is not of that form.
    """
    match = re.fullmatch(r"(\d{1,5})([mhd])", text)
    if match is None or not int(match[1]):
        raise InvalidArgument(f"{text!r} is no age: write minutes, hours or days, as 90m, 12h, 30d")
    unit = {"m": "minutes", "h": "hours", "d": "days"}[match[2]]
    return timedelta(**{unit: int(match[1])})


@dataclass(frozen=True)
class Item:
    """A file that is there."""

    path: str
    """As `Record.path` has it."""
    size: int
    """In bytes."""
    modified: int
    """Microseconds since 1970 UTC; 0 where its home does not say."""
    read: Callable[[int], bytes]
    """Its first so many bytes. Raises OSError."""
    open: Callable[[], BinaryIO]
    """The whole of it, which can seek. Raises OSError."""


@dataclass(frozen=True)
class Problem:
    """A file that could not be indexed, and why."""

    path: str
    """Printable."""
    reason: str

    def __str__(self) -> str:
        return f"{self.path}: {self.reason}"


@dataclass(frozen=True)
class Source:
    """Some files to be indexed."""

    name: str
    """As the user wrote it."""
    items: Callable[[], Iterator[Item | Problem]]
    """Looks for them; each time anew."""
    covers: Callable[[str], bool]
    """Whether a path would be among the items if it were still there."""


Found: TypeAlias = Iterator[Item | Problem]
