"""What `bench` shows: a table of measurements, and of where the time went."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from tritonclip_cli import output

if TYPE_CHECKING:
    from tritonclip_export.bench.results import Measurement


def print_measurements(measurements: Sequence[Measurement]) -> None:
    """Print figures, then each model's own account, then what speaks against the figures."""
    from rich.table import Table

    table = Table(box=None, header_style="bold", pad_edge=False)
    for column in ("workload", "load"):
        table.add_column(column, no_wrap=True)
    for column in ("items/s", "p50", "p90", "p99", "p99.9", "server", "MiB", "sender"):
        table.add_column(column, justify="right", no_wrap=True)
    for m in measurements:
        tail = (m.latency.p50, m.latency.p90, m.latency.p99, m.latency.p999) if m.latency else ()
        table.add_row(
            m.workload,
            _load(m),
            f"{m.throughput:,.1f}",
            *([f"{value:.1f}" for value in tail] or [""] * 4),
            "" if m.usage is None else f"{m.usage.cores:.2f}",
            "" if m.usage is None else f"{m.usage.memory_mib:.0f}",
            f"{m.generator.cores:.2f}",
        )
    console = output.console()
    output.print_table(table)
    console.print("[dim]± of the mean, 95 %; latency in ms; server and sender in cores in use[/]")
    _print_steps(measurements)
    for m in measurements:
        for doubt in m.doubts():
            console.print(f"[yellow]{m.workload}, {m.rate or m.concurrency:g}:[/] {doubt}")


def _print_steps(measurements: Sequence[Measurement]) -> None:
    from rich.table import Table

    table = Table(box=None, header_style="bold", pad_edge=False)
    table.add_column("where the time goes", no_wrap=True)
    for column in ("load", "batch", "queue", "input", "infer", "output"):
        table.add_column(column, justify="right", no_wrap=True)
    for m in measurements:
        for step in m.steps:
            times = (step.queue_ms, step.input_ms, step.infer_ms, step.output_ms)
            table.add_row(
                step.model,
                _load(m),
                f"{step.batch:.1f}",
                *(f"{time:.2f}" for time in times),
            )
    if table.row_count:
        output.console().print()
        output.print_table(table)
        output.console().print("[dim]ms a request on average, as Triton counts them[/]")


def _load(measured: Measurement) -> str:
    return f"{measured.rate:g}/s" if measured.rate else str(measured.concurrency)
