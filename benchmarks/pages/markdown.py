"""Tables in Markdown."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence


def table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> Iterator[str]:
    """Lines of a table; columns that hold figures, which begin with a digit, are aligned right."""
    body = list(rows)
    figures = [any(row[i][:1].isdigit() for row in body) for i in range(len(head))]
    yield _row(head)
    yield "|" + "".join("---:|" if right else "---|" for right in figures)
    yield from map(_row, body)


def _row(cells: Sequence[str]) -> str:
    return f"| {' | '.join(cells)} |"
