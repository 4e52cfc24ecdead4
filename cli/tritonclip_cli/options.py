"""Options that several commands take, with the same name and meaning in each."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated
from urllib.parse import urlsplit

import typer

from tritonclip.errors import InvalidArgument
from tritonclip_cli.groups import Group
from tritonclip_cli.values import check, file, folder

if TYPE_CHECKING:
    from tritonclip import Client

LOCAL = "127.0.0.1:8001"
UTF8 = "utf-8"


def known_address(url: str) -> None:
    """Refuse what is no address of a server."""
    from tritonclip.endpoint import parse_endpoint

    parse_endpoint(url)


def known_collector(url: str) -> None:
    """Refuse what is no address of a collector of spans."""
    parts = urlsplit(url)
    if parts.scheme not in ("http", "https") or not parts.hostname or parts.path in ("", "/"):
        raise InvalidArgument(
            f"{url!r} is no address of a collector: http://HOST:4318/v1/traces is, say"
        )


def known_template(template: str) -> None:
    """Refuse what is neither a sentence for labels nor the name of some."""
    from tritonclip.prompts import resolve_templates

    resolve_templates(template)


def known_encoding(name: str) -> None:
    """Refuse what is no encoding of text, or one whose lines cannot be told apart as bytes."""
    try:
        ends = "\n".encode(name)
    except (LookupError, UnicodeError):
        raise InvalidArgument(
            f"no encoding is called {name!r}; there are utf-8, latin-1, cp1252, shift_jis ..."
        ) from None
    if ends != b"\n":
        raise InvalidArgument(f"convert the text first: iconv -f {name} -t utf-8")


def known_rate(fps: float) -> None:
    """Refuse what is no rate to take frames of a video at."""
    from tritonclip_search.video.sampling import check_fps

    check_fps(fps)


Json = Annotated[bool, typer.Option("--json", help="Print the result as JSON.")]
Traces = Annotated[
    str | None,
    typer.Option(
        callback=check(known_collector),
        metavar="URL",
        help="Send spans there (OTLP), e.g. http://localhost:4318/v1/traces.",
    ),
]
Fps = Annotated[
    float,
    typer.Option(min=0.001, max=240, callback=check(known_rate), help="Frames a second of videos."),
]
HubFolder = Annotated[
    Path | None,
    folder(
        "Take files that live on the Hugging Face hub from this folder: ORG/NAME/FILE.", "--from"
    ),
]
Labels = Annotated[
    str | None,
    typer.Option("--labels", "-l", help="Comma-separated: 'cat, dog, teapot'."),
]
LabelsFile = Annotated[Path | None, file("A text file with one label a line.")]
Encoding = Annotated[
    str,
    typer.Option(callback=check(known_encoding), help="Of text files and of standard input."),
]
Template = Annotated[
    list[str] | None,
    typer.Option(
        callback=check(known_template),
        help="photo, openai (80 prompts), plain, or a sentence with {}; repeatable.",
    ),
]


def _release(tag: str) -> None:
    if not re.fullmatch(r"\d\d\.\d\d", tag):
        raise InvalidArgument(f"{tag!r} is not a release of NVIDIA's container, like 26.07")


release = check(_release)


@dataclass(frozen=True)
class Connection(Group):
    """A running server, and which of its bundles is asked."""

    url: Annotated[
        str,
        typer.Option(
            "--url",
            "-u",
            envvar="TRITONCLIP_URL",
            callback=check(known_address),
            help="HOST:PORT (gRPC) or http://...",
        ),
    ] = LOCAL
    model: Annotated[
        str | None,
        typer.Option("--model", "-m", help="The bundle's name, if the server has several."),
    ] = None

    def client(self) -> Client:
        """A client of it."""
        from tritonclip import Client

        return Client(self.url, model=self.model)
