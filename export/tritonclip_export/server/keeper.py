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
ever, while model and server say that they are ready. A process that runs and does nothing shows
only to somebody who asks, so that is done, too, by the script `probe.py` beside this one.
"""

import argparse
import contextlib
import ctypes
import importlib.util
import os
import select
import shutil
import signal
import subprocess
import sys
import threading
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
# model, is dead for some milliseconds before Triton collects it, and for longer on busy cores.
_DEAD_SECONDS = 1.0
_STOPPED_SECONDS = 1.0
# Starting again is given up after so many breakdowns, each within so many seconds of a start.
_LIVES = 10
_LONG_LIFE = 30.0
# How often a server is asked to embed, and the share of a core below which a process does nothing.
_ASK = 10.0
_IDLE = 0.05
_PR_SET_PDEATHSIG = 1  # linux/prctl.h
_PR_SET_CHILD_SUBREAPER = 36
_OF = "the process of "
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


class Asking:
    """Asks a server to embed, again and again, to see whether each of its models does something."""

    def __init__(self, server: int, command: list[str], patience: float) -> None:
        """Begin to ask.

        Args:
            server: its process.
            command: its arguments say where it listens.
            patience: seconds in which no model may do nothing while something waits for it.
        """
        self._server = server
        host, port = (_argument(command, f"--http-{what}") for what in ("address", "port"))
        self._address = f"{'127.0.0.1' if host in ('', '0.0.0.0') else host}:{port or 8000}"
        self._patience = patience
        self._ended = threading.Event()
        self.fault: str | None = None
        self._thread = threading.Thread(target=self._ask, daemon=True)
        self._thread.start()

    def end(self) -> None:
        """Stop; call it when the server has ended, with which every question does."""
        self._ended.set()
        self._thread.join(self._patience)

    def _ask(self) -> None:
        place = Path(__file__).with_name("probe.py")
        spec = importlib.util.spec_from_file_location("probe", place)
        assert spec
        assert spec.loader
        probe = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(probe)
        while not self._ended.wait(min(_ASK, self._patience)):
            before = _computed(self._server)
            # It may be loading, or have no models of ours.
            with contextlib.suppress(OSError, ValueError, KeyError):
                model = probe.silent_model(self._address, self._patience)
                # A large model may compute for longer at a single batch.
                if (
                    model
                    and _computed(self._server)[model] - before[model] < _IDLE * self._patience
                ):
                    self.fault = f"{model} does not answer"


class Keeper:
    """Runs one server after the other until one is told to stop or ends for good."""

    def __init__(self, command: list[str], given: argparse.Namespace) -> None:
        """Prepare to run the server `command`, as the arguments of this script say."""
        self._command = command
        self._patience: float = given.patience
        self._shm_prefix: str = given.shm_prefix
        self._owner: int = given.owner
        self._restart: bool = given.restart
        self._answer_seconds: float = given.answer_seconds
        self._stopping = False

    def run(self) -> int:
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
            if self._stopping or not self._restart or not fault:
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
        asking = None
        if self._restart:
            asking = Asking(server.pid, self._command, self._answer_seconds)
        while server.poll() is None and not self._stopping and not fault:
            if self._owner:
                told = bool(select.select([0], [], [], _POLL)[0])
                self._stopping |= told or os.getppid() != self._owner
            else:
                time.sleep(_POLL)
            fault = watch.fault() or (asking.fault if asking else None)
        if fault and not self._restart:
            print(f"error: {fault}", flush=True)  # nobody says more about this end
        if server.poll() is None and not fault:
            self._ask_to_end(server, watch)
        with contextlib.suppress(ProcessLookupError):
            os.killpg(server.pid, signal.SIGKILL)
        status = server.wait()
        if asking:
            asking.end()
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
    return next((f"{_OF}{Path(w).parents[1].name}" for w in words if "/model.py" in w), "")


def _computed(server: int) -> dict[str, float]:
    """Seconds that the server, and the processes of its models, have computed so far; by name."""
    found = {"tritonserver": _seconds(server)}
    for pid in _children(server):
        name = _model(pid).removeprefix(_OF)
        found[name] = found.get(name, 0.0) + _seconds(pid)
    return found


def _seconds(pid: int) -> float:
    """User and system time of a process, by proc(5)."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return 0.0
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def _argument(command: list[str], name: str) -> str:
    """What an argument is given, after `=`; nothing if it is not there."""
    return next((w.partition("=")[2] for w in command if w.startswith(f"{name}=")), "")


def _parse(words: list[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="Runs tritonserver, and starts it again.")
    parser.add_argument("--owner", type=int, default=0, help="stop when this process ends")
    parser.add_argument(
        "--patience", type=float, help="seconds to stop in [--exit-timeout-secs of the server, + 5]"
    )
    parser.add_argument("--shm-prefix", default="tritonclip_", help="of its files in /dev/shm")
    parser.add_argument("--scratch", default="", help="a folder to remove in the end")
    parser.add_argument("--restart", action="store_true", help="start a broken server again")
    parser.add_argument("--answer-seconds", type=float, default=60.0, help="of a model that works")
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
    if given.patience is None:
        given.patience = patience_for(arguments)
    try:
        sys.exit(Keeper([program, prefix, *arguments], given).run())
    finally:
        if given.scratch:
            shutil.rmtree(given.scratch, ignore_errors=True)
