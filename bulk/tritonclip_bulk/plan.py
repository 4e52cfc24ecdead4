"""The plan of a run: which shards there are, what each is made of, and what embeds them.

It is written before the work begins, and every later run of the same target goes on by it. So a
shard is the same pictures in the same batches whoever does it, and gives the same bytes.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from itertools import islice
from typing import Any, Literal, TypeAlias

from tritonclip_bulk.errors import PlanMismatch, TargetError
from tritonclip_bulk.parquet import row_ranges
from tritonclip_bulk.target import Target
from tritonclip_search.errors import SourceError
from tritonclip_search.sources.item import SUFFIXES, Item, Problem
from tritonclip_search.sources.opening import files_in
from tritonclip_search.vector_files import PLAN

Kind: TypeAlias = Literal["files", "tar", "parquet"]

TARS = (".tar", ".tar.gz", ".tgz")
PARQUET = (".parquet",)
_FORMAT = 1
# Footers of Parquet files that are read at a time.
_THREADS = 16


@dataclass(frozen=True)
class Part:
    """A file that a shard is made of."""

    path: str
    """Absolute, or a URL."""
    modified: int
    """Microseconds since 1970 UTC; 0 where its home does not say."""


@dataclass(frozen=True)
class Shard:
    """Pictures that are embedded into one file."""

    number: int
    kind: Kind
    parts: tuple[Part, ...]
    """Of a tar or a Parquet file, that one; otherwise the pictures."""
    rows: tuple[int, int] | None = None
    """Of a Parquet file, the row groups from the first to before the second; None for all."""

    @property
    def name(self) -> str:
        """Of its files, without their endings."""
        return f"{self.number:06d}"

    def __str__(self) -> str:
        """What it is made of, for people."""
        first = self.parts[0].path
        if self.kind == "files" and len(self.parts) > 1:
            return f"{len(self.parts):,} pictures from {first} on"
        return (
            first
            if self.rows is None
            else f"row groups {self.rows[0]} to {self.rows[1] - 1} of {first}"
        )


@dataclass(frozen=True)
class Plan:
    """All shards of a run.

    Attributes:
        made_by: what the bytes of a shard follow from, besides its pictures.
        shards: in the order of their numbers.
    """

    made_by: Mapping[str, Any]
    shards: tuple[Shard, ...]

    def to_json(self) -> bytes:
        """As the target keeps it."""
        shards = [asdict(shard) for shard in self.shards]
        plan = {"format": _FORMAT, "made_by": dict(self.made_by), "shards": shards}
        return json.dumps(plan, indent=1, ensure_ascii=False).encode()

    @classmethod
    def read(cls, target: Target) -> Plan | None:
        """The plan in `target`; None where there is none.

        Raises:
            TargetError: what is there is none of ours.
        """
        content = target.get(PLAN)
        if content is None:
            return None
        try:
            plan = json.loads(content)
            if plan["format"] != _FORMAT:
                raise ValueError(f"its format is {plan['format']}, not {_FORMAT}")
            return cls(plan["made_by"], tuple(map(_shard, plan["shards"])))
        except (ValueError, KeyError, TypeError) as error:
            raise TargetError(
                f"{target.url}/{PLAN} was not written by tritonclip, or by another version: {error}"
            ) from error


def _shard(plain: dict[str, Any]) -> Shard:
    rows = None if plain["rows"] is None else (plain["rows"][0], plain["rows"][1])
    parts = tuple(Part(**part) for part in plain["parts"])
    return Shard(plain["number"], plain["kind"], parts, rows)


def make_plan(
    sources: Sequence[str], target: Target, made_by: Mapping[str, Any], *, size: int
) -> Plan:
    """The plan in `target`, with what `sources` hold that is not in it yet; written there.

    Args:
        sources: folders, files, globs, URLs.
        target: what lies in it is no source.
        made_by: what the bytes of a shard follow from, besides its pictures.
        size: pictures in a shard, where its files do not say otherwise: a tar is one shard, however
            many there are in it, and a Parquet file is cut between its row groups.

    Raises:
        PlanMismatch: the target holds what was made otherwise.
        SourceError: there is nothing to embed, or it cannot be listed.
        TargetError: the target cannot be written.
    """
    old = Plan.read(target)
    if old is not None and old.made_by != dict(made_by):
        was = "; ".join(
            f"{key} was {old.made_by.get(key)!r}, now {value!r}"
            for key, value in made_by.items()
            if old.made_by.get(key) != value
        )
        raise PlanMismatch(
            f"{target.url} holds a run that was made otherwise ({was}): go on as it began, or name "
            "another target"
        )
    kept = () if old is None else old.shards
    known = {part.path for shard in kept for part in shard.parts}
    found = {item.path: item for item in _look(sources, target) if item.path not in known}
    shards = kept + tuple(_cut(list(found.values()), size, first=len(kept)))
    if not shards:
        raise SourceError(
            f"no pictures, tar shards or Parquet files in {', '.join(sources)}; looked for files "
            f"that end in {', '.join((*SUFFIXES, *TARS, *PARQUET))}"
        )
    plan = Plan(dict(made_by), shards)
    if plan != old:
        target.put(PLAN, plan.to_json())
    return plan


def _look(sources: Sequence[str], target: Target) -> Iterator[Item]:
    for source in sources:
        for found in files_in(source, (*SUFFIXES, *TARS, *PARQUET)):
            if isinstance(found, Problem):
                # A folder that is closed now would be missing from the plan for good.
                raise SourceError(str(found))
            if not target.holds(found.path):
                yield found


def _cut(items: Sequence[Item], size: int, *, first: int) -> Iterator[Shard]:
    """Shards of `items`, numbered from `first` on: tars, then Parquet files, then pictures."""

    def ending(suffixes: tuple[str, ...]) -> list[Item]:
        return [item for item in items if item.path.lower().endswith(suffixes)]

    tables = ending(PARQUET)
    with ThreadPoolExecutor(_THREADS, thread_name_prefix="tritonclip-footer") as pool:
        ranges = pool.map(lambda item: row_ranges(item, size), tables)
        cut: list[tuple[Kind, tuple[Part, ...], tuple[int, int] | None]] = [
            *(("tar", (_part(item),), None) for item in ending(TARS)),
            *(
                ("parquet", (_part(item),), rows)
                for item, found in zip(tables, ranges, strict=True)
                for rows in found
            ),
            *(("files", tuple(map(_part, some)), None) for some in _chunks(ending(SUFFIXES), size)),
        ]
    for number, (kind, parts, rows) in enumerate(cut, first):
        yield Shard(number, kind, parts, rows)


def _part(item: Item) -> Part:
    return Part(item.path, item.modified)


def _chunks(items: Iterable[Item], size: int) -> Iterator[list[Item]]:
    left = iter(items)
    while some := list(islice(left, size)):
        yield some
