"""`tune`: the settings under which a repository is served best, found and written."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from tritonclip.errors import InvalidArgument
from tritonclip_cli import output
from tritonclip_cli.groups import Group
from tritonclip_cli.options import Json, known_address
from tritonclip_cli.values import check, folder

if TYPE_CHECKING:
    from rich.table import Table

    from tritonclip_export.bench.workloads import Workload
    from tritonclip_export.repository.setting import Setting
    from tritonclip_export.tuning.search import Figures, Objective, Trial
    from tritonclip_export.tuning.tune import Tuned


_CALLERS = {"throughput": 32, "latency": 4}
_COLOURS = {"kept": "green", "refused": "red", "over the limit": "yellow"}


@dataclass(frozen=True)
class Goal(Group):
    """What counts as better."""

    objective: Annotated[
        Literal["throughput", "latency"],
        typer.Option(help="Items a second, or the 99th percentile of latency."),
    ] = "throughput"
    p99: Annotated[
        float | None,
        typer.Option(
            min=0.001, metavar="MS", help="The most throughput whose p99 stays within this."
        ),
    ] = None

    def wanted(self) -> Objective:
        """The same for the search."""
        from tritonclip_export.tuning.search import Objective

        if self.p99 is not None and (self.p99 <= 0 or self.objective == "latency"):
            raise InvalidArgument(
                "--p99 is a positive limit for --objective throughput; --objective latency makes "
                "p99 as small as it can"
            )
        return Objective(self.objective, self.p99)


@dataclass(frozen=True)
class Effort(Group):
    """How long is looked, and with how much load."""

    minutes: Annotated[
        float, typer.Option(min=0.01, max=10_000, help="For both towers together, about.")
    ] = 5
    seconds: Annotated[
        float | None,
        typer.Option(
            min=0.1,
            max=86_400,
            help="Of one measurement, at least. (default: by the time there is)",
        ),
    ] = None
    concurrency: Annotated[
        int | None,
        typer.Option(
            min=1,
            max=4096,
            help="Callers, each waiting for its answer. (default: 32; 4 for latency)",
        ),
    ] = None

    def check(self) -> None:
        """Refuse no time at all."""
        if self.minutes <= 0:
            raise InvalidArgument(f"--minutes must be positive, not {self.minutes:g}")


@dataclass(frozen=True)
class Sent(Group, panel="What is sent"):
    """A workload for each tower, and what sends it."""

    workloads: Annotated[
        str,
        typer.Option(help="One for each tower to tune, named as for `bench`; comma-separated."),
    ] = "jpeg-640x480,text-short"
    images: Annotated[Path | None, folder("A folder of your own images for the image tower.")] = (
        None
    )
    processes: Annotated[int, typer.Option(min=1, max=256, help="That make the load.")] = 1

    def chosen(self) -> list[Workload]:
        """What was named, with one's own images in place of others."""
        from tritonclip_export import samples
        from tritonclip_export.bench import workloads

        named = workloads.named(self.workloads)
        if self.images is None:
            return named
        own = workloads.of_files(samples.images_in(self.images))
        return [own, *(workload for workload in named if workload.kind != "image")]


