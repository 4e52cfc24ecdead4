"""`gateway` and `up`: HTTP in front of a running server, and both at once."""

from __future__ import annotations

import json as json_lines
import signal
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from tritonclip.errors import InvalidArgument
from tritonclip_cli import output
from tritonclip_cli.groups import Group
from tritonclip_cli.options import LOCAL, Json, Traces
from tritonclip_cli.values import file

if TYPE_CHECKING:
    from tritonclip_gateway.settings import Settings


@dataclass(frozen=True)
class Where(Group, panel="Where"):
    """What it listens on, and what is behind it."""

    host: Annotated[str | None, typer.Option(help="Address to listen on. [127.0.0.1]")] = None
    port: Annotated[int | None, typer.Option(min=0, max=65_535, help="0: any free one. [8080]")] = (
        None
    )
    archive: Annotated[
        str | None,
        typer.Option("--archive", "-s", help="The store to search: a folder, postgresql://, ..."),
    ] = None
    collection: Annotated[
        str | None,
        typer.Option("--collection", "-c", help="The collection in the store. [pictures]"),
    ] = None
    alias: Annotated[
        list[str] | None, typer.Option(help="ALIAS=BUNDLE, another name of it; repeatable.")
    ] = None
    policy: Annotated[Path | None, file("A policy for /v1/moderations, a YAML file.")] = None
    head: Annotated[
        list[str] | None,
        typer.Option(help="NAME=FILE, a head for /v1/heads/NAME; repeatable."),
    ] = None
    default_model: Annotated[
        str | None, typer.Option(help="The bundle, or its alias, of requests that name none.")
    ] = None


@dataclass(frozen=True)
class Callers(Group, panel="Who may ask"):
    """Keys, rates and what browsers may do."""

    keys_file: Annotated[
        Path | None, typer.Option("--keys", help="A file of API keys' hashes. [everybody may]")
    ] = None
    new_key: Annotated[
        str | None,
        typer.Option(metavar="NAME", help="Add a key to that file, print it, and end."),
    ] = None
    rate: Annotated[
        str | None, typer.Option(help="Requests of each caller, e.g. 100/minute. [any]")
    ] = None
    cors: Annotated[
        str | None,
        typer.Option(metavar="ORIGINS", help="Whose pages may ask, comma-separated. [none]"),
    ] = None
    tls_certificate: Annotated[Path | None, file("A PEM file, for https.")] = None
    tls_key: Annotated[Path | None, file("The PEM file of its key.")] = None
    insecure: Annotated[
        bool, typer.Option("--insecure", help="Listen for other machines without keys.")
    ] = False


@dataclass(frozen=True)
class Limits(Group, panel="Limits"):
    """How much it takes on."""

    timeout: Annotated[
        float | None,
        typer.Option(
            min=0.001, max=86_400, help="Seconds for a request, its waiting included. [60]"
        ),
    ] = None
    queue: Annotated[
        int | None, typer.Option(min=1, help="Items in work or waiting; beyond that, 429. [1024]")
    ] = None
    concurrency: Annotated[
        int | None, typer.Option(min=1, help="Requests in flight to each server. [64]")
    ] = None
    max_items: Annotated[int | None, typer.Option(min=1, help="Of a request. [2048]")] = None
    max_body_bytes: Annotated[int | None, typer.Option(min=1, help="Of a request. [64 MiB]")] = None
    allow_urls: Annotated[
        str | None,
        typer.Option(metavar="HOSTS", help="Hosts to fetch pictures from, comma-separated. [none]"),
    ] = None


@dataclass(frozen=True)
class Telling(Group, panel="What it tells"):
    """Logs and traces."""

    log_level: Annotated[
        Literal["debug", "info", "warning", "error"],
        typer.Option(help="Lines of JSON to show; of each request, from info on."),
    ] = "info"
    traces: Traces = None


_OPTIONS = {"aliases": "alias", "heads": "head", "keys_file": "keys"}
"""Of settings that are called otherwise."""


