"""Which nodes of a graph stay in FP32, and why.

Right by construction: what is before the first and after the last matrix product (normalising the
pixels, the norm of the embedding), and sums and functions that overflow or cancel inside
(`operators.IN_FP32`), stay in FP32 in every tower. Right by measurement: so does what this tower's
own activations have shown to leave the range or to lose too much (`activations`). The user's own
patterns come on top.
"""

from __future__ import annotations

import difflib
from collections.abc import Container, Iterable, Iterator, Sequence
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

import numpy as np

from tritonclip_export.errors import PrecisionError
from tritonclip_export.precision.activations import Activations
from tritonclip_export.precision.layers import is_constant, is_float, layer_of, load
from tritonclip_export.precision.lower import Lower
from tritonclip_export.precision.operators import IN_FP32, MASKS, MOVES, PRODUCTS


def stay_fp32(
    graph: Any, activations: Activations, lower: Lower, keep: Sequence[str] = ()
) -> dict[Any, str]:
    """The nodes that compute in FP32, each with the reason.

    Args:
        graph: an FP32 graph.
        activations: measured on it.
        lower: the precision of the rest.
        keep: patterns (`*` and `?`) of layers, as `layer_of` names them, to keep as well.
    """
    before, after = set(_before_products(graph)), set(_after_products(graph))
    wide = _tensors_to_keep(graph, activations, lower)
    reasons = {}
    for node in graph:
        floats = [v for v in (*node.inputs, *node.outputs) if is_float(v)]
        if node.op_type in MOVES or not floats:
            continue
        if node in before:
            reasons[node] = "before the first product"
        elif node in after:
            reasons[node] = "after the last product"
        elif node.op_type in IN_FP32:
            reasons[node] = node.op_type
        elif found := next((wide[o] for v in floats if (o := _origin(v)) in wide), None):
            reasons[node] = found
        elif any(_does_not_fit(v, lower) for v in floats):
            reasons[node] = f"a constant that {lower.name} cannot hold"
        elif any(fnmatchcase(layer_of(node), pattern) for pattern in keep):
            reasons[node] = "kept by pattern"
    return reasons


def _tensors_to_keep(graph: Any, activations: Activations, lower: Lower) -> dict[Any, str]:
    """Tensors that the lower precision must not touch, each with the reason."""
    found = {}
    for node in graph:
        damage = activations.damage.get(node.name, 0)
        for value in node.inputs:
            if damage > lower.damage and is_float(value) and not is_constant(value):
                origin = _origin_before_masks(value, activations.masked)
                found[origin] = f"rounding costs {damage:.1%} of {layer_of(node)}"
        for value in (*node.inputs, *node.outputs):
            largest = activations.largest.get(value.name, 0) if value is not None else 0
            if largest > lower.largest:
                found[_origin(value)] = f"reaches {largest:.3g}"
    return found


def _origin(value: Any) -> Any:
    """The tensor that `value` only is a view of: where it is computed is where it can be kept."""
    while (node := value.producer()) is not None and node.op_type in MOVES:
        source = next((v for v in node.inputs if is_float(v) and not is_constant(v)), None)
        if source is None:
            break
        value = source
    return value


def _origin_before_masks(value: Any, masked: Container[str]) -> Any:
    """The same for attention's scores, which a mask hides or leaves as they were."""
    value = _origin(value)
    while value.name in masked and (node := value.producer()).op_type in MASKS:
        scores = next((v for v in node.inputs if is_float(v) and v.name not in masked), None)
        if scores is None:
            break
        value = _origin(scores)
    return value


def _before_products(graph: Any) -> Iterator[Any]:
    """Nodes that see only the input, cast to floats: the normalisation of the pixels."""
    found = set()
    for node in graph:
        if node.op_type in PRODUCTS or node.op_type in MOVES:
            continue
        sources = [v.producer() for v in node.inputs if is_float(v) and not is_constant(v)]
        begins = node.op_type == "Cast" and is_float(node.outputs[0])
        if begins or (sources and all(source in found for source in sources)):
            found.add(node)
            yield node


def _after_products(graph: Any) -> Iterator[Any]:
    """Nodes between the last products and the output: the norm of the embedding."""
    seen = set()
    waiting = [value.producer() for value in graph.outputs]
    while waiting:
        node = waiting.pop()
        if node is None or node in seen or node.op_type in PRODUCTS:
            continue
        seen.add(node)
        yield node
        waiting += [v.producer() for v in node.inputs if is_float(v)]


def _does_not_fit(value: Any, lower: Lower) -> bool:
    """Whether a scalar constant loses more than rounding: an epsilon of 1e-12, a scale of 1e9.

    Weights are not looked at here: they leave the range nowhere, or `largest` has shown it, and
    those too small for the lower precision count for nothing in a sum.
    """
    if not is_constant(value) or value.const_value.size != 1:
        return False
    exact = float(value.const_value.numpy().reshape(()))
    rounded = float(np.asarray(exact).astype(lower.numpy))
    return np.isfinite(exact) and abs(rounded - exact) > 1e-2 * abs(exact)


def check_patterns(files: Iterable[Path], keep: Sequence[str]) -> None:
    """Every pattern must match a layer of one of the graphs in `files`.

    Raises:
        PrecisionError: one does not; names the nearest layers.
    """
    if not keep:
        return
    known = sorted({layer_of(node) for file in files for node in load(file).graph})
    for pattern in keep:
        if not any(fnmatchcase(layer, pattern) for layer in known):
            close = difflib.get_close_matches(pattern.strip("*"), known, n=3, cutoff=0.4)
            raise PrecisionError(
                f"no layer is called {pattern!r}; "
                + (f"did you mean {', '.join(close)}?" if close else f"one is {known[-1]!r}")
            )
