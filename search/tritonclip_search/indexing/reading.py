"""Files, read and hashed by several threads, in order."""

from __future__ import annotations

from collections.abc import Generator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from dataclasses import dataclass

from tritonclip.cancellation import Cancellation
from tritonclip.window import in_order
from tritonclip_search.errors import SourceError, reason_of
from tritonclip_search.pictures import Facts, facts_of
from tritonclip_search.records import Kind, Record, file_id, folders_of
from tritonclip_search.sources.item import Item, Problem

# Most of their time goes into waiting for a disk or a network.
_THREADS = 8
_AHEAD = 64


@dataclass(frozen=True)
class Read:
    """A file that was read."""

    item: Item
    encoded: bytes
    """Cut off after one byte more than the server takes."""
    facts: Facts

    @property
    def id(self) -> str:
        """Of the file's record."""
        return file_id(self.item.path)

    def record(self, precision: str) -> Record:
        """Of an image, without its vector."""
        item, facts = self.item, self.facts
        return Record(
            id=self.id,
            file=self.id,
            kind=Kind.IMAGE,
            path=item.path,
            folders=folders_of(item.path),
            size=item.size,
            modified=item.modified,
            sha256=facts.sha256,
            date=facts.taken or item.modified,
            width=facts.width,
            height=facts.height,
            format=facts.format,
            precision=precision,
            vector=None,
        )


def read_all(items: Sequence[Item], limit: int) -> Generator[Read | Problem, None, None]:
    """Each of `items`, none of which is read beyond `limit` bytes and one more."""

    def read(item: Item, _: Cancellation | None) -> Read | Problem:
        try:
            encoded = item.read(limit + 1)
        except (OSError, SourceError) as error:
            return Problem(item.path, f"cannot be read: {reason_of(error)}")
        # The hash of a part would be taken for that of a file.
        facts = Facts(sha256="") if len(encoded) > limit else facts_of(encoded)
        return Read(item, encoded, facts)

    with ThreadPoolExecutor(_THREADS, thread_name_prefix="tritonclip-read") as pool:
        reads = in_order(iter(items), read, pool, _AHEAD, Cancellation())
        with closing(reads):
            yield from reads
