"""Encoders of any precision, opened by what can run them here."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tritonclip_export.bundle import Bundle, Precision, Tower
from tritonclip_export.graph.encoder import Encode, Encoder
from tritonclip_export.parity.inputs import Batches, Embeddings
from tritonclip_export.parity.pairs import Pair, run
from tritonclip_export.precision.emulation import emulated
from tritonclip_export.precision.lower import FLOATING


@contextmanager
def open_encoder(file: Path, precision: Precision) -> Iterator[Encode]:
    """The ONNX encoder in `file`, run by ONNX Runtime, or emulated on a machine without CUDA."""
    import onnxruntime as ort

    if precision not in FLOATING:
        # What is opened to be compared runs a few batches: a copy of the weights would not pay.
        yield Encoder(file, packed=False)
    elif "CUDAExecutionProvider" in ort.get_available_providers():
        yield Encoder(file, providers=("CUDAExecutionProvider", "CPUExecutionProvider"))
    else:
        with emulated(file) as encoder:
            yield encoder


def onnx_embeddings(bundle: Bundle, batches: Batches, precision: Precision = "fp32") -> Pair:
    """Embeddings by the bundle's graphs at `precision`."""

    def embeddings(tower: Tower) -> Embeddings:
        file = bundle.file(bundle.artifact(tower, precision=precision).file)
        with open_encoder(file, precision) as encode:
            return run(encode, batches.of_tower(tower))

    return Pair(embeddings("image"), embeddings("text"))
