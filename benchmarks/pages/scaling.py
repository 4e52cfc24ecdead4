"""How rates, latency and memory grow: a table for each thing that grows, and the fitted powers."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from benchmarks.pages.markdown import table
from benchmarks.studies.scaling import BUSY, Fit, Point

KINDS = {"text": "captions", "image": "pictures"}
WHAT = {
    "rate": "items a second",
    "p50_ms": "median latency",
    "memory_mib": "memory of the server",
}


def pages(results: Path) -> Iterator[tuple[str, str]]:
    """One page, if it was measured."""
    if (file := results / "scaling.json").exists():
        yield "performance/scaling.md", "\n".join(_page(json.loads(file.read_bytes()))) + "\n"


def _page(study: dict[str, Any]) -> Iterator[str]:
    figures = study["figures"]
    points = [Point(**one) for one in figures["points"]]
    yield "# Scaling"
    yield ""
    yield f"`{figures['bundle']}` at {figures['precision']} in ONNX Runtime on {study['machine']},"
    yield f"{study['date']}, by `python -m benchmarks.studies.scaling` ([its"
    yield "JSON](../../benchmarks/results/scaling.json)): the load generator shares the cores."
    yield f"Captions have eight words, pictures are JPEGs of 224 x 224, {BUSY} requests of one item"
    yield "are in flight, but for what grows. ± is the 95 % confidence interval of three repeats."
    yield ""
    yield "## What grows how"
    yield ""
    yield "A power fitted to what is below, with its 95 % confidence interval: 0 is no growth, 1 is"
    yield "growth in proportion."
    yield ""
    yield from table(("what grows", "from", "of", *WHAT.values()), _fits(figures["fits"]))
    yield ""
    yield "What more cores and more servers bring is simulated from rates like these"
    yield "([operating](../operating.md#how-many-replicas))."
    for axis in dict.fromkeys(point.axis for point in points):
        yield ""
        yield f"## {axis[0].upper()}{axis[1:]}"
        yield ""
        yield from table(
            ("of", axis, "items/s", "p50 ms", "p99 ms", "cores", "server MiB", "ready in s"),
            (_line(point) for point in points if point.axis == axis),
        )


def _fits(found: list[dict[str, Any]]) -> Iterator[tuple[str, ...]]:
    fits = [Fit(**one) for one in found]
    for axis, kind, since in dict.fromkeys((fit.axis, fit.kind, fit.since) for fit in fits):
        of = {fit.figure: fit for fit in fits if (fit.axis, fit.kind) == (axis, kind)}
        powers = (f"{of[name].exponent:.2f} ± {of[name].half:.2f}" for name in WHAT)
        yield (axis, str(since), KINDS[kind], *powers)


def _line(point: Point) -> tuple[str, ...]:
    return (
        KINDS[point.kind],
        f"{point.value:,}",
        f"{point.rate:,.0f} ± {point.rate_half:,.0f}",
        f"{point.p50_ms:,.1f}",
        f"{point.p99_ms:,.1f}",
        f"{point.cores:.2f}",
        f"{point.memory_mib:,.0f}",
        f"{point.start_s:.1f}",
    )
