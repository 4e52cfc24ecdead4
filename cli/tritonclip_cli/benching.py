"""`bench` and `cost`: how fast a running server is, and what that costs."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from tritonclip_cli import output
from tritonclip_cli.output import Json
from tritonclip_cli.queries import LOCAL, Model, Url

if TYPE_CHECKING:
    from tritonclip_export.bench.results import Measurement

_WHAT = "What is sent"
_HOW = "How it is sent"
_LONG = "For how long"


def bench(
    url: Url = LOCAL,
    model: Model = None,
    workloads: Annotated[
        str,
        typer.Option(
            help="jpeg-640x480, jpeg-12mp, png-640x480, jpeg-224x224, text-short, text-medium, "
            "text-long; comma-separated.",
            rich_help_panel=_WHAT,
        ),
    ] = "jpeg-640x480,text-short",
    images: Annotated[
        Path | None,
        typer.Option(
            exists=True,
            file_okay=False,
            help="A folder of your own images, instead.",
            rich_help_panel=_WHAT,
        ),
    ] = None,
    texts: Annotated[
        Path | None,
        typer.Option(
            exists=True,
            dir_okay=False,
            help="A file of your own texts, one a line, instead.",
            rich_help_panel=_WHAT,
        ),
    ] = None,
    batch: Annotated[
        int, typer.Option(min=1, help="Items in a request.", rich_help_panel=_WHAT)
    ] = 1,
    concurrency: Annotated[
        str,
        typer.Option(
            help="Closed loop: callers, each waiting for its answer. Comma-separated.",
            rich_help_panel=_HOW,
        ),
    ] = "1,8,32",
    rate: Annotated[
        str | None,
        typer.Option(
            help="Open loop instead: requests a second, whatever the server does. Latency counts "
            "from when a request was due. Comma-separated.",
            rich_help_panel=_HOW,
        ),
    ] = None,
    in_flight: Annotated[
        int,
        typer.Option(min=1, help="With --rate: the most at a time.", rich_help_panel=_HOW),
    ] = 64,
    processes: Annotated[
        int, typer.Option(min=1, help="That make the load.", rich_help_panel=_HOW)
    ] = 1,
    warmup: Annotated[
        float, typer.Option(min=0, help="Seconds before each.", rich_help_panel=_LONG)
    ] = 3,
    seconds: Annotated[
        float, typer.Option(min=0.1, help="Of one repeat.", rich_help_panel=_LONG)
    ] = 10,
    repeats: Annotated[
        int, typer.Option(min=1, help="For the confidence interval.", rich_help_panel=_LONG)
    ] = 3,
    to: Annotated[
        Path | None, typer.Option("--output", "-o", help="Write the whole report to a JSON file.")
    ] = None,
    plot: Annotated[
        Path | None,
        typer.Option(help="A folder for plots of throughput and latency, an SVG a workload."),
    ] = None,
    json: Json = False,
) -> None:
    """Measure a running server: throughput, latency, CPU, memory, and where the time goes.

    The load comes from this machine: on the server's own, the two share the cores, and the table
    says how much of them the generator took.
    """
    from tritonclip import Client
    from tritonclip.endpoint import parse_endpoint
    from tritonclip_export import samples
    from tritonclip_export.bench import environment
    from tritonclip_export.bench import workloads as known
    from tritonclip_export.bench.measure import Protocol, measure, triton_service
    from tritonclip_export.bench.results import Report
    from tritonclip_export.bench.workers import workers

    wanted = [] if images or texts else known.named(workloads)
    if images:
        wanted.append(known.of_files(samples.images_in(images)))
    if texts:
        wanted.append(known.of_texts(samples.texts_in(texts)))
    loads: list[tuple[int, float | None]] = [(int(c), None) for c in _numbers(concurrency)]
    if rate:
        loads = [(in_flight, requests) for requests in _numbers(rate)]
    with Client(url, model=model) as client:
        info, health = client.info(), client.health()
    service = triton_service(parse_endpoint(url), info.name)
    protocol = Protocol(warmup, seconds, repeats)
    began, measurements = environment.here(triton=health.server_version or "unknown"), []
    with workers(processes) as pool:
        for workload in wanted:
            for callers, requests in loads:
                measured = measure(
                    service,
                    workload,
                    pool,
                    protocol,
                    concurrency=callers,
                    rate=requests,
                    batch=batch,
                )
                measurements.append(measured)
                output.console(stderr=True).print(_line(measured))
    report = Report(
        **dict(began),
        about={
            "model": info.name,
            "source": info.source,
            "precision": info.precision,
            "runtime": info.runtime,
            "preprocess": info.preprocess,
        },
        measurements=tuple(measurements),
    )
    if to:
        report.save(to)
    if plot:
        _draw(measurements, plot, info.source)
    if json:
        output.print_json(report.model_dump(mode="json"))
    else:
        _print_report(measurements)


def cost(
    rate: Annotated[
        float | None, typer.Option(help="Items a second that one machine embeds.")
    ] = None,
    report: Annotated[
        Path | None,
        typer.Option("--from", help="Take the best rate from what `bench --output` wrote."),
    ] = None,
    workload: Annotated[
        str, typer.Option(help="With --from: the workload whose rate counts.")
    ] = "jpeg-640x480",
    price: Annotated[float, typer.Option(help="Dollars an hour for one machine.")] = 1.0,
    items: Annotated[float | None, typer.Option(help="Images or texts to index.")] = None,
    video_hours: Annotated[float | None, typer.Option(help="Hours of video to index.")] = None,
    fps: Annotated[float, typer.Option(help="With --video-hours: frames a second.")] = 1.0,
    machines: Annotated[int, typer.Option(min=1, help="That share the work.")] = 1,
    json: Json = False,
) -> None:
    """Say what indexing costs: images per dollar, hours and dollars for a collection."""
    from dataclasses import asdict

    from tritonclip.errors import InvalidArgument
    from tritonclip_export.bench import cost as costs

    if (rate is None) == (report is None):
        raise InvalidArgument("give the speed either with --rate or with --from REPORT")
    if (items is None) == (video_hours is None):
        raise InvalidArgument("give what to index either with --items or with --video-hours")
    if report is not None:
        rate = _best_rate(report, workload)
    if video_hours is not None:
        items = costs.frames(video_hours, fps)
    assert rate is not None
    assert items is not None
    found = costs.cost(items, rate=rate, price=price, machines=machines)
    if json:
        output.print_json(asdict(found))
        return
    output.console().print(
        f"{found.items:,.0f} items at {rate:,.0f} a second on each of {machines} machine"
        f"{'s' if machines > 1 else ''}: [bold]{found.hours:,.1f} hours, "
        f"{found.dollars:,.2f} dollars[/]  [dim]{found.items_per_dollar:,.0f} a dollar[/]"
    )


def _best_rate(report: Path, workload: str) -> float:
    from tritonclip.errors import InvalidArgument
    from tritonclip_export.bench.results import Report

    measurements = Report.load(report).measurements
    rates = [m.throughput.mean for m in measurements if m.workload == workload]
    if not rates:
        there = ", ".join(dict.fromkeys(m.workload for m in measurements))
        raise InvalidArgument(f"{report} has no workload {workload!r}; it has {there}")
    return max(rates)


def _numbers(listed: str) -> list[float]:
    from tritonclip.errors import InvalidArgument

    try:
        return [float(number) for number in listed.split(",")]
    except ValueError:
        raise InvalidArgument(f"expected numbers like 1,8,32, not {listed!r}") from None


def _line(measured: Measurement) -> str:
    load = f"{measured.rate:g}/s" if measured.rate else f"concurrency {measured.concurrency}"
    return f"[green]✓[/] {measured.workload}, {load} [dim]{measured.throughput.mean:,.1f}/s[/]"


def _print_report(measurements: list[Measurement]) -> None:
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
            f"{m.rate:g}/s" if m.rate else str(m.concurrency),
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


def _print_steps(measurements: list[Measurement]) -> None:
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
                f"{m.rate:g}/s" if m.rate else str(m.concurrency),
                f"{step.batch:.1f}",
                *(f"{time:.2f}" for time in times),
            )
    if table.row_count:
        output.console().print()
        output.print_table(table)
        output.console().print("[dim]ms a request on average, as Triton counts them[/]")


def _draw(measurements: list[Measurement], folder: Path, source: str) -> None:
    from tritonclip_export.bench.plots import throughput_latency

    folder.mkdir(parents=True, exist_ok=True)
    for workload in dict.fromkeys(m.workload for m in measurements):
        chosen = [m for m in measurements if m.workload == workload]
        drawn = throughput_latency(chosen, title=f"{source}: {workload}")
        (folder / f"{workload}.svg").write_text(drawn, encoding="utf-8")
