"""`bench` and `cost`: how fast a running server is, and what that costs."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from tritonclip.errors import InvalidArgument
from tritonclip_cli import output
from tritonclip_cli.bench_table import print_measurements
from tritonclip_cli.groups import Group
from tritonclip_cli.options import UTF8, Connection, Encoding, Json
from tritonclip_cli.values import check, file, folder, new_file, new_folder, shown

if TYPE_CHECKING:
    from tritonclip_export.bench.bench import Pace
    from tritonclip_export.bench.measure import Protocol
    from tritonclip_export.bench.results import Measurement, Report
    from tritonclip_export.bench.workloads import Workload

# What a rate, a price or an amount is at least.
MORE_THAN_NOTHING = 1e-9


def _numbers(listed: str) -> list[float]:
    try:
        numbers = [float(number) for number in listed.split(",")]
    except ValueError:
        raise InvalidArgument(f"expected numbers like 1,8,32, not {listed!r}") from None
    if wrong := [number for number in numbers if not 0 < number <= 1e6]:
        raise InvalidArgument(f"{wrong[0]:g} is not a number above 0, up to a million")
    return numbers


def _callers(listed: str) -> list[int]:
    numbers = _numbers(listed)
    if wrong := [number for number in numbers if number != int(number) or number > 65_536]:
        raise InvalidArgument(f"{wrong[0]:g} is not a number of callers, from 1 to 65,536")
    return [int(number) for number in numbers]


@dataclass(frozen=True)
class Sent(Group, panel="What is sent"):
    """Workloads by name, or files of one's own."""

    workloads: Annotated[
        str,
        typer.Option(
            help="jpeg-640x480, jpeg-12mp, png-640x480, jpeg-224x224, text-short, text-medium, "
            "text-long; comma-separated."
        ),
    ] = "jpeg-640x480,text-short"
    images: Annotated[Path | None, folder("A folder of your own images, instead.")] = None
    texts: Annotated[Path | None, file("A file of your own texts, one a line, instead.")] = None
    encoding: Encoding = UTF8
    batch: Annotated[int, typer.Option(min=1, max=4096, help="Items in a request.")] = 1

    def chosen(self) -> list[Workload]:
        """What was asked for: one's own files, or else those that were named."""
        from tritonclip_export import samples
        from tritonclip_export.bench import workloads

        if not (self.images or self.texts):
            return workloads.named(self.workloads)
        images = [workloads.of_files(samples.images_in(self.images))] if self.images else []
        texts = (
            [workloads.of_texts(samples.texts_in(self.texts, self.encoding))] if self.texts else []
        )
        return images + texts


@dataclass(frozen=True)
class Sending(Group, panel="How it is sent"):
    """By how many callers, or at which rates."""

    concurrency: Annotated[
        str,
        typer.Option(
            callback=check(_callers),
            help="Closed loop: callers, each waiting for its answer. Comma-separated.",
        ),
    ] = "1,8,32"
    rate: Annotated[
        str | None,
        typer.Option(
            callback=check(_numbers),
            help="Open loop instead: requests a second, whatever the server does. Latency counts "
            "from when a request was due. Comma-separated.",
        ),
    ] = None
    in_flight: Annotated[
        int, typer.Option(min=1, max=65_536, help="With --rate: the most at a time.")
    ] = 64
    processes: Annotated[int, typer.Option(min=1, max=256, help="That make the load.")] = 1

    def paces(self) -> list[Pace]:
        """One for each number that was given."""
        from tritonclip_export.bench.bench import Pace

        if self.rate:
            return [Pace(self.in_flight, rate) for rate in _numbers(self.rate)]
        return [Pace(callers) for callers in _callers(self.concurrency)]


@dataclass(frozen=True)
class Length(Group, panel="For how long"):
    """Seconds, and how often."""

    warmup: Annotated[float, typer.Option(min=0, max=86_400, help="Seconds before each.")] = 3
    seconds: Annotated[float, typer.Option(min=0.1, max=86_400, help="Of one repeat.")] = 10
    repeats: Annotated[int, typer.Option(min=1, max=1000, help="For the confidence interval.")] = 3

    def protocol(self) -> Protocol:
        """The same for what measures."""
        from tritonclip_export.bench.measure import Protocol

        return Protocol(self.warmup, self.seconds, self.repeats)


