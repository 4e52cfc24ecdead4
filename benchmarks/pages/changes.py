"""What changes did to speed: two commits beside each other."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from benchmarks.pages.comparison import PEER, ratio
from benchmarks.pages.markdown import table
from benchmarks.studies.changes import Changes, Row, Side
from tritonclip_export.bench.results import Interval, Report
from tritonclip_export.bench.summary import interval


def pages(results: Path) -> Iterator[tuple[str, str]]:
    """One page, if it was measured."""
    if (file := results / "changes.json").exists():
        lines = [*_page(Changes.model_validate_json(file.read_bytes()))]
        if (beside := results / "performance-peer.json").exists():
            lines += ["", *_beside(Report.load(beside), beside.name)]
        yield "performance/changes.md", "\n".join(lines) + "\n"


def _page(study: Changes) -> Iterator[str]:
    about = study.about
    yield "# Before and after"
    yield ""
    yield f"On {about.machine.cores} cores of {about.machine.cpu}, {about.day}: what is here beside"
    yield f"the commit `{study.before}`. Both servers run at the same time, asked in turns, in"
    yield "another order each round, by `python -m benchmarks.studies.changes` ([its"
    yield "JSON](../../benchmarks/results/changes.json)), which shares the cores with them. ± is"
    yield "the 95 % confidence interval over rounds: nothing else ran, and still this virtual"
    yield "machine's speed changes by a tenth from round to round, which takes from all alike."
    yield ""
    yield "*In process* is the same library at the same precision without a server, all of its"
    yield "threads on one batch of as many items as are in flight here. An encoder whose threads"
    yield "each take a part of the batch can be faster than that."
    yield ""
    yield from table(
        (
            *("bundle", "engine", "load", "in flight", "before /s", "after /s"),
            "after / before",
            *("of in process, before", "after", "batch, before", "after"),
        ),
        map(_rates, study.rows),
    )
    yield ""
    yield "Clearly slower than before, with the whole interval below 1: " + (
        "; ".join(filter(None, map(_slower, study.rows))) or "nothing"
    )
    yield ""
    yield "## CPU time of a request"
    yield ""
    yield "Milliseconds, by process. The tokenizer's is gone into the text encoder's."
    yield ""
    yield from table(
        (
            *("bundle", "engine", "load", "in flight", "", "encoder", "tokenizer"),
            *("preprocessing", "tritonserver", "around the encoder", "generator"),
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


def _beside(report: Report, name: str) -> Iterator[str]:
    yield "## Beside a peer, after"
    yield ""
    yield f"One run, in turns, {report.date[:10]} on the same machine, by `benchmarks.compare`"
    yield f"([its JSON](../../benchmarks/results/{name})): {report.about[PEER]}."
    yield ""
    served = [m for m in report.measurements if m.protocol != "in process"]
    peers = {(m.workload, m.concurrency): m for m in served if m.server == PEER}
    yield from table(
        ("load", "in flight", "server", "items/s", f"times {PEER}"),
        (
            (m.workload, str(m.concurrency), m.server, f"{m.throughput:,.1f}", ratio(m, peer))
            for m in served
            if (peer := peers[m.workload, m.concurrency]) is not m
        ),
    )


def _rates(row: Row) -> tuple[str, ...]:
    return (
        row.bundle,
        row.engine,
        row.workload,
        str(row.concurrency),
        *(f"{interval(side.rates).mean:,.0f}" for side in (row.before, row.after)),
        f"{_ratio(row.after.rates, row.before.rates):.2f}",
        *(f"{_ratio(side.rates, row.in_process):.2f}" for side in (row.before, row.after)),
        *(f"{side.batch:.1f}" for side in (row.before, row.after)),
    )


def _slower(row: Row) -> str:
    """The row in words, if it is."""
    found = _ratio(row.after.rates, row.before.rates)
    if found.high is None or found.high >= 1:
        return ""
    return f"{row.engine}, {row.workload}, {row.concurrency} in flight ({found:.2f})"


def _ratio(rates: tuple[float, ...], others: tuple[float, ...]) -> Interval:
    """Of rounds that belong together."""
    return interval([a / b for a, b in zip(rates, others, strict=True)])


def _cpu(row: Row) -> Iterator[tuple[str, ...]]:
    for name, side in (("before", row.before), ("after", row.after)):
        encoder, tokenizer, preprocessing, server, generator = (
            _process(side, suffix)
            for suffix in ("_encoder", "_tokenize", "_preprocess", "tritonserver", "generator")
        )
        around = tokenizer + preprocessing + server
        yield (
            *(row.bundle, row.engine, row.workload, str(row.concurrency), name),
            *(f"{ms:.2f}" for ms in (encoder, tokenizer, preprocessing, server, around)),
            f"{generator:.2f}",
        )


def _process(side: Side, suffix: str) -> float:
    return sum(ms for name, ms in side.cpu_ms.items() if name.endswith(suffix))
