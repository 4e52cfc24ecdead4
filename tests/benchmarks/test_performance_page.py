"""The page about speed, from figures made up here."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from benchmarks.pages import performance
from benchmarks.studies import records
from tritonclip_export.bench.results import (
    Interval,
    Latency,
    Machine,
    Measurement,
    Report,
    Step,
    Usage,
)


def measurement(server: str, answered: float, **changes: object) -> Measurement:
    return Measurement(
        server=server,
        workload="jpeg-640x480",
        protocol="in process" if "in process" in server else "grpc",
        concurrency=32,
        rate=None,
        batch=1,
        processes=1,
        seconds=10,
        throughput=Interval(
            mean=answered, low=answered - 1, high=answered + 1, repeats=(answered,) * 3
        ),
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
            measurement("ONNX Runtime fp32, in process", 40),
            measurement("tritonclip fp32", 38, steps=(step,)),
            measurement("infinity", 20, failures={"HTTP 500": 2}),
        ),
    )


def test_the_page_shows_what_was_measured(report: Report, tmp_path: Path) -> None:
    report.save(tmp_path / "performance.json")
    performance.write(tmp_path, tmp_path / "performance.md")
    page = (tmp_path / "performance.md").read_text()
    ours = "| tritonclip fp32 | 32 | 38.0 ± 1.0 | 0.95 | 31.2 | 40.0 | 50.0 | 60.0 | 1.70 | 1,234 |"
    assert ours in page
    assert "| infinity | 32 | 20.0 ± 1.0 | 0.50 |" in page
    assert "| tritonclip fp32 | 38.0 | infinity, 20.0 | 1.90 ± 0.11 | 1.90 ± 0.11 |" in page
    assert "infinity, 32 in flight: 2 requests failed (HTTP 500)" in page
    assert (
        "| tritonclip fp32 | 32 in flight | demo_image_encoder | 7.5 | 1.50 | 0.00 | 25.00 | 0.00 |"
        in page
    )
    assert "left out: other: no Python 3.9" in page
    assert "2026-11-22" in page
    table = page.split("## jpeg-640x480")[1].split("\n\n")[2].splitlines()
    assert len({row.count("|") for row in table}) == 1
    assert "infinity, grpc" in (tmp_path / "performance" / "jpeg-640x480.svg").read_text()


def test_the_page_shows_rates_and_other_inputs_where_they_were_measured(
    report: Report, tmp_path: Path
) -> None:
    png = [m.model_copy(update={"workload": "png-640x480"}) for m in report.measurements]
    report.model_copy(update={"measurements": tuple(png)}).save(
        tmp_path / "performance-inputs.json"
    )
    kept = measurement("tritonclip fp32", 20, rate=20.0, concurrency=64)
    fell_behind = measurement("infinity", 16, rate=20.0, concurrency=64)
    report.model_copy(update={"measurements": (kept, fell_behind)}).save(
        tmp_path / "performance-rates.json"
    )

    performance.write(tmp_path, tmp_path / "performance.md")

    page = (tmp_path / "performance.md").read_text()
    assert "### png-640x480\n\nPNG photographs of 640 x 480 pixels:\n\n| server |" in page
    assert (
        "| tritonclip fp32 | 20 | 20.0 ± 1.0 | 31.2 | 40.0 | 50.0 | 60.0 | 1.70 | 1,234 |" in page
    )
    assert "- infinity, 20 a second: the server cannot answer 20 requests a second" in page
    assert (tmp_path / "performance" / "jpeg-640x480-rates.svg").exists()
    tables = [block.splitlines() for block in page.split("\n\n") if block.startswith("| ")]
    assert all(len({row.count("|") for row in table}) == 1 for table in tables)


def test_the_page_shows_studies_where_they_were_made(report: Report, tmp_path: Path) -> None:
    about = records.About(
        date="2026-11-22", machine=report.machine, versions={}, source="ViT-B-32", precision="int8"
    )
    cpu = records.CpuRow(
        engine="ONNX Runtime int8",
        workload="text-short",
        concurrency=8,
        throughput=500,
        batch=4.5,
        encoder_ms=2.0,
        before_ms=0.25,
        tritonserver_ms=0.25,
        generator_ms=0.1,
        in_process_ms=2.25,
        in_process_full_ms=2.0,
    )
    records.CpuTime(about=about.model_copy(update={"precision": ""}), rows=(cpu,)).save(
        tmp_path / "cpu-time.json"
    )

    found = {"per_second": 2000.0, "per_second_of_cpu": 5000.4}
    figures = {
        "concurrency": 32,
        "callers": 4,
        "server": {"jpeg-224x224": found},
        "client": {"grpc": {"lists": found}},
    }
    recorded = {"date": "2026-11-22", "machine": "A CPU", "figures": figures}
    (tmp_path / "ceilings.json").write_text(json.dumps(recorded))

    performance.write(tmp_path, tmp_path / "performance.md")

    page = (tmp_path / "performance.md").read_text()
    assert "| jpeg-224x224 | 2,000 |" in page
    assert "| lists | grpc | 2,000 | 5,000 |" in page
    cpu_row = "| ONNX Runtime int8 | text-short | 8 | 500.0 | 65% | 4.5 | 2.00 | 0.25 | 0.25 |"
    assert f"{cpu_row} 0.10 | 2.25 | 2.00 |" in page
    tables = [block.splitlines() for block in page.split("\n\n") if block.startswith("| ")]
    assert all(len({row.count("|") for row in table}) == 1 for table in tables)
