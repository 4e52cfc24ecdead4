"""One architecture on its way through the steps: what they hand on, and what each took.

The row is saved whenever a step begins or ends, so the process that watches sees how far it came.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from benchmarks.catalogue.rows import Row, Step
from benchmarks.footprint import peak_kib


@dataclass
class Work:
    """What the steps hand to each other."""

    row: Row
    report: Path
    folder: Path
    """For files; removed when the row is done."""
    hub: Path
    """Holds what would come from a hub."""
    serve: bool
    """Whether this row is the one of its family that is served."""
    results: dict[str, Any] = field(default_factory=dict)
    """Objects by name: `checkpoint`, `bundle`."""

    @contextmanager
    def step(self, name: str) -> Iterator[None]:
        """Measure a step."""
        self.begin(name)
        yield
        self.end()

    def begin(self, name: str) -> None:
        """End the step before, if it still runs, and begin this one."""
        self.end()
        self.row.steps.append(Step(name=name))
        self.row.save(self.report)
        _forget_peak_memory()
        self._began = time.perf_counter(), time.process_time()

    def end(self) -> None:
        """End the step that runs, if one does."""
        if self.row.steps and self.row.steps[-1].seconds is None:
            step = self.row.steps[-1]
            step.seconds = round(time.perf_counter() - self._began[0], 2)
            step.cpu_seconds = round(time.process_time() - self._began[1], 2)
            step.peak_mib = peak_kib() // 1024
            self.row.save(self.report)


def _forget_peak_memory() -> None:
    # See proc(5): 5 resets the peak resident set size.
    Path("/proc/self/clear_refs").write_text("5")
