"""What an indexer did, and how far it is."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TypeAlias

from tritonclip_search.sources.item import Problem


@dataclass
class Report:
    """What an indexer did."""

    added: int = 0
    changed: int = 0
    """Embedded anew, as their bytes are others."""
    moved: int = 0
    unchanged: int = 0
    """Those that could not be embedded before either included."""
    vanished: list[str] = field(default_factory=list)
    """Paths in the collection whose files are no longer there."""
    removed: int = 0
    """Of the vanished."""
    unreadable: list[Problem] = field(default_factory=list)
    """Recorded with their reasons, and not tried again until they change."""
    damaged: list[Problem] = field(default_factory=list)
    """Ranges of videos that could not be decoded; the rest of them is there."""
    failed: list[Problem] = field(default_factory=list)
    """Not recorded, and tried again next time: closed to this user, a name that is not UTF-8."""

    video_seconds: float = 0.0
    """Of videos, that were embedded."""

    @property
    def embedded(self) -> int:
        """How many files were."""
        return self.added + self.changed

    @property
    def seen(self) -> int:
        """How many pictures and videos were there."""
        return self.embedded + self.moved + self.unchanged + len(self.unreadable)


@dataclass(frozen=True)
class Position:
    """How far an indexer is in a video, in seconds."""

    path: str
    time: float
    duration: float
    """0 where the file does not say."""
    done: float
    """Of it, in this run: an earlier one may have done a part."""


@dataclass(frozen=True)
class Progress:
    """How far an indexer is."""

    total: int
    """Files that are new or seem changed."""
    done: int
    """Of them."""
    video: Position | None = None
    """Within the one that is next, if it is a video."""


OnProgress: TypeAlias = Callable[[Progress], object]
