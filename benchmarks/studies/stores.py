"""What each store costs and finds: load rate, build time, recall, latency, memory, bytes a vector.

Vectors of 512 numbers in clusters, made here. Each row is measured in a process of its own, and
added to `results/stores.json` in the place of an older one of its name. Stores of the product are
measured through it, others by their own libraries, for what they would offer in its place.

    python -m benchmarks.studies.stores                      # all, at 100,000
    python -m benchmarks.studies.stores --vectors 1000000 --only numpy,float32 local,float32

Needs `pip install milvus==2.3.5 usearch sqlite-vec apsw` besides the extra `dev`, and for Milvus a
network of its own: `unshare --net --map-root-user sh -c 'ip link set lo up; python -m ...'`.
"""

from __future__ import annotations

import argparse
import json
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import asdict, dataclass
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import psutil

from benchmarks import record, store_servers
from tritonclip_search.records import Kind, Record, file_id
from tritonclip_search.space import Description, Space, VectorType
from tritonclip_search.stores.opening import open_store

DIM, TOP, QUERIES, BATCH = 512, 10, 100, 1000
NAME = "bench"
# Folders of servers: PostgreSQL's write-ahead log, and Milvus' queue, its metadata, its own files.
_LOGS = {"pg_wal", "rocksmq", "rdb_data", "rdb_data_meta_kv", "etcd", "logs", "bin", "wal"}

Floats = npt.NDArray[np.float32]


@dataclass(frozen=True)
class Engine:
    """Something that holds vectors; they are known by their positions."""

    load: Callable[[Floats, int], object]
    """Add a batch, of which the second is the position of the first vector."""
    build: Callable[[], str]
    """Get ready to answer; returns how it will."""
    search: Callable[[Floats], list[int]]
    """The positions of the `TOP` nearest."""


@dataclass(frozen=True)
class Row:
    """One line of the table."""

    store: str
    precision: str
    method: str
    vectors: int
    load_per_second: float
    build_seconds: float
    recall: float
    p50_ms: float
    p99_ms: float
    memory_mib: float
    """That processes grew by; a mapped file counts while it is mapped."""
    bytes_a_vector: float
    """On the disk, all else that the store keeps included."""


