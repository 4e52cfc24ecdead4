"""What only Qdrant does, and how it refuses."""

from __future__ import annotations

from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from threading import Thread

import pytest
from qdrant_client import QdrantClient, models

from tritonclip.errors import InvalidArgument
from tritonclip_search.errors import StoreDenied, StoreError, StoreUnavailable
from tritonclip_search.space import Description, Space
from tritonclip_search.stores.opening import open_store

DESCRIPTION = Description(Space("ViT-B-32:test", "ab" * 32, 8, "exact"))


class Refusing(BaseHTTPRequestHandler):
    """Answers as Qdrant does to a wrong key, and repeats the key, which Qdrant does not."""

    def do_GET(self) -> None:
        self.send_response(401)
        self.end_headers()
        self.wfile.write(f"Must provide an API key, not {self.headers['api-key']}".encode())

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def refusing_port() -> Iterator[int]:
    with HTTPServer(("127.0.0.1", 0), Refusing) as server:
        Thread(target=server.serve_forever, daemon=True).start()
        yield server.server_address[1]
        server.shutdown()


# Not 127.0.0.1, where a Qdrant for the other tests may listen on 6334.
@pytest.mark.parametrize("place", ["127.0.0.2:{free}", "127.0.0.2:6334"])
def test_a_server_that_is_down_is_named(place: str, free_port: int) -> None:
    address = place.format(free=free_port)
    with pytest.raises(StoreUnavailable, match=f"qdrant://{address} cannot be reached"):
        open_store(f"qdrant://{address}")


@pytest.mark.filterwarnings("ignore:Api key is used with an insecure connection")
@pytest.mark.parametrize("login", [":hunter2@{}", "{}/?api_key=hunter2"])
def test_a_wrong_key_is_refused_without_showing_it(login: str, refusing_port: int) -> None:
    with pytest.raises(StoreDenied, match="does not accept the API key") as raised:
        open_store(f"qdrant://{login.format(f'127.0.0.1:{refusing_port}')}")
    assert "hunter2" not in str(raised.value)
    assert raised.value.__cause__ is None


def test_a_folder_that_is_open_elsewhere_is_named(qdrant_folder: str) -> None:
    store = open_store(qdrant_folder)
    with pytest.raises(StoreUnavailable, match="another process has qdrant:///"):
        open_store(qdrant_folder)
    store.close()


def test_a_collection_of_somebody_else_is_neither_listed_nor_dropped(qdrant_folder: str) -> None:
    client = QdrantClient(path=qdrant_folder.removeprefix("qdrant://"))
    client.create_collection(
        "press", models.VectorParams(size=8, distance=models.Distance.COSINE), metadata={"ours": 1}
    )
    client.close()
    store = open_store(qdrant_folder)
    assert store.names() == []
    for call in (lambda: store.drop("press"), lambda: store.create("press", DESCRIPTION)):
        with pytest.raises(StoreError, match="not made by tritonclip"):
            call()
    store.close()


def test_an_option_that_does_not_exist_is_named_with_those_that_do() -> None:
    with pytest.raises(InvalidArgument, match="no option 'colour'; it has api_key, tls"):
        open_store("qdrant://127.0.0.1?colour=red&api_key=hunter2")
