"""Pages that show figures: the committed ones, and what becomes of figures made up here."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from benchmarks import record
from benchmarks.render import rendered
from benchmarks.studies.cpu_time import About, CpuRow, CpuTime
from tritonclip_export.bench.results import (
    Interval,
    Latency,
    Machine,
    Measurement,
    Report,
    Step,
    Usage,
)

MACHINE = Machine(cpu="A CPU", cores=2, features=("AVX2",), memory_gib=24, gpus=(), system="Linux")


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


def report(*measurements: Measurement) -> Report:
    return Report(
        date="2026-11-22T12:00:00+00:00",
        machine=MACHINE,
        versions={"triton": "2.51"},
        about={"source": "ViT-B-32", "infinity": "in torch", "left out: other": "no\nPython 3.9"},
        measurements=measurements,
    )


CEILING = measurement("ONNX Runtime fp32, in process", 40)
OURS = measurement("tritonclip fp32", 38)
SPREAD = measurement("tritonclip fp32, 2 instances", 39)
INFINITY = measurement("infinity", 20)


@pytest.fixture(scope="module")
def committed() -> dict[str, str]:
    return rendered(record.RESULTS)


def test_every_page_is_what_the_committed_results_render_to(committed: dict[str, str]) -> None:
    pages = {name: page for name, page in committed.items() if name.endswith(".md")}

    assert {name: (record.DOCS / name).read_text(encoding="utf-8") for name in pages} == pages
    assert set(pages) == {
        *("performance.md", "models.md", "preprocessing.md", "gpu.md", "search.md", "stores.md"),
        *("moderation.md", "reliability.md", "video.md", "gateway.md", "bulk.md", "operating.md"),
        *(
            f"performance/{name}.md"
            for name in ("changes", "comparison", "inputs", "rates", "limits", "scaling")
        ),
    }


def test_what_pages_link_to_is_there(committed: dict[str, str]) -> None:
    static = ("performance/zero-shot.md", "performance/growth.md", "../benchmarks/README.md")
    pages = committed | {name: (record.DOCS / name).read_text() for name in static}

    linked = [
        record.DOCS / Path(name).parent / target
        for name, page in pages.items()
        if name.endswith(".md")
        for target in re.findall(r"\]\(([^)#]+)", page)
        if not target.startswith("https://")
    ]

    assert len(linked) > 40
    assert [file for file in linked if not file.exists()] == []


def test_tables_have_as_many_cells_in_every_row(committed: dict[str, str]) -> None:
    blocks = [block for page in committed.values() for block in page.split("\n\n")]
    tables = [re.findall(r"^\| .*|^\|-.*", block, re.MULTILINE) for block in blocks]
    tables = [rows for rows in tables if rows]

    assert len(tables) > 40
    assert [rows[0] for rows in tables if len({row.count("|") for row in rows}) > 1] == []


def test_the_comparison_shows_each_load(tmp_path: Path) -> None:
    report(CEILING, OURS, INFINITY).save(tmp_path / "performance.json")

    pages = rendered(tmp_path)

    page = pages["performance/comparison.md"]
    ours = "| tritonclip fp32 | 32 | 38.0 ± 1.0 | 0.95 | 31.2 | 40.0 | 50.0 | 60.0 | 1.70 | 1,234 |"
    assert ours in page
    assert "| infinity | 32 | 20.0 ± 1.0 | 0.50 |" in page
    assert "| tritonclip fp32 | 38.0 | infinity, 20.0 | 1.90 ± 0.11 | 1.90 ± 0.11 |" in page
    assert "left out: other: no Python 3.9" in page
    assert "Measured 2026-11-22" in page
    assert "infinity, grpc" in pages["performance/jpeg-640x480.svg"]


def test_the_comparison_tells_what_speaks_against_a_figure(tmp_path: Path) -> None:
    failing = INFINITY.model_copy(update={"failures": {"HTTP 500": 2}})
    report(OURS, failing).save(tmp_path / "performance.json")

    page = rendered(tmp_path)["performance/comparison.md"]

    assert "- infinity, 32 in flight: 2 requests failed (HTTP 500)" in page


def test_the_comparison_shows_where_triton_spends_the_time(tmp_path: Path) -> None:
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
    report(OURS.model_copy(update={"steps": (step,)})).save(tmp_path / "performance.json")

    page = rendered(tmp_path)["performance/comparison.md"]

    load = "| tritonclip fp32 | 32 in flight | demo_image_encoder "
    assert f"{load}| 7.5 | 1.50 | 0.00 | 25.00 | 0.00 |" in page


def test_the_short_page_takes_the_best_load_of_each_server(tmp_path: Path) -> None:
    slower = OURS.model_copy(update={"concurrency": 8, "throughput": INFINITY.throughput})
    caption = measurement("tritonclip fp32", 330, workload="text-short")
    report(CEILING, INFINITY, slower, OURS, SPREAD, caption).save(tmp_path / "performance.json")

    pages = rendered(tmp_path)

    page = pages["performance.md"]
    rows = "| tritonclip fp32 | 38 | 40 | 330 |  | 1,234 |\n| infinity | 20 |  |  |  | 1,234 |\n\n"
    assert rows in page
    assert "`tritonclip fp32` answers 1.90 ± 0.11 times the images of infinity" in page
    assert "2 instances" not in page
    assert "infinity, grpc" in pages["performance/beside-peers.svg"]
    assert "At a given rate\n" not in page


def test_a_server_that_cannot_follow_a_rate_falls_behind(tmp_path: Path) -> None:
    kept = measurement("tritonclip fp32", 20, rate=20.0, concurrency=64)
    fell_behind = measurement("infinity", 16, rate=20.0, concurrency=64)
    report(OURS, INFINITY).save(tmp_path / "performance.json")
    report(kept, fell_behind).save(tmp_path / "performance-rates.json")

    pages = rendered(tmp_path)

    page = pages["performance/rates.md"]
    ours = "| tritonclip fp32 | 20 | 20.0 ± 1.0 | 31.2 | 40.0 | 50.0 | 60.0 | 1.70 | 1,234 |"
    assert ours in page
    assert "- infinity, 20 a second: the server cannot answer 20 requests a second" in page
    assert "| tritonclip fp32 | 50 |\n| infinity | falls behind |" in pages["performance.md"]
    assert "performance/jpeg-640x480-rates.svg" in pages


def test_other_inputs_say_what_they_are(tmp_path: Path) -> None:
    png = OURS.model_copy(update={"workload": "png-640x480"})
    report(png).save(tmp_path / "performance-inputs.json")

    pages = rendered(tmp_path)

    page = pages["performance/inputs.md"]
    assert "## png-640x480\n\nPNG photographs of 640 x 480 pixels:\n\n| server |" in page
    assert set(pages) == {"performance/inputs.md", "gpu.md"}  # that says what was not measured


def test_limits_show_the_cpu_time_of_a_request_by_process(tmp_path: Path) -> None:
    row = CpuRow(
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
    about = About(date="2026-11-22", machine=MACHINE, versions={}, source="ViT-B-32")
    study = CpuTime(about=about, rows=(row,))
    (tmp_path / "cpu-time.json").write_text(study.model_dump_json())

    page = rendered(tmp_path)["performance/limits.md"]

    load = "| ONNX Runtime int8 | text-short | 8 | 500.0 | 65% | 4.5 "
    assert f"{load}| 2.00 | 0.25 | 0.25 | 0.10 | 2.25 | 2.00 |" in page


def test_limits_show_what_is_left_if_encoders_cost_nothing(tmp_path: Path) -> None:
    found = {"per_second": 2000.0, "per_second_of_cpu": 5000.4}
    figures = {
        "concurrency": 32,
        "callers": 4,
        "server": {"jpeg-224x224": found},
        "client": {"grpc": {"lists": found}},
    }
    recorded = {"date": "2026-11-22", "machine": "A CPU", "figures": figures}
    (tmp_path / "ceilings.json").write_text(json.dumps(recorded))

    page = rendered(tmp_path)["performance/limits.md"]

    assert "| jpeg-224x224 | 2,000 |" in page
    assert "| lists | grpc | 2,000 | 5,000 |" in page
