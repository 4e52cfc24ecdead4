"""What a store has to do. There is one file a store beside this one, and one test for them all."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Protocol

from tritonclip.errors import InvalidArgument
from tritonclip.types import FloatArray
from tritonclip_search.filters import Filter
from tritonclip_search.records import Record
from tritonclip_search.space import Description
from tritonclip_search.stores.url import StoreUrl

EXACT_UNTIL = 200_000
"""Records up to which every vector is looked at. That takes a fraction of a second and misses
nothing; `settle` builds an index only beyond it."""

_NAME = re.compile(r"[a-z][a-z0-9_]{0,47}")


@dataclass(frozen=True)
class Method:
    """How a store finds the nearest vectors of a collection now."""

    name: str
    """For people: `exact scan`, `HNSW (m=16, ef_construction=64)`."""
    exact: bool
    """Whether nothing is ever missed."""


class Store(Protocol):
    """One connection to what holds collections. Not for several threads at a time.

    Names of collections have passed `check_name`. Methods but `create`, `names`, `describe` and
    `close` raise `CollectionNotFound` where there is no such collection; any method raises
    `StoreUnavailable`, `StoreDenied` or `StoreError`, none of which shows a secret.
    """

    url: StoreUrl

    def names(self) -> list[str]:
        """The collections that we made here, sorted."""

    def create(self, name: str, description: Description) -> None:
        """Make a collection; one of that name that is there already is left as it is.

        So several processes may do that at once.

        Raises:
            InvalidArgument: the store does not keep `description.vectors`.
        """

    def describe(self, name: str) -> Description | None:
        """What a collection was created with; None where there is no such collection."""

    def upsert(self, name: str, records: Sequence[Record]) -> None:
        """Write records in the place of those with the same ids, for good and for every later call.

        All of them or none, should the process die meanwhile, where the store can do that. Each
        record has either a vector or an error, and no id comes twice.
        """

    def delete(self, name: str, ids: Sequence[str]) -> None:
        """Remove records; ids that are not there are passed over."""

    def nearest(
        self, name: str, vector: FloatArray, *, top: int, where: Filter | None = None
    ) -> list[Record]:
        """The records whose vectors have the largest cosine with `vector`, the nearest first.

        The filter is applied before, not after: fewer than `top` come back only where fewer have a
        vector and pass. An index may miss some; its candidates are ranked by the vectors as kept.

        Args:
            name: the collection.
            vector: unit length, float32 [dim].
            top: how many, at least 1.
            where: what they have to be like.

        Returns:
            whole records, with float32 vectors from which the caller computes scores.
        """

    def scan(
        self, name: str, *, where: Filter | None = None, vectors: bool = False
    ) -> Iterator[Record]:
        """All records that pass, in no order, a part at a time; those with an error too.

        Writing while the iterator is in use is allowed, and may or may not show in it. Without
        `vectors`, the field is None.
        """

    def count(self, name: str, *, where: Filter | None = None) -> int:
        """How many records pass, those with an error included."""

    def settle(self, name: str) -> Method:
        """Compact after much was written, and build an index if the size asks for it."""

    def method(self, name: str) -> Method:
        """How `nearest` finds its answers at the moment."""

    def drop(self, name: str) -> None:
        """Remove a collection and all of its records."""

    def close(self) -> None:
        """Disconnect. A second call does nothing."""


def check_name(name: str) -> str:
    """`name`, if every store takes it as the name of a collection.

    Raises:
        InvalidArgument: it does not begin with a letter, or has other than a-z, 0-9 and _, or is
            longer than 48.
    """
    if not _NAME.fullmatch(name):
        raise InvalidArgument(
            f"{name!r} is no name for a collection: up to 48 of a-z, 0-9 and _, a letter first"
        )
    return name
