"""Options that several commands take, with the same name and meaning in each."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from tritonclip_cli.groups import Group

if TYPE_CHECKING:
    from tritonclip import Client

LOCAL = "127.0.0.1:8001"

Json = Annotated[bool, typer.Option("--json", help="Print the result as JSON.")]
HubFolder = Annotated[
    Path | None,
    typer.Option(
        "--from",
        exists=True,
        file_okay=False,
        help="Take files that live on the Hugging Face hub from this folder: ORG/NAME/FILE.",
    ),
]


def folder(help: str) -> Any:
    """An option that names a folder which is there."""
    return typer.Option(exists=True, file_okay=False, help=help)


def file(help: str) -> Any:
    """An option that names a file which is there."""
    return typer.Option(exists=True, dir_okay=False, help=help)


@dataclass(frozen=True)
class Connection(Group):
    """A running server, and which of its bundles is asked."""

    url: Annotated[
        str,
        typer.Option("--url", "-u", envvar="TRITONCLIP_URL", help="HOST:PORT (gRPC) or http://..."),
    ] = LOCAL
    model: Annotated[
        str | None,
        typer.Option("--model", "-m", help="The bundle's name, if the server has several."),
    ] = None

    def client(self) -> Client:
        """A client of it."""
        from tritonclip import Client

        return Client(self.url, model=self.model)
