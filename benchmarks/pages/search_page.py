"""What is measured of the page in `docs/gateway.md`, from its study."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from benchmarks.pages import guide
from benchmarks.pages.markdown import table


def lines(results: Path) -> list[str]:
    """What was measured of the page; nothing where it was not."""
    return guide.lines_of(results, {"page": _lines})


def _lines(result: dict[str, Any]) -> Iterator[str]:
    figures = result["figures"]
    small, large = figures["sizes"]
    yield (
        f"Milliseconds in Chromium {figures['chromium'].partition('.')[0]}, median (and worst) of "
        f"{figures['rounds']} visits with an empty cache, in turns: {small['vectors']:,} drawings, "
        f"and {large['vectors']:,} vectors of them moved a little, in a folder store. On "
        f"{result['date']}, {result['machine']}, browser, gateway and Triton on the same cores, "
        "other work running ([results](../benchmarks/results/page.json))."
    )
    yield ""
    rows = {
        "painted": "opening the page → first paint",
        "opened": "opening an address with a search → first picture",
        "typed": "a key → first picture; 120 ms of it wait for the next key",
        "to the end": "End → the 10,000th picture (the last one of fewer)",
    }
    yield from table(
        ("", *(f"{size['vectors']:,}" for size in (small, large))),
        [
            (
                row,
                *(f"{s['median'][key]:.0f} ({s['worst'][key]:.0f})" for s in (small, large)),
            )
            for key, row in rows.items()
        ],
    )
    yield ""
    yield (
        "The first search after the gateway's start opens the collection, and took "
        + " and ".join(f"{size['first_visit']['opened']:,.0f}" for size in (small, large))
        + " ms."
    )
