"""Encoders of any precision, opened by what can run them here."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tritonclip_export.bundle import Precision
from tritonclip_export.graph.encoder import Encode, Encoder
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