def tune(
    repository: Annotated[
        Path, typer.Argument(help="What `assemble` wrote; may be in use.")
    ] = Path("repository"),
    *,
    bundle: Annotated[
        str | None, typer.Option("--bundle", help="Its name, if the repository has several.")
    ] = None,
    goal: Goal,
    effort: Effort,
    sent: Sent,
    server: Annotated[
        str | None,
        typer.Option(
            metavar="HOST:PORT",
            callback=check(known_address),
            help="Tune on this server of the repository, started with `serve --explicit`. "
            "(default: start the one from PyPI)",
        ),
    ] = None,
    json: Json = False,
) -> None:
    """Find instances, threads and batching that serve best on this machine, and write them.

    Each candidate runs under load on a real server. One that gains more than measurements vary is
    kept, and in the end compared with the beginning once more. `assemble` keeps what was written.
    """
    from tritonclip_export.bench import environment
    from tritonclip_export.tuning.tune import tune

    objective = goal.wanted()
    effort.check()
    console = output.console(stderr=True)
    baselines: dict[str, Setting] = {}

    def show(workload: Workload, trial: Trial) -> None:
        baseline = baselines.setdefault(workload.name, trial.setting)
        what = _described(trial.setting, baseline)
        console.print(f"{workload.name}  {what}  {_figures(trial.figures)}  {_verdict(trial)}")

    done = tune(
        repository,
        sent.chosen(),
        bundle=bundle,
        objective=objective,
        concurrency=effort.concurrency or _CALLERS[goal.objective],
        processes=sent.processes,
        seconds=effort.minutes * 60,
        each=effort.seconds,
        server=server,
        show=show,
    )
    if json:
        here = environment.here().model_dump()
        output.print_json({**here, "tuned": [asdict(found) for found in done]})
        return
    output.print_table(_table(done))
    for found in done:
        _print_gain(found, goal.p99)


def _table(done: list[Tuned]) -> Table:
    from rich.table import Table

    table = Table(box=None, header_style="bold", pad_edge=False)
    table.add_column("workload", no_wrap=True)
    table.add_column("candidate")
    table.add_column("items/s", justify="right", no_wrap=True)
    table.add_column("p99", justify="right", no_wrap=True)
    table.add_column("")
    for found in done:
        for trial in found.outcome.trials:
            f = trial.figures
            table.add_row(
                found.workload,
                _described(trial.setting, found.outcome.before),
                f"{f.throughput:,.1f}" if f else "",
                f"{f.p99_ms:,.1f}" if f else "",
                _verdict(trial),
            )
    return table


def _print_gain(found: Tuned, limit: float | None) -> None:
    console, outcome = output.console(), found.outcome
    before, best = outcome.figures_before, outcome.figures_best
    if outcome.gained:
        console.print(
            f"{found.workload}: [bold]gained {outcome.gain:.1%}[/] "
            f"({_figures(before)} -> {_figures(best)}), where {outcome.noise:.1%} could be noise"
        )
        console.print(f"[dim]{_described(outcome.best, outcome.before)}[/]")
        console.print(f"[dim]written to {', '.join(found.written)}; `assemble` keeps it[/]")
    elif len(outcome.trials) == 1:
        console.print(f"{found.workload}: [bold]nothing tried[/], and nothing written")
    else:
        console.print(
            f"{found.workload}: [bold]nothing gained[/] beyond what measurements vary by; nothing "
            f"written ({_figures(best)})"
        )
    if limit is not None and best.p99_ms > limit:
        console.print(f"[yellow]p99 is still {best.p99_ms:,.1f} ms, over {limit:g} ms[/]")
    if outcome.untried:
        console.print(
            f"[yellow]no time for {', '.join(outcome.untried)}[/]: give more with --minutes"
        )
    for doubt in found.doubts:
        console.print(f"[yellow]{found.workload}:[/] {doubt}")


def _described(setting: Setting, baseline: Setting) -> str:
    changes = setting.changes(baseline)
    listed = ", ".join(f"{name} {old} -> {new}" for name, (old, new) in changes.items())
    return listed or "as it is"


def _figures(figures: Figures | None) -> str:
    return f"{figures.throughput:,.1f}/s, p99 {figures.p99_ms:,.1f} ms" if figures else ""


def _verdict(trial: Trial) -> str:
    from rich.markup import escape

    colour = _COLOURS.get(trial.verdict, "dim")
    gain = "" if trial.gain is None else f" {trial.gain:+.1%}"
    reason = f" ({escape(trial.reason)})" if trial.reason else ""
    return f"[{colour}]{trial.verdict}[/]{gain}{reason}"
