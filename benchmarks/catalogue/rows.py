"""Rows of the matrix: what became of one architecture, as JSON."""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict


class Step(BaseModel):
    """One step that was begun."""

    model_config = ConfigDict(extra="forbid")

    name: str
    seconds: float | None = None
    """None while it runs, and for ever if the process ended in it."""
    cpu_seconds: float | None = None
    """Of all threads; unlike `seconds` about the same beside other work."""
    peak_mib: int | None = None
    """The most memory that was resident during the step, shared libraries included."""


class Row(BaseModel):
    """One architecture; what a step would have told is missing if it was not reached."""

    model_config = ConfigDict(extra="forbid")

    architecture: str
    """As in the catalogue."""
    family: str
    passed: bool = False
    reason: str = ""
    """Why it failed."""
    date: str = ""
    machine: str = ""
    steps: list[Step] = []
    facts: dict[str, Any] = {}
    """Sizes and parity, by name; each step adds its own."""

    @property
    def cpu_seconds(self) -> float:
        """What all steps took together."""
        return sum(step.cpu_seconds or 0 for step in self.steps)

    @property
    def peak_mib(self) -> int:
        """The most memory that any step took."""
        return max((step.peak_mib or 0 for step in self.steps), default=0)

    @property
    def file_name(self) -> str:
        """Where it lies."""
        return f"{title(self.architecture)}.json"

    def save(self, file: Path) -> None:
        """Write the row, whole or not at all."""
        partial = file.with_name(f".{file.name}.partial")
        partial.write_text(json.dumps(self.model_dump(), indent=1) + "\n", encoding="utf-8")
        partial.replace(file)


def title(architecture: str) -> str:
    """The name of an architecture without the hub's ORG."""
    return architecture.rpartition("/")[2]


def read(folder: Path) -> dict[str, Row]:
    """All rows in `folder`, by architecture."""
    rows: Iterable[Row] = (
        Row.model_validate_json(file.read_bytes()) for file in sorted(folder.glob("[!.]*.json"))
    )
    return {row.architecture: row for row in rows}
