"""What bulk runs cost beside `embed`: Ray, an interruption, memory; and how fast vectors load.

    python -m benchmarks.studies.bulk bundles/demo            # some five minutes, in parts:
    python -m benchmarks.studies.bulk bundles/demo --only cost
    python -m benchmarks.studies.bulk bundles/demo --only shards loading

The commands are run as users run them, in turns, against one server on the same cores. Loading is
of vectors of 512 numbers, which are made here. Growth is simulated from what was measured.
"""

from __future__ import annotations

import argparse
import heapq
import json
import signal
import subprocess
import sys
import tempfile
import time
import zipfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import pyarrow as pa
import pyarrow.parquet as pq

from benchmarks import record, store_servers
from benchmarks.servers import served
from tritonclip_bulk.cluster import Cluster
from tritonclip_bulk.embedder import Answer, Model
from tritonclip_bulk.run import Options, bulk
from tritonclip_export.bundle import Bundle
from tritonclip_search.indexing.loading import load
from tritonclip_search.space import Space
from tritonclip_search.stores.opening import open_store
from tritonclip_search.vector_files import Origin, find, schema

TRITONCLIP = str(Path(sys.executable).with_name("tritonclip"))
SHARD = 1000
DIM = 512
# Of the simulated cluster: shards of so many pictures, which a worker embeds at so many a second.
PICTURES, RATE = 10_000, 400
WORKERS = (1, 10, 100, 1000)


def main() -> None:
    """Measure and add to `results/bulk.json`."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("bundle", type=Path)
    parser.add_argument("--pictures", type=int, default=8000)
    parser.add_argument("--rounds", type=int, default=2)
    parser.add_argument("--vectors", type=int, default=20_000)
    parser.add_argument("--only", nargs="+", choices=("cost", "shards", "loading"))
    given = parser.parse_args()
    file = record.RESULTS / "bulk.json"
    figures: dict[str, Any] = json.loads(file.read_bytes())["figures"] if file.exists() else {}
    wanted = given.only or ("cost", "shards", "loading")
    with tempfile.TemporaryDirectory() as home:
        for part in wanted:
            if part == "cost":
                bundle = Bundle.load(given.bundle)
                figures["cost"] = _cost(Path(home), bundle, given.pictures, given.rounds)
            elif part == "shards":
                figures["seconds_a_shard"] = _seconds_a_shard(Path(home))
                figures["growth"] = [_growth(workers, figures) for workers in WORKERS]
            else:
                figures["vectors"] = given.vectors
                figures["loading"] = _loading(Path(home), given.vectors)
            print(json.dumps(figures, indent=2), flush=True)
            print(record.save("bulk", figures), flush=True)


def _cost(home: Path, bundle: Bundle, count: int, rounds: int) -> dict[str, Any]:
    """Seconds and memory of each way to embed the same pictures, and of a run that is killed."""
    pictures = _pictures(home / "pictures", count)
    with served(bundle) as server:
        where = ["--url", server.grpc_url]

        def bulked(name: str, *more: str) -> list[str]:
            out = ["--out", f"{home}/{name}", "--shard", str(SHARD), *where, *more]
            return [TRITONCLIP, "bulk", str(pictures), *out]

        ways: dict[str, Callable[[str], list[str]]] = {
            "embed": lambda name: [
                *(TRITONCLIP, "embed", str(pictures), "-o", f"{home}/{name}.parquet", *where)
            ],
            "bulk": bulked,
            "bulk --on local": lambda name: bulked(name, "--on", "local", "--workers", "1"),
        }
        _run(ways["embed"]("first"))  # so that none is the first
        found: dict[str, list[_Cost]] = {way: [] for way in ways}
        for number in range(rounds):
            for way, command in list(ways.items())[:: 1 if number % 2 else -1]:
                found[way].append(_run(command(f"{way}-{number}".replace(" ", ""))))
        killed = [_run(bulked("killed"), kill_after=home / "killed"), _run(bulked("killed"))]
    return {
        "pictures": count,
        "shard": SHARD,
        "ways": {
            way: {
                "seconds": [one.seconds for one in some],
                "memory_mib": max(one.memory_mib for one in some),
            }
            for way, some in found.items()
        },
        "killed_seconds": [one.seconds for one in killed],
    }


def _pictures(folder: Path, count: int) -> Path:
    """The demo's drawings, again and again."""
    folder.mkdir()
    with zipfile.ZipFile(record.ROOT / "demo" / "twemoji.zip") as archive:
        drawings = [archive.read(name) for name in archive.namelist() if name.endswith(".png")]
    for number in range(count):
        (folder / f"{number:06d}.png").write_bytes(drawings[number % len(drawings)])
    return folder


@dataclass(frozen=True)
class _Cost:
    seconds: float
    memory_mib: float
    """The most that the process and all that it started had, shared pages counted once."""


