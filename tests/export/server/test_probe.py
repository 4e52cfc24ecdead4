"""The container's entry point and its health check, on the server from PyPI."""

import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

from echo_model import IDENTITY, add_model, footprint, until_it_answers
from tritonclip_export.server import keeper, probe, tritonserver
from tritonclip_export.server.ports import Ports
from tritonclip_export.server.server import Server


def test_the_probe_has_every_model_embed_once_in_a_while(server: Server, tmp_path: Path) -> None:
    command = [sys.executable, "-I", "-S", probe.__file__, "--server", server.http_url]
    environment = {**os.environ, "TMPDIR": str(tmp_path)}

    def ask() -> tuple[int, str]:
        done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=90)
        return done.returncode, done.stdout

    assert ask() == (0, "well: chinese_clip, demo, resnet, siglip\n")
    assert ask() == (0, "well, a moment ago\n")


def test_the_probe_says_what_does_not_embed(tmp_path: Path) -> None:
    command = [sys.executable, "-I", "-S", probe.__file__, "--server", "127.0.0.1:1"]
    done = subprocess.run(
        command, env={**os.environ, "TMPDIR": str(tmp_path)}, capture_output=True, text=True
    )

    assert done.returncode == 1
    assert "127.0.0.1:1 does not embed: " in done.stdout
    assert done.stderr == ""


def test_the_entry_point_starts_a_broken_server_again_and_ends_with_it(tmp_path: Path) -> None:
    repository, links = tmp_path / "repository", tmp_path / "links"
    add_model(repository, "identity", IDENTITY)
    links.mkdir()
    installation, ports = tritonserver.locate(), Ports(0, 0, 0).resolve("127.0.0.1")
    command = [
        *(sys.executable, "-I", "-S", keeper.__file__, "--restart", "--shm-prefix", tmp_path.name),
        *("--", str(installation.binary), f"--model-repository={repository}"),
        f"--backend-directory={installation.link_backends(links)}",
        *(f"--{name}-address=127.0.0.1" for name in ("http", "grpc", "metrics")),
        *(f"--http-port={ports.http}", f"--grpc-port={ports.grpc}"),
        f"--metrics-port={ports.metrics}",
    ]
    entry = subprocess.Popen(
        command,
        env=installation.environment(os.environ),
        stdin=subprocess.DEVNULL,  # as in a container
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    lines: list[str] = []
    assert entry.stdout
    reader = threading.Thread(target=lambda: lines.extend(entry.stdout))
    reader.start()
    try:
        until_it_answers(f"127.0.0.1:{ports.grpc}")
        before = footprint(repository)
        stub = next(p for p in before.pids if "_stub" in os.readlink(f"/proc/{p}/exe"))  # noqa: PTH115
        os.kill(stub, signal.SIGKILL)
        while Path(f"/proc/{stub}").exists():
            time.sleep(0.05)
        until_it_answers(f"127.0.0.1:{ports.grpc}")
        last = footprint(repository)
    finally:
        entry.terminate()
        status = entry.wait(60)
    reader.join()
    assert status == 0
    assert "the process of identity has died: starting the server again\n" in lines
    last.paths.remove(links)
    assert last.left == []


def test_the_entry_point_runs_another_command_as_it_is() -> None:
    command = [sys.executable, "-I", "-S", keeper.__file__, "--restart", "--", "echo", "--x", "y"]
    done = subprocess.run(command, capture_output=True, text=True)

    assert (done.returncode, done.stdout) == (0, "--x y\n")
