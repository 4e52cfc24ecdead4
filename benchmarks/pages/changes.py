"""What changes did to speed: two commits beside each other."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from benchmarks.pages.markdown import table
from benchmarks.studies.changes import Changes, Row, Side
from tritonclip_export.bench.results import Interval
from tritonclip_export.bench.summary import interval


def pages(results: Path) -> Iterator[tuple[str, str]]:
    """One page, if it was measured."""
    if (file := results / "changes.json").exists():
        study = Changes.model_validate_json(file.read_bytes())
        yield "performance/changes.md", "\n".join(_page(study)) + "\n"


def _page(study: Changes) -> Iterator[str]:
    about = study.about
    yield "# Before and after"
    yield ""
    yield f"Captions on {about.machine.cores} cores of {about.machine.cpu}, {about.day}: what is"
    yield f"here beside the commit `{study.before}`. Both servers run at the same time, asked in"
    yield "turns, in another order each round, by `python -m benchmarks.studies.changes` ([its"
    yield "JSON](../../benchmarks/results/changes.json)), which shares the cores with them. Other"
    yield "work was running on the machine, which takes from both alike: rates are low, and the"
    yield "ratios are what to look at. ± is the 95 % confidence interval over rounds."
    yield ""
    yield "*In process* is the same library at the same precision without a server, all of its"
    yield "threads on one batch of as many texts as are in flight here. An encoder whose threads"
    yield "each take a part of the batch can be faster than that."
    yield ""
    yield from table(
        (
            *("bundle", "engine", "in flight", "before /s", "after /s", "after / before"),
            *("of in process, before", "after", "batch, before", "after"),
        ),
        map(_rates, study.rows),
    )
    yield ""
    yield "## CPU time of a caption"
    yield ""
    yield "Milliseconds, by process. The tokenizer's is gone into the encoder's."
    yield ""
    yield from table(
        (
            *("bundle", "engine", "in flight", "", "encoder", "tokenizer", "tritonserver"),
            *("around the encoder", "generator"),
        ),
        (line for row in study.rows for line in _cpu(row)),
    )
    yield ""
    yield "## Start and memory"
    yield ""
    yield "From the command `tritonclip serve` to its line that says it is ready, the least of a"
    yield "few, and the memory of all processes after the loads above."
    yield ""
    yield from table(
        ("bundle", "engine", "ready before, s", "after, s", "MiB before", "after"),
        (
            (
                served.bundle,
                served.engine,
                *(f"{min(served.start_s[side]):.1f}" for side in ("before", "after")),
                *(f"{served.mib[side]:,.0f}" for side in ("before", "after")),
            )
            for served in study.served
        ),
    )


def _rates(row: Row) -> tuple[str, ...]:
    return (
        row.bundle,
        row.engine,
        str(row.concurrency),
        *(f"{interval(side.rates).mean:,.0f}" for side in (row.before, row.after)),
        f"{_ratio(row.after.rates, row.before.rates):.2f}",
        *(f"{_ratio(side.rates, row.in_process):.2f}" for side in (row.before, row.after)),
        *(f"{side.batch:.1f}" for side in (row.before, row.after)),
    )


def _ratio(rates: tuple[float, ...], others: tuple[float, ...]) -> Interval:
    """Of rounds that belong together."""
    return interval([a / b for a, b in zip(rates, others, strict=True)])


def _cpu(row: Row) -> Iterator[tuple[str, ...]]:
    for name, side in (("before", row.before), ("after", row.after)):
        encoder, tokenizer, server, generator = (
            _process(side, name) for name in ("_encoder", "_tokenize", "tritonserver", "generator")
        )
        yield (
            row.bundle,
            row.engine,
            str(row.concurrency),
            name,
            *(f"{ms:.2f}" for ms in (encoder, tokenizer, server, tokenizer + server, generator)),
        )


def _process(side: Side, suffix: str) -> float:
    return sum(ms for name, ms in side.cpu_ms.items() if name.endswith(suffix))
