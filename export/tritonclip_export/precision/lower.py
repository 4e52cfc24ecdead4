"""The lower precisions and what they can hold."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import ml_dtypes
import numpy as np


@dataclass(frozen=True)
class Lower:
    """A type that activations are rounded to."""

    name: str
    onnx: str
    """Its name in ONNX, and in `onnx_ir.DataType`."""
    numpy: Any
    largest: float
    """The greatest magnitude a tensor may have shown for it to be kept in this type."""
    damage: float
    """The greatest relative error of a node that rounding its inputs may have shown."""


# Real inputs will exceed what a few samples have shown: a quarter of the range (65,504) leaves two
# bits for that. BF16 has the range of FP32. Rounding costs most nodes a relative 2e-4 (FP16) or
# 2e-3 (BF16), a softmax over wide logits ten times that; the limit is where a node cancels.
FP16 = Lower("fp16", "FLOAT16", np.float16, largest=65504 / 4, damage=1e-2)
BF16 = Lower("bf16", "BFLOAT16", ml_dtypes.bfloat16, largest=float("inf"), damage=8e-2)

FLOATING = {lower.name: lower for lower in (FP16, BF16)}

# Dynamic quantisation: a scale for every tensor and request, so one outlier coarsens all others.
# Most products lose one percent by it; beyond five it costs more than its speed is worth.
INT8 = Lower("int8", "UINT8", np.uint8, largest=float("inf"), damage=5e-2)
