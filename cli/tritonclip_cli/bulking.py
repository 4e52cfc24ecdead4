"""`bulk`: many pictures into files of vectors, on this machine or on a Ray cluster."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from tritonclip.errors import InvalidArgument
from tritonclip_cli import output
from tritonclip_cli.groups import Group
from tritonclip_cli.options import LOCAL, Json, known_address
from tritonclip_cli.values import ANY_NAME, check, folder

if TYPE_CHECKING:
    from tritonclip_bulk.embedder import Recipe
    from tritonclip_bulk.run import OnProgress, Progress, Report

# Shards that failed, of which the reasons are told.
_SHOWN = 10


@dataclass(frozen=True)
class Embedding(Group, panel="What embeds"):
    """Servers, or a bundle in each worker."""

    url: Annotated[
        list[str] | None,
        typer.Option(
            "--url",
            "-u",
            envvar="TRITONCLIP_URL",
            callback=check(known_address),
            help=f"A server; repeatable, for a pool of them. [{LOCAL}]",
        ),
    ] = None
    model: Annotated[
        str | None, typer.Option("--model", "-m", help="The bundle's name, if they have several.")
    ] = None
    in_flight: Annotated[
        int,
        typer.Option(
            min=1, max=1024, help="Requests to each server at a time, of all workers together."
        ),
    ] = 4
    bundle: Annotated[
        Path | None, folder("No server: this bundle's ONNX encoder, in each worker.")
    ] = None
    precision: Annotated[
        Literal["fp32", "fp16", "bf16", "int8"], typer.Option(help="With --bundle.")
    ] = "fp32"

    def recipe(self) -> Recipe:
        """What a worker makes its embedder by.

        Raises:
            InvalidArgument: both are named.
        """
        if self.bundle is not None:
            from tritonclip_bulk.in_process import InProcess

            if self.url or self.model:
                raise InvalidArgument("give servers with --url, or a --bundle, not both")
            return InProcess(self.bundle.absolute(), self.precision)
        from tritonclip_bulk.pool import Endpoints

        return Endpoints(tuple(self.url or [LOCAL]), self.model, self.in_flight)


@dataclass(frozen=True)
class Shards(Group, panel="Shards"):
    """How the sources are cut and read. A target keeps to what it was begun with."""

    shard: Annotated[
        int,
        typer.Option(
            min=1, max=1_000_000, help="Pictures in one; a tar is one, whatever it holds."
        ),
    ] = 2048
    column: Annotated[
        str | None,
        typer.Option(help="Of Parquet files: the pictures, or their paths. [if it is plain]"),
    ] = None
    key: Annotated[
        str | None, typer.Option(help="Of Parquet files: names of the pictures. [FILE!/ROW]")
    ] = None
    half: Annotated[bool, typer.Option("--half", help="Keep the vectors in half precision.")] = (
        False
    )


def bulk(
    sources: Annotated[
        list[str],
        typer.Argument(
            parser=ANY_NAME,
            help="Folders, pictures, WebDataset tars, Parquet files, globs, s3://...",
        ),
    ],
    *,
    to: Annotated[
        str,
        typer.Option("--out", "-o", parser=ANY_NAME, help="A folder, or s3://... and its like."),
    ],
    on: Annotated[
        str | None,
        typer.Option(
            metavar="CLUSTER",
            help="Ray: local, ray://HOST:PORT, or HOST:PORT. [no Ray: this process]",
        ),
    ] = None,
    workers: Annotated[
        int | None,
        typer.Option(min=1, max=100_000, help="With --on: processes. [one on each two cores]"),
    ] = None,
    retry: Annotated[
        bool, typer.Option("--retry", help="Do shards anew in which pictures failed.")
    ] = False,
    embedding: Embedding,
    shards: Shards,
    json: Json = False,
) -> None:
    """Embed very many pictures into Parquet files, shard by shard.

    What is killed goes on when it is run again, and gives the same bytes. Pictures that cannot be
    embedded are left out and listed with their reasons; the exit status is then 1, as it is where a
    shard could not be done.
    """
    from tritonclip_bulk.cluster import Cluster
    from tritonclip_bulk.here import here
    from tritonclip_bulk.pictures import Columns
    from tritonclip_bulk.run import Options, bulk

    if on is None and workers is not None:
        raise InvalidArgument("--workers is of a cluster: say which with --on, e.g. --on local")
    options = Options(shards.shard, Columns(shards.column, shards.key), shards.half)
    with _progress(quiet=json) as on_progress:
        report = bulk(
            sources,
            to,
            embedding.recipe(),
            options=options,
            engine=here if on is None else Cluster(on, workers),
            retry=retry,
            on_progress=on_progress,
        )
    if json:
        output.print_json(asdict(report))
    else:
        _print(report, to)
    for why in report.undone[:_SHOWN]:
        print(f"not done: {why}", file=sys.stderr)
    if report.done < report.shards:
        why = "stopped, as nothing succeeds any more: " if report.stopped else ""
        print(
            f"{why}{report.shards - report.done:,} shards are not done. What is done is kept; run "
            "the same again, and it goes on after it",
            file=sys.stderr,
        )
    if report.failed or report.done < report.shards:
        raise typer.Exit(1)


def _print(report: Report, target: str) -> None:
    from tritonclip_cli.archive_output import escaped

    console = output.console()
    earlier = f", {report.earlier:,} of them by earlier runs" if report.earlier else ""
    console.print(
        f"[bold]{report.rows:,}[/] vectors in {report.done:,} shards{earlier} -> "
        f"[bold]{escaped(target)}[/]"
    )
    if report.failed:
        console.print(f"[bold]{report.failed:,}[/] pictures failed: see quarantine.jsonl there")


@contextmanager
def _progress(*, quiet: bool) -> Iterator[OnProgress]:
    """A bar of shards on standard error, with the rate of pictures and the time left."""
    import time

    from rich import progress

    if quiet:
        yield lambda _: None
        return
    began = time.monotonic()
    with progress.Progress(
        progress.TextColumn("shards"),
        progress.BarColumn(),
        progress.MofNCompleteColumn(),
        progress.TextColumn("[dim]{task.fields[rate]}"),
        progress.TimeRemainingColumn(),
        console=output.console(stderr=True),
        transient=True,
    ) as bar:
        task = bar.add_task("", total=None, rate="")

        def advance(now: Progress) -> None:
            rate = now.rows / (time.monotonic() - began)
            failed = f", {now.failed:,} failed" if now.failed else ""
            said = f"{now.rows:,} pictures, {rate:,.0f} a second{failed}" if now.rows else ""
            bar.update(task, total=now.shards, completed=now.done, rate=said)

        yield advance
