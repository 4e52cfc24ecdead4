"""What commands print: data as JSON on standard output, everything for people beside it."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from rich.console import Console

Json = Annotated[bool, typer.Option("--json", help="Print the result as JSON.")]


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


class Steps:
    """Announces the steps of long work on standard error, each with its time once it is done."""

    def __init__(self, *, quiet: bool = False) -> None:
        self._console = console(stderr=True)
        self._quiet = quiet
        self._step: str | None = None
        self._status: Any = None
        self._began = 0.0

    def __call__(self, step: str) -> None:
        """Begin the next step."""
        self.done()
        self._step, self._began = step, time.monotonic()
        if not self._quiet:
            self._status = self._console.status(step)
            self._status.start()

    def done(self) -> None:
        """Close the step at hand."""
        if self._status is not None:
            self._status.stop()
            self._status = None
            seconds = time.monotonic() - self._began
            self._console.print(f"[green]✓[/] {self._step} [dim]{seconds:.1f} s[/]")


@contextmanager
def steps(*, quiet: bool = False) -> Iterator[Steps]:
    """`Steps` whose last one ends with the block; a failure leaves it without its tick."""
    announced = Steps(quiet=quiet)
    try:
        yield announced
    except BaseException:
        if announced._status is not None:
            announced._status.stop()
        raise
    announced.done()