def clustered(number: int, seed: int) -> Floats:
    """Unit vectors around a centre for each thousand of them; cosines within a cluster are 0.5."""
    random = np.random.default_rng(seed)
    centres = np.random.default_rng(0).standard_normal((max(1, number // 1000), DIM), np.float32)
    vectors = centres[random.integers(len(centres), size=number)]
    vectors += random.standard_normal((number, DIM), np.float32)
    return np.asarray(vectors / np.linalg.norm(vectors, axis=1, keepdims=True), np.float32)


def made(number: int, folder: Path) -> tuple[Floats, Floats, npt.NDArray[np.int64]]:
    """The vectors, mapped, queries like them, and the positions of each query's nearest."""
    files = [folder / f"{what}-{number}.npy" for what in ("vectors", "queries", "nearest")]
    if not files[2].exists():
        folder.mkdir(parents=True, exist_ok=True)
        every = clustered(number + QUERIES, 1)
        vectors, queries = every[:number], every[number:]
        blocks = range(0, number, 100_000)
        scores = np.concatenate([queries @ vectors[b : b + 100_000].T for b in blocks], axis=1)
        nearest = np.argsort(-scores, axis=1)[:, :TOP]
        for file, content in zip(files, (vectors, queries, nearest), strict=True):
            np.save(file, content)
    vectors, queries, nearest = (np.load(file, mmap_mode="r") for file in files)
    return vectors, np.array(queries), np.array(nearest)


def product(
    module: str, url: str, kind: VectorType, *, index: bool = False
) -> Callable[[Path], AbstractContextManager[Engine]]:
    """A store of the product; with `index` it builds one whatever the size."""

    @contextmanager
    def engine(folder: Path) -> Iterator[Engine]:
        with _server(url, folder) as address:
            if index:
                import_module(f"tritonclip_search.stores.{module}").EXACT_UNTIL = 0  # type: ignore[attr-defined]
            store = open_store(address)
            store.create(NAME, Description(Space("bench", "00", DIM, "exact"), kind))
            yield Engine(
                lambda batch, at: store.upsert(NAME, _records(batch, at)),
                lambda: store.settle(NAME).name,
                lambda query: [one.size for one in store.nearest(NAME, query, top=TOP)],
            )
            store.close()

    return engine


def _server(url: str, folder: Path) -> AbstractContextManager[str]:
    match url:
        case "postgresql":
            return _postgresql(folder)
        case "milvus":
            return store_servers.milvus(folder)
    return nullcontext(url.format(folder=folder))


@contextmanager
def _postgresql(folder: Path) -> Iterator[str]:
    """It builds an index of a million in memory, as docs/stores.md advises, not in its 64 MB."""
    with store_servers.postgresql(folder) as url:
        yield f"{url}&options=-c%20maintenance_work_mem%3D4GB"


def _records(batch: Floats, at: int) -> list[Record]:
    return [
        Record(
            id=file_id(str(position)),
            file=file_id(str(position)),
            kind=Kind.IMAGE,
            path=f"/pictures/2024/{position // 1000}/{position}.jpg",
            folders=("/pictures", "/pictures/2024", f"/pictures/2024/{position // 1000}"),
            size=position,
            modified=1_700_000_000_000_000,
            sha256="0f" * 32,
            date=1_700_000_000_000_000,
            width=640,
            height=480,
            format="JPEG",
            precision="fp16",
            vector=vector,
        )
        for position, vector in enumerate(batch, at)
    ]


def pgvector(index: str, order: str) -> Callable[[Path], AbstractContextManager[Engine]]:
    """PostgreSQL with another index than the product's, and 200 candidates ranked again."""

    @contextmanager
    def engine(folder: Path) -> Iterator[Engine]:
        import psycopg
        from pgvector import Vector
        from pgvector.psycopg import register_vector

        with _postgresql(folder) as url:
            store = open_store(url)
            store.create(NAME, Description(Space("bench", "00", DIM, "exact")))
            connection = psycopg.connect(url, autocommit=True)
            register_vector(connection)
            connection.execute("SET hnsw.ef_search = 200")

            def build() -> str:
                connection.execute(f"CREATE INDEX ON {NAME} USING hnsw ({index})")
                return "HNSW, 200 ranked again"

            def search(query: Floats) -> list[int]:
                found = connection.execute(
                    f"SELECT size FROM (SELECT size, vector FROM {NAME} ORDER BY {order} LIMIT 200)"
                    f" ORDER BY vector <#> %(query)b LIMIT {TOP}",
                    {"query": Vector(query)},
                )
                return [row[0] for row in found]

            yield Engine(lambda batch, at: store.upsert(NAME, _records(batch, at)), build, search)
            connection.close()
            store.close()

    return engine


@contextmanager
def milvus_int8(folder: Path) -> Iterator[Engine]:
    """Milvus with IVF_SQ8 in the place of the product's index."""
    from pymilvus import MilvusClient

    with store_servers.milvus(folder) as url:
        store = open_store(url)
        store.create(NAME, Description(Space("bench", "00", DIM, "exact")))
        client = MilvusClient(f"http://{url.rpartition('@')[2]}", token="root:Milvus")

        def build() -> str:
            client.flush(NAME)
            client.release_collection(NAME)
            client.drop_index(NAME, "vector")
            index = client.prepare_index_params()
            index.add_index("vector", "IVF_SQ8", metric_type="IP", params={"nlist": 1024})
            client.create_index(NAME, index)
            client.load_collection(NAME)
            return "IVF_SQ8 (nlist=1024), nprobe=64"

        def search(query: Floats) -> list[int]:
            (found,) = client.search(
                NAME,
                [query],
                limit=TOP,
                output_fields=["size"],
                search_params={"params": {"nprobe": 64}},
            )
            return [hit["entity"]["size"] for hit in found]

        yield Engine(lambda batch, at: store.upsert(NAME, _records(batch, at)), build, search)
        store.close()


def exact_numpy(dtype: type[np.floating[Any]]) -> Callable[[Path], AbstractContextManager[Engine]]:
    """A mapped file; half precision is widened block by block, as numpy's own loop is slow."""

    @contextmanager
    def engine(folder: Path) -> Iterator[Engine]:
        file = folder / "vectors"

        def load(batch: Floats, _: int) -> None:
            with file.open("ab") as out:
                batch.astype(dtype).tofile(out)

        def search(query: Floats) -> list[int]:
            vectors = np.memmap(file, dtype, "r").reshape(-1, DIM)
            blocks = range(0, len(vectors), 8192)
            scores = np.concatenate(
                [vectors[b : b + 8192].astype(np.float32, copy=False) @ query for b in blocks]
            )
            best = np.argpartition(-scores, TOP)[:TOP]
            return [int(i) for i in best[np.argsort(-scores[best])]]

        yield Engine(load, lambda: "exact scan", search)

    return engine


def usearch(dtype: str) -> Callable[[Path], AbstractContextManager[Engine]]:
    """Usearch's HNSW; of int8 and bits, 200 candidates are ranked again by a mapped file."""

    @contextmanager
    def engine(folder: Path) -> Iterator[Engine]:
        from usearch.index import Index

        bits, coarse = dtype == "b1", dtype in ("i8", "b1")
        index = Index(
            ndim=DIM, metric="hamming" if bits else "ip", dtype=dtype, expansion_search=128
        )
        file = folder / "vectors"

        def packed(vectors: Floats) -> Any:
            return np.packbits(vectors > 0, axis=-1) if bits else vectors

        def load(batch: Floats, at: int) -> None:
            index.add(np.arange(at, at + len(batch)), packed(batch), threads=2)
            if coarse:
                with file.open("ab") as out:
                    batch.tofile(out)

        def build() -> str:
            index.save(str(folder / "index"))
            return "HNSW" + (", 200 ranked again" if coarse else "")

        def search(query: Floats) -> list[int]:
            found = index.search(packed(query), 200 if coarse else TOP).keys.astype(np.int64)
            if coarse:
                vectors = np.memmap(file, np.float32, "r").reshape(-1, DIM)
                found = found[np.argsort(-(vectors[found] @ query))]
            return [int(i) for i in found[:TOP]]

        yield Engine(load, build, search)

    return engine


def sqlite_vec(kind: str) -> Callable[[Path], AbstractContextManager[Engine]]:
    """sqlite-vec's exact scan; of int8 and bits, 200 candidates are ranked again."""

    @contextmanager
    def engine(folder: Path) -> Iterator[Engine]:
        import apsw  # many a Python's own sqlite3 is built without extensions
        import sqlite_vec as extension

        database = apsw.Connection(str(folder / "vectors.db"))
        database.enable_load_extension(True)
        database.load_extension(extension.loadable_path())
        coarse = {
            "float": "",
            "int8": f", coarse int8[{DIM}]",
            "bit": f", coarse bit[{DIM}]",
        }[kind]
        shrink = {
            "float": "",
            "int8": ", vec_quantize_int8(:vector, 'unit')",
            "bit": ", vec_quantize_binary(:vector)",
        }[kind]
        database.execute(
            f"CREATE VIRTUAL TABLE t USING vec0(vector float[{DIM}] distance_metric=cosine{coarse})"
        )

        def load(batch: Floats, at: int) -> None:
            with database:
                database.executemany(
                    f"INSERT INTO t(rowid, vector{', coarse' if coarse else ''})"
                    f" VALUES (:position, :vector{shrink})",
                    [{"position": at + i, "vector": one.tobytes()} for i, one in enumerate(batch)],
                )

        def search(query: Floats) -> list[int]:
            if not coarse:
                found = database.execute(
                    "SELECT rowid FROM t WHERE vector MATCH ? AND k = ?", (query.tobytes(), TOP)
                )
                return [row[0] for row in found]
            found = database.execute(
                f"SELECT rowid, vector FROM t WHERE coarse MATCH {shrink[2:]} AND k = 200",
                {"vector": query.tobytes()},
            )
            scores = {row[0]: float(np.frombuffer(row[1], np.float32) @ query) for row in found}
            return sorted(scores, key=scores.__getitem__)[::-1][:TOP]

        yield Engine(load, lambda: "exact scan" + (", 200 ranked again" if coarse else ""), search)
        database.close()

    return engine


ENGINES: dict[str, Callable[[Path], AbstractContextManager[Engine]]] = {
    "numpy,float32": exact_numpy(np.float32),
    "numpy,float16": exact_numpy(np.float16),
    "local,float32": product("local.store", "{folder}/archive", "float32"),
    "local,float16": product("local.store", "{folder}/archive", "float16"),
    "lancedb,float32": product("lance", "lancedb://{folder}", "float32"),
    "lancedb,float16": product("lance", "lancedb://{folder}", "float16"),
    "lancedb,float32 + int8 index": product("lance", "lancedb://{folder}", "float32", index=True),
    "postgresql,float32": product("postgresql", "postgresql", "float32"),
    "postgresql,float16": product("postgresql", "postgresql", "float16"),
    "postgresql,float32 + index": product("postgresql", "postgresql", "float32", index=True),
    "postgresql,float16 + index": product("postgresql", "postgresql", "float16", index=True),
    "postgresql,float32 + bit index": pgvector(
        f"(binary_quantize(vector)::bit({DIM})) bit_hamming_ops",
        f"binary_quantize(vector)::bit({DIM}) <~> binary_quantize(%(query)b)",
    ),
    "milvus,float32": product("milvus", "milvus", "float32"),
    "milvus,float32 + index": product("milvus", "milvus", "float32", index=True),
    "milvus,float32 + int8 index": milvus_int8,
    "usearch,float32": usearch("f32"),
    "usearch,float16": usearch("f16"),
    "usearch,int8": usearch("i8"),
    "usearch,bits": usearch("b1"),
    "sqlite-vec,float32": sqlite_vec("float"),
    "sqlite-vec,float32 + int8": sqlite_vec("int8"),
    "sqlite-vec,float32 + bits": sqlite_vec("bit"),
}


def measure(name: str, number: int, work: Path) -> Row:
    """One row, in this process."""
    vectors, queries, nearest = made(number, work)
    folder = work / "store"
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir()
    before = _memory(folder)
    with ENGINES[name](folder) as engine:
        empty = _size(folder)
        begin = time.perf_counter()
        for at in range(0, number, BATCH):
            engine.load(np.array(vectors[at : at + BATCH]), at)
        loaded = time.perf_counter() - begin
        del vectors  # not to be counted as the engine's memory
        begin = time.perf_counter()
        method = engine.build()
        built = time.perf_counter() - begin
        for query in queries[:5]:
            engine.search(query)
        seconds, hits = [], 0
        for query, expected in zip(queries, nearest, strict=True):
            begin = time.perf_counter()
            found = engine.search(query)
            seconds.append(time.perf_counter() - begin)
            hits += len(set(found) & set(expected.tolist()))
        memory = _memory(folder) - before
    size = _size(folder) - empty
    shutil.rmtree(folder, ignore_errors=True)
    store, _, precision = name.partition(",")
    p50, p99 = (float(np.percentile(seconds, p)) * 1000 for p in (50, 99))
    return Row(
        store,
        precision,
        method,
        number,
        number / loaded,
        built,
        hits / TOP / QUERIES,
        p50,
        p99,
        memory / 2**20,
        size / number,
    )


def _size(folder: Path) -> int:
    """Bytes that files take, but for logs, which are cut off by and by."""
    files = [one for one in folder.rglob("*") if not _LOGS & set(one.relative_to(folder).parts)]
    return sum(one.stat().st_size for one in files if one.is_file())


def _memory(folder: Path) -> int:
    """Bytes of this process and of what it has started, shared pages counted once."""
    # PostgreSQL is a daemon, so no child of this process, and its own children name no folder.
    servers = [one for one in psutil.process_iter(["cmdline"]) if _serves(one, folder)]
    roots = [psutil.Process(), *servers]
    family = {one for root in roots for one in (root, *root.children(recursive=True))}
    return sum(one.memory_full_info().pss for one in family)


def _serves(process: psutil.Process, folder: Path) -> bool:
    """Whether it is the PostgreSQL of this folder: others' come and go on a shared machine."""
    command = process.info["cmdline"] or []
    return bool(command) and command[0].endswith("postgres") and str(folder) in command


def main(arguments: Sequence[str]) -> None:
    """Measure the rows that were asked for."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--vectors", type=int, default=100_000)
    parser.add_argument("--only", nargs="+", choices=ENGINES, default=list(ENGINES))
    parser.add_argument("--work", type=Path, default=Path("/tmp/tritonclip-stores"))
    parser.add_argument("--one", help=argparse.SUPPRESS)
    given = parser.parse_args(arguments)
    if given.one:
        print(json.dumps(asdict(measure(given.one, given.vectors, given.work))))
        return
    for name in given.only:
        command = [sys.executable, "-m", "benchmarks.studies.stores", f"--one={name}"]
        command += [f"--vectors={given.vectors}", f"--work={given.work}"]
        done = subprocess.run(command, stdout=subprocess.PIPE, cwd=record.ROOT, check=False)
        if done.returncode:
            print(f"{name}: failed", file=sys.stderr)
            continue
        row = json.loads(done.stdout.splitlines()[-1])
        print(row, flush=True)
        key = ("store", "precision", "vectors")
        kept = [one for one in _recorded() if [one[k] for k in key] != [row[k] for k in key]]
        record.save("stores", sorted([*kept, row], key=lambda one: [one[k] for k in key]))


def _recorded() -> list[dict[str, Any]]:
    file = record.RESULTS / "stores.json"
    return json.loads(file.read_text())["figures"] if file.exists() else []


if __name__ == "__main__":
    main(sys.argv[1:])
