"""The figures of `docs/operating.md`: what the simulation says beside what servers do."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from benchmarks.pages import guide
from benchmarks.pages.markdown import table
from benchmarks.studies.fleet import Fleet

PAGE = "operating.md"


def pages(results: Path) -> Iterator[tuple[str, str]]:
    """The page as it stands, with its figures written anew."""
    file = results / "fleet.json"
    lines = [*_figures(Fleet.model_validate_json(file.read_bytes()))] if file.exists() else []
    yield from guide.filled(PAGE, {"figures": lines})


def _figures(found: Fleet) -> Iterator[str]:
    most = max(found.rates.values())
    callers = ", ".join(f"{rate:.0f} with {number}" for number, rate in found.rates.items())
    yield (
        f"On {found.day}, {found.machine}, the bundle {found.bundle}, a 640 x 480 JPEG a request, "
        "a core a server, which the load generator shares "
        "([results](../benchmarks/results/fleet.json) of `python -m benchmarks.studies.fleet`). "
        f"What the simulation was told: {callers} callers, so {most:.0f} a second at best. What "
        "it said before, and what the servers then did, in milliseconds:"
    )
    yield ""
    head = ("servers", "load", "requests/s", "answered", "p50 said", "p50", "p99 said", "p99")
    yield from table(
        (*head, "cores of the generator"),
        [
            (
                str(row.servers),
                f"{row.share:.0%}",
                f"{row.rate:.0f}",
                f"{row.answered:.0f}",
                f"{row.simulated_p50:.1f}",
                f"{row.p50:.1f}",
                f"{row.simulated_p99:.1f}",
                f"{row.p99:.1f}",
                f"{row.generator:.2f}",
            )
            for row in found.rows
        ],
    )
