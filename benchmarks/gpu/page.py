"""Journals -> the page docs/gpu.md: what a card has shown, or that none has been had."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from benchmarks.gpu import journal
from benchmarks.gpu.plan import LEASE_SECONDS, STEPS
from benchmarks.pages import markdown

Line = dict[str, Any]

INTRODUCTION = f"""# On a GPU

What `benchmarks/gpu` measures on a card that is lent for {LEASE_SECONDS // 60} minutes, in order of
worth. FP32 on the CPU is the reference of every error; a share is of the ceiling that was measured
in the same run.
"""
NONE = """
No card yet: nothing on this page has been measured. The kit is rehearsed on a CPU, where it runs as
far as the call of the driver.
"""


def pages(results: Path) -> Iterator[tuple[str, str]]:
    """The page by its path below `docs/`.

    Args:
        results: the folder with the result files, of which `gpu/` holds the journals.
    """
    lines = {step.name: _measured(results / "gpu" / f"{step.name}.jsonl") for step in STEPS}
    cards = sorted({line["card"] for found in lines.values() for line in found})
    parts = [part for card in cards for part in _card(card, lines)]
    yield "gpu.md", "\n".join([INTRODUCTION.rstrip("\n"), *(parts or [NONE.rstrip("\n")])]) + "\n"


def _measured(file: Path) -> list[Line]:
    return [line for line in journal.read(file) if line["card"] != journal.NO_CARD]


def _card(card: str, lines: dict[str, list[Line]]) -> Iterator[str]:
    yield f"\n## {card}"
    for step in STEPS:
        found = [line for line in lines[step.name] if line["card"] == card]
        good = [line for line in found if "error" not in line]
        if found:
            dates = sorted({line["at"][:10] for line in found})
            yield f"\n### {step.name}: {step.about}\n\n{' and '.join(dates)}.\n"
        for columns in dict.fromkeys(_columns(line) for line in good):
            same = [line for line in good if _columns(line) == columns]
            yield from markdown.table(("", *columns), (_row(line, columns) for line in same))
            yield ""
        yield from (f"- {line['key']}: {line['error']}" for line in found if "error" in line)


def _columns(line: Line) -> tuple[str, ...]:
    return tuple(name for name in line if name not in ("key", "at", "card"))


def _row(line: Line, columns: Sequence[str]) -> tuple[str, ...]:
    return (line["key"], *(_cell(column, line[column]) for column in columns))


def _cell(column: str, value: Any) -> str:
    if value is None:
        return "NaN"
    if column == "share":
        return f"{value:.0%}"
    if isinstance(value, dict):
        return ", ".join(f"{key} {_cell(key, part)}" for key, part in value.items())
    if isinstance(value, list):
        return " ".join(_cell(column, part) for part in value)
    return f"{value:,.4g}" if isinstance(value, float) and abs(value) < 1e4 else f"{value}"
