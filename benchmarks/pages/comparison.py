"""What `compare` measured: a page each for the peers, for other inputs, and for constant rates."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from pathlib import Path

from benchmarks.pages.markdown import table
from tritonclip_export.bench.plots import throughput_latency
from tritonclip_export.bench.results import Measurement, Report, Step
from tritonclip_export.bench.workloads import WORKLOADS

OURS = "tritonclip"
PEER = "infinity"
CLOSED = (
    *("server", "in flight", "items/s", "against the ceiling"),
    *("p50 ms", "p90", "p99", "p99.9", "cores", "MiB"),
)
OPEN = ("server", "asked for", "items/s", "p50 ms", "p90", "p99", "p99.9", "cores", "MiB")
IN_SHORT = (
    *("", "", "items/s", "best peer", "relative to it"),
    *("relative to infinity", "p99 / p50 at 8", "MiB"),
)


def pages(results: Path) -> Iterator[tuple[str, str]]:
    """Those three that were measured, and their plots."""
    for name, result, lines in (
        ("comparison", "performance.json", _beside_peers),
        ("inputs", "performance-inputs.json", _inputs),
        ("rates", "performance-rates.json", _rates),
    ):
        if (file := results / result).exists():
            report = Report.load(file)
            yield f"performance/{name}.md", "\n".join((*lines(report, result), ""))
            if lines is not _inputs:
                suffix = "-rates" if lines is _rates else ""
                for workload, measured in by_workload(report):
                    yield f"performance/{workload}{suffix}.svg", _plot(workload + suffix, measured)


def _beside_peers(report: Report, result: str) -> Iterator[str]:
    yield from ("# Beside the peers", "", *_when(report, result))
    yield "Weights are random: they do not change the speed."
    yield ""
    yield "*Against the ceiling*: throughput relative to the same library in process, with the"
    yield "same preprocessing and precision (for others, ONNX Runtime in FP32), at as many items a"
    yield "batch as requests are in flight here. ± is the 95 % confidence interval over rounds;"
    yield "cores and memory are the server's, all its processes."
    yield from _in_short(report)
    for workload, measured in by_workload(report):
        yield from ("", f"## {workload}", "", f"![Throughput and latency]({workload}.svg)", "")
        yield from _closed(measured)
    yield from ("", "## What was compared", "")
    for name, about in report.about.items():
        yield f"- {name}: {' '.join(about.split())[:300]}"
    versions = ", ".join(f"{name} {version}" for name, version in report.versions.items())
    yield f"- versions: {versions}"


def _inputs(report: Report, result: str) -> Iterator[str]:
    yield from ("# Other inputs", "", *_when(report, result))
    for workload, measured in by_workload(report):
        about = WORKLOADS[workload](workload).about
        yield from ("", f"## {workload}", "", f"{about[0].upper() + about[1:]}:", "")
        yield from _closed(measured)


def _rates(report: Report, result: str) -> Iterator[str]:
    yield from ("# At a given rate", "", *_when(report, result))
    yield "An open loop: requests are due at a constant rate, whatever the server does, and latency"
    yield "counts from when a request was due. A server that cannot follow falls ever further"
    yield "behind; its percentiles then say how long the measurement was."
    for workload, measured in by_workload(report):
        plot = f"![Throughput and latency]({workload}-rates.svg)"
        yield from ("", f"## {workload}", "", plot, "")
        rows = [(m.server, f"{m.rate:g}", f"{m.throughput:,.1f}", *_cost(m)) for m in measured]
        yield from table(OPEN, rows)
        yield from _doubts(measured)


def by_workload(report: Report) -> Iterator[tuple[str, list[Measurement]]]:
    """What was measured of each workload, in the order of `WORKLOADS`."""
    for name in WORKLOADS:
        if measured := [m for m in report.measurements if m.workload == name]:
            yield name, measured


def best(measured: Sequence[Measurement]) -> Measurement:
    """That of the highest throughput, whatever the number of requests in flight."""
    return max(measured, key=lambda m: m.throughput.mean)


def peers(measured: Sequence[Measurement]) -> list[Measurement]:
    """Those of other servers."""
    return [m for m in measured if m.protocol != "in process" and not m.server.startswith(OURS)]


def ratio(a: Measurement, b: Measurement) -> str:
    """The ratio of two throughputs; relative errors add in quadrature."""
    found = a.throughput.mean / b.throughput.mean
    errors = [x.half / x.mean for x in (a.throughput, b.throughput) if x.half is not None]
    if len(errors) < 2:
        return f"{found:.2f}"
    return f"{found:.2f} ± {found * sum(error**2 for error in errors) ** 0.5:.2f}"


def ceiling(server: str) -> str:
    """What a server is held against: the same library in process, at the same precision."""
    precision = re.search("int8|bf16", server)
    library = "OpenVINO" if "OpenVINO" in server else "ONNX Runtime"
    return f"{library} {precision[0] if precision else 'fp32'}, in process"


def memory_mib(measured: Sequence[Measurement]) -> str:
    """The most that the server took; nothing where that is not known."""
    found = [m.usage.memory_mib for m in measured if m.usage]
    return f"{max(found):,.0f}" if found else ""


def _when(report: Report, result: str) -> Iterator[str]:
    machine = report.machine
    yield f"`{report.about.get('source', '')}` on {machine.cores} cores of {machine.cpu}"
    yield f"({', '.join(machine.features)}), {machine.memory_gib:g} GiB,"
    yield f"{'; '.join(machine.gpus) or 'no GPU'}. Measured {report.date}, all in one run, by"
    yield f"`python -m benchmarks.compare` ([its JSON](../../benchmarks/results/{result})); the"
    yield "load generator shares the machine."


def _plot(title: str, measured: Sequence[Measurement]) -> str:
    served = [m for m in measured if m.protocol != "in process"]
    return throughput_latency(served, title=title)


def _in_short(report: Report) -> Iterator[str]:
    """Ours relative to the best peer and to infinity; nothing where no peer was measured."""
    rows = [row for _, measured in by_workload(report) for row in _relative(measured)]
    if rows:
        yield from ("", "## In short", "")
        yield "At the number of requests in flight that suits each best; ± is what the confidence"
        yield "intervals of both sides leave open."
        yield ""
        yield from table(IN_SHORT, rows)


def _relative(measured: Sequence[Measurement]) -> Iterator[tuple[str, ...]]:
    if not (others := peers(measured)):
        return
    peer = best(others)
    infinity = [m for m in others if m.server == PEER]
    for server in dict.fromkeys(m.server for m in measured if m.server.startswith(OURS)):
        ours = [m for m in measured if m.server == server]
        mine = best(ours)
        tails = [m.latency.p99 / m.latency.p50 for m in ours if m.concurrency == 8 and m.latency]
        yield (
            *(mine.workload, server, f"{mine.throughput.mean:,.1f}"),
            *(f"{peer.server}, {peer.throughput.mean:,.1f}", ratio(mine, peer)),
            ratio(mine, best(infinity)) if infinity else "",
            f"{tails[0]:.2f}" if tails else "",
            memory_mib(ours),
        )


def _closed(measured: Sequence[Measurement]) -> Iterator[str]:
    """A row for each server and number of requests in flight, doubts, and Triton's own figures."""
    ceilings = {(m.server, m.concurrency): m for m in measured if m.protocol == "in process"}
    rows = []
    for m in measured:
        highest = ceilings.get((ceiling(m.server), m.concurrency))
        against = f"{m.throughput.mean / highest.throughput.mean:.2f}" if highest else ""
        load = (m.server, str(m.concurrency), f"{m.throughput:,.1f}", against)
        rows.append((*load, *_cost(m)))
    yield from table(CLOSED, rows)
    yield from _doubts(measured)
    yield from _steps(measured)


