"""`tritonclip tune` on a real server: what it writes, what serves it, what keeps it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from tritonclip import Client
from tritonclip.endpoint import parse_endpoint
from tritonclip_export.bench import workloads
from tritonclip_export.bundle import Bundle
from tritonclip_export.errors import TuningError
from tritonclip_export.repository import findings
from tritonclip_export.repository.assemble import assemble
from tritonclip_export.repository.setting import TUNED_PARAMETER, Setting, read_setting
from tritonclip_export.served.model_config import read_config
from tritonclip_export.server.ports import Ports
from tritonclip_export.server.server import Server
from tritonclip_export.tuning import live
from tritonclip_export.tuning.tune import tune

TRITONCLIP = Path(sys.executable).with_name("tritonclip")


@pytest.fixture
def slow_repository(bundle: Callable[[str], Bundle], tmp_path: Path) -> Path:
    """The demo, whose text encoder waits 200 ms for batches that never come."""
    target = tmp_path / "repository"
    assemble([bundle("demo")], target, runtime="python")
    waiting = Setting(instances=1, threads=0, delay_us=200_000, preferred=(), feeders=1)
    findings.write(target, findings.tower_models("demo", "text"), waiting, {"by": "hand"})
    return target


def text_setting(repository: Path) -> Setting:
    models = findings.tower_models("demo", "text")
    return read_setting(*(read_config(repository / m / "config.pbtxt") for m in models))


def contents(repository: Path) -> dict[Path, bytes]:
    return {file: file.read_bytes() for file in sorted(repository.rglob("*.pbtxt"))}


@pytest.mark.slow
def test_a_wait_that_costs_latency_is_found_written_served_and_kept(
    slow_repository: Path, bundle: Callable[[str], Bundle], environment: dict[str, str]
) -> None:
    before = contents(slow_repository)
    with Server(slow_repository, ports=Ports(0, 0, 0), control="explicit", load=["*"]) as server:
        done = subprocess.run(
            [
                *(TRITONCLIP, "tune", slow_repository, "--server", server.grpc_url),
                *("--objective", "latency", "--concurrency", "1"),
                *("--workloads", "text-short", "--minutes", "4", "--seconds", "0.5", "--json"),
            ],
            env=environment,
            capture_output=True,
            text=True,
        )
        assert done.returncode == 0, done.stderr
        with Client(server.grpc_url) as client:
            vectors = client.embed_texts(["a cat", "a rocket"])
        with live.connection(parse_endpoint(server.grpc_url)) as asked:
            served = asked.get_model_config("demo_text_encoder").config
    printed = json.loads(done.stdout)
    assert printed["machine"]["cores"] == os.cpu_count()
    assert printed["date"].startswith("20")
    (found,) = printed["tuned"]
    assert found["outcome"]["gain"] > 0.5, done.stderr
    assert found["outcome"]["figures_best"]["p99_ms"] < found["outcome"]["figures_before"]["p99_ms"]
    assert "demo_text_encoder" in found["written"]

    changed = [
        file for file, content in contents(slow_repository).items() if content != before[file]
    ]
    assert sorted(file.parent.name for file in changed) == sorted(found["written"])
    assert text_setting(slow_repository).delay_us == 0
    config = read_config(slow_repository / "demo_text_encoder" / "config.pbtxt")
    about = json.loads(config.parameters[TUNED_PARAMETER].string_value)
    assert about["objective"] == "latency"
    assert about["gain"] > 0.5
    assert [path.name for path in slow_repository.parent.iterdir()] == ["repository"]

    assert np.allclose(np.linalg.norm(vectors, axis=1), 1, atol=1e-5)
    assert served.dynamic_batching.max_queue_delay_microseconds == 0
    assert served.parameters[TUNED_PARAMETER] == config.parameters[TUNED_PARAMETER]
    again = assemble([bundle("demo")], slow_repository, runtime="python")
    assert again.written == ()
    assert "demo_text_encoder" in again.tuned


def test_where_there_is_no_time_nothing_is_tried_and_nothing_written(
    bundle: Callable[[str], Bundle], tmp_path: Path, environment: dict[str, str]
) -> None:
    assemble([bundle("demo")], tmp_path / "repository", runtime="python")
    before = contents(tmp_path / "repository")
    done = subprocess.run(
        [
            *(TRITONCLIP, "tune", tmp_path / "repository", "--minutes", "0.01"),
            *("--workloads", "text-short", "--concurrency", "4"),
        ],
        env=environment,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    assert "nothing tried" in done.stdout
    assert "no time for instances and threads" in done.stdout
    assert contents(tmp_path / "repository") == before


def test_a_server_that_takes_no_orders_is_refused_with_what_to_do(slow_repository: Path) -> None:
    (captions,) = workloads.named("text-short")
    with Server(slow_repository, ports=Ports(0, 0, 0)) as server:
        with pytest.raises(TuningError, match="serve --explicit"):
            tune(slow_repository, [captions], seconds=5, server=server.grpc_url)
        with pytest.raises(TuningError, match="give the gRPC address"):
            tune(slow_repository, [captions], server=f"http://{server.http_url}")
