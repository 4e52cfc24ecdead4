"""The sections of the performance page that are studies of their own."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from markdown_table import table
from studies import About, CpuTime, Growth, ZeroShot


def cpu_time(study: CpuTime) -> Iterator[str]:
    """What bounds throughput, as Markdown."""
    yield "## What bounds it"
    yield ""
    yield from _about(study.about, "cpu_time.py", "cpu-time.json")
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
    yield f"On {recorded['machine']}. Measured {recorded['date']} by `benchmarks/ceilings.py` ([its"
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


def zero_shot(study: ZeroShot) -> Iterator[str]:
    """Classification beside plain embedding, as Markdown."""
    yield f"## Zero-shot over {study.labels:,} labels"
    yield ""
    yield from _about(study.about, "zero_shot.py", "zero-shot.json")
    yield "One 640 x 480 JPEG a request. `Client.classify` keeps the label embeddings and"
    yield "multiplies in the client; `NAME_zero_shot` gets the labels with each request and keeps"
    yield "their embeddings in the server. *Relative* is to plain embedding under the same load in"
    yield "the same round: to `Client.embed_images` and to `NAME_image`. CPU is that of the server"
    yield "and of the process that asks, together."
    yield ""
    yield from table(
        ("", "in flight", "images/s", "relative", "p50 ms", "CPU ms an image"),
        (
            (
                f"`{row.path}`",
                str(row.concurrency),
                f"{row.throughput:.1f}",
                f"{row.ratio:.3f}" if row.ratio else "",
                f"{row.p50_ms:.1f}",
                f"{row.cpu_ms:.1f}",
            )
            for row in study.paths
        ),
    )
    yield ""
    yield f"A label set that is new is embedded first, {study.labels:,} prompts; requests that come"
    yield "meanwhile wait for it. Seconds until all have their answer:"
    yield ""
    yield from table(
        ("", "first requests together", "seconds"),
        ((f"`{row.path}`", str(row.requests), f"{row.seconds:.2f}") for row in study.first),
    )


def growth(study: Growth) -> Iterator[str]:
    """Straight lines, or the reason why not, as Markdown."""
    yield "## Growth"
    yield ""
    yield from _about(study.about, "growth.py", "growth.json")
    yield "Memory is the proportional set size of all a side's processes."
    yield ""
    yield "Images through `Client.stream_images`; *stub* is an encoder that costs nothing, so that"
    yield "the rest is what is measured:"
    yield ""
    yield from table(
        (
            *("encoder", "images", "images/s", "slowest and fastest tenth"),
            *("client MiB, first tenth to end (peak)", "server MiB", "verdict"),
        ),
        (
            (
                row.encoder,
                f"{row.images:,}",
                f"{row.images / row.seconds:,.0f}",
                f"{min(row.tenths):,.0f} to {max(row.tenths):,.0f}",
                _memory(row.client_mib, row.client_peak_mib),
                _memory(row.server_mib, row.server_peak_mib),
                row.verdict,
            )
            for row in study.streams
        ),
    )
    yield ""
    yield "Instances of each encoder, the cores shared out among them, 32 requests in flight:"
    yield ""
    yield from table(
        ("instances", "threads", "images/s", "cores", "MiB", "started in s", "verdict"),
        (
            (
                str(row.instances),
                str(row.threads),
                f"{row.throughput:.1f}",
                f"{row.cores:.2f}",
                f"{row.memory_mib:,.0f}",
                f"{row.start_seconds:.1f}",
                row.verdict,
            )
            for row in study.instances
        ),
    )
    yield ""
    yield "Label sets in turn on `NAME_zero_shot`, stub encoders, 32 requests in flight. Their"
    yield "prompts also pass through the server's response cache, which the first of them fill:"
    yield ""
    yield from table(
        ("sets", "labels each", "images/s", "MiB", "verdict"),
        (
            (
                str(row.sets),
                f"{row.labels:,}",
                f"{row.throughput:,.0f}",
                f"{row.memory_mib:,.0f}",
                row.verdict,
            )
            for row in study.label_sets
        ),
    )


def _about(about: About, script: str, result: str) -> Iterator[str]:
    machine = about.machine
    gpus = "".join(f", {gpu}" for gpu in machine.gpus)
    precision = f" at {about.precision}" if about.precision else ""
    yield f"`{about.source}`{precision} on {machine.cores} cores of {machine.cpu}{gpus}."
    yield f"Measured {about.date} by `benchmarks/{script}` ([its"
    yield f"JSON](../benchmarks/results/{result})), which shares the machine with the server."


def _memory(used: Sequence[float], peak: float) -> str:
    return f"{used[1]:,.0f} to {used[-1]:,.0f} ({peak:,.0f})"
