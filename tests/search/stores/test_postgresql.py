"""What only PostgreSQL does: its index, its extension, and how it refuses."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import psycopg
import pytest

from tritonclip.errors import InvalidArgument
from tritonclip_search.errors import StoreDenied, StoreError, StoreUnavailable
from tritonclip_search.filters import OneOf
from tritonclip_search.records import Kind, Record, file_id, folders_of
from tritonclip_search.space import Description, Space
from tritonclip_search.stores import postgresql
from tritonclip_search.stores.opening import open_store

DIM = 32
NAME = "press"
DESCRIPTION = Description(Space("ViT-B-32:test", "ab" * 32, DIM, "exact"))


def records(number: int) -> list[Record]:
    vectors = np.random.default_rng(7).standard_normal((number, DIM)).astype(np.float32)
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    return [
        Record(
            id=file_id(str(i)),
            file=file_id(str(i)),
            kind=Kind.IMAGE,
            path=f"/pictures/{i}.jpg",
            folders=folders_of(f"/pictures/{i}.jpg"),
            size=i,
            modified=0,
            sha256="",
            date=0,
            width=i % 50,
            height=1,
            format="PNG",
            precision="fp32",
            vector=vector,
        )
        for i, vector in enumerate(vectors)
    ]


@pytest.fixture
def admin(postgresql_server: str) -> Iterator[psycopg.Connection]:
    with psycopg.connect(postgresql_server, autocommit=True) as connection:
        yield connection


@pytest.fixture
def database(admin: psycopg.Connection, postgresql_server: str) -> Iterator[str]:
    """The URL of a database that has never had anything in it."""
    admin.execute("CREATE DATABASE fresh")
    yield postgresql_server.replace("/postgres?", "/fresh?")
    admin.execute("DROP DATABASE fresh WITH (FORCE)")


def test_an_index_finds_nearly_all_and_a_filter_loses_nothing(
    database: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(postgresql, "EXACT_UNTIL", 1000)
    store, made = open_store(database), records(3000)
    store.create(NAME, DESCRIPTION)
    store.upsert(NAME, made)
    asked = made[0].vector
    exact = [one.id for one in store.nearest(NAME, asked, top=50)]
    method = store.settle(NAME)
    assert (method.name, method.exact) == ("HNSW (ef_construction=200), ef_search=400", False)
    assert store.settle(NAME) == method  # and has not built a second one
    with psycopg.connect(database) as other:
        built = other.execute("SELECT count(*) FROM pg_indexes WHERE indexdef LIKE '%hnsw%'")
        assert built.fetchone() == (1,)
    found = [one.id for one in store.nearest(NAME, asked, top=50)]
    assert len(set(found) & set(exact)) >= 48
    where = OneOf("width", (49,))
    assert len(store.nearest(NAME, asked, top=100, where=where)) == 60
    rare = OneOf("path", (made[2000].path,))
    assert [one.id for one in store.nearest(NAME, asked, top=5, where=rare)] == [made[2000].id]
    assert len(store.nearest(NAME, asked, top=4000)) == 3000
    store.close()


def test_a_connection_from_before_the_first_collection_sees_those_made_anew(database: str) -> None:
    early, other = open_store(database), open_store(database)
    for vectors in ("float32", "float16", "float32"):
        description = Description(DESCRIPTION.space, vectors)
        other.create(NAME, description)
        other.upsert(NAME, records(3))
        for _ in range(8):  # often enough for a plan to be kept
            assert len(early.nearest(NAME, records(1)[0].vector, top=3)) == 3
            assert len(list(early.scan(NAME, vectors=True))) == 3
        other.drop(NAME)
    early.close()
    other.close()


def test_anybody_can_ask_in_sql(database: str) -> None:
    store = open_store(database)
    store.create(NAME, DESCRIPTION)
    store.upsert(NAME, records(20))
    with psycopg.connect(database) as other:
        found = other.execute(
            "SELECT path FROM press WHERE width >= 10 AND folders && '{/pictures}' ORDER BY"
            " vector <#> (SELECT vector FROM press WHERE path = '/pictures/12.jpg') LIMIT 1"
        ).fetchall()
    assert found == [("/pictures/12.jpg",)]
    store.close()


def test_a_table_of_somebody_else_is_neither_listed_nor_dropped(database: str) -> None:
    with psycopg.connect(database) as other:
        other.execute("CREATE TABLE press (note text)")
        other.execute("COMMENT ON TABLE press IS 'of the newsroom'")
    store = open_store(database)
    assert store.names() == []
    for call in (lambda: store.drop(NAME), lambda: store.create(NAME, DESCRIPTION)):
        with pytest.raises(StoreError, match="not made by tritonclip"):
            call()
    with psycopg.connect(database) as other:
        assert other.execute("SELECT count(*) FROM press").fetchone() == (0,)
    store.close()


def reload(admin: psycopg.Connection) -> None:
    """Let the server read its files again."""
    loaded = admin.execute("SELECT pg_conf_load_time()").fetchone()
    admin.execute("SELECT pg_reload_conf()")
    while admin.execute("SELECT pg_conf_load_time()").fetchone() == loaded:
        time.sleep(0.01)


def test_a_wrong_password_is_named_without_the_password(
    admin: psycopg.Connection, database: str
) -> None:
    admin.execute("CREATE ROLE guest LOGIN PASSWORD 'right'")
    found = admin.execute("SHOW hba_file").fetchone()
    assert found is not None
    rules = Path(found[0])
    before = rules.read_text()
    rules.write_text(f"local all guest scram-sha-256\n{before}")
    reload(admin)
    try:
        url = database.replace("postgres:@", "guest:hunter2@")
        with pytest.raises(StoreDenied, match="does not let us in") as raised:
            open_store(url)
        assert "hunter2" not in str(raised.value)
        assert "guest:***@" in str(raised.value)
        reader = open_store(url.replace("hunter2", "right"))
        assert reader.names() == []
        with pytest.raises(StoreDenied, match="may not add pgvector"):
            reader.create(NAME, DESCRIPTION)
        reader.close()
    finally:
        rules.write_text(before)
        reload(admin)
        admin.execute("DROP ROLE guest")


def test_a_server_without_pgvector_is_told_what_to_install(
    admin: psycopg.Connection, database: str
) -> None:
    admin.execute("ALTER DATABASE fresh SET extension_control_path = '/nowhere'")
    store = open_store(database)
    with pytest.raises(StoreError, match="lacks the extension pgvector; install it"):
        store.create(NAME, DESCRIPTION)
    assert store.names() == []
    store.close()


def test_a_server_that_is_down_is_named(free_port: int) -> None:
    with pytest.raises(StoreUnavailable, match=r"postgresql://me:\*\*\*@127.0.0.1") as raised:
        open_store(f"postgresql://me:hunter2@127.0.0.1:{free_port}/archive")
    assert "hunter2" not in str(raised.value)


def test_a_connection_that_was_cut_is_made_again(admin: psycopg.Connection, database: str) -> None:
    store = open_store(database)
    store.create(NAME, DESCRIPTION)
    admin.execute("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = 'fresh'")
    with pytest.raises(StoreUnavailable, match="cannot be reached"):
        store.count(NAME)
    assert store.count(NAME) == 0
    store.close()


def test_an_option_that_does_not_exist_is_named() -> None:
    with pytest.raises(InvalidArgument, match="colour"):
        open_store("postgresql:///archive?colour=red&password=hunter2")
