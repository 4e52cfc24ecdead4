"""Runs `tritonserver`, starts it again when it breaks, and ends it without a trace when told to.

A script, not a module to import, and of the standard library alone, because containers run it, too:

    python3 -I -S keeper.py [--owner PID] [--scratch FOLDER] [--restart] ... -- tritonserver ...

`Server` starts it and holds the other end of its standard input. A byte or the end of that input
means "stop". So a server cannot outlive its owner even if that is killed, and there is one way to
stop, whoever asks: SIGTERM, patience, SIGKILL for the whole process group, then removal of shared
memory. Should this script be killed, the kernel kills the server with it (PR_SET_PDEATHSIG), and
its stubs follow within seconds. That alone would not do: a server that is told to end while it
loads leaves its Python stubs and their /dev/shm regions.

With `--restart`, a broken server is killed and started again. Triton itself does neither: when the
process of a Python model (its "stub") dies or hangs, every request to that model fails or waits for
ever, while model and server say that they are ready.
"""

import argparse
import contextlib
import ctypes
import os
import select
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

# How long until the end of the server is noticed, in seconds.
_POLL = 0.1
# How long until its new processes are noticed, once none has come or gone for a while. Their
# parents are hundreds of threads, each with a list of its own: looked at with every poll for ever,
# they would take a seventh of a core.
_LOOK = 1.0
_SETTLED_SECONDS = 5.0
# How long a process must have been seen dead or stopped. A stub that Triton ends, when it unloads a
# model, is dead for some milliseconds before Triton collects it.
_DEAD_SECONDS = 0.5
_STOPPED_SECONDS = 1.0
# Starting again is given up after so many breakdowns, each within so many seconds of a start.
_LIVES = 10
_LONG_LIFE = 30.0
_PR_SET_PDEATHSIG = 1  # linux/prctl.h
_PR_SET_CHILD_SUBREAPER = 36
_STATES = {"Z": "has died", "X": "has died", "T": "hangs (it is stopped)"}


class Watch:
    """Whether the processes of one server are well."""

    def __init__(self, server: int) -> None:
        """Watch the process `server` and its children."""
        self._server = server
        self._names = {server: "tritonserver"}
        self._since: dict[tuple[int, str], float] = {}
        self._children: list[int] = []
        self._looked = self._changed = time.monotonic()

    def fault(self) -> str | None:
        """What is broken, in words; None if nothing is."""
        now = time.monotonic()
        if now - self._looked >= _LOOK or now - self._changed < _SETTLED_SECONDS:
            before, self._children, self._looked = self._children, _children(self._server), now
            if self._children != before:
                self._changed = now
        bad = {}
        for pid in (self._server, *self._children):
            self._names.setdefault(pid, _model(pid))
            state = _state(pid)
            if state in _STATES and (pid, state) != (self._server, "Z"):  # that is its normal end
                bad[pid, state] = self._since.get((pid, state), now)
        self._since = bad
        for (pid, state), since in bad.items():
            if now - since >= (_STOPPED_SECONDS if state == "T" else _DEAD_SECONDS):
                return f"{self._names[pid] or f'process {pid}'} {_STATES[state]}"
        return None


