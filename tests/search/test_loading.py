"""Vectors that are there already, loaded into collections: no server is asked."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from tritonclip import Client
from tritonclip_bulk.pool import Endpoints
from tritonclip_bulk.run import Options, bulk
from tritonclip_search import Collection, SourceError, SpaceMismatch, open_collection, open_store
from tritonclip_search.indexing.loading import load
from tritonclip_search.space import Space
from tritonclip_search.vector_files import Origin, find, schema

TRITONCLIP = Path(sys.executable).with_name("tritonclip")


def run(*arguments: object, environment: dict[str, str]) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [TRITONCLIP, *map(str, arguments)], env=environment, capture_output=True, text=True
    )


@pytest.fixture
def vectors(pictures: Path, search_server: str, tmp_path: Path) -> Path:
    """What `bulk` writes of twenty drawings, in three shards."""
    target = tmp_path / "vectors"
    bulk([str(pictures)], str(target), Endpoints((search_server,), "demo"), options=Options(8))
    return target


def test_what_bulk_wrote_is_searched_as_if_it_had_been_indexed(
    vectors: Path, pictures: Path, client: Client, collection: Collection, tmp_path: Path
) -> None:
    collection.add([pictures])
    store = open_store(str(tmp_path / "loaded"))

    loaded = load(store, "pictures", find(str(vectors)))
    store.close()

    assert loaded == 20
    with open_collection(str(tmp_path / "loaded"), client) as other:
        expected, found = ({r.id: r for r in c.embedded()} for c in (collection, other))
        assert expected.keys() == found.keys()
        for id, record in expected.items():
            for field in ("path", "folders", "size", "modified", "sha256", "date", "width"):
                assert getattr(found[id], field) == getattr(record, field)
            vector = found[id].vector
            assert vector is not None
            assert record.vector is not None
            np.testing.assert_allclose(vector, record.vector, atol=1e-5)
        hits = [hit.path for hit in other.search("a rocket", top=3)]
        assert hits == [hit.path for hit in collection.search("a rocket", top=3)]
        # So there is nothing left to embed.
        assert other.add([pictures]).unchanged == 20


def test_the_command_line_loads_what_embed_and_bulk_write(
    vectors: Path, pictures: Path, search_server: str, environment: dict[str, str], tmp_path: Path
) -> None:
    parquet = tmp_path / "embedded.parquet"
    where = ("--url", search_server, "--model", "demo")
    run("embed", pictures, "-o", parquet, *where, environment=environment)
    store = ("--store", tmp_path / "archive", "--json")

    embedded = run("index", "--from", parquet, "-c", "one", *store, environment=environment)
    bulked = run("index", "--from", vectors, "-c", "two", *store, environment=environment)
    again = run("index", "--from", vectors, "-c", "two", *store, environment=environment)
    both = run("index", pictures, "--from", vectors, *store, environment=environment)
    listed = run("collections", *store, environment=environment)

    assert json.loads(embedded.stdout) == {"collection": "one", "loaded": 20, "files": 1}
    assert json.loads(bulked.stdout) == {"collection": "two", "loaded": 20, "files": 3}
    assert again.returncode == 0
    assert both.returncode == 1
    assert "--from" in both.stderr
    assert {c["name"]: c["records"] for c in json.loads(listed.stdout)} == {"one": 20, "two": 20}


def test_vectors_of_another_model_are_refused(
    vectors: Path, tmp_path: Path, client: Client
) -> None:
    other = Space("ViT-B-32:openai", "0" * 64, client.info().dim, "exact")
    table = pa.table(
        {"name": ["a"], "embedding": [[0.0] * other.dim]}, schema=schema(Origin(other, "fp32"))
    )
    pq.write_table(table, tmp_path / "other.parquet")
    store = open_store(str(tmp_path / "archive"))
    load(store, "pictures", find(str(vectors)))

    with pytest.raises(SpaceMismatch, match=r"ViT-B-32:openai"):
        load(store, "pictures", find(str(tmp_path / "other.parquet")))
    (tmp_path / "other.parquet").rename(vectors / "vectors" / "other.parquet")
    with pytest.raises(SourceError, match=r"other\.parquet holds vectors of ViT-B-32:openai"):
        find(str(vectors))

    assert store.count("pictures") == 20
    store.close()


def test_a_run_that_is_not_done_or_has_lost_a_file_is_refused(vectors: Path) -> None:
    last = vectors / "vectors" / "000002.parquet"
    manifest = (vectors / "manifest.json").read_bytes()
    content = last.read_bytes()

    last.write_bytes(content[:-10])
    with pytest.raises(SourceError, match=r"000002\.parquet has \d+,?\d* bytes, not"):
        find(str(vectors))
    last.unlink()
    with pytest.raises(SourceError, match=r"000002\.parquet is missing"):
        find(str(vectors))
    last.write_bytes(content)
    (vectors / "manifest.json").unlink()
    with pytest.raises(SourceError, match=r"not done: run that again"):
        find(str(vectors))
    (vectors / "manifest.json").write_bytes(manifest)

    assert sum(file.rows for file in find(str(vectors))) == 20


def test_a_parquet_file_of_anything_else_is_named(tmp_path: Path) -> None:
    pq.write_table(pa.table({"name": ["a"], "embedding": [[1.0]]}), tmp_path / "x.parquet")
    (tmp_path / "y.parquet").write_bytes(b"none")

    with pytest.raises(SourceError, match=r"x\.parquet does not say which model"):
        find(str(tmp_path / "x.parquet"))
    with pytest.raises(SourceError, match=r"y\.parquet cannot be read as a file of vectors"):
        find(str(tmp_path / "y.parquet"))
    (tmp_path / "empty").mkdir()
    with pytest.raises(SourceError, match=r"no \.parquet files"):
        find(str(tmp_path / "empty"))
