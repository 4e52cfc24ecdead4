"""Embedding files, read back by the libraries people read them with."""

import json
import os
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest

from tritonclip.errors import InvalidArgument
from tritonclip_cli.embedding_files import (
    FORMATS,
    NotWrittenError,
    check,
    open_writer,
    rows_in,
)
from tritonclip_search.space import Space
from tritonclip_search.vector_files import Origin

ORIGIN = Origin(Space("ViT-B-32:openai", "0" * 64, 7, "exact"), "fp16")
ROWS = np.random.default_rng(0).normal(size=(5, 7)).astype(np.float32)
NAMES = ["a.jpg", "b c.png", "日本.webp", "d", "e"]
FAILED = 2


def write(file: Path) -> None:
    with open_writer(file, ORIGIN) as writer:
        for i, name in enumerate(NAMES):
            writer.write(name, np.full(7, np.nan, np.float32) if i == FAILED else ROWS[i])


def test_every_format_keeps_every_bit_and_leaves_failures_out(tmp_path: Path) -> None:
    for format in FORMATS:
        write(tmp_path / f"vectors{format}")
    good = [i for i in range(5) if i != FAILED]

    npz = np.load(tmp_path / "vectors.npz")
    parquet = pq.read_table(tmp_path / "vectors.parquet")
    lines = [json.loads(x) for x in (tmp_path / "vectors.jsonl").read_text().splitlines()]

    for names, vectors in (
        (npz["names"].tolist(), npz["embeddings"]),
        (parquet["name"].to_pylist(), np.array(parquet["embedding"].to_pylist(), np.float32)),
        ([x["name"] for x in lines], np.array([x["embedding"] for x in lines], np.float32)),
    ):
        assert names == [NAMES[i] for i in good]
        np.testing.assert_array_equal(vectors, ROWS[good])


def test_rows_of_a_npy_stay_in_line_with_the_inputs(tmp_path: Path) -> None:
    write(tmp_path / "vectors.npy")

    vectors = np.load(tmp_path / "vectors.npy")

    assert np.isnan(vectors[FAILED]).all()
    np.testing.assert_array_equal(np.delete(vectors, FAILED, 0), np.delete(ROWS, FAILED, 0))


@pytest.mark.parametrize("format", FORMATS)
def test_a_failure_half_way_leaves_the_previous_file(format: str, tmp_path: Path) -> None:
    file = tmp_path / f"vectors{format}"
    write(file)
    before = file.read_bytes()

    def die_half_way() -> None:
        with open_writer(file, ORIGIN) as writer:
            writer.write("x", ROWS[0])
            raise RuntimeError("the server died")

    with pytest.raises(RuntimeError, match="the server died"):
        die_half_way()

    assert file.read_bytes() == before
    assert [path.name for path in tmp_path.iterdir()] == [file.name]


@pytest.mark.parametrize(
    "name", ["vectors.csv", "vectors", "no/such/folder/vectors.npy", "notes.jsonl", "pipe.npy"]
)
def test_a_file_that_cannot_be_written_is_refused_before_the_work(
    name: str, tmp_path: Path
) -> None:
    (tmp_path / "notes.jsonl").write_text('{"text": "not of ours"}\n')
    os.mkfifo(tmp_path / "pipe.npy")

    with pytest.raises(InvalidArgument, match=name):
        check(tmp_path / name, overwrite=False)


@pytest.mark.parametrize("format", FORMATS)
def test_a_result_replaces_only_what_has_no_more_vectors(format: str, tmp_path: Path) -> None:
    file = tmp_path / f"vectors{format}"
    write(file)
    before = file.read_bytes()
    there = rows_in(file)

    with pytest.raises(NotWrittenError, match="holds 4 vectors and this run has 1"):
        write_rows(file, ["a.jpg"], keep=there or 0)
    with pytest.raises(NotWrittenError, match="nothing could be embedded"):
        write_rows(file, [])

    assert there == len(NAMES) - 1
    assert file.read_bytes() == before
    write_rows(file, ["a.jpg"])
    assert rows_in(file) == 1


def test_a_result_goes_where_a_link_leads(tmp_path: Path) -> None:
    (tmp_path / "disk").mkdir()
    link = tmp_path / "vectors.npz"
    link.symlink_to("disk/vectors.npz")

    write(check(link, overwrite=False))

    assert link.is_symlink()
    assert rows_in(tmp_path / "disk/vectors.npz") == 4


def write_rows(file: Path, names: list[str], keep: int = 0) -> None:
    with open_writer(file, ORIGIN, keep=keep) as writer:
        for name in names:
            writer.write(name, ROWS[0])