class Keeper:
    """Runs one server after the other until one is told to stop or ends for good."""

    def __init__(self, command: list[str], patience: float, shm_prefix: str, owner: int) -> None:
        """Prepare.

        Args:
            command: the server and its arguments.
            patience: seconds between SIGTERM and SIGKILL.
            shm_prefix: files of this prefix in /dev/shm are the server's.
            owner: the process id of whoever started this script; 0 for nobody, as in a container.
        """
        self._command = command
        self._patience = patience
        self._shm_prefix = shm_prefix
        self._owner = owner
        self._stopping = False

    def run(self, *, restart: bool) -> int:
        """Run the server until it ends, its owner dies, or standard input or a signal says so.

        Returns:
            The server's exit status; 128 + the signal's number where a signal ended it.
        """
        # Handlers, not SIG_IGN, which the server would inherit. Service managers signal every
        # process of a service at once.
        for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
            signal.signal(number, self._stop)
        # The server's orphans become children of this process, so that it can wait for their end.
        ctypes.CDLL(None).prctl(_PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)
        lives = _LIVES
        while True:
            start = time.monotonic()
            status, fault = self._life()
            lives = _LIVES if time.monotonic() - start > _LONG_LIFE else lives - 1
            if self._stopping or not restart or not fault:
                return status
            if not lives:
                print(f"{fault}, {_LIVES} times in a row: giving up", flush=True)
                return status
            print(f"{fault}: starting the server again", flush=True)

    def _stop(self, *_: object) -> None:
        self._stopping = True

    def _life(self) -> tuple[int, str | None]:
        """One server from start to end: its status, and what broke it."""
        # Its own session: Ctrl-C in a terminal reaches the owner alone, and the group holds the
        # server and its stubs only.
        server = subprocess.Popen(
            self._command,
            stdin=subprocess.DEVNULL,
            start_new_session=True,
            preexec_fn=_die_with_parent,
        )
        watch, fault = Watch(server.pid), None
        while server.poll() is None and not self._stopping and not fault:
            if self._owner:
                told = bool(select.select([0], [], [], _POLL)[0])
                self._stopping |= told or os.getppid() != self._owner
            else:
                time.sleep(_POLL)
            fault = watch.fault()
        if server.poll() is None and not fault:
            self._ask_to_end(server, watch)
        with contextlib.suppress(ProcessLookupError):
            os.killpg(server.pid, signal.SIGKILL)
        status = server.wait()
        with contextlib.suppress(ChildProcessError):  # none is left
            while True:
                os.waitpid(-server.pid, 0)
        for region in Path("/dev/shm").glob(f"{self._shm_prefix}*"):
            region.unlink(missing_ok=True)
        if status < 0 and not fault:
            fault = f"tritonserver was killed by signal {-status}"
        return (status if status >= 0 else 128 - status), fault

    def _ask_to_end(self, server: "subprocess.Popen[bytes]", watch: Watch) -> None:
        """Let requests in flight finish, unless something broken would keep them for ever."""
        server.terminate()
        end = time.monotonic() + self._patience
        while server.poll() is None and time.monotonic() < end and not watch.fault():
            time.sleep(_POLL)


def _die_with_parent() -> None:
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)


def _children(pid: int) -> list[int]:
    found: list[int] = []
    with contextlib.suppress(OSError):  # it, or one of its threads, has just ended
        for thread in os.listdir(f"/proc/{pid}/task"):  # noqa: PTH208  # without pathlib: many
            with contextlib.suppress(OSError), open(f"/proc/{pid}/task/{thread}/children") as file:  # noqa: PTH123
                found += map(int, file.read().split())
    return found


def _state(pid: int) -> str:
    """R, S, D, Z, T, ... as in proc(5); nothing for a process that is gone."""
    try:
        with open(f"/proc/{pid}/stat") as file:  # noqa: PTH123
            return file.read().rpartition(")")[2].split()[0]
    except OSError:
        return ""


def _model(pid: int) -> str:
    """The model that a stub runs: it is called with MODEL/VERSION/model.py."""
    try:
        words = Path(f"/proc/{pid}/cmdline").read_bytes().decode(errors="replace").split("\0")
    except OSError:
        return ""
    return next(
        (f"the process of {Path(w).parents[1].name}" for w in words if "/model.py" in w), ""
    )


def _parse(words: list[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="Runs tritonserver, and starts it again.")
    parser.add_argument("--owner", type=int, default=0, help="stop when this process ends")
    parser.add_argument(
        "--patience", type=float, help="seconds to stop in [--exit-timeout-secs of the server, + 5]"
    )
    parser.add_argument("--shm-prefix", default="tritonclip_", help="of its files in /dev/shm")
    parser.add_argument("--scratch", default="", help="a folder to remove in the end")
    parser.add_argument("--restart", action="store_true", help="start a broken server again")
    parser.add_argument("command", nargs="+", help="tritonserver and its arguments, after --")
    return parser.parse_args(words)


def patience_for(arguments: list[str]) -> float:
    """Seconds to wait for the server's end: until it gives up on requests in flight, and to unload.

    Triton waits as long as its `--exit-timeout-secs` says, 30 s without.
    """
    parser = argparse.ArgumentParser(allow_abbrev=False, add_help=False)
    parser.add_argument("--exit-timeout-secs", type=float, default=30.0)
    known, _ = parser.parse_known_args(arguments)
    return float(known.exit_timeout_secs) + 5.0


if __name__ == "__main__":
    given = _parse(sys.argv[1:])
    program, *arguments = given.command
    if Path(program).name != "tritonserver":  # another command in the same container
        os.execvp(program, given.command)
    prefix = f"--backend-config=python,shm-region-prefix-name={given.shm_prefix}"
    patience = patience_for(arguments) if given.patience is None else given.patience
    keeper = Keeper([program, prefix, *arguments], patience, given.shm_prefix, given.owner)
    try:
        sys.exit(keeper.run(restart=given.restart))
    finally:
        if given.scratch:
            shutil.rmtree(given.scratch, ignore_errors=True)
