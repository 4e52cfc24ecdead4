"""The page about speed, from figures made up here."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from tritonclip_export.bench.results import (
    Interval,
    Latency,
    Machine,
    Measurement,
    Report,
    Step,
    Usage,
)


def measurement(server: str, rate: float, **changes: object) -> Measurement:
    return Measurement(
        server=server,
        workload="jpeg-640x480",
        protocol="in process" if "in process" in server else "grpc",
        concurrency=32,
        rate=None,
        batch=1,
        processes=1,
        seconds=10,
        throughput=Interval(mean=rate, low=rate - 1, high=rate + 1, repeats=(rate,) * 3),
        latency=Latency(
            count=300, mean=30, p50=31.25, p90=40, p99=50, p999=60, max=61, histogram=""
        ),
        lateness_ms=0,
        failures={},
        generator=Usage(cores=0.1, memory_mib=40),
        usage=Usage(cores=1.7, memory_mib=1234),
    ).model_copy(update=changes)


@pytest.fixture
def report() -> Report:
    step = Step(
        model="demo_image_encoder",
        requests=300,
        batch=7.5,
        total_ms=30,
        queue_ms=1.5,
        input_ms=0,
        infer_ms=25,
        output_ms=0,
        cache_hits=0,
    )
    return Report(
        date="2026-11-22T12:00:00+00:00",
        machine=Machine(
            cpu="A CPU", cores=2, features=("AVX2",), memory_gib=24, gpus=(), system="Linux"
        ),
        versions={"triton": "2.51"},
        about={"source": "ViT-B-32", "infinity": "in torch", "left out: other": "no\nPython 3.9"},
        measurements=(
            measurement("ONNX Runtime, in process", 40),
            measurement("tritonclip fp32", 38, steps=(step,)),
            measurement("infinity", 20, failures={"HTTP 500": 2}),
        ),
    )


def test_the_page_shows_what_was_measured(
    report: Report, root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.syspath_prepend(str(root / "benchmarks"))
    monkeypatch.delitem(sys.modules, "performance_page", raising=False)
    import performance_page

    performance_page.write(report, tmp_path / "performance.md")
    page = (tmp_path / "performance.md").read_text()
    ours = "| tritonclip fp32 | 32 | 38.0 ± 1.0 | 0.95 | 31.2 | 40.0 | 50.0 | 60.0 | 1.70 | 1,234 |"
    assert ours in page
    assert "| infinity | 32 | 20.0 ± 1.0 | 0.50 |" in page
    assert "infinity, 32 in flight: 2 requests failed (HTTP 500)" in page
    assert (
        "| tritonclip fp32 | 32 | demo_image_encoder | 7.5 | 1.50 | 0.00 | 25.00 | 0.00 |" in page
    )
    assert "left out: other: no Python 3.9" in page
    assert "2026-11-22" in page
    table = page.split("## jpeg-640x480")[1].split("\n\n")[2].splitlines()
    assert len({row.count("|") for row in table}) == 1
    assert "infinity, grpc" in (tmp_path / "performance" / "jpeg-640x480.svg").read_text()
