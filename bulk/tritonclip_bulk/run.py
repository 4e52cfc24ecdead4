"""A run: what is not done yet of a plan is done by an engine, and a manifest says when all is."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from dataclasses import asdict, dataclass, field, replace
from typing import TypeAlias

from tritonclip_bulk.embedder import Recipe
from tritonclip_bulk.here import here
from tritonclip_bulk.pictures import Columns
from tritonclip_bulk.plan import Plan, Shard, make_plan
from tritonclip_bulk.shard import (
    RECEIPTS,
    VECTORS,
    Receipt,
    read_receipt,
    receipt_name,
    vectors_name,
)
from tritonclip_bulk.target import Target, is_unfinished
from tritonclip_bulk.worker import Engine, Job
from tritonclip_search.vector_files import MANIFEST

QUARANTINE = "quarantine.jsonl"

# Shards that fail one after the other until the run stops: the disk is full, a key has expired.
_IN_A_ROW = 8
# How often a shard is tried in one run.
_TRIES = 2
# Receipts that are read at a time.
_THREADS = 32


@dataclass(frozen=True)
class Options:
    """What a run makes of its sources; all of it is part of the plan."""

    size: int = 2048
    """Pictures in a shard, where its files do not say otherwise."""
    columns: Columns = field(default_factory=Columns)
    half: bool = False
    """Whether vectors are kept in half precision."""


@dataclass(frozen=True)
class Progress:
    """How far a run is."""

    shards: int
    done: int
    """Shards, those of earlier runs among them."""
    earlier: int
    """Of them."""
    rows: int
    """Pictures with a vector, in this run."""
    failed: int
    """Pictures without, in this run."""


@dataclass
class Report:
    """What a run did.

    Attributes:
        shards: of the plan.
        earlier: shards that were done before.
        done: shards that are done.
        rows: pictures with a vector, in all shards that are done.
        failed: pictures without, in them; with their reasons in the target's `quarantine.jsonl`.
        undone: why shards failed that are not done. Running it again does those, and the others.
        stopped: whether it stopped because too many failed.
    """

    shards: int
    earlier: int
    done: int
    rows: int
    failed: int
    undone: list[str] = field(default_factory=list)
    stopped: bool = False


OnProgress: TypeAlias = Callable[[Progress], object]


def bulk(
    sources: Sequence[str],
    target: str,
    recipe: Recipe,
    *,
    options: Options | None = None,
    engine: Engine = here,
    retry: bool = False,
    on_progress: OnProgress = lambda _: None,
) -> Report:
    """Embed pictures into files of vectors, shard by shard.

    What is killed, workers, servers or all of it, goes on with the first shard that is not done
    when it is run again, and gives the same bytes as if nothing had happened.

    Args:
        sources: folders, pictures, tar shards, Parquet files, globs of them, or URLs.
        target: a folder, or a URL that fsspec opens.
        recipe: what embeds.
        options: see there; the default without.
        engine: what runs the workers: this process, or a cluster.
        retry: do shards anew in which some pictures failed.
        on_progress: told at the beginning and after each shard.

    Raises:
        PlanMismatch: the target holds a run of another kind.
        SourceError: there is nothing to embed.
        TritonClipError: nothing embeds, or the target cannot be written.
    """
    given = options or Options()
    model, place = recipe.look(), Target(target)
    made_by = {
        **asdict(model.origin.space),
        "precision": model.origin.precision,
        "embedded_by": type(recipe).__name__,
        "batch": model.batch,
        **asdict(given),
    }
    plan = make_plan(sources, place, made_by, size=given.size)
    _sweep(place)
    done = dict(_receipts(place, plan))
    anew = [shard for shard, receipt in done.items() if retry and receipt.failed]
    if anew or len(done) < len(plan.shards):
        place.remove(MANIFEST)
    for shard in anew:
        place.remove(receipt_name(shard))
        del done[shard]
    waiting = [shard for shard in plan.shards if shard not in done]
    report = Report(
        shards=len(plan.shards),
        earlier=len(done),
        done=len(done),
        rows=sum(receipt.rows for receipt in done.values()),
        failed=sum(len(receipt.failed) for receipt in done.values()),
    )
    job = Job(place.url, recipe, given.columns, given.half)
    _work(engine, job, waiting, report, on_progress)
    if report.done == report.shards:
        _finish(place, plan, dict(_receipts(place, plan)))
    return report


def _work(
    engine: Engine, job: Job, waiting: Sequence[Shard], report: Report, on_progress: OnProgress
) -> None:
    earlier = replace(report)
    done: set[int] = set()

    def tell() -> None:
        rows, failed = report.rows - earlier.rows, report.failed - earlier.failed
        on_progress(Progress(report.shards, report.done, report.earlier, rows, failed))

    tell()
    for _ in range(_TRIES):
        left = [shard for shard in waiting if shard.number not in done]
        if report.stopped or not left:
            return
        undone: dict[int, str] = {}
        in_a_row = 0
        with closing(engine(job, left)) as outcomes:
            for outcome in outcomes:
                if outcome.shard in done:
                    continue
                if outcome.error:
                    undone[outcome.shard] = outcome.error
                    in_a_row += 1
                    if outcome.is_final or in_a_row == _IN_A_ROW:
                        report.stopped = True
                        break
                else:
                    in_a_row = 0
                    done.add(outcome.shard)
                    undone.pop(outcome.shard, None)
                    report.done += 1
                    report.rows += outcome.rows
                    report.failed += outcome.failed
                    tell()
                    if report.done == report.shards:
                        break
        report.undone = list(undone.values())


def _sweep(target: Target) -> None:
    """Remove what processes left that were killed while they wrote."""
    for folder in ("", f"{VECTORS}/", f"{RECEIPTS}/"):
        for name in filter(is_unfinished, target.names(folder)):
            target.remove(folder + name)


def _receipts(target: Target, plan: Plan) -> Iterator[tuple[Shard, Receipt]]:
    """Those of the shards that are done, in order."""
    there = target.names(RECEIPTS)
    shards = [shard for shard in plan.shards if f"{shard.name}.json" in there]
    with ThreadPoolExecutor(_THREADS, thread_name_prefix="tritonclip-receipt") as pool:
        receipts = pool.map(lambda shard: read_receipt(target, shard), shards)
        for shard, receipt in zip(shards, receipts, strict=True):
            if receipt is not None:
                yield shard, receipt


def _finish(target: Target, plan: Plan, done: Mapping[Shard, Receipt]) -> None:
    """Write what says that all is done, from what is the same whoever did it and how often."""
    quarantine = [
        json.dumps({"name": problem.path, "reason": problem.reason, "shard": shard.number})
        for shard, receipt in done.items()
        for problem in receipt.failed
    ]
    if quarantine:
        target.put(QUARANTINE, "".join(f"{line}\n" for line in quarantine).encode())
    else:
        target.remove(QUARANTINE)
    manifest = {
        "made_by": dict(plan.made_by),
        "rows": sum(receipt.rows for receipt in done.values()),
        "failed": len(quarantine),
        "files": [
            {
                "file": vectors_name(shard),
                "rows": receipt.rows,
                "bytes": receipt.size,
                "sha256": receipt.sha256,
            }
            for shard, receipt in done.items()
        ],
    }
    target.put(MANIFEST, json.dumps(manifest, indent=1).encode())
