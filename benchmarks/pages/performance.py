"""`docs/performance.md`, rendered from what has been measured.

    python -m benchmarks.pages.performance

That is `compare.py`, `cpu_time.py` and `ceilings.py`; what has no result file has no section.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from benchmarks import record
from benchmarks.pages import limits, summary, tables
from benchmarks.studies.records import CpuTime
from tritonclip_export.bench.plots import throughput_latency
from tritonclip_export.bench.results import Measurement, Report
from tritonclip_export.bench.workloads import WORKLOADS

PAGE = record.DOCS / "performance.md"
PLOTS = "performance"

Section = Callable[[Path, Path], Iterator[str]]
"""Lines from a result file; plots go into the second folder."""


def main() -> None:
    """Render the page from the results that there are."""
    write(record.RESULTS, PAGE)
    print(PAGE)


def write(results: Path, page: Path) -> None:
    """Write the page, and its plots into a folder beside it.

    Args:
        results: the folder with the result files.
        page: the Markdown file.
    """
    plots = page.parent / PLOTS
    plots.mkdir(parents=True, exist_ok=True)
    lines = ["# Performance"]
    for name, section in SECTIONS.items():
        if (file := results / name).exists():
            lines += ["", *section(file, plots)]
    page.write_text("\n".join(lines) + "\n", encoding="utf-8")


def _compared(file: Path, plots: Path) -> Iterator[str]:
    report = Report.load(file)
    yield from _when(report, file)
    yield "Weights are random: they do not change the speed."
    yield ""
    yield "*Against the ceiling*: throughput relative to the same library in process, with the"
    yield "same preprocessing and precision (for others, ONNX Runtime in FP32), at as many items a"
    yield "batch as requests are in flight here. ± is the 95 % confidence interval over rounds;"
    yield "cores and memory are the server's, all its processes."
    yield from summary.lines(report)
    for workload, measured in _by_workload(report):
        served = [each for each in measured if each.protocol != "in process"]
        yield from ("", f"## {workload}", "", _plot(workload, served, plots))
        yield from ("", *tables.closed(measured))
        yield from tables.doubts(measured)
        yield from tables.steps(measured)
    yield from ("", "## What was compared", "")
    for name, about in report.about.items():
        yield f"- {name}: {' '.join(about.split())[:300]}"
    versions = ", ".join(f"{name} {version}" for name, version in report.versions.items())
    yield f"- versions: {versions}"


def _inputs(file: Path, _plots: Path) -> Iterator[str]:
    report = Report.load(file)
    yield from ("## Other inputs", "")
    yield from _when(report, file)
    for workload, measured in _by_workload(report):
        yield from ("", f"### {workload}", "", f"{_about(workload)}:", "")
        yield from tables.closed(measured)
        yield from tables.doubts(measured)
        yield from tables.steps(measured)


def _rates(file: Path, plots: Path) -> Iterator[str]:
    report = Report.load(file)
    yield from ("## At a given rate", "")
    yield from _when(report, file)
    yield "An open loop: requests are due at a constant rate, whatever the server does, and latency"
    yield "counts from when a request was due. A server that cannot follow falls ever further"
    yield "behind; its percentiles then say how long the measurement was."
    for workload, measured in _by_workload(report):
        yield from ("", f"### {workload}", "", _plot(f"{workload}-rates", measured, plots), "")
        yield from tables.opened(measured)
        yield from tables.doubts(measured)


SECTIONS: dict[str, Section] = {
    "performance.json": _compared,
    "cpu-time.json": lambda file, _: limits.cpu_time(CpuTime.load(file)),
    "performance-inputs.json": _inputs,
    "performance-rates.json": _rates,
    "ceilings.json": lambda file, _: limits.ceilings(json.loads(file.read_bytes())),
}


def _when(report: Report, file: Path) -> Iterator[str]:
    machine = report.machine
    yield f"`{report.about.get('source', '')}` on {machine.cores} cores of {machine.cpu}"
    yield f"({', '.join(machine.features)}), {machine.memory_gib:g} GiB,"
    yield f"{'; '.join(machine.gpus) or 'no GPU'}. Measured {report.date}, all in one run, by"
    yield f"`python -m benchmarks.compare` ([its JSON](../benchmarks/results/{file.name})); the"
    yield "load generator shares the machine."


def _plot(name: str, measured: Sequence[Measurement], plots: Path) -> str:
    drawn = throughput_latency(measured, title=name)
    (plots / f"{name}.svg").write_text(drawn, encoding="utf-8")
    return f"![Throughput and latency]({plots.name}/{name}.svg)"


def _by_workload(report: Report) -> Iterator[tuple[str, list[Measurement]]]:
    for name in WORKLOADS:
        if measured := [m for m in report.measurements if m.workload == name]:
            yield name, measured


def _about(workload: str) -> str:
    about = WORKLOADS[workload](workload).about
    return about[0].upper() + about[1:]


if __name__ == "__main__":
    main()
