"""`capacity`: how many replicas a load needs, and what they cost."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from tritonclip.errors import InvalidArgument
from tritonclip_cli import output
from tritonclip_cli.groups import Group
from tritonclip_cli.options import Json
from tritonclip_cli.values import file

if TYPE_CHECKING:
    from tritonclip_export.capacity.plan import Plan, Rise


@dataclass(frozen=True)
class Traffic(Group, panel="What arrives"):
    """A day, and a burst on top of it."""

    day: Annotated[Path | None, file("A day, 24 lines HOUR,REQUESTS A SECOND.")] = None
    peak: Annotated[
        float | None,
        typer.Option(
            min=0.001, max=1e6, help="Instead: requests a second at the busiest, 16 o'clock."
        ),
    ] = None
    trough: Annotated[
        float | None,
        typer.Option(
            min=0.001, max=1e6, help="With --peak: at the quietest. [a fifth of the peak]"
        ),
    ] = None
    burst: Annotated[
        float | None,
        typer.Option(min=1, max=1000, help="So many times the load, in the busiest hour."),
    ] = None
    burst_seconds: Annotated[float, typer.Option(min=1, max=86_400, help="How long.")] = 300

    def rates(self) -> tuple[float, ...]:
        """Requests a second in each hour."""
        from tritonclip_export.capacity import traffic

        if (self.day is None) == (self.peak is None):
            raise InvalidArgument("say what arrives either with --day FILE or with --peak REQUESTS")
        if self.day is not None:
            return traffic.read_day(self.day)
        assert self.peak is not None
        return traffic.day(self.peak, self.peak / 5 if self.trough is None else self.trough)

    def rise(self) -> Rise | None:
        """The burst."""
        from tritonclip_export.capacity.plan import Rise

        return None if self.burst is None else Rise(self.burst, self.burst_seconds)


@dataclass(frozen=True)
class Fleet(Group, panel="What answers"):
    """Replicas and their autoscaling, as the chart's values have it."""

    p99: Annotated[
        float,
        typer.Option(min=0.1, max=1e6, help="Milliseconds for 99 of 100 requests at most."),
    ] = 200
    price: Annotated[float, typer.Option(min=0, max=1e6, help="Dollars an hour for a replica.")] = (
        1.0
    )
    least: Annotated[int, typer.Option(min=1, max=10_000, help="Replicas in any case.")] = 1
    most: Annotated[
        int, typer.Option(min=1, max=10_000, help="Replicas that a burst may start.")
    ] = 100
    queue: Annotated[
        float,
        typer.Option(min=0.1, max=1e6, help="Autoscaling's target: milliseconds in the queue."),
    ] = 20
    start_seconds: Annotated[
        float,
        typer.Option(min=0, max=86_400, help="From when a replica is wanted until it answers."),
    ] = 60


def capacity(
    report: Annotated[
        Path,
        file("What `bench --concurrency 1,2,4,8,16,32 --output` wrote of one replica.", "--from"),
    ],
    workload: Annotated[str, typer.Option(help="The one of the report.")] = "jpeg-640x480",
    *,
    traffic: Traffic,
    fleet: Fleet,
    json: Json = False,
) -> None:
    """Simulate how many replicas a day's load needs, what a burst does, and what it costs."""
    from tritonclip_export.bench.results import Report
    from tritonclip_export.capacity.autoscaler import Target
    from tritonclip_export.capacity.plan import plan, within
    from tritonclip_export.capacity.replica import replica_of

    replica = replica_of(Report.load(report), workload)
    most = within(replica, fleet.p99)
    found = plan(
        replica,
        traffic.rates(),
        p99_ms=fleet.p99,
        per_replica=most,
        price=fleet.price,
        rise=traffic.rise(),
        target=Target(fleet.queue, round(most, 1), fleet.least, fleet.most),
        start_seconds=fleet.start_seconds,
    )
    if json:
        output.print_json(asdict(found))
    else:
        _print(found, fleet)


def _print(found: Plan, fleet: Fleet) -> None:
    from rich.table import Table

    table = Table(box=None, header_style="bold", pad_edge=False)
    for column in ("hour", "requests/s", "replicas", "p99"):
        table.add_column(column, justify="right", no_wrap=True)
    for number, hour in enumerate(found.hours):
        rate, p99 = f"{hour.requests_per_second:,.1f}", f"{hour.p99_ms:.0f} ms"
        table.add_row(str(number), rate, str(hour.replicas), p99)
    output.print_table(table)
    console = output.console()
    most = max(hour.replicas for hour in found.hours)
    console.print(
        f"one replica: [bold]{found.per_replica:.1f}[/] requests/s within {fleet.p99:g} ms "
        "[dim]autoscaling.requestsPerSecond of the chart[/]"
    )
    console.print(
        f"a day: [bold]{found.dollars:.2f}[/] dollars, or {found.dollars_fixed:.2f} with {most} "
        "replicas all day"
    )
    if (burst := found.burst) is not None:
        (calm, high), (before, after) = burst.requests_per_second, burst.replicas
        until = (
            "not within the target again in a quarter of an hour"
            if burst.recovered_seconds is None
            else f"within the target again after {burst.recovered_seconds:.0f} s"
        )
        console.print(
            f"burst from {calm:,.0f} to {high:,.0f} requests/s: {before} replicas become {after}, "
            f"p99 {burst.p99_ms[0]:.0f} ms becomes {burst.p99_ms[1]:,.0f} ms, {until}"
        )
