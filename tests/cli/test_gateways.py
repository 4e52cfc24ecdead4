"""`tritonclip up`: a server and a gateway, one command, one Ctrl-C."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import httpx

from tritonclip_export.bundle import Bundle


def test_up_serves_bundles_over_http_and_leaves_nothing_behind(
    bundle: Callable[[str], Bundle], tmp_path: Path, environment: dict[str, str]
) -> None:
    command = [str(Path(sys.executable).with_name("tritonclip")), "up", str(bundle("demo").path)]
    process = subprocess.Popen(
        [*command, "--port", "0", "--json"],
        cwd=tmp_path,
        env=environment,
        stdout=subprocess.PIPE,
        text=True,
    )
    try:
        url = json.loads(process.stdout.readline())["http"]
        ready = httpx.get(f"{url}/health/ready")
        answer = httpx.post(f"{url}/v1/embeddings", json={"input": "a cat"}, timeout=30)
        children = _children(process.pid)
    finally:
        process.send_signal(signal.SIGINT)
        process.wait(timeout=40)

    assert ready.json() == {"status": "ready", "models": {"demo": True}}
    assert len(answer.json()["data"][0]["embedding"]) == 192
    assert process.returncode == 0
    assert children
    assert not [child for child in children if Path(f"/proc/{child}").exists()]
    assert (tmp_path / "repository" / "demo_image" / "config.pbtxt").is_file()


def _children(process: int) -> list[int]:
    listed = subprocess.run(
        ["ps", "-o", "pid=", "--ppid", str(process)], capture_output=True, text=True, check=True
    )
    return [int(pid) for pid in listed.stdout.split()]
