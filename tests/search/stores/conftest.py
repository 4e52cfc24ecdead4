"""Each store that runs here, empty, by the name of its scheme.

To add one: a function that gives its URL, in `STORES`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest

from tritonclip_search.stores.opening import open_store
from tritonclip_search.stores.store import Store


def local(request: pytest.FixtureRequest) -> str:
    """A folder of this test."""
    return str(request.getfixturevalue("tmp_path") / "archive")


def lancedb(request: pytest.FixtureRequest) -> str:
    """A folder of this test."""
    return f"lancedb://{request.getfixturevalue('tmp_path')}/lance"


STORES: dict[str, Callable[[pytest.FixtureRequest], str]] = {"local": local, "lancedb": lancedb}


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
