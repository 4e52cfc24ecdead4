"""The processes of a running server, found by their command lines."""

from __future__ import annotations

from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from tritonclip_export.server.tritonserver import STUB

SERVER = "tritonserver"
KEEPER = "keeper"
_PREFIX = "shm-region-prefix-name="


@dataclass(frozen=True)
class Process:
    """One of a server."""

    pid: int
    part: str
    """`STUB`, `SERVER` or `KEEPER`."""
    words: tuple[str, ...]
    """Of its command."""

    @property
    def model(self) -> str:
        """Which a stub is of: its first argument is MODEL/VERSION/model.py."""
        return Path(self.words[1]).parts[-3] if self.part == STUB else self.part

    @property
    def folder(self) -> Path:
        """What the kernel says of it, see proc(5)."""
        return Path(f"/proc/{self.pid}")


def processes_of(repository: Path) -> list[Process]:
    """The server of `repository`, its stubs and its keeper."""
    found = []
    for file in Path("/proc").glob("[0-9]*/cmdline"):
        with suppress(OSError):
            words = tuple(file.read_text(errors="replace").split("\0"))
            part = _part(words)
            if part and any(f"{repository}" in word for word in words):
                found.append(Process(int(file.parent.name), part, words))
    return found


def shared_memory(processes: Iterable[Process]) -> str:
    """What the names of a server's files in /dev/shm begin with, as its keeper has told it.

    Raises:
        ValueError: none of the processes has been told.
    """
    words = (word for process in processes for word in process.words)
    for word in words:
        if prefix := word.partition(_PREFIX)[2]:
            return prefix
    raise ValueError("no such server is running")


def _part(words: tuple[str, ...]) -> str | None:
    name = Path(words[0]).name
    if name in (SERVER, STUB):
        return name
    return KEEPER if any(word.endswith("keeper.py") for word in words) else None
