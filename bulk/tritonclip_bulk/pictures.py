"""The pictures of a shard, one by one, wherever they lie.

What is wrong for good costs itself alone: a file that is no longer there, a tar that ends too
early. What may be right the next time, as a store that is not reached or refuses us, fails the
shard.
"""

from __future__ import annotations

import tarfile
import zlib
from collections.abc import Generator, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager
from dataclasses import asdict, dataclass
from typing import Any, BinaryIO

from tritonclip.cancellation import Cancellation
from tritonclip.window import in_order
from tritonclip_bulk.errors import ShardUnreadable
from tritonclip_bulk.parquet import Table
from tritonclip_bulk.plan import Shard
from tritonclip_search.errors import SourceError, reason_of
from tritonclip_search.pictures import Facts, facts_of
from tritonclip_search.sources.item import SUFFIXES, Problem
from tritonclip_search.sources.local import MEMBER
from tritonclip_search.sources.opening import open_file
from tritonclip_search.sources.opening import read as read_file

# Most of their time goes into waiting for a disk or a network.
_THREADS = 8
_AHEAD = 16


@dataclass(frozen=True)
class Columns:
    """Of Parquet files; None where it is plain."""

    pictures: str | None = None
    key: str | None = None


@dataclass(frozen=True, slots=True)
class Picture:
    """One that was read."""

    name: str
    encoded: bytes
    """Cut off after one byte more than may be embedded."""
    modified: int
    facts: Facts

    def row(self) -> dict[str, Any]:
        """What a file of vectors says of it."""
        size = len(self.encoded)
        return {"name": self.name, "size": size, "modified": self.modified, **asdict(self.facts)}


def pictures_of(
    shard: Shard, columns: Columns, limit: int
) -> Generator[Picture | Problem, None, None]:
    """The pictures of a shard, in its order, none of them beyond `limit` bytes and one more.

    Raises:
        ShardUnreadable: it cannot be read now, or its files are not as `columns` says.
    """
    if shard.kind == "files":
        yield from _read_each(((p.path, p.path, p.modified) for p in shard.parts), limit)
    elif shard.kind == "tar":
        yield from _members(shard, limit)
    else:
        yield from _rows(shard, columns, limit)


def _picture(name: str, encoded: bytes, modified: int, limit: int) -> Picture:
    # The hash of a part would be taken for that of a file.
    facts = Facts(sha256="") if len(encoded) > limit else facts_of(encoded)
    return Picture(name, encoded, modified, facts)


def _read_each(
    named: Iterable[tuple[str, str | None, int]], limit: int
) -> Iterator[Picture | Problem]:
    """Pictures by name, path or URL, and time of change; several are read at a time."""

    def read(job: tuple[str, str | None, int], _: Cancellation | None) -> Picture | Problem:
        name, path, modified = job
        if path is None:
            return Problem(name, "the row has none")
        try:
            return _picture(name, read_file(path, limit + 1), modified, limit)
        except FileNotFoundError:
            return Problem(name, "no such file")
        except (OSError, SourceError) as error:
            raise ShardUnreadable(f"{path} cannot be read: {reason_of(error)}") from error

    with (
        ThreadPoolExecutor(_THREADS, thread_name_prefix="tritonclip-read") as pool,
        closing(in_order(named, read, pool, _AHEAD, Cancellation())) as found,
    ):
        yield from found


def _members(shard: Shard, limit: int) -> Iterator[Picture | Problem]:
    (part,) = shard.parts
    before = 0
    with _opened(part.path) as opened:
        try:
            with tarfile.open(fileobj=opened, mode="r|*") as members:
                for member in members:
                    if not (member.isfile() and member.name.lower().endswith(SUFFIXES)):
                        continue
                    name = part.path + MEMBER + member.name.removeprefix("./")
                    content = members.extractfile(member)
                    assert content is not None
                    encoded = content.read(limit + 1)
                    if len(encoded) < min(member.size, limit + 1):
                        raise tarfile.ReadError("it ends within a file")
                    yield _picture(name, encoded, part.modified, limit)
                    before += 1
        except (tarfile.TarError, EOFError, zlib.error) as error:
            yield _rest(part.path, before, error)


def _rows(shard: Shard, columns: Columns, limit: int) -> Iterator[Picture | Problem]:
    import pyarrow as pa

    (part,) = shard.parts
    before = 0
    with _opened(part.path) as opened:
        try:
            table = Table(opened, part.path, columns.pictures, columns.key)
            for found in _of_table(table, shard.rows, part.modified, limit):
                yield found
                before += 1
        except pa.ArrowException as error:
            yield _rest(part.path, before, error)


def _of_table(
    table: Table, rows: tuple[int, int] | None, modified: int, limit: int
) -> Iterator[Picture | Problem]:
    if table.column.is_path:
        yield from _read_each(((name, path, 0) for name, path in table.rows(rows)), limit)
        return
    for name, encoded in table.rows(rows):
        if encoded is None:
            yield Problem(name, "the row has none")
        else:
            yield _picture(name, encoded[: limit + 1], modified, limit)


def _rest(path: str, before: int, error: Exception) -> Problem:
    return Problem(path, f"is damaged; {before:,} pictures could be read before that: {error}")


@contextmanager
def _opened(path: str) -> Iterator[BinaryIO]:
    """A file of a shard; what goes wrong with reading it, which libraries raise as they like."""
    try:
        with open_file(path) as opened:
            yield opened
    except ShardUnreadable:
        raise
    except Exception as error:
        raise ShardUnreadable(f"{path} cannot be read: {reason_of(error)}") from error
