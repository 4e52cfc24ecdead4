"""Archives: the rate of indexing, a second run over many files, and what stored vectors find.

    python -m benchmarks.studies.archives bundles/demo

Indexing is measured beside plain embedding of the same pictures, in turns and another one first
each time, so that a drift of the machine cancels in their ratio. The second run is over 100,000
small files, all of them unchanged. Retrieval asks for each of the demo's pictures by its name,
through the server and a stored collection, and in process with the checkpoint's own library and a
plain product.
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
import time
import zipfile
from collections.abc import Iterator, Sequence
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchmarks import record
from benchmarks.servers import served
from tritonclip import Client
from tritonclip_export.bundle import Bundle
from tritonclip_export.checkpoint import loading
from tritonclip_export.parity.inputs import Inputs
from tritonclip_export.parity.pairs import reference_embeddings
from tritonclip_search import open_collection, open_store
from tritonclip_search.records import Kind, Record, file_id, folders_of
from tritonclip_search.sources.item import Item
from tritonclip_search.sources.opening import open_source
from tritonclip_search.space import Description, Space

DEMO = record.ROOT / "demo"
RANKS = (1, 5, 10)


def main() -> None:
    """Measure the demo bundle and write the result."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("bundle", type=Path)
    parser.add_argument("--rounds", type=int, default=4)
    parser.add_argument("--unchanged", type=int, default=100_000)
    options = parser.parse_args()
    bundle = Bundle.load(options.bundle)
    figures: dict[str, Any] = {
        "import_seconds": _seconds("import tritonclip_search"),
        "import_with_collection_seconds": _seconds("from tritonclip_search import open_collection"),
    }
    with tempfile.TemporaryDirectory() as home, served(bundle) as server:
        pictures = _unpack(Path(home, "pictures"))
        with Client(server.grpc_url) as client:
            figures["indexing"] = _indexing(Path(home), list(pictures), client, options.rounds)
            figures["retrieval"] = _retrieval(Path(home), pictures, client, bundle)
            figures["second_run"] = _second_run(Path(home, "many"), client, options.unchanged)
    print(json.dumps(figures, indent=2))
    print(record.save("archives", figures))


def _seconds(code: str) -> float:
    """The best of five processes that run `code`, without what an empty one takes."""

    def seconds(code: str) -> float:
        began = time.monotonic()
        subprocess.run([sys.executable, "-c", code], check=True)
        return time.monotonic() - began

    return min(seconds(code) for _ in range(5)) - min(seconds("") for _ in range(5))


def _unpack(folder: Path) -> dict[Path, str]:
    """The drawings as files, with their names."""
    with zipfile.ZipFile(DEMO / "twemoji.zip") as archive:
        labels: dict[str, str] = json.loads(archive.read("labels.json"))
        archive.extractall(folder, [f"{slug}.png" for slug in labels])
    return {folder / f"{slug}.png": label for slug, label in labels.items()}


def _indexing(home: Path, files: Sequence[Path], client: Client, rounds: int) -> dict[str, Any]:
    def embed() -> None:
        for _ in client.stream_images(files):
            pass

    def index() -> None:
        with (
            tempfile.TemporaryDirectory(dir=home) as archive,
            open_collection(archive, client) as c,
        ):
            assert c.add([files[0].parent]).added == len(files)

    embed()  # so that neither is the first
    seconds: dict[str, list[float]] = {"embed": [], "index": []}
    ways = [("embed", embed), ("index", index)]
    for number in range(rounds):
        for name, way in ways if number % 2 else ways[::-1]:
            began = time.monotonic()
            way()
            seconds[name].append(time.monotonic() - began)
    ratios = [a / b for a, b in zip(seconds["embed"], seconds["index"], strict=True)]
    return {
        "pictures": len(files),
        "embed_per_second": len(files) / statistics.median(seconds["embed"]),
        "index_per_second": len(files) / statistics.median(seconds["index"]),
        "ratio": statistics.median(ratios),
        "ratios": ratios,
    }


def _retrieval(
    home: Path, pictures: dict[Path, str], client: Client, bundle: Bundle
) -> dict[str, Any]:
    files, names = list(pictures), list(pictures.values())
    contents = tuple(file.read_bytes() for file in files)
    # Some flags are drawn alike, byte for byte; which of them comes first is nobody's merit.
    same = {content: number for number, content in reversed(list(enumerate(contents)))}
    right = np.array([same[content] for content in contents])
    checkpoint = loading.load(loading.parse(bundle.info.source.reference))
    exact = reference_embeddings(checkpoint, Inputs(contents, tuple(names)))
    order = np.argsort(-(exact.texts @ exact.images.T), axis=1, kind="stable")[:, : RANKS[-1]]
    with open_collection(str(home / "archive"), client) as collection:
        collection.add([files[0].parent])
        place = {str(file): number for number, file in enumerate(files)}
        hits = [[place[h.path] for h in collection.search(n, top=RANKS[-1])] for n in names]
    found = right[np.array(hits)]
    return {
        "in_process": _recalls(right[order], right),
        "stored": _recalls(found, right),
        "same_first_hit": float((found[:, 0] == right[order][:, 0]).mean()),
    }


def _recalls(found: NDArray[np.int64], right: NDArray[np.int64]) -> dict[str, float]:
    hit = found == right[:, None]
    return {f"recall@{rank}": float(hit[:, :rank].any(axis=1).mean()) for rank in RANKS}


def _second_run(folder: Path, client: Client, count: int) -> dict[str, Any]:
    """Of files that are never opened, and need not be pictures."""
    for number in range(count):
        file = folder / "pictures" / f"{number // 1000}" / f"{number}.jpg"
        if not number % 1000:
            file.parent.mkdir(parents=True)
        file.write_bytes(b"unchanged")
    store = open_store(str(folder / "archive"))
    store.create("pictures", Description(Space.of(client.info())))
    records = _records(open_source(str(folder / "pictures")).items(), client.info().dim)
    while some := list(islice(records, 4096)):
        store.upsert("pictures", some)
    store.close()
    seconds = []
    for _ in range(3):
        began = time.monotonic()
        with open_collection(str(folder / "archive"), client) as collection:
            assert collection.add([folder / "pictures"]).unchanged == count
        seconds.append(time.monotonic() - began)
    return {"files": count, "seconds": statistics.median(seconds)}


def _records(items: Iterator[object], dim: int) -> Iterator[Record]:
    vector = np.full(dim, dim**-0.5, np.float32)
    for item in items:
        assert isinstance(item, Item)
        yield Record(
            id=file_id(item.path),
            file=file_id(item.path),
            kind=Kind.IMAGE,
            path=item.path,
            folders=folders_of(item.path),
            size=item.size,
            modified=item.modified,
            sha256="00" * 32,
            date=item.modified,
            width=1,
            height=1,
            format="JPEG",
            precision="fp32",
            vector=vector,
        )


if __name__ == "__main__":
    main()
