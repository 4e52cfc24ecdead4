"""One file to be indexed, wherever it lies."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import TypeAlias

SUFFIXES = (
    *(".jpg", ".jpeg", ".png", ".webp", ".gif", ".bmp", ".tif", ".tiff", ".avif", ".heic"),
    *(".heif", ".jxl"),
)
"""Endings of the files in a folder that are taken for pictures, in lower case."""


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
