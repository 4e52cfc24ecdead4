"""The tables of `docs/preprocessing.md`, from `results/preprocessing.json`."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from benchmarks import record
from benchmarks.pages.markdown import table

PAGE = "preprocessing.md"
# What stands between these in the page is written by this script.
TABLES = re.compile(r"(?<=<!-- figures -->\n).*(?=<!-- end of figures -->)", re.DOTALL)


def pages(results: Path) -> Iterator[tuple[str, str]]:
    """The page as it stands, with its tables written anew."""
    if (file := results / "preprocessing.json").exists():
        tables = _tables(json.loads(file.read_bytes()))
        page = (record.DOCS / PAGE).read_text(encoding="utf-8")
        yield PAGE, TABLES.sub(lambda _: tables, page)


def _tables(result: dict[str, Any]) -> str:
    """Both tables with what they were measured on, in Markdown."""
    figures = result["figures"]
    lines = [
        f"On {result['date']}, {result['machine']}, Pillow {result['packages']['pillow']}"
        + (f", DALI {figures['dali']} on the CPU" if figures["dali"] else "")
        + "; `ms` is processor time. Of spread: the embeddings' error, relative to the distance "
        f"between different images, for {figures['bundle']} with random weights and for the demo "
        "checkpoint.",
        "",
        *table(
            (
                *("", "mode", "ms an image", "images/s and core"),
                *("pixels differ by (max, mean)", "min cosine", "of spread"),
                *("demo: min cosine", "demo: of spread"),
            ),
            (
                (
                    *(kind, mode, f"{row['ms_each']:.2f}", f"{1000 / row['ms_each']:.0f}"),
                    *_differences(row),
                )
                for kind, modes in figures["photographs"].items()
                for mode, row in modes.items()
            ),
        ),
        "",
        *table(
            ("drawings saved as JPEG of", "mode", "top-1", "top-5", "decided unlike exact"),
            (
                (
                    *(size, mode, f"{row['top1'] * 100:.1f} %", f"{row['top5'] * 100:.1f} %"),
                    f"{row['decided_unlike_exact']} of {row['of']:,}",
                )
                for size, modes in figures["zero_shot"].items()
                for mode, row in modes.items()
            ),
        ),
    ]
    return "\n".join(lines) + "\n"


def _differences(row: dict[str, Any]) -> list[str]:
    if row["pixels"]["max"] == 0:
        return ["0", "", "", "", ""]
    cells = [f"{row['pixels']['max']}, {row['pixels']['mean']:.2f}"]
    for tower in ("tower", "demo"):
        cells += [f"{row[tower]['min_cosine']:.5f}", f"{row[tower]['of_spread']:.3f}"]
    return cells
