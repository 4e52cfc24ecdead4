"""Guides that people write, with parts between marks that are written from results."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from benchmarks import record


def filled(name: str, parts: Mapping[str, list[str]]) -> Iterator[tuple[str, str]]:
    """A guide with its parts written anew.

    Args:
        name: its file in docs/.
        parts: lines by mark; those of `figures` go between `<!-- figures -->` and
            `<!-- end of figures -->`. A part without lines stays as it is.

    Yields:
        the name and the whole page, unless no part has lines.
    """
    page = (record.DOCS / name).read_text(encoding="utf-8")
    for mark, lines in parts.items():
        if lines:
            start, end = f"<!-- {mark} -->\n", f"<!-- end of {mark} -->"
            before, _, rest = page.partition(start)
            page = (
                before + start + "\n".join(lines).rstrip("\n") + "\n" + end + rest.partition(end)[2]
            )
    if any(parts.values()):
        yield name, page


def lines_of(
    results: Path, studies: Mapping[str, Callable[[dict[str, Any]], Iterable[str]]]
) -> list[str]:
    """What is said of the studies that have been run, a blank line after each.

    Args:
        results: the folder of results.
        studies: what says it of a result, by the name of its file.
    """
    lines: list[str] = []
    for name, say in studies.items():
        if (file := results / f"{name}.json").exists():
            lines += [*say(json.loads(file.read_bytes())), ""]
    return lines
