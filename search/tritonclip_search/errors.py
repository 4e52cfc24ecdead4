"""What can go wrong with an archive, as branches of the client's `TritonClipError`."""
# Named for what happened, as in the client.
# ruff: noqa: N818

from __future__ import annotations

from typing import TYPE_CHECKING

from tritonclip.errors import InvalidArgument, TritonClipError

if TYPE_CHECKING:
    from collections.abc import Sequence


class InvalidFilter(InvalidArgument):
    """A `where` that is not in the grammar, or asks for a field that does not exist."""


class StoreError(TritonClipError):
    """A store failed at a valid request, e.g. because its disk is full."""


class StoreUnavailable(StoreError):
    """A store cannot be reached."""


class StoreDenied(StoreError):
    """A store does not let us in, or not write: a wrong password, a read-only folder."""


class StoreNotInstalled(StoreError):
    """The client library of a store is not installed."""


class CollectionNotFound(TritonClipError):
    """A store has no collection of that name.

    Attributes:
        name: of the collection.
        store: its address, without secrets.
        others: collections that the store has.
    """

    def __init__(self, name: str, store: object, others: Sequence[str] = ()) -> None:
        super().__init__(name, f"{store}", tuple(others))
        self.name, self.store, self.others = name, f"{store}", tuple(others)

    def __str__(self) -> str:
        """Name both, and what may help."""
        found = f"there is no collection {self.name!r} in {self.store}"
        if self.others:
            return f"{found}; there are: {', '.join(self.others)}"
        return f"{found}; `tritonclip index` makes one, `tritonclip collections` lists them"


class SpaceMismatch(TritonClipError):
    """Vectors of one embedding space were offered to, or asked of, a collection of another."""


class SourceError(TritonClipError):
    """What should be indexed is not there, or holds no picture."""


class VideoError(TritonClipError):
    """A video that cannot be opened, or of which not a single frame can be decoded."""


class InvalidPolicy(InvalidArgument):
    """A policy that cannot be followed: a field that does not exist, a threshold nobody chose."""


class InvalidHead(InvalidArgument):
    """A file that is no head, or one for other embeddings than those it is given."""


class AuditError(TritonClipError):
    """An audit log that is not there, or cannot be written."""


class InvalidLabels(InvalidArgument):
    """A file of labels that cannot be read, or says nothing about what is asked."""


class TooFewExamples(TritonClipError):
    """Labels that do not suffice to say what was asked; the message says how many are missing."""


def reason_of(error: Exception) -> str:
    """Why a file cannot be read, in the system's words where it is the system that refuses."""
    return str(getattr(error, "strerror", None) or error) or type(error).__name__
