"""What only Milvus does: its index, its versions, and how it refuses."""

from __future__ import annotations

from dataclasses import replace

import pytest
from pymilvus import DataType, MilvusClient

from tests.search.stores.test_contract import DIM, archive
from tritonclip.errors import InvalidArgument
from tritonclip_search.errors import StoreDenied, StoreError, StoreUnavailable
from tritonclip_search.space import Description, Space
from tritonclip_search.stores import milvus
from tritonclip_search.stores.opening import open_store

NAME = "settled"
DESCRIPTION = Description(Space("ViT-B-32:test", "ab" * 32, DIM, "exact"))


def test_an_index_takes_the_place_of_the_exact_scan(
    milvus_file: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(milvus, "EXACT_UNTIL", 50)
    store, made = open_store(milvus_file), archive()
    store.create(NAME, DESCRIPTION)
    store.upsert(NAME, made)
    exact = [one.id for one in store.nearest(NAME, made[0].vector, top=10)]
    method = store.settle(NAME)
    assert not method.exact
    assert method.name.startswith("HNSW")
    assert store.settle(NAME) == method
    found = [one.id for one in store.nearest(NAME, made[0].vector, top=10)]
    assert len(set(found) & set(exact)) >= 9
    store.drop(NAME)
    store.close()


def test_quotes_and_backslashes_are_filtered_for_as_they_are(milvus_file: str) -> None:
    store = open_store(milvus_file)
    store.create(NAME, DESCRIPTION)
    paths = ['/a/it\'s "1"\\.jpg', "/a/\\n.jpg", "/a/\n.jpg", "/a/%.jpg", "/a/\N{SNOWMAN}.jpg"]
    made = [replace(one, path=path) for one, path in zip(archive(), paths, strict=False)]
    store.upsert(NAME, made)
    for one in made:
        (found,) = store.scan(NAME, where=milvus.OneOf("path", (one.path,)))
        assert found.path == one.path
    store.drop(NAME)
    store.close()


def test_a_collection_of_somebody_else_is_neither_listed_nor_dropped(milvus_file: str) -> None:
    client = MilvusClient(milvus_file.removeprefix("milvus://"))
    schema = client.create_schema()
    schema.add_field("key", DataType.INT64, is_primary=True)
    schema.add_field("vector", DataType.FLOAT_VECTOR, dim=8)
    client.create_collection("theirs", schema=schema)
    store = open_store(milvus_file)
    assert store.names() == []
    for call in (lambda: store.drop("theirs"), lambda: store.create("theirs", DESCRIPTION)):
        with pytest.raises(StoreError, match="not made by tritonclip"):
            call()
    client.drop_collection("theirs")
    store.close()


def test_a_server_that_is_down_is_named(free_port: int) -> None:
    with pytest.raises(StoreUnavailable, match=r"milvus://me:\*\*\*@127.0.0.1") as raised:
        open_store(f"milvus://me:hunter2@127.0.0.1:{free_port}")
    assert "hunter2" not in str(raised.value)


def test_an_option_that_does_not_exist_is_named_with_those_that_do() -> None:
    with pytest.raises(InvalidArgument, match="no option 'colour'; it has database, tls, token"):
        open_store("milvus://127.0.0.1?colour=red&token=hunter2")


@pytest.mark.slow
def test_a_wrong_password_is_refused_without_showing_it(milvus_server: str) -> None:
    address = milvus_server.rpartition("@")[2]
    for url in (f"milvus://root:hunter2@{address}", f"milvus://{address}?token=root:hunter2"):
        with pytest.raises(StoreDenied, match="does not let us in") as raised:
            open_store(url)
        assert "hunter2" not in str(raised.value)
