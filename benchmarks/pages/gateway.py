"""What the gateway costs, in `docs/gateway.md`."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from benchmarks.pages import guide, search_page
from benchmarks.pages.markdown import table
from tritonclip_export.bench.results import Measurement, Report

PAGE = "gateway.md"


def pages(results: Path) -> Iterator[tuple[str, str]]:
    """The page as it stands, with what was measured written anew."""
    lines: list[str] = []
    for file in sorted(results.glob("gateway-*.json")):
        lines += [*_section(json.loads(file.read_bytes()), file.name), ""]
    beside = results / "performance-gateway.json"
    if beside.exists():
        lines += [*_beside_peers(Report.load(beside), beside.name), ""]
    yield from guide.filled(
        PAGE, {"figures": lines, "figures of the page": search_page.lines(results)}
    )


def _section(result: dict[str, Any], name: str) -> Iterator[str]:
    figures = result["figures"]
    stub = ", with encoders that cost nothing" if figures["stub"] else ""
    yield (
        f"{figures['bundle']}{stub}, {result['date']}, {result['machine']}, one item a request, "
        "load generator and servers on the same cores, in turns: compare only within a line "
        f"([results](../benchmarks/results/{name}))."
    )
    yield ""
    rows = {(r["workload"], r["concurrency"], r["way"]): r for r in figures["rows"]}
    loads = sorted({key[:2] for key in rows}, key=lambda load: (load[0] != "text-short", load))
    yield from table(
        ("", "in flight", "direct /s", "gateway /s", "ratio", "direct p99 ms", "gateway p99 ms"),
        [
            (
                workload,
                str(level),
                f"{direct['throughput']:,.0f}",
                f"{through['throughput']:,.0f}",
                f"{through['throughput'] / direct['throughput']:.2f}",
                f"{direct['p99_ms']:,.0f}",
                f"{through['p99_ms']:,.0f}",
            )
            for workload, level in loads
            for direct, through in [
                (rows[workload, level, "direct"], rows[workload, level, "gateway"])
            ]
        ],
    )
    if taken := figures["memory_mib"]:
        yield ""
        yield (
            f"Memory of the gateway over {figures['memory_requests']:,} texts, 32 in flight: "
            f"{taken[0]:,.0f} MiB after the first tenth, {taken[-1]:,.0f} MiB at the end."
        )


def _beside_peers(report: Report, name: str) -> Iterator[str]:
    machine = report.machine
    yield (
        "Beside the servers that teams run, all in one run, in turns: items a second, one a "
        "request, and in brackets the milliseconds within which 99 of 100 were answered. ViT-B/32 "
        f"with random weights, {report.date[:10]}, {machine.cores} cores of {machine.cpu}, the "
        f"load generator on the same cores ([results](../benchmarks/results/{name})). The speed of "
        "the machine itself changed by up to two times over the run, so compare within a column."
    )
    measured = [m for m in report.measurements if m.protocol != "in process"]
    levels = sorted({m.concurrency for m in measured})
    found = {(m.workload, m.server, m.concurrency): m for m in measured}
    yield ""
    yield from table(
        ("", "server", *(f"{level} in flight" for level in levels)),
        [
            (workload, server, *(_rate(found.get((workload, server, level))) for level in levels))
            for workload in dict.fromkeys(m.workload for m in measured)
            for server in dict.fromkeys(m.server for m in measured)
        ],
    )


def _rate(measured: Measurement | None) -> str:
    if measured is None or measured.latency is None:
        return "none"
    return f"{measured.throughput.mean:,.1f} ({measured.latency.p99:,.0f})"
