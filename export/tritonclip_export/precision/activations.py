"""What a tower's own activations show: how large they get, and where rounding them loses too much.

Both are measured in one run of the FP32 graph on real inputs, with measuring nodes added, so only
scalars leave it:

- the greatest finite magnitude of every tensor;
- for every node the *damage*: how far its result moves when its inputs are rounded to the lower
  precision, as root mean square, relative to how far the result differs between positions and
  inputs: what all have in common carries no information, and the next bias takes it away. A node
  that cancels, such as a LayerNormalization over values of 1000 that differ by 1, shows far more
  than the rounding itself.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx_ir as ir

from tritonclip_export.graph.encoder import OUTPUT
from tritonclip_export.precision import layers
from tritonclip_export.precision.layers import FLOAT, is_constant, is_float
from tritonclip_export.precision.lower import Lower
from tritonclip_export.precision.operators import MOVES


@dataclass(frozen=True)
class Activations:
    """Measurements over all inputs."""

    largest: dict[str, float]
    """Tensor -> greatest finite magnitude."""
    damage: dict[str, float]
    """Node -> relative error of its result after rounding its inputs; the worst of the inputs."""
    masked: frozenset[str]
    """Tensors that an infinity of an attention mask reaches, up to the softmax that ends it."""
    embeddings: npt.NDArray[np.float32]
    """What the graph gave, [n, dim]: a second run for them would take half as long as this one."""


def measure(file: Path, batches: Sequence[npt.NDArray[Any]], lower: Lower) -> Activations:
    """Run the FP32 graph in `file` on `batches` of its one input and measure."""
    model = layers.load(file)
    probe = _Probe(model.graph, lower)
    for value in model.graph.initializers.values():
        if is_float(value):
            probe.constant(value)
    for node in list(model.graph):
        probe.move_behind(node)
        for output in node.outputs:
            if is_float(output):
                probe.magnitude(output)
        if node.op_type not in MOVES and len(node.outputs) == 1 and is_float(node.outputs[0]):
            probe.damage(node)
    return probe.run(model, batches)


class _Probe:
    """Adds measuring nodes to a graph, and reads them."""

    def __init__(self, graph: Any, lower: Lower) -> None:
        self._graph = graph
        self._lower = lower
        self._rounded: dict[Any, Any] = {}
        self._magnitudes: dict[str, str] = {}  # output of a measuring node -> tensor
        self._damages: dict[str, str] = {}  # ... -> node
        self._largest: dict[str, float] = {}
        self._axes_inputs: dict[str, Any] = {}
        self._infinite: set[Any] = set()
        self._last: Any = None
        self._zero = self._new_constant("zero", np.zeros((), np.float32))

    def magnitude(self, value: Any) -> None:
        """Measure the greatest magnitude of `value`."""
        if value in self._infinite:
            infinite = self._node("IsInf", value, dtype=ir.DataType.BOOL)
            finite = self._node("Where", infinite, self._zero, self._node("Abs", value))
            largest = self._node("ReduceMax", finite)
        else:  # no tensor of magnitudes: beside a product, every pass over a big tensor counts
            lowest = self._node("Neg", self._node("ReduceMin", value))
            largest = self._node("Max", self._node("ReduceMax", value), lowest)
        self._magnitudes[self._emit(largest)] = value.name

    def damage(self, node: Any) -> None:
        """Measure what rounding the inputs of `node` does to its result.

        What is masked counts where its softmax ends it.
        """
        if node.outputs[0] in self._infinite:
            return
        inputs = [self._round(value) if is_float(value) else value for value in node.inputs]
        if all(new is old for new, old in zip(inputs, node.inputs, strict=True)):
            return
        twin = ir.node(node.op_type, inputs, node.attributes, domain=node.domain)
        self._append(twin)
        result = node.outputs[0]
        error = self._node("Sub", twin.outputs[0], result)
        common = self._node("ReduceMean", result, self._axes(node), keepdims=1)
        difference = self._node("Sub", result, common)
        squares = [self._node("ReduceSumSquare", value) for value in (error, difference)]
        self._damages[self._emit(self._node("Div", *squares))] = node.name

    def constant(self, value: Any) -> None:
        """Measure a weight, without running it."""
        array = value.const_value.numpy()
        extremes = np.array([array.min(initial=0), array.max(initial=0)])
        # Two of the lowest float add up to an infinity.
        if not (np.abs(extremes) < np.finfo(np.float32).max / 2).all():
            self._infinite.add(value)
            extremes = array[np.isfinite(array)]
        self._largest[value.name] = float(np.abs(extremes).max(initial=0))

    def move_behind(self, node: Any) -> None:
        """Put what measures next behind `node`, and note whether its results are masked.

        Nodes run in their order in the graph: measured at its end, every tensor would be held until
        then.
        """
        self._last = node
        if node.op_type != "Softmax" and not self._infinite.isdisjoint(node.inputs):
            self._infinite.update(node.outputs)

    def run(self, model: Any, batches: Sequence[npt.NDArray[Any]]) -> Activations:
        """Run the graph and collect the worst of every measurement."""
        names = [*self._magnitudes, *self._damages]
        embeddings = []
        worst = np.zeros(len(names))
        input = self._graph.inputs[0].name
        with layers.session(model) as session:
            for batch in batches:
                rows, *scalars = session.run([OUTPUT, *names], {input: batch})
                embeddings.append(rows)
                found = np.array(scalars, np.float64)
                worst = np.fmax(worst, np.where(np.isfinite(found), found, 0))
        values = dict(zip(names, worst.tolist(), strict=True))
        largest = {tensor: values[name] for name, tensor in self._magnitudes.items()}
        damage = {node: float(np.sqrt(values[name])) for name, node in self._damages.items()}
        masked = frozenset(value.name for value in self._infinite)
        return Activations(self._largest | largest, damage, masked, np.concatenate(embeddings))

    def _axes(self, node: Any) -> Any:
        """The axes of positions and inputs: all but the channels', and the attention heads'."""
        rank = len(node.outputs[0].shape)
        axes = (0, *range(2, rank)) if node.op_type.startswith("Conv") else (0, max(rank - 2, 0))
        name = "axes_" + "_".join(map(str, sorted(set(axes))))
        if name not in self._axes_inputs:
            self._axes_inputs[name] = self._new_constant(name, np.array(sorted(set(axes))))
        return self._axes_inputs[name]

    def _round(self, value: Any) -> Any:
        if is_constant(value):
            return value  # weights are rounded anyhow, and are not what a layer could keep
        if value not in self._rounded:
            lower = ir.DataType[self._lower.onnx]
            if lower == ir.DataType.UINT8:
                self._rounded[value] = self._quantised(value)
            else:
                low = self._node("Cast", value, dtype=lower, to=lower)
                self._rounded[value] = self._node("Cast", low, to=FLOAT)
        return self._rounded[value]

    def _quantised(self, value: Any) -> Any:
        quantise = ir.node("DynamicQuantizeLinear", [value], num_outputs=3)
        self._append(quantise)
        return self._node("DequantizeLinear", *quantise.outputs)

    def _node(self, op: str, *inputs: Any, dtype: Any = FLOAT, **attributes: Any) -> Any:
        if op.startswith("Reduce"):
            attributes.setdefault("keepdims", 0)
        node = ir.node(op, list(inputs), attributes)
        self._append(node)
        node.outputs[0].type = ir.TensorType(dtype)
        return node.outputs[0]

    def _append(self, node: Any) -> None:
        self._graph.insert_after(self._last, node)
        self._last = node
        count = len(self._graph)
        node.name = f"measure_{count}"
        for index, output in enumerate(node.outputs):
            output.name = f"measured_{count}_{index}"

    def _emit(self, value: Any) -> str:
        value.shape = ir.Shape([])
        self._graph.outputs.append(value)
        return str(value.name)

    def _new_constant(self, name: str, array: npt.NDArray[Any]) -> Any:
        value = ir.Value(
            name=f"measure_{name}",
            type=ir.TensorType(ir.DataType.from_numpy(array.dtype)),
            shape=ir.Shape(array.shape),
            const_value=ir.tensor(array, name=f"measure_{name}"),
        )
        self._graph.register_initializer(value)
        return value