def bench(
    connection: Connection,
    sent: Sent,
    sending: Sending,
    length: Length,
    to: Annotated[
        Path | None, new_file("Write the whole report to a JSON file.", "--output", "-o")
    ] = None,
    plot: Annotated[
        Path | None,
        new_folder("A folder for plots of throughput and latency, an SVG a workload."),
    ] = None,
    json: Json = False,
) -> None:
    """Measure a running server: throughput, latency, CPU, memory, and where the time goes.

    The load comes from this machine: on the server's own, the two share the cores, and the table
    says how much of them the generator took. What was measured before an interruption is kept.
    """
    from tritonclip_export.bench.bench import bench

    progress = output.console(stderr=True)
    with _saved(to) as save:

        def show(report: Report) -> None:
            progress.print(_line(report.measurements[-1]))
            save(report)

        report = bench(
            connection.url,
            sent.chosen(),
            sending.paces(),
            model=connection.model,
            protocol=length.protocol(),
            processes=sending.processes,
            batch=sent.batch,
            show=show,
        )
    if plot:
        _draw(report.measurements, plot, report.about["source"])
    if json:
        output.print_json(report.model_dump(mode="json"))
    else:
        print_measurements(report.measurements)


@contextmanager
def _saved(file: Path | None) -> Iterator[Callable[[Report], None]]:
    """Saves reports that grow beside `file`, where the last one goes when all is measured."""
    if file is None:
        yield lambda _: None
        return
    growing = file.resolve().with_name(f".{file.name}.unfinished")
    reports: list[Report] = []

    def save(report: Report) -> None:
        reports[:] = [report]
        if file.is_file() or not file.exists():  # not beside a device
            report.save(growing)

    try:
        yield save
        for report in reports:
            report.save(file)
    except BaseException:
        if growing.exists():
            print(f"what was measured is kept in {shown(growing)}", file=sys.stderr)
        raise
    growing.unlink(missing_ok=True)


def _line(measured: Measurement) -> str:
    load = f"{measured.rate:g}/s" if measured.rate else f"concurrency {measured.concurrency}"
    return f"[green]✓[/] {measured.workload}, {load} [dim]{measured.throughput.mean:,.1f}/s[/]"


def _draw(measurements: Sequence[Measurement], folder: Path, source: str) -> None:
    from tritonclip_export.bench.plots import throughput_latency

    folder.mkdir(parents=True, exist_ok=True)
    for workload in dict.fromkeys(m.workload for m in measurements):
        chosen = [m for m in measurements if m.workload == workload]
        drawn = throughput_latency(chosen, title=f"{source}: {workload}")
        (folder / f"{workload}.svg").write_text(drawn, encoding="utf-8")


def cost(
    rate: Annotated[
        float | None,
        typer.Option(min=MORE_THAN_NOTHING, help="Items a second that one machine embeds."),
    ] = None,
    report: Annotated[
        Path | None,
        file("Take the best rate from what `bench --output` wrote.", "--from"),
    ] = None,
    workload: Annotated[
        str, typer.Option(help="With --from: the workload whose rate counts.")
    ] = "jpeg-640x480",
    price: Annotated[
        float, typer.Option(min=MORE_THAN_NOTHING, help="Dollars an hour for one machine.")
    ] = 1.0,
    items: Annotated[
        float | None, typer.Option(min=MORE_THAN_NOTHING, help="Images or texts to index.")
    ] = None,
    video_hours: Annotated[
        float | None, typer.Option(min=MORE_THAN_NOTHING, help="Hours of video to index.")
    ] = None,
    fps: Annotated[
        float, typer.Option(min=MORE_THAN_NOTHING, help="With --video-hours: frames a second.")
    ] = 1.0,
    machines: Annotated[int, typer.Option(min=1, max=1_000_000, help="That share the work.")] = 1,
    json: Json = False,
) -> None:
    """Say what indexing costs: images per dollar, hours and dollars for a collection."""
    from dataclasses import asdict

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
    from tritonclip_export.bench.results import Report

    measurements = Report.load(report).measurements
    rates = [m.throughput.mean for m in measurements if m.workload == workload]
    if not rates:
        there = ", ".join(dict.fromkeys(m.workload for m in measurements))
        raise InvalidArgument(f"{report} has no workload {workload!r}; it has {there}")
    return max(rates)
