"""The process that takes one architecture through all steps, and ends with it.

A row of its own process: what crashes, leaks or is killed for its memory costs that row only. The
row is saved whenever a step begins or ends, so the parent sees how far it came.
"""

from __future__ import annotations

import ctypes
import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from benchmarks.catalogue.rows import Row, Step
from tritonclip.errors import TritonClipError

SEED = 0
PR_SET_PDEATHSIG = 1


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
            step.peak_mib = _peak_memory_mib()
            self.row.save(self.report)


def main(row: Row, report: Path, folder: Path, hub: Path, *, serve: bool) -> None:
    """Take one architecture through all steps; whatever happens is in the row at `report`."""
    from benchmarks.catalogue.steps import STEPS

    _die_with_parent()
    work = Work(row, report, folder, hub, serve)
    try:
        for step in STEPS:
            step(work)
        row.passed = True
    except TritonClipError as error:
        row.reason = str(error)
    except Exception as error:  # a row says what went wrong, whatever it was
        row.reason = f"{type(error).__name__}: {error}"
    if row.passed:
        work.end()
    row.save(report)


def _die_with_parent() -> None:
    """Ask Linux to kill this process when the one that started it is gone, however it went."""
    ctypes.CDLL(None, use_errno=True).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
    # And, should the machine run out of memory, to begin here.
    Path("/proc/self/oom_score_adj").write_text("1000")


def _forget_peak_memory() -> None:
    # See proc(5): 5 resets the peak resident set size.
    Path("/proc/self/clear_refs").write_text("5")


def _peak_memory_mib() -> int:
    status = Path("/proc/self/status").read_text()
    return int(status.partition("VmHWM:")[2].split()[0]) // 1024
