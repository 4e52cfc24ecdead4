"""Running a lower-precision graph where its kernels do not exist.

ONNX Runtime computes FP16 and BF16 on CPUs in part by casting back to FP32 where it likes, and has
crashed on such graphs. Here the graph itself is turned into one that computes in FP32 and rounds
the result of every lower-precision node to that precision and back. That is what tensor cores do,
whose products are exact and summed in FP32; overflow gives the same infinity. Kernels that fuse
several nodes round less often, so a real engine is nearer to FP32 than this.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx_ir as ir

from tritonclip_export.graph.encoder import Encode
from tritonclip_export.precision import layers
from tritonclip_export.precision.layers import FLOAT
from tritonclip_export.precision.lower import FLOATING, Lower

# Nothing is fused, so every step of attention over a big image is a tensor of its own.
ROWS_A_RUN = 2


@contextmanager
def emulated(file: Path) -> Iterator[Encode]:
    """The lower-precision encoder in `file`: from PIXELS or TOKEN_IDS to EMBEDDING [n, dim]."""
    model = layers.load(file)
    for lower in FLOATING.values():
        round_in_fp32(model.graph, lower)
    name = model.graph.inputs[0].name
    with layers.session(model) as session:

        def encode(batch: npt.NDArray[Any]) -> npt.NDArray[np.float32]:
            parts = [batch[i : i + ROWS_A_RUN] for i in range(0, len(batch), ROWS_A_RUN)]
            return np.concatenate([session.run(None, {name: part})[0] for part in parts])

        yield encode


def round_in_fp32(graph: Any, lower: Lower) -> None:
    """Make all of `graph` FP32, with the values of every tensor of type `lower` as they were."""
    low = ir.DataType[lower.onnx]
    for value in graph.initializers.values():
        if value.dtype == low:
            value.const_value = layers.converted(value.const_value, FLOAT, value.name)
            value.type = ir.TensorType(FLOAT)
    for node in list(graph):
        for value in node.outputs:
            if value.dtype == low:
                _round(graph, node, value, low)


def _round(graph: Any, node: Any, value: Any, low: Any) -> None:
    uses = list(value.uses())
    if node.op_type == "Cast":
        rounded = value  # it rounds already
    else:
        value.type = ir.TensorType(FLOAT)
        rounded = _cast(graph, node, value, low)
    back = _cast(graph, rounded.producer(), rounded, FLOAT)
    for use in uses:
        use.node.replace_input_with(use.idx, back)


def _cast(graph: Any, after: Any, value: Any, dtype: Any) -> Any:
    cast = ir.node("Cast", [value], {"to": dtype})
    result = cast.outputs[0]
    result.name = f"{value.name}_rounded_{dtype.name.lower()}"
    result.type, result.shape = ir.TensorType(dtype), value.shape
    graph.insert_after(after, cast)
    return result
