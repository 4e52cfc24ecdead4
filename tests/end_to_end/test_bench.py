"""Load on a real server, as `tritonclip bench` makes it."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from tritonclip.endpoint import parse_endpoint
from tritonclip_export.bench import workloads
from tritonclip_export.bench.measure import Protocol, measure, triton_service
from tritonclip_export.bench.results import Report
from tritonclip_export.bench.workers import workers
from tritonclip_export.errors import BenchmarkError
from tritonclip_export.server.server import Server

TRITONCLIP = Path(sys.executable).with_name("tritonclip")


def test_closed_and_open_loops_measure_a_server_from_all_sides(server: Server) -> None:
    (captions,) = workloads.named("text-short")
    protocol = Protocol(warmup=1.0, seconds=1.0, repeats=2)
    with workers(2) as pool:
        grpc = triton_service(parse_endpoint(server.grpc_url), "demo")
        closed = measure(grpc, captions, pool, protocol, concurrency=4)
        http = triton_service(parse_endpoint(f"http://{server.http_url}"), "demo")
        opened = measure(http, captions, pool, protocol, concurrency=8, rate=40)
    for measured in (closed, opened):
        assert measured.failures == {}
        assert measured.throughput.mean > 0
        assert measured.latency is not None
        assert 0 < measured.latency.p50 <= measured.latency.p99 <= measured.latency.max
        assert measured.usage is not None
        assert measured.usage.memory_mib > 50
        assert measured.usage.cores > 0
        assert measured.generator.memory_mib > 10
        assert {step.model for step in measured.steps} >= {*("demo_text", "demo_text_encoder")}
        assert sum(step.cache_hits for step in measured.steps) == 0
    assert (closed.protocol, opened.protocol) == ("grpc", "http")
    assert opened.throughput.mean == pytest.approx(40, rel=0.2)


def test_a_request_that_fails_is_said_before_any_load(server: Server, tmp_path: Path) -> None:
    (tmp_path / "broken.jpg").write_bytes(b"not a jpeg")
    broken = workloads.of_files([tmp_path / "broken.jpg"])
    service = triton_service(parse_endpoint(server.grpc_url), "demo")
    with workers(1) as pool, pytest.raises(BenchmarkError, match="does not answer your-images"):
        measure(service, broken, pool, Protocol(), concurrency=1)


def test_the_command_writes_a_report_and_plots_and_says_where_the_time_went(
    server: Server, tmp_path: Path, environment: dict[str, str]
) -> None:
    def run(*arguments: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [TRITONCLIP, *arguments], cwd=tmp_path, env=environment, capture_output=True, text=True
        )

    done = run(
        *("bench", "--url", server.grpc_url, "--model", "demo", "--workloads", "jpeg-224x224"),
        *("--concurrency", "2", "--warmup", "1", "--seconds", "1", "--repeats", "2"),
        *("--output", "report.json", "--plot", "plots"),
    )
    assert done.returncode == 0, done.stderr
    assert "demo_image_preprocess" in done.stdout
    assert (tmp_path / "plots" / "jpeg-224x224.svg").is_file()
    report = Report.load(tmp_path / "report.json")
    assert report.about["source"].endswith("checkpoint")
    assert report.machine.cores > 0
    assert "triton" in report.versions
    rate = report.measurements[0].throughput.mean

    costs = run(
        *("cost", "--from", "report.json", "--workload", "jpeg-224x224", "--json"),
        *("--items", "1e9", "--price", "0.5"),
    )
    assert json.loads(costs.stdout)["items_per_dollar"] == pytest.approx(rate * 7200)

    wrong = run("bench", "--url", server.grpc_url, "--workloads", "gif")
    assert wrong.returncode == 1
    assert "no workload 'gif'" in wrong.stderr
