"""What only the store in a folder does: its file of vectors."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from tritonclip_search.errors import StoreDenied
from tritonclip_search.filters import Compare, Filter
from tritonclip_search.records import Kind, Record, file_id, folders_of
from tritonclip_search.space import Description, Space
from tritonclip_search.stores.opening import open_store

DIM = 64
HALF = Description(Space("ViT-B-32:test", "ab" * 32, DIM, "exact"), "float16")

# Writes for ever, a batch at a time, and says what has been acknowledged.
WRITER = """
import sys
sys.path.insert(0, {here!r})
from test_local import HALF, make
from tritonclip_search.stores.opening import open_store
store = open_store(sys.argv[1])
store.create("press", HALF)
for batch in range(1000):
    store.upsert("press", [make(f"/p/{{batch}}/{{i}}.jpg") for i in range(50)])
    print(batch, flush=True)
"""


def make(path: str) -> Record:
    """A record whose vector follows from its path."""
    seed = int.from_bytes(file_id(path)[:8].encode(), "big") % 2**32
    vector = np.random.default_rng(seed).standard_normal(DIM).astype(np.float32)
    return Record(
        id=file_id(path),
        file=file_id(path),
        kind=Kind.IMAGE,
        path=path,
        folders=folders_of(path),
        size=1,
        modified=1,
        sha256="",
        date=1,
        width=1,
        height=1,
        format="PNG",
        precision="fp32",
        vector=vector / np.linalg.norm(vector),
    )


def test_settling_gives_back_the_room_of_what_was_removed(tmp_path: Path) -> None:
    store = open_store(str(tmp_path / "archive"))
    reader = open_store(str(tmp_path / "archive"))
    records = [make(f"/p/{i}.jpg") for i in range(200)]
    store.create("press", HALF)
    store.upsert("press", records)
    store.upsert("press", records[:100])  # replaced: their old vectors are left behind
    store.delete("press", [one.id for one in records[50:150]])
    left = [*records[:50], *records[150:]]
    assert len(reader.nearest("press", left[0].vector, top=200)) == 100
    store.settle("press")
    (vectors,) = (tmp_path / "archive" / "press").glob("vectors.*")
    assert vectors.stat().st_size == 100 * DIM * 2
    for one in left:
        assert reader.nearest("press", one.vector, top=1)[0].path == one.path
    assert len(reader.nearest("press", left[0].vector, top=200)) == 100


@pytest.mark.parametrize("where", [None, Compare("width", ">=", 1)])
def test_half_precision_is_compared_down_to_its_smallest_numbers(
    tmp_path: Path, where: Filter | None
) -> None:
    numbers = np.float16([*range(-3, 4)]) * np.float16(2**-24)  # 2**-24 is the least there is
    numbers = np.float16([-1, -0.3, -(2**-14), *numbers, 2**-14, 1e-4, 0.1, 0.3, 0.3002, 1])
    store = open_store(str(tmp_path / "archive"))
    store.create("press", HALF)
    rows = np.zeros((len(numbers), DIM), np.float32)
    rows[:, 3] = numbers
    rows[:, 0] = np.sqrt(1 - rows[:, 3] ** 2)
    made = [replace(make(f"/p/{i}.jpg"), vector=row) for i, row in enumerate(rows)]
    store.upsert("press", made)
    along = np.eye(DIM, dtype=np.float32)[3]
    found = store.nearest("press", along, top=len(made), where=where)
    assert [one.path for one in found] == [one.path for one in reversed(made)]


@pytest.mark.parametrize("run", range(3))
def test_a_writer_that_is_killed_loses_nothing_it_was_told_is_written(
    tmp_path: Path, run: int
) -> None:
    archive = str(tmp_path / "archive")
    code = WRITER.format(here=str(Path(__file__).parent))
    with subprocess.Popen(
        [sys.executable, "-c", code, archive], stdout=subprocess.PIPE, text=True
    ) as writer:
        assert writer.stdout is not None
        for _ in range(5):
            writer.stdout.readline()
        time.sleep(0.01 * run)
        os.kill(writer.pid, signal.SIGKILL)
        acknowledged = 5 + len(writer.stdout.read().split())
    store = open_store(archive)
    found = {one.path: one for one in store.scan("press", vectors=True)}
    assert acknowledged * 50 <= len(found) <= (acknowledged + 1) * 50
    assert len(found) % 50 == 0
    for path, one in found.items():
        np.testing.assert_array_equal(one.vector, make(path).vector.astype(np.float16))
    store.upsert("press", [make("/p/after.jpg")])
    assert store.nearest("press", make("/p/after.jpg").vector, top=1)[0].path == "/p/after.jpg"


def test_an_archive_that_may_not_be_written_can_still_be_searched(
    open_folder: Path, nobody: Callable[[Callable[[], None]], None]
) -> None:
    archive = open_folder / "archive"
    store = open_store(str(archive))
    store.create("press", HALF)
    store.upsert("press", [make("/p/1.jpg")])
    store.close()
    for path in (open_folder, archive, *archive.rglob("*")):
        path.chmod(0o555 if path.is_dir() else 0o444)

    def ask() -> None:
        store = open_store(str(archive))
        assert store.nearest("press", make("/p/1.jpg").vector, top=1)[0].path == "/p/1.jpg"
        with pytest.raises(StoreDenied, match="cannot be written by this user"):
            store.upsert("press", [make("/p/2.jpg")])

    nobody(ask)
