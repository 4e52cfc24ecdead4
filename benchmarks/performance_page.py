"""`docs/performance.md`, rendered from what has been measured.

    python benchmarks/performance_page.py

That is `compare.py`, `zero_shot.py` and `growth.py`; what has no result file has no section.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

import performance_studies
import performance_summary
import record
from studies import Growth, ZeroShot
from tritonclip_export.bench.plots import throughput_latency
from tritonclip_export.bench.results import Measurement, Report
from tritonclip_export.bench.workloads import WORKLOADS

PAGE = Path(__file__).parents[1] / "docs" / "performance.md"
PLOTS = "performance"
HEAD = (
    *("server", "in flight", "items/s", "against the ceiling"),
    *("p50 ms", "p90", "p99", "p99.9", "cores", "MiB"),
)


def main() -> None:
    """Render the page from the results that there are."""
    result = record.RESULTS / "performance.json"
    write(Report.load(result) if result.exists() else None, PAGE)
    print(PAGE)


def write(report: Report | None, page: Path, results: Path = record.RESULTS) -> None:
    """Write the page, and its plots into a folder beside it.

    Args:
        report: what `compare.py` measured.
        page: the Markdown file.
        results: the folder with the other result files, if they are there.
    """
    if report is not None:
        folder = page.parent / PLOTS
        folder.mkdir(parents=True, exist_ok=True)
        for workload in _workloads(report):
            drawn = throughput_latency(_of(report, workload), title=workload)
            (folder / f"{workload}.svg").write_text(drawn, encoding="utf-8")
    page.write_text("\n".join(_lines(report, results)) + "\n", encoding="utf-8")


def _lines(report: Report | None, results: Path) -> Iterator[str]:
    yield "# Performance"
    if report is not None:
        yield from ("", *_compared(report))
    if (file := results / "zero-shot.json").exists():
        yield from ("", *performance_studies.zero_shot(ZeroShot.load(file)))
    if (file := results / "growth.json").exists():
        yield from ("", *performance_studies.growth(Growth.load(file)))


def _compared(report: Report) -> Iterator[str]:
    machine = report.machine
    yield f"`{report.about.get('source', '')}` on {machine.cores} cores of {machine.cpu}"
    yield f"({', '.join(machine.features)}), {machine.memory_gib:g} GiB,"
    yield f"{'; '.join(machine.gpus) or 'no GPU'}. Measured {report.date}, all in one run, by"
    yield "`python benchmarks/compare.py` ([its JSON](../benchmarks/results/performance.json)); the"
    yield "load generator shares the machine. Weights are random: they do not change the speed."
    yield ""
    yield "*Against the ceiling*: throughput relative to the same library in process, with the"
    yield "same preprocessing and precision (for others, ONNX Runtime in FP32), at as many items a"
    yield "batch as requests are in flight here. ± is the 95 % confidence interval over repeats;"
    yield "cores and memory are the server's, all its processes."
    yield from performance_summary.lines(report)
    for workload in _workloads(report):
        measured = _of(report, workload)
        yield from ("", f"## {workload}", "", f"![Throughput and latency]({PLOTS}/{workload}.svg)")
        yield from ("", *_table(measured))
        yield from _doubts(measured)
        yield from _steps(measured)
    yield from ("", "## What was compared", "")
    for name, about in report.about.items():
        yield f"- {name}: {' '.join(about.split())[:300]}"
    versions = ", ".join(f"{name} {version}" for name, version in report.versions.items())
    yield f"- versions: {versions}"


def _table(measured: Sequence[Measurement]) -> Iterator[str]:
    yield f"| {' | '.join(HEAD)} |"
    yield "|---|" + "---:|" * 9
    ceilings = {
        (m.server, m.concurrency): m.throughput.mean for m in measured if m.protocol == "in process"
    }
    for m in measured:
        half = "" if m.throughput.low is None else f" ± {m.throughput.mean - m.throughput.low:,.1f}"
        precision = next((p for p in ("int8", "bf16") if p in m.server), "fp32")
        library = "OpenVINO" if "OpenVINO" in m.server else "ONNX Runtime"
        highest = ceilings.get((f"{library} {precision}, in process", m.concurrency))
        latency = m.latency
        cells = [
            m.server,
            str(m.concurrency),
            f"{m.throughput.mean:,.1f}{half}",
            f"{m.throughput.mean / highest:.2f}" if highest else "",
            *(
                (f"{x:.1f}" for x in (latency.p50, latency.p90, latency.p99, latency.p999))
                if latency
                else [""] * 4
            ),
            f"{m.usage.cores:.2f}" if m.usage else "",
            f"{m.usage.memory_mib:,.0f}" if m.usage else "",
        ]
        yield f"| {' | '.join(cells)} |"


def _doubts(measured: Sequence[Measurement]) -> Iterator[str]:
    found = [
        f"- {m.server}, {m.concurrency} in flight: {doubt}"
        for m in measured
        for doubt in m.doubts()
    ]
    if found:
        yield from ("", "What speaks against these figures:", "", *found)


def _steps(measured: Sequence[Measurement]) -> Iterator[str]:
    rows = [(m, step) for m in measured for step in m.steps]
    if not rows:
        return
    yield from ("", "Where the time goes, in ms a request on average, as Triton counts it:", "")
    yield "| server | in flight | model | batch | queue | input | infer | output |"
    yield "|---|---:|---|" + "---:|" * 5
    for m, step in rows:
        times = (step.queue_ms, step.input_ms, step.infer_ms, step.output_ms)
        shown = " | ".join(f"{time:.2f}" for time in times)
        yield f"| {m.server} | {m.concurrency} | {step.model} | {step.batch:.1f} | {shown} |"


def _workloads(report: Report) -> list[str]:
    there = {m.workload for m in report.measurements}
    return [name for name in WORKLOADS if name in there]


def _of(report: Report, workload: str) -> list[Measurement]:
    return [m for m in report.measurements if m.workload == workload]


if __name__ == "__main__":
    main()
