"""`docs/performance.md`, rendered from what `compare.py` measured."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

from tritonclip_export.bench.plots import throughput_latency
from tritonclip_export.bench.results import Measurement, Report
from tritonclip_export.bench.workloads import WORKLOADS

PLOTS = "performance"
HEAD = (
    *("server", "in flight", "items/s", "against the ceiling"),
    *("p50 ms", "p90", "p99", "p99.9", "cores", "MiB"),
)


def write(report: Report, page: Path) -> None:
    """Write the page, and its plots into a folder beside it."""
    folder = page.parent / PLOTS
    folder.mkdir(parents=True, exist_ok=True)
    for workload in _workloads(report):
        drawn = throughput_latency(_of(report, workload), title=workload)
        (folder / f"{workload}.svg").write_text(drawn, encoding="utf-8")
    page.write_text(render(report), encoding="utf-8")


def render(report: Report) -> str:
    """The page as Markdown, its plots in the folder `performance` beside it."""
    return "\n".join(_lines(report)) + "\n"


def _lines(report: Report) -> Iterator[str]:
    machine = report.machine
    yield "# Performance"
    yield ""
    yield f"`{report.about.get('source', '')}` on {machine.cores} cores of {machine.cpu}"
    yield f"({', '.join(machine.features)}), {machine.memory_gib:g} GiB,"
    yield f"{'; '.join(machine.gpus) or 'no GPU'}. Measured {report.date}, all in one run, by"
    yield "`python benchmarks/compare.py` ([its JSON](../benchmarks/results/performance.json)); the"
    yield "load generator shares the machine. Weights are random: they do not change the speed."
    yield ""
    yield "*Against the ceiling*: throughput relative to ONNX Runtime in process with the same"
    yield "preprocessing, at as many items a batch as requests are in flight here. ± is the 95 %"
    yield "confidence interval over repeats; cores and memory are the server's, all its processes."
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
    ceiling = {
        m.concurrency: m.throughput.mean for m in measured if m.server == "ONNX Runtime, in process"
    }
    for m in measured:
        half = "" if m.throughput.low is None else f" ± {m.throughput.mean - m.throughput.low:,.1f}"
        highest = ceiling.get(m.concurrency)
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
