"""Encoders of any precision, opened by what can run them here, and what those in FP32 gave."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np

from tritonclip_export.bundle import TOWERS, Baseline, Bundle, Precision, Tower, sha256_of
from tritonclip_export.bundle.recipes import recipe
from tritonclip_export.graph.encoder import Encode, Encoder
from tritonclip_export.parity.inputs import Batches, Embeddings
from tritonclip_export.parity.pairs import Pair, run
from tritonclip_export.precision.emulation import emulated
from tritonclip_export.precision.lower import FLOATING

BASELINE = "baseline.npz"
CUDA = "CUDAExecutionProvider"


@contextmanager
def open_encoder(file: Path, precision: Precision) -> Iterator[Encode]:
    """The ONNX encoder in `file`, run by ONNX Runtime, or emulated on a machine without CUDA."""
    import onnxruntime as ort

    if precision not in FLOATING:
        # What is opened to be compared runs a few batches: a copy of the weights would not pay.
        yield Encoder(file, packed=False)
        return
    if CUDA in ort.get_available_providers():
        encoder = Encoder(file, providers=(CUDA, "CPUExecutionProvider"))
        # Where CUDA does not load, ONNX Runtime falls back to the CPU, which is no measure for it.
        if CUDA in encoder.providers:
            yield encoder
            return
    with emulated(file) as emulation:
        yield emulation


def onnx_embeddings(bundle: Bundle, batches: Batches, precision: Precision = "fp32") -> Pair:
    """Embeddings by the bundle's graphs at `precision`."""

    def embeddings(tower: Tower) -> Embeddings:
        file = bundle.file(bundle.artifact(tower, precision=precision).file)
        with open_encoder(file, precision) as encode:
            return run(encode, batches.of_tower(tower))

    return Pair(embeddings("image"), embeddings("text"))


def keep_baseline(bundle: Bundle, batches: Batches, embeddings: Pair) -> Baseline:
    """Write what the FP32 graphs gave for `batches` into the bundle, for `fp32_embeddings`."""
    file = bundle.file(BASELINE)
    np.savez(file, images=embeddings.images, texts=embeddings.texts)
    return Baseline(file=file.name, sha256=sha256_of(file), made_from=_recipe(bundle, batches))


def fp32_embeddings(bundle: Bundle, batches: Batches) -> Pair:
    """Embeddings by the FP32 graphs: those that `export` kept, if these are the same tensors.

    Raises:
        BundleError: those that it kept are damaged.
    """
    baseline = bundle.info.baseline
    if baseline is None or baseline.made_from != _recipe(bundle, batches):
        return onnx_embeddings(bundle, batches)
    bundle.check_baseline(baseline)
    with np.load(bundle.file(baseline.file)) as kept:
        return Pair(kept["images"], kept["texts"])


def _recipe(bundle: Bundle, batches: Batches) -> str:
    return recipe([bundle.artifact(tower).sha256 for tower in TOWERS], batches.sha256)
