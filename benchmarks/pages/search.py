"""What is measured in `docs/search.md`, from the results of four studies."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from benchmarks.pages import guide
from benchmarks.pages.markdown import table

PAGE = "search.md"


def pages(results: Path) -> Iterator[tuple[str, str]]:
    """The page as it stands, with what was measured written anew."""
    figures = {"archives": _archives, "embedded": _embedded, "exclusion": _exclusion}
    parts = {"asked": {"capabilities": _asked}, "figures": figures}
    yield from guide.filled(
        PAGE, {mark: guide.lines_of(results, studies) for mark, studies in parts.items()}
    )


def _asked(result: dict[str, Any]) -> Iterator[str]:
    figures = result["figures"]
    yield (
        f"Each of these was asked of the demo's {figures['drawings']:,} drawings, whose names tell "
        "what was wanted ([results](../benchmarks/results/capabilities.json))."
    )
    yield ""
    yield from table(
        ("", "asked", "the first hits"),
        [
            (a["ability"], f'"{a["query"]}"', ", ".join(a["hits"]).replace("|", r"\|"))
            for a in figures["asked"]
        ],
    )


def _archives(result: dict[str, Any]) -> Iterator[str]:
    figures = result["figures"]
    indexing, second = figures["indexing"], figures["second_run"]
    yield (
        f"On {result['date']}, {result['machine']}, with the demo checkpoint; other work was "
        "running, so compare only within a line ([results](../benchmarks/results/archives.json))."
    )
    yield ""
    yield (
        f"- Indexing {indexing['pictures']:,} pictures, beside embedding them for nothing, in "
        f"turns: {indexing['index_per_second']:,.0f} and {indexing['embed_per_second']:,.0f} a "
        f"second, a median ratio of {indexing['ratio']:.2f} ({min(indexing['ratios']):.2f} to "
        f"{max(indexing['ratios']):.2f} in single rounds)."
    )
    yield f"- A second run over {second['files']:,} unchanged files: {second['seconds']:.1f} s."
    yield (
        f"- `import tritonclip_search`: {figures['import_seconds']:.2f} s; with `open_collection`, "
        f"which brings the client and numpy: {figures['import_with_collection_seconds']:.2f} s."
    )
    yield "- Each drawing asked for by its name, among all of them:"
    yield ""
    retrieval = figures["retrieval"]
    ways = {"in process, exact": "in_process", "served, and stored in a folder": "stored"}
    ranks = list(retrieval["in_process"])
    yield from table(
        ("", *ranks),
        [(way, *(f"{retrieval[key][rank]:.2%}" for rank in ranks)) for way, key in ways.items()],
    )


def _embedded(result: dict[str, Any]) -> Iterator[str]:
    figures = result["figures"]
    yield (
        f"Stores that need no server, {figures['records']:,} records of 512 dimensions, in turns "
        "([results](../benchmarks/results/embedded.json)). NumPy's product with such a file takes "
        f"{figures['numpy_ms']:.0f} ms."
    )
    yield ""
    rows = {
        "a new process until its first answer, ms": ("first_ms", ",.0f"),
        "the nearest 20, exact, ms": ("nearest_ms", ",.0f"),
        "all records without vectors, ms": ("scan_ms", ",.0f"),
        "written by 256, records a second": ("records_per_second", ",.0f"),
        "bytes a record": ("bytes_a_record", ",.0f"),
    }
    yield from table(
        ("", "folder", "LanceDB"),
        [
            (row, *(format(figures[store][key], how) for store in ("folder", "LanceDB")))
            for row, (key, how) in rows.items()
        ],
    )


def _exclusion(result: dict[str, Any]) -> Iterator[str]:
    figures = result["figures"]
    yield (
        f"What excludes B from a search for A: means over {figures['pairs']} pairs of the first "
        f"{figures['top']} drawings, *q* and *n* being the vectors of A and B "
        "([results](../benchmarks/results/exclusion.json)). Kept are those of a plain search that "
        "do not show B."
    )
    yield ""
    yield from table(
        ("asked", "show B", "kept"),
        [
            (
                way.replace("plain", "A").replace("*", "\\*"),
                f"{f['unwanted']:.2f}",
                f"{f['kept']:.2f}",
            )
            for way, f in figures["ways"].items()
        ],
    )