def _doubts(measured: Sequence[Measurement]) -> Iterator[str]:
    """What speaks against the figures, if anything does."""
    found = [f"- {m.server}, {_load(m)}: {doubt}" for m in measured for doubt in m.doubts()]
    if found:
        yield from ("", "What speaks against these figures:", "", *found)


def _steps(measured: Sequence[Measurement]) -> Iterator[str]:
    """Triton's own figures of each model, folded away."""
    rows = [_step(m, step) for m in measured for step in m.steps]
    if not rows:
        return
    yield from ("", "<details>", "<summary>Where the time goes, as Triton counts it: ms a request")
    yield from ("on average</summary>", "")
    yield from table(
        ("server", "load", "model", "batch", "queue", "input", "infer", "output"), rows
    )
    yield from ("", "</details>")


def _step(m: Measurement, step: Step) -> tuple[str, ...]:
    times = (step.queue_ms, step.input_ms, step.infer_ms, step.output_ms)
    shown = (f"{time:.2f}" for time in times)
    return m.server, _load(m), step.model, f"{step.batch:.1f}", *shown


def _load(m: Measurement) -> str:
    return f"{m.rate:g} a second" if m.rate else f"{m.concurrency} in flight"


def _cost(m: Measurement) -> list[str]:
    """Percentiles in ms, cores, MiB."""
    x, usage = m.latency, m.usage
    times = [f"{value:.1f}" for value in (x.p50, x.p90, x.p99, x.p999)] if x else [""] * 4
    return [*times, *([f"{usage.cores:.2f}", f"{usage.memory_mib:,.0f}"] if usage else ["", ""])]
