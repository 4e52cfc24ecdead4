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
    failed: list[Problem] = field(default_factory=list)
    """Not recorded, and tried again next time: closed to this user, a name that is not UTF-8."""

    @property
    def embedded(self) -> int:
        """How many vectors were made."""
        return self.added + self.changed

    @property
    def seen(self) -> int:
        """How many pictures were there."""
        return self.embedded + self.moved + self.unchanged + len(self.unreadable)


@dataclass(frozen=True)
class Progress:
    """How far an indexer is."""

    total: int
    """Files that are new or seem changed."""
    done: int
    """Of them."""


OnProgress: TypeAlias = Callable[[Progress], object]
