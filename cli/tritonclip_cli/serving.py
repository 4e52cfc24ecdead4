"""`serve` and `doctor`: the server, and what this machine needs for it."""

from __future__ import annotations

import json as json_lines
import shlex
import signal
from enum import Enum
from pathlib import Path
from typing import Annotated, Literal

import typer

from tritonclip_cli import output
from tritonclip_cli.output import Json


class LogLevel(str, Enum):
    """The least severe lines of the server's log to show."""

    error = "error"
    warning = "warning"
    info = "info"
    verbose = "verbose"


def serve(
    repository: Annotated[Path, typer.Argument(help="What `assemble` wrote.")] = Path("repository"),
    host: Annotated[str, typer.Option(help="Address to listen on.")] = "127.0.0.1",
    http_port: Annotated[
        int | None, typer.Option(help="0: any free one. [8000, or a free one if busy]")
    ] = None,
    grpc_port: Annotated[int | None, typer.Option(help="Likewise. [8001]")] = None,
    metrics_port: Annotated[int | None, typer.Option(help="Likewise. [8002]")] = None,
    log_level: Annotated[LogLevel, typer.Option(help="Log lines to show.")] = LogLevel.warning,
    poll: Annotated[
        int | None,
        typer.Option(
            metavar="SECONDS", help="Follow changes of the repository, looking this often."
        ),
    ] = None,
    explicit: Annotated[
        bool,
        typer.Option("--explicit", help="Let callers load models anew, as `tune --server` does."),
    ] = False,
    container: Annotated[
        bool,
        typer.Option("--container", help="NVIDIA's container instead of the server from PyPI."),
    ] = False,
    tag: Annotated[
        str | None, typer.Option(help="With --container: its release, like 26.07.")
    ] = None,
    image: Annotated[str | None, typer.Option(help="With --container: another image.")] = None,
    gpus: Annotated[
        str | None, typer.Option(help="With --container: all, or device=0, as docker takes it.")
    ] = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="With --container: print the command, do not run it.")
    ] = False,
    json: Json = False,
) -> None:
    """Serve a repository until Ctrl-C, on the tritonserver from PyPI or in NVIDIA's container."""
    from tritonclip.errors import InvalidArgument
    from tritonclip_export.server.ports import Ports

    # Also when started in the background of a script, where SIGINT is ignored, or by a service
    # manager, which sends SIGTERM.
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.default_int_handler)
    ports = Ports(http=http_port, grpc=grpc_port, metrics=metrics_port)
    if explicit and poll is not None:
        raise InvalidArgument("--explicit and --poll are two ways to change a running server")
    control: Literal["none", "poll", "explicit"] = "none" if poll is None else "poll"
    if explicit:
        control = "explicit"
    load = ("*",) if explicit else ()
    if container:
        from tritonclip_export.repository.assemble import server_arguments
        from tritonclip_export.server import container as docker

        command = docker.docker_run(
            repository,
            image=image or docker.image_name(tag or docker.TAG),
            gpus=gpus,
            host=host,
            ports=ports,
            control=control,
            poll_seconds=poll or 5,
            load=load,
            extra_args=server_arguments(repository),
        )
        print(shlex.join(command))
        if not dry_run:
            docker.run(command)
        return
    if tag or image or gpus or dry_run:
        raise InvalidArgument("--tag, --image, --gpus and --dry-run go with --container")
    from tritonclip_export.server.log import Level
    from tritonclip_export.server.server import Server

    console = output.console(stderr=True)
    server = Server(
        repository,
        host=host,
        ports=ports,
        control=control,
        poll_seconds=poll or 5,
        load=load,
        log_level=Level[log_level.value.upper()],
    )
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


def doctor(json: Json = False) -> None:
    """Show what this machine has, what it lacks, and the command that brings it."""
    from dataclasses import asdict

    from tritonclip_export.doctor import diagnose

    checks = diagnose()
    if json:
        output.print_json([asdict(check) for check in checks])
        return
    from rich.text import Text

    styles = {"ok": "green", "warn": "yellow", "missing": "red"}
    console = output.console()
    width = max(len(check.name) for check in checks)
    for check in checks:
        # As plain text, where the brackets of "tritonclip[serve]" are no markup, and in lines that
        # the terminal wraps, so that a command can be copied whole.
        mark = Text(f"{check.status:8}", styles[check.status])
        console.print(Text.assemble(mark, f"{check.name:{width}}  ", check.found))
        if check.remedy:
            console.print(Text(f"{'':8}{'':{width}}  {check.remedy}", "dim"))
