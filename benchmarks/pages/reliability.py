"""The figures of `docs/reliability.md`, from `results/breakdowns.json`."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.pages import guide
from benchmarks.pages.markdown import table

PAGE = "reliability.md"


def pages(results: Path) -> Iterator[tuple[str, str]]:
    """The page as it stands, with its figures written anew."""
    yield from guide.filled(PAGE, {"figures": guide.lines_of(results, {"breakdowns": _figures})})


def _figures(result: dict[str, Any]) -> Iterator[str]:
    run = result["figures"]
    yield (
        f"On {result['date']}, {result['machine']}, {run['seconds']} s, seed {run['seed']}, load "
        f"average {run['load_average']:g}. "
        "Seconds from the fault until both protocols embedded again:\n"
    )
    rows = (
        (fault, str(len(times)), *_spread(times)) for fault, times in run["recoveries_s"].items()
    )
    yield from table(("fault", "times", "median", "99th percentile"), rows)
    outcomes = dict(run["requests"])
    right, wrong = outcomes.pop("right", 0), outcomes.pop("wrong", 0)
    errors = ", ".join(f"{name} {count}" for name, count in outcomes.items()) or "none"
    yield (
        f"\nRequests meanwhile: {right:,} answered as before, {wrong} wrong; errors: {errors}. The "
        f"longest took {run['longest_s']:g} s. Left behind in the end: {len(run['left'])} "
        "processes and regions of shared memory."
    )


def _spread(times: list[float]) -> tuple[str, str]:
    return f"{np.median(times):.1f}", f"{np.quantile(times, 0.99):.1f}"
