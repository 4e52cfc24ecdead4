"""What the chart's probes run, on a real server whose processes die."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil
import pytest

from charts import one, render
from tritonclip_export.bundle import Bundle
from tritonclip_export.repository.assemble import assemble
from tritonclip_export.server import probe as server_probe
from tritonclip_export.server.ports import Ports
from tritonclip_export.server.server import Server


@pytest.fixture
def server(bundle: Callable[[str], Bundle], tmp_path: Path) -> Iterator[Server]:
    assemble([bundle("demo")], tmp_path / "repository", runtime="python")
    with Server(tmp_path / "repository", ports=Ports(0, 0, 0), stop_timeout=1) as running:
        yield running


@pytest.fixture
def probe(tmp_path: Path) -> Callable[[Server], subprocess.CompletedProcess[str]]:
    """What the chart has the kubelet run, its script where it is here, asked anew each time."""
    pod = one(render(), "Deployment", "demo-tritonclip-server")["spec"]["template"]["spec"]
    command = pod["containers"][0]["livenessProbe"]["exec"]["command"]
    here = {"python3": sys.executable, "/opt/tritonclip/probe.py": server_probe.__file__}

    def run(server: Server) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [*(here.get(word, word) for word in command), "--server", server.http_url, "--fresh=0"],
            env={"TMPDIR": str(tmp_path)},
            capture_output=True,
            text=True,
        )

    return run


def test_the_probe_fails_when_a_process_behind_a_model_has_died(
    server: Server, probe: Callable[[Server], subprocess.CompletedProcess[str]], tmp_path: Path
) -> None:
    well = probe(server)
    os.kill(stub_of(tmp_path / "repository" / "demo_text_encoder"), signal.SIGKILL)
    broken = probe(server)

    assert (well.returncode, well.stderr) == (0, "")
    assert broken.returncode == 1
    assert broken.stderr.startswith("demo_text: ")


def stub_of(model: Path) -> int:
    """The process that runs a Python model."""
    (found,) = [
        process.pid
        for process in psutil.Process().children(recursive=True)
        if any(str(model) in argument for argument in process.cmdline()[1:])
        and "stub" in process.cmdline()[0]
    ]
    return found
