"""Items a second of each tower, batch by batch, as a share of what the card multiplies.

Inputs lie on the device and embeddings stay there, so the figures are the tower's alone. Beside
torch in FP32, in half precision and compiled: the FP16 graph in ONNX Runtime, bound, and replayed.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator
from functools import cache, partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch.utils.flop_counter import FlopCounterMode

from benchmarks.gpu import ceiling, checkpoints, sessions
from benchmarks.gpu.journal import Journal
from benchmarks.gpu.parity import halved
from benchmarks.gpu.plan import Scale
from tritonclip_export.bundle import TOWERS, Bundle, Tower

# Of the lengths that texts are padded to, a caption's; the context's is the other that is measured.
CAPTION = 16

Ready = Callable[[], Callable[[], object]]
"""Gets ready, and returns what one run is."""


def measure(journal: Journal, scale: Scale, home: Path) -> None:
    """Quick ways first for every checkpoint; compiled modules when all of those are measured."""
    roof = ceiling.tflops((scale.cubed,) * 3, torch.float16, scale)
    for mode in (None, *scale.compiled):
        for name in scale.towers:
            bundle = checkpoints.wait(home, name, journal.seconds_left)
            encoders = checkpoints.modules(home, name)
            for tower in TOWERS:
                graph = bundle.file(bundle.artifact(tower, precision=scale.precision).file)
                for what, batch in _batches(bundle, tower, scale):
                    for way, ready in _ways(encoders[tower], graph, batch, mode, scale):
                        figures = partial(_figures, ready, encoders[tower], batch, roof, scale)
                        journal.measure(f"{name} {what} {way}", figures)


def _ways(
    encoder: torch.nn.Module, graph: Path, batch: Any, mode: str | None, scale: Scale
) -> Iterator[tuple[str, Ready]]:
    replayed = len(batch) in scale.graphs
    if mode is not None:
        if replayed:
            half = partial(_torch, partial(halved, encoder), batch, scale, mode)
            yield f"torch half, {mode}", half
        return
    yield "torch half", partial(_torch, partial(halved, encoder), batch, scale)
    yield "onnxruntime", partial(_onnx_runtime, graph, batch, scale)
    if replayed:
        yield "onnxruntime, CUDA graph", partial(_onnx_runtime, graph, batch, scale, True)
        yield "torch FP32", partial(_torch, partial(copy.deepcopy, encoder), batch, scale)


def _batches(bundle: Bundle, tower: Tower, scale: Scale) -> Iterator[tuple[str, Any]]:
    random = np.random.default_rng(0)
    text, image = bundle.info.text, bundle.info.image
    lengths = {CAPTION, text.context_length} if text.dynamic_length else {text.context_length}
    for size in scale.batches:
        if tower == "image":
            pixels = random.integers(0, 256, (size, 3, image.height, image.width), np.uint8)
            yield f"image {size}", pixels
            continue
        for length in sorted(lengths):
            # Any ids will do: a tower takes as long for one text as for another of that length.
            yield f"text {size} of {length}", random.integers(1, 99, (size, length), np.int32)


def _figures(
    ready: Ready, encoder: torch.nn.Module, batch: Any, roof: float, scale: Scale
) -> dict[str, float]:
    per_second = len(batch) * ceiling.rate(ready(), scale)
    flop = _flop(encoder, batch.shape[1:])
    return {
        "per_second": per_second,
        "gflop": flop / 1e9,
        "ceiling_tflops": roof,
        "share": flop * per_second / 1e12 / roof,
    }


def _torch(
    module: Callable[[], torch.nn.Module], batch: Any, scale: Scale, mode: str | None = None
) -> Callable[[], object]:
    run: Any = module().to(scale.device).eval()
    if mode is not None:
        run = torch.compile(run, mode=mode)
    given = torch.from_numpy(batch).to(scale.device)
    return partial(torch.inference_mode()(run.__call__), given)


def _onnx_runtime(
    graph: Path, batch: Any, scale: Scale, cuda_graph: bool = False
) -> Callable[[], object]:
    return sessions.bound(sessions.open_session(graph, scale, cuda_graph=cuda_graph), batch, scale)


@cache
def _flop(encoder: torch.nn.Module, shape: tuple[int, ...]) -> float:
    """Of one item's matrix products, as torch counts them; the rest is not what bounds a tower."""
    one = torch.ones(1, *shape, dtype=torch.uint8 if len(shape) == 3 else torch.int32)
    with FlopCounterMode(display=False) as counter:
        encoder(one)  # with gradients: attention's fast path without them is not counted
    return float(counter.get_total_flops())
