"""From an address to a store."""

from __future__ import annotations

import sys

import pytest

from tritonclip_search.errors import StoreNotInstalled
from tritonclip_search.stores.opening import open_store


@pytest.mark.parametrize(
    ("url", "module", "library", "extra"),
    [
        ("lancedb://archive", "lance", "lancedb", "lancedb"),
        ("postgresql://me:hunter2@db/archive", "postgresql", "psycopg", "pgvector"),
        ("postgresql://me:hunter2@db/archive", "postgresql", "pgvector", "pgvector"),
        ("milvus://me:hunter2@db", "milvus", "pymilvus", "milvus"),
        ("qdrant://:hunter2@db", "qdrant", "qdrant_client", "qdrant"),
        ("weaviate://:hunter2@db", "weaviate", "weaviate", "weaviate"),
    ],
)
def test_a_library_that_is_missing_is_named_with_its_install_line(
    url: str, module: str, library: str, extra: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delitem(sys.modules, f"tritonclip_search.stores.{module}", raising=False)
    monkeypatch.setitem(sys.modules, library, None)
    with pytest.raises(StoreNotInstalled) as raised:
        open_store(url)
    assert f'{library}, which is not installed. pip install "tritonclip[{extra}]"' in str(
        raised.value
    )
