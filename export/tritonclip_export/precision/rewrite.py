"""A graph in lower precision: strongly typed, so that a compiler has nothing left to decide.

TensorRT 11 takes precision from the types in the graph and from nothing else; 10.12 and later do
the same when asked to. Every tensor gets its type here, with a cast where a node of one precision
reads a tensor of the other, one per tensor however many nodes read it. Inputs and outputs keep the
types of the contract.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import onnx_ir as ir

from tritonclip_export.precision.layers import FLOAT, converted, is_constant, is_float
from tritonclip_export.precision.lower import Lower
from tritonclip_export.precision.operators import MOVES


def lower_precision(graph: Any, lower: Lower, stay_fp32: set[Any]) -> None:
    """Change an FP32 graph in place: all nodes but `stay_fp32` compute in `lower`."""
    types = _Types(graph, lower)
    for node in list(graph):
        floats = [(i, value) for i, value in enumerate(node.inputs) if types.is_floating(value)]
        results = [value for value in node.outputs if is_float(value)]
        if not results:  # a shape, an index, a comparison: of any floating type, if of one
            if len({value.dtype for _, value in floats}) > 1:
                for index, value in floats:
                    node.replace_input_with(index, types.cast(value, FLOAT))
            continue
        if node.op_type in MOVES:
            dtype = types.of_moved(node, [value for _, value in floats], stay_fp32)
        else:
            dtype = FLOAT if node in stay_fp32 or not floats else types.low
        if node.op_type == "Cast":
            node.attributes["to"] = ir.AttrInt64("to", dtype)
        else:
            for index, value in floats:
                node.replace_input_with(index, types.cast(value, dtype))
        for value in results:
            value.type = ir.TensorType(dtype)
    for output in graph.outputs:
        if output.dtype != FLOAT:
            types.cast_output(output)
    _drop_unused(graph)


class _Types:
    """Casts tensors and weights, each at most once."""

    def __init__(self, graph: Any, lower: Lower) -> None:
        self.low = ir.DataType[lower.onnx]
        self._graph = graph
        self._lower = lower
        self._casts: dict[tuple[Any, Any], Any] = {}

    def is_floating(self, value: Any) -> bool:
        return is_float(value) or (value is not None and value.dtype == self.low)

    def of_moved(self, node: Any, values: list[Any], stay_fp32: set[Any]) -> Any:
        """The type that a node which only moves `values` gives.

        That of the values, if any is computed; weights (an embedding table, positions) are FP32 if
        a node that reads them is.
        """
        computed = [value.dtype for value in values if not is_constant(value)]
        if computed:
            return FLOAT if FLOAT in computed else self.low
        return FLOAT if any(reader in stay_fp32 for reader in _readers(node)) else self.low

    def cast(self, value: Any, dtype: Any) -> Any:
        """`value` as `dtype`: itself, a rounded weight, or behind a cast."""
        if value.dtype == dtype:
            return value
        if (value, dtype) not in self._casts:
            make = self._rounded if is_constant(value) else self._behind_cast
            self._casts[value, dtype] = make(value, dtype)
        return self._casts[value, dtype]

    def cast_output(self, output: Any) -> None:
        """Give a graph's output back its FP32, under its own name."""
        name = output.name
        output.name = f"{name}_{self._lower.name}"
        cast = self._behind_cast(output, FLOAT)
        cast.name = name
        self._graph.outputs[self._graph.outputs.index(output)] = cast

    def _behind_cast(self, value: Any, dtype: Any) -> Any:
        cast = ir.node("Cast", [value], {"to": dtype})
        result = cast.outputs[0]
        result.name = f"{value.name}_as_{dtype.name.lower()}"
        result.type, result.shape = ir.TensorType(dtype), value.shape
        cast.name = f"cast_{result.name}"
        producer = value.producer()
        for key, entry in producer.metadata_props.items():
            cast.metadata_props[key] = entry
        self._graph.insert_after(producer, cast)
        return result

    def _rounded(self, value: Any, dtype: Any) -> Any:
        name = f"{value.name}_as_{dtype.name.lower()}"
        tensor = converted(value.const_value, dtype, name)
        rounded = ir.Value(
            name=name, type=ir.TensorType(dtype), shape=value.shape, const_value=tensor
        )
        self._graph.register_initializer(rounded)
        return rounded


def _readers(node: Any) -> Iterator[Any]:
    """The nodes that compute with what `node` gives, behind any that only move it further."""
    for output in node.outputs:
        for use in output.uses():
            if use.node.op_type in MOVES:
                yield from _readers(use.node)
            else:
                yield use.node


def _drop_unused(graph: Any) -> None:
    for name, value in list(graph.initializers.items()):
        if not value.uses():
            del graph.initializers[name]
