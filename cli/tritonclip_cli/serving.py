"""`serve` and `doctor`: the server, and what this machine needs for it."""

from __future__ import annotations

import json as json_lines
import shlex
import signal
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from tritonclip.errors import InvalidArgument
from tritonclip_cli import output
from tritonclip_cli.groups import Group
from tritonclip_cli.options import Json, Traces, known_address, release
from tritonclip_cli.values import check

if TYPE_CHECKING:
    from tritonclip_export.server.ports import Ports
    from tritonclip_export.server.server import Control, Server


@dataclass(frozen=True)
class Listening(Group):
    """The address and the ports."""

    host: Annotated[str, typer.Option(help="Address to listen on.")] = "127.0.0.1"
    http_port: Annotated[
        int | None,
        typer.Option(min=0, max=65_535, help="0: any free one. [8000, or a free one if busy]"),
    ] = None
    grpc_port: Annotated[int | None, typer.Option(min=0, max=65_535, help="Likewise. [8001]")] = (
        None
    )
    metrics_port: Annotated[
        int | None, typer.Option(min=0, max=65_535, help="Likewise. [8002]")
    ] = None

    def ports(self) -> Ports:
        """The ports alone."""
        from tritonclip_export.server.ports import Ports

        return Ports(http=self.http_port, grpc=self.grpc_port, metrics=self.metrics_port)


@dataclass(frozen=True)
class Changes(Group):
    """How the models of a running server may change."""

    poll: Annotated[
        int | None,
        typer.Option(
            min=1,
            max=86_400,
            metavar="SECONDS",
            help="Follow changes of the repository, looking this often.",
        ),
    ] = None
    explicit: Annotated[
        bool,
        typer.Option("--explicit", help="Let callers load models anew, as `tune --server` does."),
    ] = False

    def control(self) -> Control:
        """Triton's word for it."""
        if self.explicit and self.poll is not None:
            raise InvalidArgument("--explicit and --poll are two ways to change a running server")
        if self.explicit:
            return "explicit"
        return "none" if self.poll is None else "poll"

    @property
    def poll_seconds(self) -> int:
        """How often `poll` looks."""
        return self.poll or 5

    @property
    def load(self) -> tuple[str, ...]:
        """The models that `explicit` begins with."""
        return ("*",) if self.explicit else ()


@dataclass(frozen=True)
class Container(Group):
    """NVIDIA's container, and how it is run."""

    container: Annotated[
        bool,
        typer.Option("--container", help="NVIDIA's container instead of the server from PyPI."),
    ] = False
    tag: Annotated[
        str | None,
        typer.Option(callback=release, help="With --container: its release, like 26.07."),
    ] = None
    image: Annotated[str | None, typer.Option(help="With --container: another image.")] = None
    gpus: Annotated[
        str | None, typer.Option(help="With --container: all, or device=0, as docker takes it.")
    ] = None
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="With --container: print the command, do not run it.")
    ] = False

    def check(self) -> None:
        """Refuse its options where it is not wanted."""
        if not self.container and (self.tag or self.image or self.gpus or self.dry_run):
            raise InvalidArgument("--tag, --image, --gpus and --dry-run go with --container")


def serve(
    repository: Annotated[Path, typer.Argument(help="What `assemble` wrote.")] = Path("repository"),
    *,
    listening: Listening,
    log_level: Annotated[
        Literal["error", "warning", "info", "verbose"], typer.Option(help="Log lines to show.")
    ] = "warning",
    traces: Traces = None,
    changes: Changes,
    container: Container,
    json: Json = False,
) -> None:
    """Serve a repository until Ctrl-C, on the tritonserver from PyPI or in NVIDIA's container."""
    from tritonclip_export.server.log import Level
    from tritonclip_export.server.server import Server

    # Also when started in the background of a script, where SIGINT is ignored, or by a service
    # manager, which sends SIGTERM.
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.default_int_handler)
    container.check()
    if container.container:
        _serve_in(container, repository, listening, changes, traces)
        return
    server = Server(
        repository,
        host=listening.host,
        ports=listening.ports(),
        control=changes.control(),
        poll_seconds=changes.poll_seconds,
        load=changes.load,
        traces=traces,
        log_level=Level[log_level.upper()],
        restart=True,
    )
    _run(server, repository, json=json)


def _serve_in(
    container: Container,
    repository: Path,
    listening: Listening,
    changes: Changes,
    traces: str | None,
) -> None:
    from tritonclip_export.repository.assemble import server_arguments
    from tritonclip_export.server import container as docker
    from tritonclip_export.server.server import tracing_arguments

    command = docker.docker_run(
        repository,
        image=container.image or docker.image_name(container.tag or docker.TAG),
        gpus=container.gpus,
        host=listening.host,
        ports=listening.ports(),
        control=changes.control(),
        poll_seconds=changes.poll_seconds,
        load=changes.load,
        extra_args=[*server_arguments(repository), *tracing_arguments(traces)],
    )
    print(shlex.join(command))
    if not container.dry_run:
        docker.run(command)


def _run(server: Server, repository: Path, *, json: bool) -> None:
    """Start a server, tell where it is, and wait for its end or Ctrl-C."""
    console = output.console(stderr=True)
    try:
        with console.status(f"starting tritonserver on {repository}"):
            server.start()
        if json:
            urls = {"grpc": server.grpc_url, "http": server.http_url, "metrics": server.metrics_url}
            print(json_lines.dumps(urls), flush=True)
        else:
            console.print(f"[green]ready[/]  gRPC [bold]{server.grpc_url}[/]")
            console.print(f"       HTTP http://{server.http_url}")
            console.print(f"       metrics http://{server.metrics_url}/metrics")
            console.print(f"[dim]tritonclip info --url {server.grpc_url}; Ctrl-C stops it[/]")
        server.wait()
    except KeyboardInterrupt:
        console.print("stopping")
    finally:
        server.stop()


def doctor(
    url: Annotated[
        str | None,
        typer.Option(
            "--url",
            "-u",
            envvar="TRITONCLIP_URL",
            callback=check(known_address),
            help="HOST:PORT (gRPC) or http://... of a server to ask. [127.0.0.1:8001, if it runs]",
        ),
    ] = None,
    json: Json = False,
) -> None:
    """Show what this machine has, what it lacks, and whether a server that runs is well."""
    from tritonclip_export.doctor import diagnose

    findings = diagnose(url)
    if json:
        output.print_json([asdict(finding) for finding in findings])
        return
    from rich.text import Text

    styles = {"ok": "green", "warn": "yellow", "missing": "red"}
    console = output.console()
    width = max(len(finding.name) for finding in findings)
    for finding in findings:
        # As plain text, where the brackets of "tritonclip[serve]" are no markup, and in lines that
        # the terminal wraps, so that a command can be copied whole.
        mark = Text(f"{finding.status:8}", styles[finding.status])
        console.print(Text.assemble(mark, f"{finding.name:{width}}  ", finding.found))
        if finding.remedy:
            console.print(Text(f"{'':8}{'':{width}}  {finding.remedy}", "dim"))
