"""What the tests of archives share."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tritonclip import Client
from tritonclip_export.server.server import Server
from tritonclip_search import Collection, open_collection

NAMES = (
    *("cat", "dog", "tangerine", "lemon", "red apple", "rocket", "sushi", "octopus", "guitar"),
    *("castle", "penguin", "umbrella", "violin", "elephant", "tractor", "avocado", "snowman"),
    *("volcano", "bicycle", "key"),
)


@pytest.fixture
def nobody() -> Callable[[Callable[[], None]], None]:
    """Calls a function as a user who owns nothing, where the tests are run by root.

    To root, as whom tests run in containers, no file is closed. What the function imports has to
    be imported before. Not in a process of its own: a fork of one with threads may never end.
    """

    def call(function: Callable[[], None]) -> None:
        if os.geteuid():
            function()
            return
        os.setegid(65534)
        os.seteuid(65534)
        try:
            function()
        finally:
            os.seteuid(0)
            os.setegid(0)

    return call


@pytest.fixture
def open_folder() -> Iterator[Path]:
    """An empty folder that `nobody` can get to, as to `tmp_path` only its owner can."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        folder.chmod(0o755)
        yield folder
        for path in (folder, *folder.rglob("*/")):
            path.chmod(0o755)


@pytest.fixture(scope="session")
def search_server(server: Server) -> str:
    """The gRPC address of a server with the bundles `demo` (softmax) and `siglip` (sigmoid)."""
    return server.grpc_url


@pytest.fixture(scope="session")
def client(search_server: str) -> Iterator[Client]:
    """Of the demo checkpoint."""
    with Client(search_server, model="demo") as opened:
        yield opened


@pytest.fixture
def pictures(tmp_path: Path, twemoji: dict[str, bytes]) -> Path:
    """A folder with twenty drawings."""
    folder = tmp_path / "pictures"
    folder.mkdir()
    for label in NAMES:
        (folder / f"{label}.png").write_bytes(twemoji[label])
    return folder


@pytest.fixture
def collection(tmp_path: Path, client: Client) -> Iterator[Collection]:
    """One in a folder, not made yet."""
    with open_collection(str(tmp_path / "archive"), client) as opened:
        yield opened
