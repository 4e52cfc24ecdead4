"""What a running server holds of the machine: processes, memory, files, threads, shared memory."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

_MIB = 1 << 20
_PREFIX = "shm-region-prefix-name="


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
        processes = list(_processes(repository))
        prefix = next(p for _, words in processes if (p := _prefix(words)))
        regions = [file.stat().st_blocks * 512 for file in Path("/dev/shm").glob(f"{prefix}*")]
        folders = [Path(f"/proc/{pid}") for pid, _ in processes]
        memory = Counter[str]()
        for folder, (_, words) in zip(folders, processes, strict=True):
            memory[_model(words)] += _proportional(folder)
        return cls(
            pids=frozenset(pid for pid, _ in processes),
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


def _processes(repository: Path) -> Iterator[tuple[int, list[str]]]:
    """Each with the words of its command."""
    for file in Path("/proc").glob("[0-9]*/cmdline"):
        with suppress(OSError):
            words = file.read_text(errors="replace").split("\0")
            server = words[0].endswith(("tritonserver", "_stub"))
            if server and any(f"{repository}" in word for word in words):
                yield int(file.parent.name), words


def _prefix(words: list[str]) -> str:
    """Of the server's files in /dev/shm, as the keeper has told it."""
    return next((rest for word in words if (rest := word.partition(_PREFIX)[2])), "")


def _model(words: list[str]) -> str:
    """Which a stub is of: its first argument is MODEL/VERSION/model.py."""
    return Path(words[1]).parts[-3] if words[0].endswith("_stub") else "tritonserver"


def _proportional(process: Path) -> int:
    """KiB, by proc(5)."""
    lines = (process / "smaps_rollup").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("Pss:"))
