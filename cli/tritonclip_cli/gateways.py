"""`gateway`: HTTP in front of a running server."""

from __future__ import annotations

import json as json_lines
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any

import typer

from tritonclip.errors import InvalidArgument
from tritonclip_cli import output
from tritonclip_cli.groups import Group
from tritonclip_cli.options import LOCAL, Json

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
    default_model: Annotated[
        str | None, typer.Option(help="The bundle, or its alias, of requests that name none.")
    ] = None


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


def gateway(
    *,
    triton: Annotated[
        list[str] | None,
        typer.Option(help=f"HOST:PORT (gRPC) of a server; several share the load. [{LOCAL}]"),
    ] = None,
    where: Where,
    limits: Limits,
    json: Json = False,
) -> None:
    """Speak OpenAI's embeddings API, search and more, in front of a running server.

    What is not given here is taken from the environment: TRITONCLIP_GATEWAY_QUEUE and so on.
    """
    run(settings(where, limits, triton), json=json)


def settings(where: Where, limits: Limits, triton: list[str] | None) -> Settings:
    """What the options say; the environment says the rest.

    Raises:
        InvalidArgument: a value makes no sense.
    """
    from pydantic import ValidationError

    from tritonclip_gateway.settings import Settings

    given: dict[str, Any] = {**vars(where), **vars(limits), "triton": triton}
    given["aliases"] = ",".join(given.pop("alias") or ()) or None
    try:
        return Settings(**{name: value for name, value in given.items() if value is not None})
    except ValidationError as error:
        first = error.errors()[0]
        name = ".".join(map(str, first["loc"])).replace("_", "-")
        raise InvalidArgument(f"--{name}: {first['msg']}, not {first['input']!r}") from error


def run(settings: Settings, *, json: bool) -> None:
    """Serve until Ctrl-C, and tell where."""
    from tritonclip_gateway.serving import HttpServer

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

    HttpServer(settings, tell).run()
