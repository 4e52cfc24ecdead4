"""What executes encoders fastest on this CPU: ONNX Runtime and OpenVINO, at every precision.

    tritonclip export ViT-B-32 --random-weights 0
    tritonclip build bundles/ViT-B-32 --precision int8 --graphs-only
    tritonclip build bundles/ViT-B-32 --openvino --precision fp32     # and bf16, and int8
    python benchmarks/cpu_engines.py bundles/ViT-B-32

The encoders alone, without preprocessing or a server, each engine in a process of its own, with as
many threads as there are cores. Rounds of all engines follow each other, so that a machine whose
speed drifts treats them alike.
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass
from multiprocessing import get_context
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any, Literal

import numpy as np
import psutil

import record
from peers.in_process import as_served
from tritonclip_export import samples
from tritonclip_export.bundle import TOWERS, Bundle, Tower
from tritonclip_export.graph.encoder import Encoder
from tritonclip_export.openvino.running import FORMAT, open_model
from tritonclip_export.parity.figures import TOLERANCES, compare
from tritonclip_export.parity.inputs import Batches, Inputs

BATCHES = (1, 8, 32)
SECONDS = 0.7
ROUNDS = 5

Tensor = np.ndarray[Any, Any]
Run = Callable[[Tensor], Tensor]


@dataclass(frozen=True)
class Engine:
    """What executes a graph, and how."""

    name: str
    library: Literal["onnxruntime", "openvino"]
    precision: Literal["fp32", "bf16", "int8"]
    options: tuple[str, ...] = ()


ENGINES = (
    Engine("ONNX Runtime FP32", "onnxruntime", "fp32"),
    Engine("ONNX Runtime FP32, as served", "onnxruntime", "fp32", ("served",)),
    Engine("ONNX Runtime INT8", "onnxruntime", "int8"),
    Engine("ONNX Runtime INT8, as served", "onnxruntime", "int8", ("served",)),
    Engine("OpenVINO FP32", "openvino", "fp32"),
    Engine("OpenVINO BF16", "openvino", "bf16"),
    Engine("OpenVINO INT8", "openvino", "int8"),
)


def main() -> None:
    """Measure every engine on both towers and write the result."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("bundle", type=Path)
    bundle = Bundle.load(parser.parse_args().bundle)
    inputs = Inputs.read(samples.sample_images(), samples.sample_texts())
    batches = Batches.of(bundle, inputs)
    figures: dict[str, Any] = {"checkpoint": bundle.name}
    for tower in TOWERS:
        tensors = [np.asarray(item) for item in batches.of_tower(tower)]
        figures[tower] = _tower(bundle, tower, tensors)
    print(record.save("cpu-engines", figures))


def _tower(bundle: Bundle, tower: Tower, tensors: list[Tensor]) -> dict[str, Any]:
    with ExitStack() as stack:
        workers = {e.name: stack.enter_context(_Worker(bundle, tower, e, tensors)) for e in ENGINES}
        rates: dict[str, dict[int, list[float]]] = {
            name: {batch: [] for batch in BATCHES} for name in workers
        }
        for _ in range(ROUNDS):
            for name, worker in workers.items():
                for batch in BATCHES:
                    rates[name][batch].append(worker.ask(batch))
        reference = workers[ENGINES[0].name].embeddings
        figures = {}
        for name, worker in workers.items():
            tolerance = TOLERANCES["int8" if "INT8" in name else "bf16"]
            found = compare(name, reference, worker.embeddings, tolerance)
            figures[name] = {
                "per_second": {str(b): statistics.median(rates[name][b]) for b in BATCHES},
                "memory_mib": worker.ask(None),
                "relative_to_spread": found.relative_to_spread,
                "min_cosine": found.min_cosine,
            }
            print(tower, name, figures[name], flush=True)
    return figures


class _Worker:
    """A process with one engine; what it embedded is `embeddings`."""

    def __init__(self, bundle: Bundle, tower: Tower, engine: Engine, tensors: list[Tensor]) -> None:
        context = get_context("spawn")
        self._pipe, theirs = context.Pipe()
        self._process = context.Process(
            target=_serve, args=(theirs, bundle, tower, engine, tensors), daemon=True
        )

    def __enter__(self) -> _Worker:
        self._process.start()
        self.embeddings: Tensor = self._pipe.recv()
        return self

    def __exit__(self, *_: object) -> None:
        self._process.terminate()
        self._process.join()

    def ask(self, batch: int | None) -> float:
        """Items a second at a batch size; with None, its memory at its peak, in MiB."""
        self._pipe.send(batch)
        return float(self._pipe.recv())


def _serve(
    pipe: Connection, bundle: Bundle, tower: Tower, engine: Engine, tensors: list[Tensor]
) -> None:
    open_engine = {"onnxruntime": _onnx_runtime, "openvino": _openvino}[engine.library]
    run = open_engine(bundle, tower, engine)
    pipe.send(np.concatenate([run(tensor) for tensor in tensors]))
    before = psutil.Process().memory_info().rss
    first = tensors[0]
    while True:
        batch = pipe.recv()
        if batch is None:
            pipe.send(max(before, psutil.Process().memory_info().rss) / 2**20)
            continue
        tensor = np.resize(first, (batch, *first.shape[1:]))
        run(tensor)
        began, items = time.perf_counter(), 0
        while time.perf_counter() - began < SECONDS:
            run(tensor)
            items += batch
        pipe.send(items / (time.perf_counter() - began))


def _onnx_runtime(bundle: Bundle, tower: Tower, engine: Engine) -> Run:
    graph = bundle.file(bundle.artifact(tower, precision=engine.precision).file)
    return as_served(graph) if "served" in engine.options else Encoder(graph)


def _openvino(bundle: Bundle, tower: Tower, engine: Engine) -> Run:
    artifact = bundle.artifact(tower, FORMAT, engine.precision)
    return open_model(bundle.file(artifact.file), engine.precision)


if __name__ == "__main__":
    main()
