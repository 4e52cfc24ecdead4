"""A server that breaks answers again within seconds, and nothing of it is left in the end."""

import os
import signal
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from echo_model import (
    ANY,
    IDENTITY,
    Footprint,
    add_model,
    footprint,
    tritonserver_pid,
    until_it_answers,
)
from tritonclip_export.server.keeper import patience_for
from tritonclip_export.server.process import ServerDiedError
from tritonclip_export.server.server import Server

# Two or three on two idle cores.
RECOVERY_SECONDS = 10.0

# Its process ends by itself shortly after it is ready.
DIES = """
import os, threading

class TritonPythonModel:
    def initialize(self, args):
        threading.Timer(1.0, os._exit, [1]).start()
"""


def stubs(repository: Path) -> list[int]:
    def is_stub(pid: int) -> bool:
        return Path(f"/proc/{pid}/exe").readlink().name == "triton_python_backend_stub"

    return [pid for pid in footprint(repository).pids if is_stub(pid)]


def keeper(repository: Path) -> list[int]:
    server = tritonserver_pid(repository)
    return [int(Path(f"/proc/{server}/stat").read_text().rpartition(")")[2].split()[1])]


Parts = Callable[[Path], list[int]]
WHICH: dict[str, Parts] = {
    "a stub": lambda repository: stubs(repository)[:1],
    "all stubs": stubs,
    "tritonserver": lambda repository: [tritonserver_pid(repository)],
    "the keeper": keeper,
}


@pytest.fixture(scope="module")
def repository(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("kept") / "repository"
    for name in ("identity", "another"):
        add_model(folder, name, IDENTITY)
    return folder


@pytest.fixture(scope="module")
def said() -> list[str]:
    return []


@pytest.fixture(scope="module")
def server(repository: Path, said: list[str]) -> Iterator[Server]:
    with Server(repository, ports=ANY, restart=True, log=said.append) as running:
        waiting = threading.Thread(target=running.wait)  # as `serve` does
        waiting.start()
        yield running
        last = footprint(repository)
        running.stop()
        waiting.join()
    assert last.left == []


@pytest.mark.parametrize(
    ("part", "number"),
    [
        ("a stub", signal.SIGKILL),
        ("all stubs", signal.SIGKILL),
        ("tritonserver", signal.SIGKILL),
        ("the keeper", signal.SIGKILL),
        ("a stub", signal.SIGSTOP),
        ("tritonserver", signal.SIGSTOP),
    ],
)
def test_a_server_that_breaks_answers_again_within_seconds(
    part: str, number: int, server: Server, repository: Path, said: list[str]
) -> None:
    until_it_answers(server.grpc_url)
    said.clear()
    broken = Footprint(WHICH[part](repository), [])

    start = time.monotonic()
    for pid in broken.pids:
        os.kill(pid, number)
    broken.wait_until_gone()
    until_it_answers(server.grpc_url)

    assert time.monotonic() - start < RECOVERY_SECONDS
    assert any("again" in line for line in said)


def test_a_broken_server_that_is_not_started_again_says_what_broke(tmp_path: Path) -> None:
    add_model(tmp_path, "identity", IDENTITY)
    with Server(tmp_path, ports=ANY) as server:
        (stub,) = stubs(tmp_path)
        os.kill(stub, signal.SIGKILL)
        with pytest.raises(ServerDiedError, match="the process of identity has died"):
            server.wait(RECOVERY_SECONDS)


def test_a_broken_server_is_stopped_without_waiting_for_what_will_not_come(tmp_path: Path) -> None:
    add_model(tmp_path, "identity", IDENTITY)
    with Server(tmp_path, ports=ANY) as server:
        before = footprint(tmp_path)
        for pid in stubs(tmp_path):
            os.kill(pid, signal.SIGSTOP)
        start = time.monotonic()
        server.stop()

    assert time.monotonic() - start < RECOVERY_SECONDS
    assert before.left == []


@pytest.mark.parametrize(
    ("arguments", "seconds"),
    [
        (["--model-repository=/models", "--exit-timeout-secs=60"], 65.0),
        (["--exit-timeout-secs", "10", "--exit-timeout", "7"], 15.0),
        (["--model-repository=/models"], 35.0),
    ],
)
def test_a_server_may_take_as_long_to_end_as_it_was_told(
    arguments: list[str], seconds: float
) -> None:
    assert patience_for(arguments) == seconds


@pytest.mark.slow
def test_a_server_that_keeps_breaking_is_given_up(tmp_path: Path) -> None:
    said: list[str] = []
    add_model(tmp_path, "dies", DIES)

    server = Server(tmp_path, ports=ANY, restart=True, log=said.append)
    with server, pytest.raises(ServerDiedError):
        server.wait(60)

    assert any("10 times in a row" in line for line in said)
