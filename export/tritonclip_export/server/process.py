"""A `tritonserver` and its keeper: from their launch until nothing of them is left."""

import os
import re
import shlex
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
import uuid
from collections import deque
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import overload

from tritonclip.errors import TritonClipError
from tritonclip_export.server import keeper
from tritonclip_export.server.log import LogLine, errors, parse_line
from tritonclip_export.server.tritonserver import CONTAINER, GLIBC, ServerMissingError, TritonServer

# tritonserver announces a service shortly *before* it binds the port; the metrics come last.
_ANNOUNCED = "Started Metrics Service at"
_PORT_TAKEN = re.compile(r"failed to start .* service: .*:(\d+)' already in use")
# What the keeper may take beyond the server's own time to stop, in seconds.
_KEEPER_SECONDS = 10.0


class ServerFailedError(TritonClipError):
    """The server did not start, or ended by itself.

    Attributes:
        log: the last lines that it printed.
    """

    def __init__(self, message: str, log: Sequence[str] = ()) -> None:
        super().__init__(message)
        self.log = tuple(log)


class ServerDiedError(ServerFailedError):
    """The server ended by itself."""


class ServerProcess:
    """A running `tritonserver` with its keeper and its log.

    Attributes:
        announced: set once the server says that its endpoints are up, or has ended.
        port_taken: the port that the server found taken by another program, if any.
        told_to_stop: whether its end was asked for.
    """

    def __init__(
        self,
        installation: TritonServer,
        repository: Path,
        arguments: Sequence[str],
        stop_timeout: float,
        show: Callable[[LogLine], None],
        *,
        restart: bool = False,
        answer_timeout: float = 60.0,
    ) -> None:
        self.announced = threading.Event()
        self.port_taken: int | None = None
        self.told_to_stop = False
        self._show = show
        self._lines: deque[LogLine] = deque(maxlen=1000)
        self._patience = stop_timeout + 5.0  # Triton itself gives up on requests after stop_timeout
        self._shm_prefix = f"tritonclip_{uuid.uuid4().hex[:12]}_"
        self._scratch = _scratch()
        self._renamed: tuple[str, str] | None = None
        if not _is_plain(repository):
            link = self._scratch / "repository"
            link.symlink_to(repository)
            self._renamed, repository = (f"{link}", f"{repository}"), link
        self._keeper = subprocess.Popen(
            [
                *(sys.executable, "-I", "-S", keeper.__file__),
                *("--owner", str(os.getpid()), "--patience", str(self._patience)),
                *("--shm-prefix", self._shm_prefix, "--scratch", str(self._scratch)),
                *(("--restart", "--answer-seconds", f"{answer_timeout}") if restart else ()),
                *("--", str(installation.binary)),
                f"--backend-directory={installation.link_backends(self._scratch)}",
                f"--model-repository={repository}",
                *arguments,
            ],
            env=installation.environment(os.environ),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
        # A daemon: the program may end without stopping the server, and then the keeper does.
        self._reader = threading.Thread(target=self._read, name="tritonserver-log", daemon=True)
        self._reader.start()

    @property
    def keeper_was_killed(self) -> bool:
        """Whether the keeper ended before it could clean up; the server ends with it."""
        return (self._keeper.poll() or 0) < 0

    @property
    def is_running(self) -> bool:
        """Whether the server lives, or its keeper still cleans up."""
        return self._keeper.poll() is None

    def log(self) -> list[LogLine]:
        """The last lines that the server printed; all of them once it has ended."""
        if not self.is_running:
            self._reader.join(_KEEPER_SECONDS)
        return list(self._lines)

    @overload
    def wait(self) -> int: ...
    @overload
    def wait(self, timeout: float | None) -> int | None: ...
    def wait(self, timeout: float | None = None) -> int | None:
        """The exit status, 128 + its number for a signal; None if `timeout` seconds pass first."""
        try:
            status = self._keeper.wait(timeout)
        except subprocess.TimeoutExpired:
            return None
        if self.keeper_was_killed:
            self._clean_up()
        return status if status >= 0 else 128 - status

    def stop(self) -> None:
        """Tell the keeper, and wait until it has cleaned up."""
        self.told_to_stop |= self.is_running
        assert self._keeper.stdin is not None
        try:
            # Closing alone would not do while a forked child of this program holds the pipe too.
            self._keeper.stdin.write(b"stop")
            self._keeper.stdin.close()
        except (BrokenPipeError, ValueError):
            pass  # it has ended, or was told before
        self.wait(self._patience + _KEEPER_SECONDS)
        self._reader.join(_KEEPER_SECONDS)

    def death(self, status: int) -> ServerDiedError | ServerMissingError:
        """The error for a server that ended by itself with `status`."""
        log = self.log()
        said = errors(log)
        unlinked = [m for m in said if "GLIBC_" in m or "loading shared libraries" in m]
        if unlinked:
            return ServerMissingError(
                f"tritonserver does not run on this system ({unlinked[0]})",
                f"it needs glibc {GLIBC} or newer; {CONTAINER}",
            )
        how = f"exit status {status}" if status < 128 else f"signal {status - 128}"
        if status == 137:
            how += " (SIGKILL: out of memory?)"
        causes = "".join(f"\n  {indented(message)}" for message in said)
        return ServerDiedError(
            f"tritonserver ended by itself with {how}{':' if causes else ''}{causes}",
            [line.text for line in log],
        )

    def _clean_up(self) -> None:
        """What the keeper would have done."""
        end = time.monotonic() + _KEEPER_SECONDS
        while (left := self._processes()) and time.monotonic() < end:
            for pid in left:
                with suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
            time.sleep(0.05)
        for region in Path("/dev/shm").glob(f"{self._shm_prefix}*"):
            region.unlink(missing_ok=True)
        shutil.rmtree(self._scratch, ignore_errors=True)

    def _processes(self) -> list[int]:
        """The server and its stubs: the name of their shared memory is in their command lines."""
        found = []
        for command in Path("/proc").glob("[0-9]*/cmdline"):
            with suppress(OSError):
                if self._shm_prefix.encode() in command.read_bytes():
                    found.append(int(command.parent.name))
        return found

    def _read(self) -> None:
        assert self._keeper.stdout is not None
        with self._keeper.stdout as output:
            for raw in output:  # to the end, or the pipe fills up and the server stands still
                text = raw.decode(errors="replace").rstrip("\n")
                line = parse_line(text.replace(*self._renamed) if self._renamed else text)
                self._lines.append(line)
                if match := _PORT_TAKEN.search(line.message):
                    self.port_taken = int(match[1])
                if line.message.startswith(_ANNOUNCED) or self.port_taken:
                    self.announced.set()
                try:
                    self._show(line)
                except Exception:
                    self._show = lambda _: None  # nobody listens any more, say a closed terminal
        self.announced.set()


def _is_plain(path: str | Path) -> bool:
    """Whether a shell takes it as it is: Triton writes a line for one to start each stub."""
    return shlex.quote(f"{path}") == f"{path}"


def _scratch() -> Path:
    """A new folder with a plain path. /dev/shm is on every system that Triton runs on."""
    usual = tempfile.gettempdir()
    return Path(
        tempfile.mkdtemp(prefix="tritonclip-", dir=usual if _is_plain(usual) else "/dev/shm")
    )


def indented(text: str, lines: int = 12) -> str:
    """Text of several lines for a list item, its blank lines and what exceeds `lines` left out."""
    kept = [line for line in text.splitlines() if line.strip()]
    return "\n    ".join(kept[:lines] + (["..."] if len(kept) > lines else []))
