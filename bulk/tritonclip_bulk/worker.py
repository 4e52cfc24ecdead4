"""A worker: takes one shard after the other, and says what became of each."""

from __future__ import annotations

import time
from collections.abc import Callable, Generator, Sequence
from dataclasses import dataclass
from typing import TypeAlias

from tritonclip.errors import TritonClipError
from tritonclip_bulk.embedder import Embedder, Recipe
from tritonclip_bulk.errors import EndpointMismatch
from tritonclip_bulk.pictures import Columns
from tritonclip_bulk.plan import Plan, Shard
from tritonclip_bulk.shard import Receipt, embed_shard, read_receipt
from tritonclip_bulk.target import Target

# A shard is late after so many times what the longest of a worker has taken, and so many seconds.
_LATE = 3
_LATE_SECONDS = 20.0
# Between two looks for its receipt.
_LOOK = 1.0


@dataclass(frozen=True)
class Job:
    """What every worker of a run has to know. It travels to them."""

    target: str
    recipe: Recipe
    columns: Columns
    half: bool


@dataclass(frozen=True)
class Outcome:
    """What became of a shard."""

    shard: int
    """Its number."""
    rows: int = 0
    failed: int = 0
    """Pictures without a vector."""
    error: str = ""
    """Why it was not done; empty where it was."""
    is_final: bool = False
    """Whether no other shard can be done either."""


class Worker:
    """Opens its embedder with the first shard, and keeps it."""

    def __init__(self, job: Job, workers: int) -> None:
        """One of so many workers."""
        self._job = job
        self._workers = workers
        self._target = Target(job.target)
        self._shards: tuple[Shard, ...] = ()
        self._embedder: Embedder | None = None
        self._longest = 0.0

    def work(self, number: int, *, is_begun: bool = False) -> Outcome:
        """Do the shard with that number; what goes wrong with it is told, not raised.

        Args:
            number: of the plan in the target.
            is_begun: whether another worker has been given it before. That one is waited for, as
                long as a few shards take, before it is done a second time.
        """
        try:
            if not self._shards:
                plan = Plan.read(self._target)
                assert plan is not None  # it is written before the first worker starts
                self._shards = plan.shards
            shard = self._shards[number]
            other = self._awaited(shard) if is_begun else None
        except TritonClipError as error:
            return Outcome(number, error=f"shard {number}: {error}")
        if other is not None:
            return Outcome(number, other.rows, len(other.failed))
        return self._do(shard)

    def close(self) -> None:
        """Stop what is in work."""
        if self._embedder is not None:
            self._embedder.close()

    def _awaited(self, shard: Shard) -> Receipt | None:
        end = time.monotonic() + max(_LATE_SECONDS, _LATE * self._longest)
        while (receipt := read_receipt(self._target, shard)) is None and time.monotonic() < end:
            time.sleep(_LOOK)
        return receipt

    def _do(self, shard: Shard) -> Outcome:
        began = time.monotonic()
        job = self._job
        try:
            if self._embedder is None:
                self._embedder = job.recipe.open(self._workers)
            receipt = embed_shard(shard, self._embedder, self._target, job.columns, half=job.half)
        except Exception as error:
            ours = isinstance(error, TritonClipError)
            why = str(error) if ours else f"{type(error).__name__}: {error}"
            named = why if str(shard) in why else f"{shard}: {why}"
            final = isinstance(error, EndpointMismatch)
            return Outcome(shard.number, error=named, is_final=final)
        seconds = time.monotonic() - began
        self._longest = max(self._longest, seconds)
        return Outcome(shard.number, receipt.rows, len(receipt.failed))


Engine: TypeAlias = Callable[[Job, Sequence[Shard]], Generator[Outcome, None, None]]
"""Has workers do shards, and gives each outcome when it is there; a shard may have several, and
none if its workers died. Closing it stops them."""
