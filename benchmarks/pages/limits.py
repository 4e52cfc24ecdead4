"""What bounds speed: CPU time of a request, the path without encoders, what one waits for."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from benchmarks.pages.markdown import table
from benchmarks.studies.cpu_time import CpuTime


def pages(results: Path) -> Iterator[tuple[str, str]]:
    """One page, of those studies that there are."""
    lines = ["# What bounds it"]
    if (file := results / "cpu-time.json").exists():
        lines += ["", *_cpu_time(CpuTime.model_validate_json(file.read_bytes()))]
    if (file := results / "ceilings.json").exists():
        lines += ["", *_ceilings(json.loads(file.read_bytes()))]
    if (file := results / "waiting.json").exists():
        lines += ["", *_waiting(json.loads(file.read_bytes()))]
    if len(lines) > 1:
        yield "performance/limits.md", "\n".join(lines) + "\n"


def _cpu_time(study: CpuTime) -> Iterator[str]:
    about = study.about
    gpus = "".join(f", {gpu}" for gpu in about.machine.gpus)
    yield "## CPU time of a request"
    yield ""
    yield f"`{about.source}` on {about.machine.cores} cores of {about.machine.cpu}{gpus}."
    yield f"Measured {about.date} by `python -m benchmarks.studies.cpu_time` ([its"
    yield "JSON](../../benchmarks/results/cpu-time.json)), which shares the machine with the"
    yield "server."
    yield ""
    yield "CPU time of a request in milliseconds, by process: the encoder's, the one before it that"
    yield "decodes and resizes or tokenizes, tritonserver itself, and the generator. *Busy* is the"
    yield "share of all cores that they used: what is left was waiting, for each other or for a"
    yield "batch. *In process* is the whole work in one process, in batches of the size that"
    yield "dynamic batching made (*batch*), and of all that are in flight."
    yield ""
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
                f"{row.throughput * row.total_ms / 1e3 / about.machine.cores:.0%}",
                f"{row.batch:.1f}",
                *(f"{ms:.2f}" for ms in (row.encoder_ms, row.before_ms, row.tritonserver_ms)),
                f"{row.generator_ms:.2f}",
                f"{row.in_process_ms:.2f}",
                f"{row.in_process_full_ms:.2f}",
            )
            for row in study.rows
        ),
    )


def _ceilings(recorded: dict[str, Any]) -> Iterator[str]:
    """What the server's path and the client can do at most."""
    figures = recorded["figures"]
    yield "## If encoders cost nothing"
    yield ""
    yield f"On {recorded['machine']}. Measured {recorded['date']} by"
    yield "`python -m benchmarks.studies.ceilings` ([its"
    yield "JSON](../../benchmarks/results/ceilings.json)): encoders answer with constants, so that"
    yield "the rest is what is measured; the load generator shares the machine. Through the server,"
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


def _waiting(recorded: dict[str, Any]) -> Iterator[str]:
    """Export step by step, and the start of a server."""
    figures = recorded["figures"]
    yield "## What one waits for"
    yield ""
    yield f"On {recorded['machine']}. Measured {recorded['date']} by"
    yield "`python -m benchmarks.studies.waiting` ([its"
    yield "JSON](../../benchmarks/results/waiting.json)), the quickest of three. Exporting the demo"
    yield f"checkpoint takes {min(figures['export_s']):.1f} s in all:"
    yield ""
    steps = [(one["step"], f"{one['seconds']:.1f}") for one in figures["export_steps"]]
    yield from table(("step", "seconds"), steps)
    yield ""
    yield "Until `serve` is ready, and what a process takes that does nothing but have ONNX Runtime"
    yield "read both encoders:"
    yield ""
    yield from table(
        ("bundle", "encoders, MiB", "reading, s", "ready, s"),
        (
            (
                one["bundle"],
                f"{one['encoders_mib']:,}",
                f"{min(one['reading_s']):.1f}",
                f"{min(one['ready_s']):.1f}",
            )
            for one in figures["served"]
        ),
    )
