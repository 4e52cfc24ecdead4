"""`serve` on machines that are small, strict or strange: it embeds, ends, and leaves nothing."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pytest

from benchmarks.footprint import Footprint
from echo_model import footprint
from tritonclip import Client
from tritonclip_export.repository.assemble import assemble
from tritonclip_export.samples import sample_images
from tritonclip_export.server.server import Server

TRITONCLIP = Path(sys.executable).with_name("tritonclip")
IMAGES = sample_images()
TEXTS = ["a cat", "un chat \U0001f408", "\u732b"]


@dataclass(frozen=True)
class Machine:
    """How a command is started so that it finds itself on one."""

    words: Sequence[str] = ()
    mounts: str = ""
    environment: Mapping[str, str] = field(default_factory=dict)

    @property
    def command(self) -> list[str]:
        if not self.mounts:
            return [*self.words]
        return ["unshare", "--mount", "sh", "-ec", f'{self.mounts}; exec "$@"', "-", *self.words]


# Triton's Python backend wants to write to /tmp, wherever TMPDIR is.
READ_ONLY = "mount --bind /tmp /tmp; mount -o remount,bind,ro /"
SMALL_SHM = "mount -t tmpfs -o size=64m tmpfs /dev/shm"
OWN_PIDS = ("unshare", "--pid", "--fork", "--kill-child", "--mount-proc")
STRANGE = {"LC_ALL": "C", "LANG": "tr_TR", "TZ": "Asia/Kathmandu"}
LIMITS = ("prlimit", "--nofile=256", "taskset", "--cpu-list", "0")
MEMORY_MIB = 512  # which is looked at, as limiting it wants a control group

MACHINES = {
    "/dev/shm of 64 MB": Machine(mounts=SMALL_SHM),
    "one core": Machine(["taskset", "--cpu-list", "0"]),
    "256 files": Machine(["prlimit", "--nofile=256"]),
    "a root that is read-only": Machine(mounts=READ_ONLY),
    "no HOME": Machine(["env", "--unset=HOME"]),
    "PID 1": Machine(OWN_PIDS),
    "another locale and time zone": Machine(environment=STRANGE),
    "python -OO": Machine(environment={"PYTHONOPTIMIZE": "2"}),
    "all of that": Machine(
        [*OWN_PIDS, *LIMITS, "env", "--unset=HOME"],
        f"{SMALL_SHM}; {READ_ONLY}",
        {**STRANGE, "PYTHONOPTIMIZE": "2"},
    ),
}


@pytest.fixture(scope="module")
def demo(bundle: Callable[[str], object], tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("small") / "repository"
    assemble([bundle("demo")], folder, runtime="python")
    return folder


@pytest.fixture(scope="module")
def expected(server: Server) -> list[np.ndarray]:
    with Client(server.grpc_url, model="demo") as client:
        return [client.embed_images(IMAGES), client.embed_texts(TEXTS)]


@pytest.mark.parametrize(
    "machine",
    [
        pytest.param(machine, id=name, marks=() if name == "all of that" else pytest.mark.slow)
        for name, machine in MACHINES.items()
    ],
)
def test_a_server_embeds_ends_and_leaves_nothing(
    machine: Machine, demo: Path, expected: list[np.ndarray]
) -> None:
    if machine.mounts or "unshare" in machine.words:
        asked = subprocess.run(["unshare", "--mount", "--pid", "--fork", "true"], check=False)
        if asked.returncode:
            pytest.skip("mounts and process numbers of one's own want root")
    ports = ("--http-port", "0", "--grpc-port", "0", "--metrics-port", "0")
    with subprocess.Popen(
        [*machine.command, TRITONCLIP, "serve", demo, *ports, "--json"],
        env={**os.environ, **machine.environment},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as serving:
        assert serving.stdout
        assert serving.stderr
        line = serving.stdout.readline()
        assert line, serving.stderr.read()
        with Client(json.loads(line)["grpc"]) as client:
            found = [client.embed_images(IMAGES), client.embed_texts(TEXTS)]
            many = client.embed_images(IMAGES * 20)
        assert Footprint.of(demo).memory_mib < MEMORY_MIB
        left = footprint(demo)
        os.kill(command_line(serving.pid), signal.SIGTERM)
        assert serving.wait(30) in (0, 130), serving.stderr.read()

    for answer, wanted in zip(found, expected, strict=True):
        np.testing.assert_allclose(answer, wanted, atol=1e-6)
    np.testing.assert_allclose(many, np.tile(expected[0], (20, 1)), atol=1e-5)
    left.wait_until_gone(15)


def command_line(pid: int) -> int:
    """The process of `tritonclip` itself, which a program of its own number waits for."""
    end = time.monotonic() + 5
    while time.monotonic() < end:
        with suppress(OSError):
            if str(TRITONCLIP) in Path(f"/proc/{pid}/cmdline").read_text().split("\0")[:3]:
                return pid
            pid = int(Path(f"/proc/{pid}/task/{pid}/children").read_text().split()[0])
    raise AssertionError("no tritonclip below it")
