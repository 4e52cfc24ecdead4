"""What the served ensemble adds to ONNX Runtime in process, at batch 1 and under load.

In process means: the server's own preprocessing and tokenizing code and the bundle's own graphs,
with ONNX Runtime's default threads, in one loop without a network. Served means: the assembled
repository on a real tritonserver on this machine, asked over gRPC by one client process that shares
the cores with it. One image or text travels in a request; texts are never repeated, so the response
cache does not answer.
"""

from __future__ import annotations

import argparse
import itertools
import statistics
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np

import record
from peers import in_process
from servers import served
from tritonclip import Client
from tritonclip_export import samples
from tritonclip_export.bundle import Bundle, Precision
from tritonclip_export.encoder_models import Execution

SECONDS = 8.0
BATCH = 8
CONCURRENCY = (1, 8, 32)

Task = Callable[[Any], object]

_numbers = itertools.count()


def main() -> None:
    """Measure a bundle and write the result."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("bundle", type=Path)
    parser.add_argument("--precision", default="fp32", help="of both encoders, e.g. int8")
    parser.add_argument("--seconds", type=float, default=SECONDS, help="for each figure")
    options = parser.parse_args()
    bundle = Bundle.load(options.bundle)
    figures: dict[str, dict[str, dict[str, float]]] = {}
    for kind, items, one, batch in _in_process(bundle, options.precision):
        figures[kind] = {
            "in process, batch 1": _measure(one, items, 1, options.seconds),
            f"in process, batch {BATCH}": _batched(batch, items, options.seconds),
        }
    with (
        served(bundle, Execution(precision=options.precision)) as server,
        Client(server.grpc_url, concurrency=max(CONCURRENCY)) as client,
    ):
        asked: dict[str, tuple[Callable[[], Iterator[Any]], Task]] = {
            "images": (_images, client.embed_images),
            "texts": (_texts, client.embed_texts),
        }
        for kind, (items, task) in asked.items():
            for concurrency in CONCURRENCY:
                key = f"served, concurrency {concurrency}"
                figures[kind][key] = _measure(task, items, concurrency, options.seconds)
    for kind, rows in figures.items():
        print(kind)
        for name, figure in rows.items():
            latency = f"p50 {figure['p50_ms']:8.2f} ms" if "p50_ms" in figure else ""
            print(f"  {name:26} {figure['per_second']:8.1f} /s  {latency}")
    about = {"checkpoint": bundle.info.source.reference, "precision": options.precision}
    suffix = "" if options.precision == "fp32" else f"-{options.precision}"
    print(record.save(f"overhead-{bundle.name}{suffix}", {**about, **figures}))


def _in_process(
    bundle: Bundle, precision: Precision
) -> Iterator[tuple[str, Callable[[], Iterator[Any]], Task, Task]]:
    """Kind, items, and how one item and a batch of them are embedded."""
    engine = in_process.Engine("ONNX Runtime", precision)
    images = in_process.embedder(engine, bundle, "image")
    yield "images", _images, lambda item: images([item]), images
    embed = in_process.embedder(engine, bundle, "text")

    def texts(batch: list[str]) -> object:
        return embed([text.encode() for text in batch])

    yield "texts", _texts, lambda item: texts([item]), texts


def _images() -> Iterator[bytes]:
    """Photographs of about 320 x 240 pixels, 10 to 45 kB, over and over."""
    return itertools.cycle(path.read_bytes() for path in samples.sample_images())


def _texts() -> Iterator[str]:
    """Short captions, each a new one, whoever asks."""
    return (f"a photo of a cat, number {i}" for i in _numbers)


def _measure(
    task: Task, items: Callable[[], Iterator[Any]], concurrency: int, seconds: float
) -> dict[str, float]:
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


def _batched(task: Task, items: Callable[[], Iterator[Any]], seconds: float) -> dict[str, float]:
    stream = items()
    task(list(itertools.islice(stream, BATCH)))
    count, began = 0, time.perf_counter()
    while time.perf_counter() < began + seconds:
        task(list(itertools.islice(stream, BATCH)))
        count += BATCH
    return {"per_second": count / (time.perf_counter() - began)}


if __name__ == "__main__":
    main()
