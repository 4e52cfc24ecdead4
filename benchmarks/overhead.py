"""What the served ensemble adds to ONNX Runtime in process, at batch 1 and under load.

In process means: the server's own preprocessing and tokenizing code and the bundle's own graphs,
with ONNX Runtime's default threads, in one loop without a network. Served means: the assembled
repository on a real tritonserver on this machine, asked over gRPC by one client process that shares
the cores with it. One image or text travels in a request; texts are never repeated, so the response
cache does not answer. Figures are taken in turns and are the medians of all rounds.
"""

from __future__ import annotations

import argparse
import itertools
import statistics
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

import record
from peers import in_process
from servers import served
from tritonclip import Client
from tritonclip_export import samples
from tritonclip_export.bundle import Bundle, Precision
from tritonclip_export.repository.execution import Execution

SECONDS = 3.0
ROUNDS = 5
BATCH = 8
CONCURRENCY = (1, 8, 32)

Task = Callable[[Any], object]
Figure = dict[str, float]

_numbers = itertools.count()


class Way(NamedTuple):
    """One way to embed, and how it is measured for so many seconds."""

    kind: str
    name: str
    measure: Callable[[float], Figure]


def main() -> None:
    """Measure a bundle and write the result."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("bundle", type=Path)
    parser.add_argument("--precision", default="fp32", help="of both encoders, e.g. int8")
    parser.add_argument("--seconds", type=float, default=SECONDS, help="for a figure in a round")
    parser.add_argument("--rounds", type=int, default=ROUNDS)
    options = parser.parse_args()
    bundle = Bundle.load(options.bundle)
    with (
        served(bundle, Execution(precision=options.precision)) as server,
        Client(server.grpc_url, concurrency=max(CONCURRENCY)) as client,
    ):
        ways = list(_ways(bundle, options.precision, client))
        rounds = [[way.measure(options.seconds) for way in ways] for _ in range(options.rounds)]
    figures: dict[str, dict[str, Figure]] = {}
    for way, measured in zip(ways, zip(*rounds, strict=True), strict=True):
        figure = {key: statistics.median(each[key] for each in measured) for key in measured[0]}
        figures.setdefault(way.kind, {})[way.name] = figure
        latency = f"p50 {figure['p50_ms']:8.2f} ms" if "p50_ms" in figure else ""
        print(f"{way.kind:6} {way.name:24} {figure['per_second']:8.1f} /s  {latency}")
    about = {"checkpoint": bundle.info.source.reference, "precision": options.precision}
    suffix = "" if options.precision == "fp32" else f"-{options.precision}"
    print(record.save(f"overhead-{bundle.name}{suffix}", {**about, **figures}))


def _ways(bundle: Bundle, precision: Precision, client: Client) -> Iterator[Way]:
    """In process and served next to each other, so that both see the same machine."""
    engine = in_process.Engine("ONNX Runtime", precision)
    images = in_process.embedder(engine, bundle, "image")
    embed = in_process.embedder(engine, bundle, "text")

    def texts(batch: list[str]) -> object:
        return embed([text.encode() for text in batch])

    asked: tuple[tuple[str, Callable[[], Iterator[Any]], Task, Task], ...] = (
        ("images", _images, images, client.embed_images),
        ("texts", _texts, texts, client.embed_texts),
    )
    for kind, items, here, there in asked:
        one = partial(_alone, here)
        yield Way(kind, "in process, batch 1", partial(_measure, one, items, 1))
        yield Way(kind, "served, concurrency 1", partial(_measure, there, items, 1))
        yield Way(kind, f"in process, batch {BATCH}", partial(_batched, here, items))
        for concurrency in CONCURRENCY[1:]:
            name = f"served, concurrency {concurrency}"
            yield Way(kind, name, partial(_measure, there, items, concurrency))


def _alone(batched: Task, item: Any) -> object:
    return batched([item])


def _images() -> Iterator[bytes]:
    """Photographs of about 320 x 240 pixels, 10 to 45 kB, over and over."""
    return itertools.cycle(path.read_bytes() for path in samples.sample_images())


def _texts() -> Iterator[str]:
    """Short captions, each a new one, whoever asks."""
    return (f"a photo of a cat, number {i}" for i in _numbers)


def _measure(
    task: Task, items: Callable[[], Iterator[Any]], concurrency: int, seconds: float
) -> Figure:
    """Closed loop: `concurrency` callers, each sending its next item when it has its answer."""
    stream = items()
    for _ in range(5 * concurrency):
        task(next(stream))
    latencies: list[float] = []
    end = time.perf_counter() + seconds

    def caller() -> None:
        while (began := time.perf_counter()) < end:
            task(next(stream))
            latencies.append(time.perf_counter() - began)

    began = time.perf_counter()
    with ThreadPoolExecutor(concurrency) as threads:
        for caller_done in [threads.submit(caller) for _ in range(concurrency)]:
            caller_done.result()
    elapsed = time.perf_counter() - began
    return {
        "per_second": len(latencies) / elapsed,
        "p50_ms": 1000 * statistics.median(latencies),
        "p99_ms": 1000 * float(np.quantile(latencies, 0.99)),
    }


def _batched(task: Task, items: Callable[[], Iterator[Any]], seconds: float) -> Figure:
    stream = items()
    task(list(itertools.islice(stream, BATCH)))
    count, began = 0, time.perf_counter()
    while time.perf_counter() < began + seconds:
        task(list(itertools.islice(stream, BATCH)))
        count += BATCH
    return {"per_second": count / (time.perf_counter() - began)}


if __name__ == "__main__":
    main()
