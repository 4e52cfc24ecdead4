"""Running each row in a process of its own, within a limit of time and of memory."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import time
from pathlib import Path

from benchmarks.catalogue.rows import Row
from tritonclip_export.bench import environment

POLL_SECONDS = 0.5


def run(row: Row, folder: Path, command: list[str], *, minutes: float, memory_gib: float) -> Row:
    """Run `command` for one row and return what became of it.

    Args:
        row: with architecture and family.
        folder: an empty folder is made here, and removed afterwards.
        command: starts the process; the report's path and the folder for its files follow.
        minutes: after which the process is stopped.
        memory_gib: of memory that is not backed by files, above which it is stopped.
    """
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    report = folder / "row.json"
    here = environment.here()
    row.date, row.machine = here.day, str(here.machine)
    row.save(report)
    log = folder / "log"
    with log.open("wb") as stream:
        process = subprocess.Popen(
            [*command, str(report), str(folder)],
            stdout=stream,
            stderr=stream,
            env={**os.environ, "HF_HUB_OFFLINE": "1"},
        )
        stopped = _watch(process, minutes, memory_gib)
    done = Row.model_validate_json(report.read_bytes())
    if not done.passed and not done.reason:
        done.reason = stopped or _ending(process.returncode, log)
    shutil.rmtree(folder)
    return done


def _watch(process: subprocess.Popen[bytes], minutes: float, memory_gib: float) -> str:
    """Wait for the process; stop it at a limit and say which."""
    end = time.monotonic() + 60 * minutes
    reason = ""
    try:
        while process.poll() is None:
            if time.monotonic() > end:
                reason = f"took longer than {minutes:g} minutes"
            elif _anonymous_gib(process.pid) > memory_gib:
                reason = f"needed more than {memory_gib:g} GiB of memory"
            if reason:
                break
            time.sleep(POLL_SECONDS)
    finally:
        if process.poll() is None:
            process.kill()  # a server that it has started notices
            process.wait()
    return reason


def _anonymous_gib(pid: int) -> float:
    """Resident memory that no file backs, which the kernel therefore cannot take back."""
    try:
        status = Path(f"/proc/{pid}/status").read_text()
    except OSError:
        return 0.0
    _, found, rest = status.partition("RssAnon:")
    return int(rest.split()[0]) / 2**20 if found else 0.0


def _ending(code: int, log: Path) -> str:
    how = f"signal {signal.Signals(-code).name}" if code < 0 else f"exit status {code}"
    last = log.read_text(encoding="utf-8", errors="replace").strip().splitlines()[-1:]
    return f"the process ended with {how}" + (f": {last[0]}" if last else "")
