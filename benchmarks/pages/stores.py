"""The tables of `docs/stores.md`, from `results/stores.json`."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import groupby
from pathlib import Path
from typing import Any

from benchmarks.pages import guide
from benchmarks.pages.markdown import table

PAGE = "stores.md"
SIZES = {"a million": 10**6, "a hundred million": 10**8, "ten billion": 10**10}
# Bytes of 512 numbers, and what stays in memory of them: an HNSW graph with m=16 has 32 edges of
# four bytes in its lowest layer, and some above. Vectors that are ranked again lie on the disk.
DIM, EDGES = 512, 140
PRECISIONS = {
    "FP32 in a graph": (4 * DIM + EDGES, 4 * DIM + EDGES),
    "half in a graph": (2 * DIM + EDGES, 2 * DIM + EDGES),
    "int8 in a graph, half on disk": (3 * DIM + EDGES, DIM + EDGES),
    "bits in a graph, half on disk": (2 * DIM + DIM // 8 + EDGES, DIM // 8 + EDGES),
}


def pages(results: Path) -> Iterator[tuple[str, str]]:
    """The page as it stands, with its tables written anew."""
    yield from guide.filled(PAGE, {"figures": guide.lines_of(results, {"stores": _tables})})


def _tables(result: dict[str, Any]) -> Iterator[str]:
    yield f"On {result['date']}, {result['machine']}, vectors of {DIM}, a hundred queries for ten."
    rows = sorted(result["figures"], key=lambda row: row["vectors"])
    for vectors, some in groupby(rows, key=lambda row: row["vectors"]):
        yield f"\n**{vectors:,} vectors**\n"
        yield from table(
            (
                *("store", "precision", "search", "loads, vectors/s", "builds, s", "recall@10"),
                *("p50, ms", "p99, ms", "memory, MiB", "disk, bytes a vector"),
            ),
            map(_measured, some),
        )
    yield "\nMemory and disk for more, vectors and graph alone, by arithmetic:\n"
    yield from table(
        ("vectors of 512", *(f"{words}: memory, disk" for words in SIZES)),
        (
            (name, *(f"{_bytes(memory * n)}, {_bytes(disk * n)}" for n in SIZES.values()))
            for name, (disk, memory) in PRECISIONS.items()
        ),
    )


def _measured(row: dict[str, Any]) -> tuple[str, ...]:
    return (
        row["store"],
        row["precision"],
        row["method"],
        f"{row['load_per_second']:,.0f}",
        f"{row['build_seconds']:.1f}",
        f"{row['recall']:.3f}",
        f"{row['p50_ms']:.1f}",
        f"{row['p99_ms']:.1f}",
        f"{max(0, row['memory_mib']):,.0f}",
        f"{row['bytes_a_vector']:,.0f}",
    )


def _bytes(number: float) -> str:
    for unit in ("MB", "GB", "TB"):
        number /= 1e6 if unit == "MB" else 1e3
        if number < 1000 or unit == "TB":
            return f"{number:,.3g} {unit}"
    raise AssertionError(number)
