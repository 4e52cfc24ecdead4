"""The sections of the performance page that are studies of their own."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from benchmarks.pages.markdown import table
from benchmarks.studies.records import About, CpuTime


def cpu_time(study: CpuTime) -> Iterator[str]:
    """What bounds throughput, as Markdown."""
    yield "## What bounds it"
    yield ""
    yield from _about(study.about, "studies.cpu_time", "cpu-time.json")
    yield "CPU time of a request in milliseconds, by process: the encoder's, the one before it that"
    yield "decodes and resizes or tokenizes, tritonserver itself, and the generator. *Busy* is the"
    yield "share of all cores that they used: what is left was waiting, for each other or for a"
    yield "batch. *In process* is the whole work in one process, in batches of the size that"
    yield "dynamic batching made (*batch*), and of all that are in flight."
    yield ""
    cores = study.about.machine.cores
    yield from table(
        (
            *("encoder", "workload", "in flight", "items/s", "busy", "batch", "encoder ms"),
            *("before it", "tritonserver", "generator", "in process", "in full batches"),
        ),
        (
            (
                row.engine,
                row.workload,
                str(row.concurrency),
                f"{row.throughput:,.1f}",
                f"{row.throughput * row.total_ms / 1e3 / cores:.0%}",
                f"{row.batch:.1f}",
                *(f"{ms:.2f}" for ms in (row.encoder_ms, row.before_ms, row.tritonserver_ms)),
                f"{row.generator_ms:.2f}",
                f"{row.in_process_ms:.2f}",
                f"{row.in_process_full_ms:.2f}",
            )
            for row in study.rows
        ),
    )


def ceilings(recorded: dict[str, Any]) -> Iterator[str]:
    """What the server's path and the client can do at most, as Markdown."""
    figures = recorded["figures"]
    yield "## If encoders cost nothing"
    yield ""
    yield f"On {recorded['machine']}. Measured {recorded['date']} by"
    yield "`python -m benchmarks.studies.ceilings` ([its"
    yield "JSON](../benchmarks/results/ceilings.json)): encoders answer with constants, so that the"
    yield "rest is what is measured; the load generator shares the machine. Through the server,"
    yield f"{figures['concurrency']} requests of one item in flight:"
    yield ""
    yield from table(
        ("", "items/s"),
        ((name, f"{found['per_second']:,.0f}") for name, found in figures["server"].items()),
    )
    yield ""
    yield "And what one core of an application could feed: JPEGs of 224 x 224 pixels through the"
    yield f"client, in each way of calling it, with {figures['callers']} callers where there are"
    yield "several. Lists and streams put 16 images into a request."
    yield ""
    yield from table(
        ("", "protocol", "images/s", "images a second of client CPU"),
        (
            (way, protocol, *(f"{found[key]:,.0f}" for key in ("per_second", "per_second_of_cpu")))
            for protocol, ways in figures["client"].items()
            for way, found in ways.items()
        ),
    )


def _about(about: About, script: str, result: str) -> Iterator[str]:
    machine = about.machine
    gpus = "".join(f", {gpu}" for gpu in machine.gpus)
    precision = f" at {about.precision}" if about.precision else ""
    yield f"`{about.source}`{precision} on {machine.cores} cores of {machine.cpu}{gpus}."
    yield f"Measured {about.date} by `python -m benchmarks.{script}` ([its"
    yield f"JSON](../benchmarks/results/{result})), which shares the machine with the server."
