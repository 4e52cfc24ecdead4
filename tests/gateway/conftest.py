"""A real gateway in front of a real Triton server, and of an archive of drawings."""

from __future__ import annotations

import base64
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from pathlib import Path

import httpx
import pytest
from openai import OpenAI

from gateways import running
from tritonclip import Client
from tritonclip_export.server.server import Server
from tritonclip_gateway.serving import HttpServer
from tritonclip_search import open_collection

NAMES = ("cat", "dog", "tangerine", "lemon", "red apple", "rocket", "octopus", "guitar", "castle")

Start = Callable[..., AbstractContextManager[HttpServer]]


@pytest.fixture(scope="session")
def start() -> Start:
    """Starts gateways with settings of their own."""
    return running


@pytest.fixture(scope="session")
def pictures(tmp_path_factory: pytest.TempPathFactory, twemoji: dict[str, bytes]) -> Path:
    """A folder with drawings."""
    folder = tmp_path_factory.mktemp("gateway") / "pictures"
    folder.mkdir()
    for name in NAMES:
        (folder / f"{name}.png").write_bytes(twemoji[name])
    return folder


@pytest.fixture(scope="session")
def archive(pictures: Path, server: Server) -> Path:
    """An archive of those."""
    folder = pictures.parent / "archive"
    with Client(server.grpc_url, model="demo") as client, open_collection(str(folder), client) as c:
        c.add([pictures])
    return folder


@pytest.fixture(scope="session")
def gateway(server: Server, archive: Path) -> Iterator[HttpServer]:
    """One that most tests ask."""
    with running(
        triton=(server.grpc_url,),
        archive=str(archive),
        aliases={"clip": "demo"},
        default_model="clip",
    ) as started:
        yield started


@pytest.fixture(scope="session")
def http(gateway: HttpServer) -> Iterator[httpx.Client]:
    """A plain client of it."""
    with httpx.Client(base_url=gateway.url, timeout=30) as opened:
        yield opened


@pytest.fixture(scope="session")
def openai(gateway: HttpServer) -> Iterator[OpenAI]:
    """OpenAI's own client, told nothing but the URL."""
    with OpenAI(base_url=f"{gateway.url}/v1", api_key="unused", max_retries=0) as client:
        yield client


@pytest.fixture(scope="session")
def triton(server: Server) -> Iterator[Client]:
    """The direct way, to compare with."""
    with Client(server.grpc_url, model="demo") as client:
        yield client


@pytest.fixture(scope="session")
def data_uri(twemoji: dict[str, bytes]) -> Callable[[str], str]:
    """A drawing, as browsers and most APIs write it."""
    return lambda name: f"data:image/png;base64,{base64.b64encode(twemoji[name]).decode()}"
