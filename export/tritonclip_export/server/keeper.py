"""Runs one `tritonserver`, and ends it without a trace when its owner says so or dies.

A script, not a module to import: `Server` starts it as `python -I -S keeper.py ...` and holds the
other end of its standard input. A byte or the end of that input means "stop". So a server cannot
outlive its owner even if that is killed, and there is one way to stop, whoever asks: SIGTERM,
patience, SIGKILL for the whole process group, then removal of shared memory. (PR_SET_PDEATHSIG
alone would not do: it follows the *thread* that forked, and a server that is told to end while it
loads leaves its Python stubs and their /dev/shm regions.)
"""

import contextlib
import ctypes
import os
import select
import shutil
import signal
import subprocess
import sys
from pathlib import Path

# How long until the end of the server is noticed, in seconds.
_POLL = 0.1
_PR_SET_CHILD_SUBREAPER = 36  # linux/prctl.h


def main(owner: int, patience: float, shm_prefix: str, command: list[str]) -> int:
    """Run `command` until it ends, `owner` (a process id) dies, or standard input says so.

    Args:
        owner: the process id of whoever started this script.
        patience: seconds between SIGTERM and SIGKILL.
        shm_prefix: files of this prefix in /dev/shm are the server's.
        command: the server and its arguments.

    Returns:
        The server's exit status; 128 + the signal's number where a signal ended it.
    """
    stopping = False

    def stop(*_: object) -> None:
        nonlocal stopping
        stopping = True

    # Handlers, not SIG_IGN, which the server would inherit. Service managers signal every process
    # of a service at once.
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        signal.signal(number, stop)
    # The server's orphans become children of this process, so that it can wait for their end.
    ctypes.CDLL(None).prctl(_PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)
    # Its own session: Ctrl-C in a terminal reaches the owner alone, and the group holds the server
    # and its stubs only.
    server = subprocess.Popen(command, stdin=subprocess.DEVNULL, start_new_session=True)
    while server.poll() is None and not stopping:
        stopping = bool(select.select([0], [], [], _POLL)[0]) or os.getppid() != owner
    if server.poll() is None:
        server.terminate()
        with contextlib.suppress(subprocess.TimeoutExpired):
            server.wait(patience)
    with contextlib.suppress(ProcessLookupError):
        os.killpg(server.pid, signal.SIGKILL)
    status = server.wait()
    with contextlib.suppress(ChildProcessError):  # none is left
        while True:
            os.waitpid(-server.pid, 0)
    for region in Path("/dev/shm").glob(f"{shm_prefix}*"):
        region.unlink(missing_ok=True)
    return status if status >= 0 else 128 - status


if __name__ == "__main__":
    owner, patience, shm_prefix, scratch, *command = sys.argv[1:]
    try:
        sys.exit(main(int(owner), float(patience), shm_prefix, command))
    finally:
        shutil.rmtree(scratch, ignore_errors=True)
