"""What commands print: data as JSON on standard output, everything for people beside it."""

from __future__ import annotations

import json
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from rich.console import Console
    from rich.status import Status
    from rich.table import Table


def print_json(value: Any) -> None:
    """Print `value` as JSON to standard output; paths become strings."""

    def plain(other: object) -> object:
        if isinstance(other, Path):
            return str(other)
        raise TypeError(f"{type(other).__name__} has no JSON form")

    json.dump(value, sys.stdout, indent=2, ensure_ascii=False, default=plain)
    sys.stdout.write("\n")


def console(*, stderr: bool = False) -> Console:
    """A rich console; standard error for what is not the result."""
    from rich.console import Console

    return Console(stderr=stderr, highlight=False, soft_wrap=True)


def print_table(table: Table) -> None:
    """Print a table to standard output, its cells wrapped at the width of the terminal."""
    console().print(table, soft_wrap=False)


class Steps:
    """Announces the steps of long work on standard error, each with its time once it is done.

    A context manager: the last step ends with the block; a failure leaves it without its tick.
    """

    def __init__(self) -> None:
        self._console = console(stderr=True)
        self._step = ""
        self._status: Status | None = None
        self._began = 0.0

    def __call__(self, step: str) -> None:
        """Begin the next step."""
        self._end(done=True)
        self._step, self._began = step, time.monotonic()
        self._status = self._console.status(step)
        self._status.start()

    def detail(self, text: str) -> None:
        """Show `text` after the current step."""
        if self._status is not None:
            self._status.update(f"{self._step} [dim]{text}[/]")

    def __enter__(self) -> Steps:
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        self._end(done=kind is None)

    def _end(self, *, done: bool) -> None:
        if self._status is None:
            return
        self._status.stop()
        self._status = None
        if done:
            seconds = time.monotonic() - self._began
            self._console.print(f"[green]✓[/] {self._step} [dim]{seconds:.1f} s[/]")
