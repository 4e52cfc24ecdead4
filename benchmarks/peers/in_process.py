"""ONNX Runtime and OpenVINO without a server: what the hardware gives, for a ceiling.

The server's own preprocessing and tokenizing code and the bundle's FP32 graphs, in one process and
one loop; `concurrency` items in a batch, decoded in parallel as the server does.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from itertools import count
from typing import Any

import numpy as np

from tritonclip_export import sources
from tritonclip_export.bench import summary
from tritonclip_export.bench.load import Timing, closed_loop
from tritonclip_export.bench.measure import Protocol
from tritonclip_export.bench.results import Measurement
from tritonclip_export.bench.usage import Meter
from tritonclip_export.bench.workloads import Kind, Workload
from tritonclip_export.bundle import Bundle
from tritonclip_export.graph import Encoder

ENGINES = ("ONNX Runtime", "OpenVINO FP32", "OpenVINO BF16")


def embedder(engine: str, bundle: Bundle, kind: Kind) -> Callable[[list[bytes]], object]:
    """What embeds a batch of encoded images or UTF-8 texts.

    Raises:
        ModuleNotFoundError: OpenVINO is not installed.
    """
    encode = _encoder(engine, bundle, kind)
    if kind == "image":
        transform = sources.image_transform(bundle.info.image)
        threads = ThreadPoolExecutor()
        return lambda batch: encode(np.stack(list(threads.map(transform.pixels, batch))))
    tokens = sources.text_transform(bundle.info.text, bundle.path)
    return lambda batch: encode(tokens.pad(tokens.encode([text.decode() for text in batch])))


def _encoder(engine: str, bundle: Bundle, kind: Kind) -> Callable[[Any], object]:
    graph = bundle.file(bundle.artifact(kind).file)
    if engine == "ONNX Runtime":
        return Encoder(graph)
    import openvino

    precision = {"OpenVINO FP32": "f32", "OpenVINO BF16": "bf16"}[engine]
    options = {"INFERENCE_PRECISION_HINT": precision, "PERFORMANCE_HINT": "LATENCY"}
    compiled = openvino.Core().compile_model(str(graph), "CPU", options)
    return lambda batch: compiled([batch])[0]


def measure(
    engine: str, bundle: Bundle, workload: Workload, protocol: Protocol, *, batch: int
) -> Measurement:
    """Embed batches one after the other."""
    embed = embedder(engine, bundle, workload.kind)
    numbers = count()

    def make() -> list[bytes]:
        return [workload.item(next(numbers)) for _ in range(batch)]

    embed(make())
    timing = Timing(time.monotonic(), protocol.warmup, protocol.seconds, protocol.repeats)
    meter = Meter([os.getpid()])
    log = closed_loop([embed], make, timing)
    used = meter.read()
    return Measurement(
        server=f"{engine}, in process",
        workload=workload.name,
        protocol="in process",
        concurrency=batch,
        rate=None,
        batch=batch,
        processes=1,
        seconds=protocol.seconds,
        throughput=summary.throughput(log, timing, batch=batch),
        latency=summary.latency(log, timing),
        lateness_ms=0.0,
        failures=summary.failures(log, timing),
        generator=used,
        usage=used,
    )
