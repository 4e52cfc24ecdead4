"""The comparison in a few lines: ours relative to the best peer, to infinity and to the ceiling."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from benchmarks.pages.markdown import table
from tritonclip_export.bench.results import Measurement, Report

OURS = "tritonclip"
PEER = "infinity"
HEAD = (
    *("", "", "items/s", "best peer", "relative to it"),
    *("relative to infinity", "p99 / p50 at 8", "MiB"),
)


def lines(report: Report) -> Iterator[str]:
    """A table; nothing where ours or the peers were not measured."""
    rows = [row for workload in _workloads(report) for row in _rows(report, workload)]
    if rows:
        yield from ("", "## In short", "")
        yield "At the number of requests in flight that suits each best; ± is what the confidence"
        yield "intervals of both sides leave open."
        yield ""
        yield from table(HEAD, rows)


def _rows(report: Report, workload: str) -> Iterator[tuple[str, ...]]:
    measured = [m for m in report.measurements if m.workload == workload]
    peers = [m for m in measured if m.protocol != "in process" and not m.server.startswith(OURS)]
    if not peers:
        return
    best_peer = _best(peers)
    infinity = [m for m in peers if m.server == PEER]
    for server in dict.fromkeys(m.server for m in measured if m.server.startswith(OURS)):
        ours = [m for m in measured if m.server == server]
        best = _best(ours)
        yield (
            workload,
            server,
            f"{best.throughput.mean:,.1f}",
            f"{best_peer.server}, {best_peer.throughput.mean:,.1f}",
            _ratio(best, best_peer),
            _ratio(best, _best(infinity)) if infinity else "",
            _tail(ours),
            f"{max(m.usage.memory_mib for m in ours if m.usage):,.0f}"
            if any(m.usage for m in ours)
            else "",
        )


def _best(measured: Sequence[Measurement]) -> Measurement:
    return max(measured, key=lambda m: m.throughput.mean)


def _ratio(a: Measurement, b: Measurement) -> str:
    """The ratio of two throughputs; relative errors add in quadrature."""
    ratio = a.throughput.mean / b.throughput.mean
    measured = (a.throughput, b.throughput)
    errors = [each.half / each.mean for each in measured if each.half is not None]
    if len(errors) < 2:
        return f"{ratio:.2f}"
    return f"{ratio:.2f} ± {ratio * sum(error**2 for error in errors) ** 0.5:.2f}"


def _tail(measured: Sequence[Measurement]) -> str:
    found = [m.latency for m in measured if m.concurrency == 8 and m.latency]
    return f"{found[0].p99 / found[0].p50:.2f}" if found else ""


def _workloads(report: Report) -> list[str]:
    return list(dict.fromkeys(m.workload for m in report.measurements))
