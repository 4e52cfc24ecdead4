"""Tables of what `compare.py` measured, as Markdown."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from benchmarks.pages.markdown import table
from tritonclip_export.bench.results import Measurement, Step

CLOSED = (
    *("server", "in flight", "items/s", "against the ceiling"),
    *("p50 ms", "p90", "p99", "p99.9", "cores", "MiB"),
)
OPEN = ("server", "asked for", "items/s", "p50 ms", "p90", "p99", "p99.9", "cores", "MiB")


def closed(measured: Sequence[Measurement]) -> Iterator[str]:
    """One row for each server and number of requests in flight."""
    ceilings = {
        (m.server, m.concurrency): m.throughput.mean for m in measured if m.protocol == "in process"
    }
    rows = []
    for m in measured:
        precision = next((p for p in ("int8", "bf16") if p in m.server), "fp32")
        library = "OpenVINO" if "OpenVINO" in m.server else "ONNX Runtime"
        highest = ceilings.get((f"{library} {precision}, in process", m.concurrency))
        against = f"{m.throughput.mean / highest:.2f}" if highest else ""
        load = (m.server, str(m.concurrency), f"{m.throughput:,.1f}", against)
        rows.append((*load, *_latency(m), *_usage(m)))
    yield from table(CLOSED, rows)


def opened(measured: Sequence[Measurement]) -> Iterator[str]:
    """One row for each server and rate of requests."""
    yield from table(
        OPEN,
        (
            (m.server, f"{m.rate:g}", f"{m.throughput:,.1f}", *_latency(m), *_usage(m))
            for m in measured
        ),
    )


def doubts(measured: Sequence[Measurement]) -> Iterator[str]:
    """What speaks against the figures, if anything does."""
    found = [f"- {m.server}, {_load(m)}: {doubt}" for m in measured for doubt in m.doubts()]
    if found:
        yield from ("", "What speaks against these figures:", "", *found)


def steps(measured: Sequence[Measurement]) -> Iterator[str]:
    """Triton's own figures of each model, folded away."""
    rows = [_step(m, step) for m in measured for step in m.steps]
    if not rows:
        return
    yield from ("", "<details>", "<summary>Where the time goes, as Triton counts it: ms a request")
    yield from ("on average</summary>", "")
    head = ("server", "load", "model", "batch", "queue", "input", "infer", "output")
    yield from table(head, rows)
    yield from ("", "</details>")


def _step(m: Measurement, step: Step) -> tuple[str, ...]:
    times = (step.queue_ms, step.input_ms, step.infer_ms, step.output_ms)
    shown = (f"{time:.2f}" for time in times)
    return m.server, _load(m), step.model, f"{step.batch:.1f}", *shown


def _load(m: Measurement) -> str:
    return f"{m.rate:g} a second" if m.rate else f"{m.concurrency} in flight"


def _latency(m: Measurement) -> list[str]:
    if m.latency is None:
        return [""] * 4
    found = (m.latency.p50, m.latency.p90, m.latency.p99, m.latency.p999)
    return [f"{value:.1f}" for value in found]


def _usage(m: Measurement) -> list[str]:
    return [f"{m.usage.cores:.2f}", f"{m.usage.memory_mib:,.0f}"] if m.usage else ["", ""]
