"""Figures, a line of JSON each as soon as there is one: what ends early keeps what it has found.

A line holds its key, when and on which card it was measured, and the figures or an `error`.
"""

from __future__ import annotations

import json
import math
import subprocess
import time
from collections.abc import Callable, Mapping
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

NO_CARD = "no card"


class TimeIsUpError(Exception):
    """No further figure is begun."""


class Journal:
    """The lines of one step; what it holds already of the same card is not measured again."""

    def __init__(self, file: Path, *, seconds: float) -> None:
        self._file = file
        self._deadline = time.monotonic() + seconds
        self._card = card()
        lines = [line for line in read(file) if line["card"] == self._card]
        self._done = {line["key"] for line in lines if "error" not in line}

    @property
    def seconds_left(self) -> float:
        """Until `TimeIsUpError`."""
        return self._deadline - time.monotonic()

    def has(self, key: str) -> bool:
        """Whether it was measured before."""
        return key in self._done

    def measure(self, key: str, figures: Callable[[], Mapping[str, Any]]) -> None:
        """Write down what `figures` finds, or what it raises.

        Raises:
            TimeIsUpError: it was not begun.
        """
        if self.has(key):
            return
        if self.seconds_left < 0:
            raise TimeIsUpError
        try:
            self._write(key, _short(figures()))
        except Exception as error:  # whatever the libraries raise: the next figure may do
            self.fail(key, error)

    def fail(self, key: str, error: Exception) -> None:
        """Write down why there is no figure; the next run tries again."""
        self._write(key, {"error": f"{type(error).__name__}: {error}"[:400]})

    def _write(self, key: str, found: Mapping[str, Any]) -> None:
        at = datetime.now(timezone.utc).isoformat(timespec="seconds")
        line = json.dumps({"key": key, "at": at, "card": self._card, **found})
        with self._file.open("a", encoding="utf-8") as lines:
            lines.write(line + "\n")
        print(self._file.stem, line, flush=True)


def read(file: Path) -> list[dict[str, Any]]:
    """The lines of a journal, the last of each key and card; none if there is no file."""
    if not file.exists():
        return []
    lines = [json.loads(line) for line in file.read_text(encoding="utf-8").splitlines()]
    return list({(line["key"], line["card"]): line for line in lines}.values())


def card() -> str:
    """The GPU and its driver, or `NO_CARD`."""
    query = ("nvidia-smi", "--query-gpu=name,driver_version", "--format=csv,noheader")
    try:
        asked = subprocess.run(query, capture_output=True, text=True, check=True, timeout=20)
    except (OSError, subprocess.SubprocessError):
        return NO_CARD
    return asked.stdout.splitlines()[0].replace(", ", ", driver ")


def _short(value: Any) -> Any:
    """Four digits of every number, as a journal travels in a few KiB; None for what is none."""
    if isinstance(value, float):
        return float(f"{value:.4g}") if math.isfinite(value) else None
    if isinstance(value, Mapping):
        return {key: _short(part) for key, part in value.items()}
    return [_short(part) for part in value] if isinstance(value, list | tuple) else value
