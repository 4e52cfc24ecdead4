"""What a running server holds of the machine: processes, memory, files, threads, shared memory."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from pathlib import Path

from benchmarks.processes import KEEPER, processes_of, shared_memory

_MIB = 1 << 20


@dataclass(frozen=True)
class Footprint:
    """Of tritonserver and its stubs together, at one moment."""

    pids: frozenset[int]
    memory_mib: float
    """Proportional: a page that several processes have in common counts once."""
    each_mib: dict[str, float]
    """The same of tritonserver, and of each model's stubs by the model's name."""
    shared_mib: float
    """Of their files in /dev/shm, which are part of the former where they have been touched."""
    files: int
    threads: int

    @classmethod
    def of(cls, repository: Path) -> Footprint:
        """The server of `repository`, by its command lines."""
        processes = [each for each in processes_of(repository) if each.part != KEEPER]
        shared = Path("/dev/shm").glob(f"{shared_memory(processes)}*")
        regions = [file.stat().st_blocks * 512 for file in shared]
        folders = [process.folder for process in processes]
        memory = Counter[str]()
        for process in processes:
            memory[process.model] += _proportional(process.folder)
        return cls(
            pids=frozenset(process.pid for process in processes),
            memory_mib=round(memory.total() / 1024, 1),
            each_mib={name: round(kib / 1024, 1) for name, kib in sorted(memory.items())},
            shared_mib=round(sum(regions) / _MIB, 1),
            files=sum(len(list((folder / "fd").iterdir())) for folder in folders),
            threads=sum(len(list((folder / "task").iterdir())) for folder in folders),
        )


def peak_kib(process: int | None = None) -> int:
    """The most memory that was resident in a process so far, by default this one; see proc(5)."""
    lines = Path(f"/proc/{process or 'self'}/status").read_text().splitlines()
    return next((int(line.split()[1]) for line in lines if line.startswith("VmHWM:")), 0)


def _proportional(process: Path) -> int:
    """KiB, by proc(5)."""
    lines = (process / "smaps_rollup").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("Pss:"))