def _run(command: Sequence[str], kill_after: Path | None = None) -> _Cost:
    """Run a command; or kill it when it has done half of its shards."""
    began = time.monotonic()
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
    memory = 0.0
    looked = psutil.Process(process.pid)
    half = None
    while process.poll() is None:
        with suppress(psutil.Error):
            tree = [looked, *looked.children(recursive=True)]
            memory = max(memory, sum(one.memory_full_info().pss for one in tree) / 2**20)
        if kill_after is not None:
            done = len(list(kill_after.glob("receipts/*")))
            with suppress(OSError):
                half = len(json.loads((kill_after / "plan.json").read_bytes())["shards"]) // 2
            if half is not None and done >= half:
                process.send_signal(signal.SIGKILL)
        time.sleep(0.2)
    seconds = time.monotonic() - began
    assert process.stderr is not None
    assert kill_after is not None or process.returncode == 0, process.stderr.read().decode()
    return _Cost(seconds, memory)


@dataclass(frozen=True)
class _Free:
    """A recipe of vectors that cost nothing, so that all else is left."""

    def look(self) -> Model:
        space = Space("none", "0" * 64, DIM, "exact")
        return Model(Origin(space, "fp32"), 16, 1 << 20)

    def open(self, workers: int) -> _FreeEmbedder:
        del workers
        return _FreeEmbedder(self.look())


class _FreeEmbedder:
    at_once = 1

    def __init__(self, model: Model) -> None:
        self.model = model

    def embed(self, pictures: Sequence[bytes]) -> Answer:
        return np.zeros((len(pictures), self.model.dim), np.float32), {}

    def close(self) -> None:
        """Hold nothing."""


def _seconds_a_shard(home: Path) -> dict[str, float]:
    """What a shard of one picture takes without Ray and with it, and how long Ray takes to start.

    Two numbers of shards tell the two apart.
    """

    def seconds(count: int, engine: Any) -> float:
        with tempfile.TemporaryDirectory(dir=home) as target:
            began = time.monotonic()
            bulk([str(some[count])], target, _Free(), options=Options(size=1), **engine)
            return time.monotonic() - began

    few, many = 50, 450
    some = {count: _pictures(home / str(count), count) for count in (few, many)}
    ray = {"engine": Cluster("local", 1)}
    here = (seconds(many, {}) - seconds(few, {})) / (many - few)
    short, long = seconds(few, ray), seconds(many, ray)
    slope = (long - short) / (many - few)
    return {"here": here, "ray": slope, "ray_start": short - few * slope}


def _growth(workers: int, figures: dict[str, Any]) -> dict[str, float]:
    """A billion pictures: what workers do of what they would without anything in between.

    Shards take lognormal times, one in a hundred takes five times as long, and the driver hands
    them out one after the other.
    """
    random = np.random.default_rng(0)
    shards = 1_000_000_000 // PICTURES
    times = PICTURES / RATE * random.lognormal(0, 0.2, shards)
    times[random.random(shards) < 0.01] *= 5
    measured = figures["seconds_a_shard"]
    handing, driver = max(0.0, measured["ray"] - measured["here"]), 0.0
    free = [measured["ray_start"]] * workers
    for seconds in times:
        driver = max(driver, heapq.heappop(free)) + handing
        heapq.heappush(free, driver + seconds)
    took = max(free)
    return {
        "workers": workers,
        "hours": took / 3600,
        "efficiency": float(times.sum()) / workers / took,
    }


def _loading(home: Path, count: int) -> dict[str, float]:
    """Vectors a second into each store that runs here."""
    random = np.random.default_rng(0)
    vectors = random.standard_normal((count, DIM), np.float32)
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    flat = pa.FixedSizeListArray.from_arrays(pa.array(vectors.reshape(-1)), DIM)
    names = [f"s3://bucket/shards/{n // 1000:05d}.tar!/{n:08d}.jpg" for n in range(count)]
    origin = Origin(Space("ViT-B-32", "0" * 64, DIM, "exact"), "fp32")
    columns = schema(origin)
    embeddings = flat.cast(columns.field("embedding").type)
    table = pa.Table.from_arrays([pa.array(names), embeddings], schema=columns)
    pq.write_table(table, home / "vectors.parquet")
    rates = {}
    for name, url in _stores(home):
        store = open_store(url)
        began = time.monotonic()
        loaded = load(store, "bench", find(str(home / "vectors.parquet")))
        rates[name] = loaded / (time.monotonic() - began)
        store.close()
    return rates


def _stores(home: Path) -> Iterator[tuple[str, str]]:
    yield "folder", str(home / "store")
    yield "LanceDB", f"lancedb://{home / 'lance'}"
    (home / "postgresql").mkdir()
    with store_servers.postgresql(home / "postgresql") as url:
        yield "PostgreSQL, pgvector", url
    yield "Milvus Lite", f"milvus://{home / 'milvus.db'}"
    yield "Qdrant's local mode", f"qdrant://{home / 'qdrant'}"


if __name__ == "__main__":
    main()
