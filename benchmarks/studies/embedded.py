"""Stores that need no server, beside a plain product in NumPy: what a folder should be kept in.

    python -m benchmarks.studies.embedded

For each, 100,000 records with clustered vectors of 512 dimensions are written in batches of 256,
as an indexer does. Then they are asked in turns: a new process until its first answer, then the
median, and a scan of all records without vectors, as a second indexing run needs. NumPy's
product with a file mapped into memory is the floor of what an exact scan can take.
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import numpy as np

from benchmarks import record
from tritonclip.types import FloatArray
from tritonclip_search import open_store
from tritonclip_search.records import Kind, Record, file_id, folders_of
from tritonclip_search.space import Description, Space

DIM, BATCH, CLUSTERS, QUERIES = 512, 256, 200, 20
NAME = "measured"
FIRST = """
import numpy as np
from tritonclip_search import open_store
open_store({url!r}).nearest({name!r}, np.full({dim}, {dim} ** -0.5, np.float32), top=20)
"""


def main() -> None:
    """Measure both stores and write the result."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--records", type=int, default=100_000)
    parser.add_argument("--rounds", type=int, default=3)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as home:
        stores = {"folder": f"{home}/folder", "LanceDB": f"lancedb://{home}/lance"}
        figures = {name: _write(url, options.records) for name, url in stores.items()}
        rounds: dict[str, list[dict[str, float]]] = {name: [] for name in stores}
        for _ in range(options.rounds):
            for name, url in stores.items():
                rounds[name].append(_ask(url))
        for name, answers in rounds.items():
            for key in answers[0]:
                figures[name][key] = statistics.median(answer[key] for answer in answers)
        floor = _floor(Path(home, "plain.npy"), options.records)
    print(json.dumps(figures, indent=2), floor)
    print(record.save("embedded", {"records": options.records, "numpy_ms": floor, **figures}))


def vectors(count: int, seed: int) -> FloatArray:
    """Unit vectors in clusters, [count, DIM]."""
    centres = np.random.default_rng(0).standard_normal((CLUSTERS, DIM))
    random = np.random.default_rng(seed)
    made = centres[random.integers(CLUSTERS, size=count)]
    made = made + 0.6 * random.standard_normal((count, DIM))
    unit: FloatArray = (made / np.linalg.norm(made, axis=1, keepdims=True)).astype(np.float32)
    return unit


def _write(url: str, count: int) -> dict[str, float]:
    store = open_store(url)
    store.create(NAME, Description(Space("measured", "00" * 32, DIM, "exact")))
    spent = 0.0
    for begin in range(0, count, BATCH):
        batch = list(_records(begin, min(BATCH, count - begin)))
        began = time.monotonic()
        store.upsert(NAME, batch)
        spent += time.monotonic() - began
    began = time.monotonic()
    store.settle(NAME)
    settled = time.monotonic() - began
    store.close()
    folder = Path(url.removeprefix("lancedb://"))
    size = sum(file.stat().st_size for file in folder.rglob("*") if file.is_file())
    return {
        "records_per_second": count / spent,
        "settle_seconds": settled,
        "bytes_a_record": size / count,
    }


def _ask(url: str) -> dict[str, float]:
    code = FIRST.format(url=url, name=NAME, dim=DIM)
    first = _milliseconds(lambda: subprocess.run([sys.executable, "-c", code], check=True))
    store = open_store(url)
    nearest = _median(lambda query: store.nearest(NAME, query, top=20))
    scan = _milliseconds(lambda: sum(1 for _ in store.scan(NAME)))
    store.close()
    return {"first_ms": first, "nearest_ms": nearest, "scan_ms": scan}


def _floor(file: Path, count: int) -> float:
    np.save(file, vectors(count, seed=1))
    mapped = np.load(file, mmap_mode="r")
    return _median(lambda query: mapped @ query)


def _median(ask: Callable[[FloatArray], object]) -> float:
    """Milliseconds of one of many queries."""
    return statistics.median(_milliseconds(partial(ask, q)) for q in vectors(QUERIES, seed=2))


def _milliseconds(work: Callable[[], object]) -> float:
    began = time.monotonic()
    work()
    return 1e3 * (time.monotonic() - began)


def _records(begin: int, count: int) -> Iterator[Record]:
    for number, vector in enumerate(vectors(count, seed=begin), begin):
        path = f"/pictures/{number // 1000}/{number}.jpg"
        yield Record(
            id=file_id(path),
            file=file_id(path),
            kind=Kind.IMAGE,
            path=path,
            folders=folders_of(path),
            size=number,
            modified=number,
            sha256=f"{number:064x}",
            date=number,
            width=640,
            height=480,
            format="JPEG",
            precision="fp32",
            vector=vector,
        )


if __name__ == "__main__":
    main()
