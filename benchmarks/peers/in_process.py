"""ONNX Runtime and OpenVINO without a server: what the hardware gives, for a ceiling.

The server's own preprocessing and tokenizing code and the bundle's own graphs, in one process and
one loop; `concurrency` items in a batch, decoded in parallel as the server does.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import count
from pathlib import Path
from typing import Any, Literal, cast

import numpy as np

from tritonclip_export.bench import summary
from tritonclip_export.bench.load import Timing, closed_loop
from tritonclip_export.bench.measure import Protocol
from tritonclip_export.bench.results import Measurement
from tritonclip_export.bench.usage import Meter
from tritonclip_export.bench.workloads import Kind, Workload
from tritonclip_export.bundle import Bundle, Precision
from tritonclip_export.graph.encoder import Encoder
from tritonclip_export.openvino.running import FORMAT, open_model
from tritonclip_export.repository.runtimes import Runtime
from tritonclip_export.served import code

Embed = Callable[[list[bytes]], object]


@dataclass(frozen=True)
class Engine:
    """A library, and the precision in which it computes."""

    library: Literal["ONNX Runtime", "OpenVINO"]
    precision: Precision

    @property
    def name(self) -> str:
        """As it is reported."""
        return f"{self.library} {self.precision}, in process"

    @property
    def runtime(self) -> Runtime:
        """What serves with it."""
        return "python" if self.library == "ONNX Runtime" else "openvino"


def engines(onnx: str, openvino: str) -> list[Engine]:
    """Both libraries at the precisions in which they serve, given as `fp32,int8`."""
    return [
        *(Engine("ONNX Runtime", precision) for precision in _precisions(onnx)),
        *(Engine("OpenVINO", precision) for precision in _precisions(openvino)),
    ]


def _precisions(named: str) -> list[Precision]:
    return [cast(Precision, precision) for precision in named.split(",") if precision]


def embedder(engine: Engine, bundle: Bundle, kind: Kind, *, spinning: bool = True) -> Embed:
    """What embeds a batch of encoded images or UTF-8 texts.

    Args:
        engine: what executes the encoder.
        bundle: where it is.
        kind: of the items.
        spinning: whether idle threads of ONNX Runtime wait in a loop, as they do by default. It is
            the fastest where nothing else wants the cores; their CPU time says nothing then.
    """
    encode = _encoder(engine, bundle, kind, spinning=spinning)
    if kind == "image":
        transform = code.image_transform(bundle.info.image)
        threads = ThreadPoolExecutor()
        return lambda batch: encode(np.stack(list(threads.map(transform.pixels, batch))))
    spec = bundle.info.text
    tokens = code.text_transform(spec, bundle.path, any_length=spec.dynamic_length)
    return lambda batch: encode(tokens.pad(tokens.encode([text.decode() for text in batch])))


def _encoder(
    engine: Engine, bundle: Bundle, kind: Kind, *, spinning: bool
) -> Callable[[Any], object]:
    if engine.library == "ONNX Runtime":
        graph = bundle.file(bundle.artifact(kind, precision=engine.precision).file)
        return Encoder(graph) if spinning else as_served(graph)
    file = bundle.file(bundle.artifact(kind, FORMAT, engine.precision).file)
    return open_model(file, engine.precision)


def as_served(graph: Path) -> Callable[[Any], Any]:
    """EMBEDDING from an input, with the options of `model_repository/onnx_runtime`."""
    import onnxruntime as ort

    options = ort.SessionOptions()
    options.log_severity_level = 3
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    options.enable_mem_pattern = False
    session = ort.InferenceSession(str(graph), options, providers=["CPUExecutionProvider"])
    name = session.get_inputs()[0].name
    return lambda tensor: session.run(["EMBEDDING"], {name: tensor})[0]


def measure(
    engine: Engine, embed: Embed, workload: Workload, protocol: Protocol, *, batch: int
) -> Measurement:
    """Embed batches one after the other."""
    numbers = count()

    def make() -> list[bytes]:
        return [workload.item(next(numbers)) for _ in range(batch)]

    timing = Timing(time.monotonic(), protocol.warmup, protocol.seconds, protocol.repeats)
    meter = Meter([os.getpid()])
    log = closed_loop([embed], make, timing)
    return Measurement(
        server=engine.name,
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
        generator=meter.read(),
        usage=None,
    )
