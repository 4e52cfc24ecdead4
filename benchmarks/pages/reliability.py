"""The figures of `docs/reliability.md`: breakdowns, fairness, fuzzing, soaking."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.pages import guide
from benchmarks.pages.markdown import table

PAGE = "reliability.md"
_HELD = {
    "memory_mib": "memory, MiB",
    "shared_mib": "/dev/shm, MiB",
    "files": "open files",
    "threads": "threads",
}


def pages(results: Path) -> Iterator[tuple[str, str]]:
    """The page as it stands, with its figures written anew."""
    studies = {
        "figures": ("breakdowns", _breakdowns),
        "fairness": ("fairness", _fairness),
        "fuzz": ("fuzz", _fuzz),
        "soak": ("soak", _soak),
    }
    parts = {mark: guide.lines_of(results, {name: say}) for mark, (name, say) in studies.items()}
    yield from guide.filled(PAGE, parts)


def _breakdowns(result: dict[str, Any]) -> Iterator[str]:
    run = result["figures"]
    yield (
        f"{_where(result)}, {run['seconds']} s, seed {run['seed']}. Seconds from the fault until "
        "both protocols embedded again:\n"
    )
    rows = (
        (fault, str(len(times)), *_spread(times)) for fault, times in run["recoveries_s"].items()
    )
    yield from table(("fault", "times", "median", "99th percentile"), rows)
    outcomes = dict(run["requests"])
    right, wrong = outcomes.pop("right", 0), outcomes.pop("wrong", 0)
    faults = sum(map(len, run["recoveries_s"].values()))
    yield (
        f"\nIt was started again {run['restarts']} times for {faults} faults. Requests meanwhile: "
        f"{right:,} answered as before, {wrong} wrong; errors: {_listed(outcomes)}. "
        f"The longest took {run['longest_s']:g} s. Left behind in the end: "
        f"{len(run['left'])} processes and regions of shared memory."
    )


def _fairness(result: dict[str, Any]) -> Iterator[str]:
    rows = result["figures"]["rows"]
    before, after = (
        {row["crowd"]: row for row in rows if row["version"] == version}
        for version in ("before", "after")
    )
    yield (
        f"{_where(result)}. Seconds that a small picture or a short text waited, mean and longest, "
        "and those that the crowd took:\n"
    )
    head = (
        *("meanwhile", "mean, before", "longest, before", "the crowd, before"),
        *("mean", "longest", "the crowd"),
    )
    yield from table(
        head, ((name, *_waits(row), *_waits(after[name])) for name, row in before.items())
    )


def _waits(row: Mapping[str, Any]) -> tuple[str, str, str]:
    crowd = f"{row['seconds']:.1f}" if "seconds" in row else ""
    return f"{row['mean_s']:.3f}", f"{row['longest_s']:.2f}", crowd


def _fuzz(result: dict[str, Any]) -> Iterator[str]:
    run = result["figures"]
    outcomes = dict(run["outcomes"])
    counts = {
        name: outcomes.pop(name, 0)
        for name in (
            *("picture embedded", "picture refused", "text embedded", "text refused"),
            *("good: right", "good: wrong"),
        )
    }
    yield (
        f"{_where(result)}, {run['seconds']} s, seed {run['seed']}, {run['in_flight']} requests in "
        "flight:\n"
    )
    yield from table(
        ("sent", "embedded", "refused by its item", "anything else"),
        (
            (
                f"{run[f'{kind}s']:,} {what}",
                f"{counts[f'{kind} embedded']:,}",
                f"{counts[f'{kind} refused']:,}",
                f"{sum(n for name, n in outcomes.items() if name.startswith(kind)):,}",
            )
            for kind, what in (("picture", "broken pictures"), ("text", "odd texts"))
        ),
    )
    held = {
        "memory": run["memory_mib"],
        **{f"that, `{name}`": amounts for name, amounts in run["each_mib"].items()},
        "/dev/shm": run["shared_mib"],
    }
    amounts = (f"{name} {first:g} MiB, then {last:g}" for name, (first, last) in held.items())
    yield (
        f"\nGood requests among them: {counts['good: right']:,} right, {counts['good: wrong']} "
        f"wrong. Processes that died: {'some' if run['died'] else 'none'}. The server held of "
        f"{'; of '.join(amounts)}."
    )


def _soak(result: dict[str, Any]) -> Iterator[str]:
    run = result["figures"]
    yield (
        f"{_where(result)}, {run['requests']:,} requests in {run['seconds']} s, seed "
        f"{run['seed']}; outcomes: {_listed(run['outcomes'])}. From a fifth of the run on:\n"
    )
    yield from table(
        ("the server's", "first", "last", "most", "slope for 100,000 requests"),
        (
            (
                _HELD.get(name, f"memory of `{name}`, MiB"),
                *(f"{line[value]:g}" for value in ("first", "last", "most")),
                f"{line['slope']:.2f} ± {line['interval']:.2f}",
            )
            for name, line in run["held"].items()
        ),
    )


def _where(result: dict[str, Any]) -> str:
    load = result["figures"]["load_average"]
    return f"On {result['date']}, {result['machine']}, load average {load:g} in the end"


def _listed(counts: Mapping[str, int]) -> str:
    return ", ".join(f"{name} {count:,}" for name, count in counts.items()) or "none"


def _spread(times: list[float]) -> tuple[str, str]:
    return f"{np.median(times):.1f}", f"{np.quantile(times, 0.99):.1f}"
