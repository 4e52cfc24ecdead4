"""The figures of `docs/bulk.md`: what runs cost, and what a billion pictures would."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from statistics import median
from typing import Any

from benchmarks.pages import guide
from benchmarks.pages.markdown import table

PAGE = "bulk.md"
BILLION = 1_000_000_000
# Of an encoded picture at 640 x 480, and at most what a row has beside its vector: a name of 60
# letters, a hash of 64, six numbers, before they are compressed.
PICTURE_BYTES, ROW_BYTES = 60_000, 160
# Assumed: dollars an hour of a core, and of a gigabyte a month.
CORE, GIGABYTE_MONTH = 0.04, 0.023
EFFICIENCY = 0.95


def pages(results: Path) -> Iterator[tuple[str, str]]:
    """The page as it stands, with its figures written anew."""
    parts = {
        "figures": guide.lines_of(results, {"bulk": _figures}),
        "billion": _billion(results),
    }
    yield from guide.filled(PAGE, parts)


def _figures(result: dict[str, Any]) -> Iterator[str]:
    figures = result["figures"]
    cost, shard = figures["cost"], figures["seconds_a_shard"]
    yield (
        f"On {result['date']}, {result['machine']}, the demo checkpoint, "
        f"{cost['pictures']:,} drawings as files, shards of {cost['shard']:,}; the server has the "
        "same cores. Whole commands, start to end, in turns "
        "([results](../benchmarks/results/bulk.json) of `python -m benchmarks.studies.bulk`). "
        "Memory is of the command with all its processes, shared pages counted once, without the "
        "server's."
    )
    yield ""
    base = median(cost["ways"]["embed"]["seconds"])
    yield from table(
        ("", "seconds", "of `embed`", "MiB"),
        [
            (
                f"`{way}`",
                ", ".join(f"{seconds:.1f}" for seconds in one["seconds"]),
                f"{median(one['seconds']) / base:.2f}",
                f"{one['memory_mib']:.0f}",
            )
            for way, one in cost["ways"].items()
        ],
    )
    yield ""
    killed = sum(cost["killed_seconds"])
    yield (
        f"Killed when half of its shards were done and run again, `bulk` took {killed:.1f} s in "
        "all: what was in work is done anew. "
        f"Ray takes {shard['ray_start']:.0f} s to start on this machine and "
        f"{1000 * (shard['ray'] - shard['here']):.0f} ms more for each shard, which has "
        f"{1000 * shard['here']:.0f} ms of its own besides embedding."
    )
    yield ""
    if "loading" in figures:
        yield (
            f"What `index --from` loads of {figures['vectors']:,} vectors of 512 numbers in a "
            "second, with ids and fields:"
        )
        yield ""
        yield from table(
            ("store", "a second"),
            [(name, f"{rate:,.0f}") for name, rate in figures["loading"].items()],
        )
        yield ""
    yield (
        "A billion pictures on more workers, simulated: shards of 10,000 at 400 a second and "
        "worker, times that vary by a fifth, one shard in a hundred takes five times as long, Ray "
        "hands out one after the other at the cost above:"
    )
    yield ""
    yield from table(
        ("workers", "hours", "of the ideal"),
        [
            (f"{one['workers']:,.0f}", f"{one['hours']:,.1f}", f"{one['efficiency']:.1%}")
            for one in figures["growth"]
        ],
    )


def _billion(results: Path) -> list[str]:
    """Rows of the table of machines, for what has been measured."""
    file = results / "cpu-engines.json"
    if not file.exists():
        return []
    read = json.loads(file.read_bytes())
    image = read["figures"]["image"]
    rows = []
    for name in ("ONNX Runtime FP32, as served", "ONNX Runtime INT8"):
        # Encoder alone; a picture of 640 x 480 takes 3.0 ms of a core to become pixels.
        rate = 1 / (1 / max(image[name]["per_second"].values()) + 0.003 / 2)
        hours = BILLION / rate / EFFICIENCY / 3600
        machines = hours / 24 / 7
        rows.append(
            (
                name.removesuffix(", as served"),
                f"{rate:.0f}",
                f"{hours:,.0f}",
                f"{machines:,.0f}",
                f"{hours * 2 * CORE:,.0f}",
            )
        )
    lines = [
        f"{read['figures']['checkpoint']} on the 2 cores of {read['machine']} "
        f"({read['date']}), of which a picture also takes 3 ms to be decoded; {EFFICIENCY:.0%} of "
        f"the time is taken to be spent on that; {CORE} dollars an hour for a core are an "
        "assumption:",
        "",
        *table(
            ("", "pictures/s, a machine", "machine hours", "machines for a week", "dollars"), rows
        ),
        "",
        f"What is stored, whatever embeds, with {ROW_BYTES} bytes beside a vector before they are "
        f"compressed, and {GIGABYTE_MONTH} dollars a gigabyte and month as another assumption:",
        "",
        *table(
            ("", "TB", "dollars a month"),
            [
                _stored("pictures of 60 KB", PICTURE_BYTES),
                *(
                    _stored(f"vectors of {dim}{', `--half`' if half else ''}", size + ROW_BYTES)
                    for dim in (512, 768)
                    for half, size in ((False, 4 * dim), (True, 2 * dim))
                ),
            ],
        ),
    ]
    return lines


def _stored(what: str, size: int) -> tuple[str, str, str]:
    terabytes = BILLION * size / 1e12
    return what, f"{terabytes:,.1f}", f"{terabytes * 1000 * GIGABYTE_MONTH:,.0f}"
