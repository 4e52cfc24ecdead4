"""Products whose results leave FP16's range: with smaller weights, they need not.

What overflows as x W is 2^k (x 2^-k W). A power of two moves the exponent alone, so 2^-k W rounds
to FP16 as W does, the product runs in FP16 like any other, and 2^k is multiplied back in FP32, in
which the policy keeps what is so large. Only at the other end can bits be lost: weights that come
below FP16's normal range, 6e-5, are rounded more coarsely. Where many would, W is left as it is.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx_ir as ir

from tritonclip_export.precision.layers import FLOAT, is_constant
from tritonclip_export.precision.lower import Lower
from tritonclip_export.precision.operators import PRODUCTS

# The share of a product's weights that may come below the normal range. Rounding normally
# distributed weights costs 2.1e-4 of their norm; up to three times this share adds nothing to that.
BELOW_NORMAL = 0.1

_TIMES = "_times_two_to_the_"


def scale_products(graph: Any, largest: Mapping[str, float], lower: Lower) -> None:
    """Rewrite an FP32 graph to one of equal values in which fewer products leave a range.

    Args:
        graph: an FP32 graph, changed in place. Tensors keep their names, except for the results of
            scaled products: their names go to what is multiplied back.
        largest: tensor -> the greatest magnitude that it has shown.
        lower: the precision whose range it is.
    """
    for node in list(graph):
        if node.op_type not in PRODUCTS or not _reads_weights(node):
            continue
        x, *weights = node.inputs
        reaches = max(largest.get(value.name, 0) for value in (*weights, *node.outputs))
        if reaches <= lower.largest or largest.get(x.name, 0) > lower.largest:
            continue
        shift = math.ceil(math.log2(reaches / lower.largest))
        if _below_normal(weights[0].const_value.numpy(), shift, lower) <= BELOW_NORMAL:
            for index, value in enumerate(weights, start=1):
                node.replace_input_with(index, _scaled(graph, value, shift))
            _multiply_back(graph, node, shift)


def scaled_products(graph: Any) -> int:
    """How many products of a graph have been scaled, in whatever precision it is by now."""
    return sum(_TIMES in node.name for node in graph)


def _reads_weights(node: Any) -> bool:
    x, *others = node.inputs
    return not is_constant(x) and all(map(is_constant, others))


def _below_normal(weights: npt.NDArray[np.float32], shift: int, lower: Lower) -> float:
    """The share of weights that 2^-`shift` of them would bring there."""
    sizes = np.abs(np.ldexp(weights, -shift))
    return float(((sizes > 0) & (sizes < np.finfo(lower.numpy).smallest_normal)).mean())


def _scaled(graph: Any, weights: Any, shift: int) -> Any:
    name = f"{weights.name}_over_{2**shift}"
    if name not in graph.initializers:  # two products may share weights
        tensor = weights.const_value

        def load() -> Any:
            return ir.tensor(np.ldexp(tensor.numpy(), -shift), name=name)

        lazy = ir.LazyTensor(load, dtype=FLOAT, shape=weights.shape, name=name)
        _register(graph, lazy)
    return graph.initializers[name]


def _multiply_back(graph: Any, node: Any, shift: int) -> None:
    product = node.outputs[0]
    uses = list(product.uses())
    factor = f"factor_{2**shift}"
    if factor not in graph.initializers:
        _register(graph, ir.tensor(np.array(2**shift, np.float32), name=factor))
    multiply = ir.node("Mul", [product, graph.initializers[factor]])
    multiply.name = f"{node.name}{_TIMES}{shift}"
    multiply.metadata_props.update(node.metadata_props)
    graph.insert_after(node, multiply)
    (result,) = multiply.outputs
    result.name, product.name = product.name, f"{product.name}_over_{2**shift}"
    result.type, result.shape = product.type, product.shape
    for use in uses:
        use.node.replace_input_with(use.idx, result)


def _register(graph: Any, tensor: Any) -> None:
    value = ir.Value(
        name=tensor.name, type=ir.TensorType(FLOAT), shape=tensor.shape, const_value=tensor
    )
    graph.register_initializer(value)
