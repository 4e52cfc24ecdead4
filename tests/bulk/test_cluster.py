"""Bulk runs on Ray: the same bytes as without, whatever is killed, and no door open to others."""

from __future__ import annotations

import contextlib
import json
import os
import re
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil
import pytest

from bulk_files import files_below
from tritonclip_bulk.pool import Endpoints
from tritonclip_bulk.run import Options, bulk

pytest.importorskip("ray")

TRITONCLIP = Path(sys.executable).with_name("tritonclip")
ROWS = 240

Start = Callable[..., "subprocess.Popen[str]"]


@pytest.fixture
def many(pictures: Path, drawings: dict[str, bytes]) -> Path:
    for number in range(60, ROWS):
        (pictures / f"{number:03d}.png").write_bytes(drawings[f"{number % 60:03d}.png"])
    return pictures


@pytest.fixture
def whole(many: Path, endpoints: Endpoints, tmp_path: Path) -> dict[str, bytes]:
    """What a run without Ray writes."""
    bulk([str(many)], str(tmp_path / "whole"), endpoints, options=Options(size=6))
    return files_below(tmp_path / "whole")


@pytest.fixture
def start(many: Path, endpoints: Endpoints, environment: dict[str, str], tmp_path: Path) -> Start:
    """Starts the same as a command on a cluster."""

    def start(*more: str, on: str = "local") -> subprocess.Popen[str]:
        return subprocess.Popen(
            [
                *(TRITONCLIP, "bulk", str(many), "--out", str(tmp_path / "out"), "--on", on),
                *("--url", endpoints.urls[0], "--shard", "6", "--workers", "2", "--json", *more),
            ],
            env=environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    return start


def test_a_worker_may_be_killed_and_nobody_else_can_knock(
    start: Start, whole: dict[str, bytes], tmp_path: Path
) -> None:
    target = tmp_path / "out"

    run = start()
    until(lambda: receipts(target) >= 8)
    addresses = listening(processes_of(run.pid))
    (worker, *_) = workers_of(run.pid)
    os.kill(worker, signal.SIGKILL)
    printed, complaints = run.communicate(timeout=120)

    assert addresses
    assert all(re.match(r"127\.|::ffff:127\.|::1:", address) for address in addresses)
    assert (run.returncode, complaints) == (0, "")
    report = json.loads(printed)
    assert (report["rows"], report["done"], report["undone"]) == (ROWS, 40, [])
    assert files_below(target) == whole


@pytest.mark.slow
def test_the_driver_may_be_killed(start: Start, whole: dict[str, bytes], tmp_path: Path) -> None:
    target = tmp_path / "out"

    run = start()
    until(lambda: receipts(target) >= 8)
    workers = workers_of(run.pid)
    run.kill()
    run.communicate()
    until(lambda: not any(map(alive, workers)))
    at = receipts(target)
    printed, complaints = start().communicate(timeout=120)

    assert at < 40
    assert json.loads(printed)["earlier"] == at, complaints
    assert files_below(target) == whole


BREAKING = """
import os, sys
from dataclasses import dataclass
from tritonclip_bulk.cluster import Cluster
from tritonclip_bulk.pool import Endpoints
from tritonclip_bulk.run import Options, bulk

sources, target, url, fatal = sys.argv[1:]

@dataclass(frozen=True)
class Breaking:
    servers: Endpoints
    fatal: bytes

    def look(self):
        return self.servers.look()

    def open(self, workers):
        embedder = self.servers.open(workers)
        embed = embedder.embed

        def embed_or_die(pictures):
            if self.fatal in pictures:
                os.kill(os.getpid(), 9)
            return embed(pictures)

        embedder.embed = embed_or_die
        return embedder

recipe = Breaking(Endpoints((url,)), open(fatal, "rb").read())
report = bulk([sources], target, recipe, options=Options(size=6), engine=Cluster("local", 2))
print("REPORT", report.done, report.shards, report.rows, report.stopped, report.undone)
"""


@pytest.mark.slow
def test_a_shard_that_kills_its_workers_is_named_and_the_others_are_done(
    many: Path, endpoints: Endpoints, tmp_path: Path
) -> None:
    fatal = many / "100.png"
    fatal.write_bytes(fatal.read_bytes() + b"unlike the others")

    run = subprocess.run(
        [sys.executable, "-c", BREAKING, many, tmp_path / "out", endpoints.urls[0], fatal],
        capture_output=True,
        text=True,
        timeout=240,
    )

    assert "REPORT 39 40 234 False" in run.stdout, run.stderr
    assert f"['6 pictures from {many}/096.png on: its workers died each time" in run.stdout
    assert "Ray says: A worker died" in run.stdout


@pytest.fixture
def cluster(environment: dict[str, str]) -> Iterator[dict[str, str]]:
    """A cluster on loopback with Ray's client server: how it is joined, and how asked."""
    port, client = free_port(), free_port()
    environment |= {
        "RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER": "0",
        "RAY_AUTH_MODE": "token",
        "RAY_AUTH_TOKEN": "0123456789abcdef" * 4,
    }
    head = subprocess.Popen(
        [
            *(Path(sys.executable).with_name("ray"), "start", "--head", "--block"),
            *(f"--port={port}", f"--ray-client-server-port={client}", "--num-cpus=2"),
            *("--min-worker-port=0", "--max-worker-port=0", "--node-ip-address=127.0.0.1"),
            *("--include-dashboard=false", "--disable-usage-stats"),
            *("--temp-dir=/tmp/tritonclip-ray", "--object-store-memory=100000000"),
        ],
        env={**os.environ, **environment},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )
    with contextlib.closing(socket.socket()) as knocking:
        until(lambda: not knocking.connect_ex(("127.0.0.1", client)))
    yield {"joined": f"127.0.0.1:{port}", "client": f"ray://127.0.0.1:{client}"}
    everything = processes_of(head.pid)
    head.terminate()
    head.wait()
    until(lambda: not any(map(alive, everything)))


@pytest.mark.slow
@pytest.mark.parametrize("how", ["joined", "client"])
def test_a_cluster_that_is_there_is_asked(
    how: str, cluster: dict[str, str], start: Start, whole: dict[str, bytes], tmp_path: Path
) -> None:
    run = start(on=cluster[how])

    printed, complaints = run.communicate(timeout=120)

    assert run.returncode == 0, complaints
    assert json.loads(printed)["rows"] == ROWS
    assert files_below(tmp_path / "out") == whole


@pytest.mark.slow  # Ray itself asks for half a minute
def test_a_cluster_that_is_not_there_is_named(start: Start) -> None:
    run = start(on="ray://127.0.0.1:1")

    printed, complaints = run.communicate(timeout=120)

    assert (run.returncode, printed) == (1, "")
    assert "no Ray cluster at ray://127.0.0.1:1" in complaints


def receipts(target: Path) -> int:
    return len(list(target.glob("receipts/*.json")))


def processes_of(pid: int) -> list[int]:
    """A process and all that it started, directly or not."""
    found = [pid]
    for one in found:
        with contextlib.suppress(OSError):
            for task in Path(f"/proc/{one}/task").iterdir():
                found += map(int, (task / "children").read_text().split())
    return found


def workers_of(pid: int) -> list[int]:
    return [one for one in processes_of(pid) if b"MapWorker" in cmdline(one)]


def cmdline(pid: int) -> bytes:
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes()
    except OSError:
        return b""


def alive(pid: int) -> bool:
    return bool(cmdline(pid))


def listening(pids: list[int]) -> list[str]:
    """The addresses that processes listen on."""
    connections = (psutil.Process(pid).net_connections("tcp") for pid in pids if alive(pid))
    return [
        f"{one.laddr.ip}:{one.laddr.port}"
        for some in connections
        for one in some
        if one.status == psutil.CONN_LISTEN
    ]


def free_port() -> int:
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        port: int = unused.getsockname()[1]
        return port


def until(condition: Callable[[], bool]) -> None:
    end = time.monotonic() + 60
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.02)