def gateway(
    *,
    triton: Annotated[
        list[str] | None,
        typer.Option(help=f"HOST:PORT (gRPC) of a server; several share the load. [{LOCAL}]"),
    ] = None,
    where: Where,
    callers: Callers,
    limits: Limits,
    telling: Telling,
    json: Json = False,
) -> None:
    """Speak OpenAI's embeddings API, search and more, in front of a running server.

    What is not given here is taken from the environment: TRITONCLIP_GATEWAY_QUEUE and so on.
    """
    if callers.new_key is not None:
        _add_key(callers)
    else:
        run(settings(where, callers, limits, telling, triton), telling.log_level, json=json)


def _add_key(callers: Callers) -> None:
    from tritonclip_gateway.guards.keys import add_key

    if callers.keys_file is None or callers.new_key is None:
        raise InvalidArgument("--new-key goes with --keys FILE, which its hash is added to")
    print(add_key(callers.keys_file, callers.new_key))


def settings(
    where: Where,
    callers: Callers,
    limits: Limits,
    telling: Telling,
    triton: Sequence[str] | None,
) -> Settings:
    """What the options say; the environment says the rest.

    Raises:
        InvalidArgument: a value makes no sense.
    """
    from pydantic import ValidationError

    from tritonclip_gateway.settings import Settings

    given: dict[str, Any] = {
        **vars(where),
        **vars(callers),
        **vars(limits),
        "triton": triton,
        "traces": telling.traces,
    }
    del given["new_key"]
    given["insecure"] = callers.insecure or None
    given["aliases"] = ",".join(given.pop("alias") or ()) or None
    given["heads"] = ",".join(given.pop("head") or ()) or None
    try:
        return Settings(**{name: value for name, value in given.items() if value is not None})
    except ValidationError as error:
        first = error.errors()[0]
        name = _OPTIONS.get(str(first["loc"][0]), str(first["loc"][0])).replace("_", "-")
        raise InvalidArgument(f"--{name}: {first['msg']}, not {first['input']!r}") from error


def run(settings: Settings, log_level: str, *, json: bool) -> None:
    """Serve until Ctrl-C, and tell where."""
    from tritonclip_gateway.serving import HttpServer
    from tritonclip_gateway.telemetry.logs import log_as_json

    log_as_json(log_level)
    console = output.console(stderr=True)

    def tell(server: HttpServer) -> None:
        if json:
            print(json_lines.dumps({"http": server.url}), flush=True)
            return
        console.print(f"[green]ready[/]  [bold]{server.url}[/]")
        console.print(
            f"[dim]base URL of OpenAI's clients: {server.url}/v1; documentation: "
            f"{server.url}/docs; Ctrl-C stops it[/]"
        )

    _interruptible()
    with suppress(KeyboardInterrupt):
        HttpServer(settings, tell).run()


def up(
    served: Annotated[
        list[Path], typer.Argument(metavar="BUNDLE...", help="Bundles, or one repository.")
    ],
    *,
    repository: Annotated[
        Path, typer.Option(help="Where a repository of the bundles is assembled.")
    ] = Path("repository"),
    where: Where,
    callers: Callers,
    limits: Limits,
    telling: Telling,
    json: Json = False,
) -> None:
    """Run a server and a gateway in front of it until one Ctrl-C: everything at once.

    The server listens on loopback and free ports.
    """
    from tritonclip_export.server.log import Level
    from tritonclip_export.server.ports import Ports
    from tritonclip_export.server.server import Server

    _interruptible()
    given = settings(where, callers, limits, telling, None)
    folder = _repository(served, repository)
    console = output.console(stderr=True)
    server = Server(
        folder,
        ports=Ports(0, 0, 0),
        traces=telling.traces,
        log_level=Level.WARNING,
        restart=True,
    )
    try:
        with console.status(f"starting tritonserver on {folder}"):
            server.start()
        run(given.model_copy(update={"triton": (server.grpc_url,)}), telling.log_level, json=json)
    finally:
        server.stop()


def _interruptible() -> None:
    """End with what has to be done at the end, also when a service manager says so.

    uvicorn stops in its own way, then raises the signal again for whoever was there before.
    """
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.default_int_handler)


def _repository(served: Sequence[Path], target: Path) -> Path:
    """The repository that was given, or one of the bundles."""
    from tritonclip_export.bundle import Bundle
    from tritonclip_export.repository.assemble import assemble

    if len(served) == 1 and any(served[0].glob("*/config.pbtxt")):
        return served[0]
    assemble([Bundle.load(bundle) for bundle in served], target, runtime="python")
    return target
