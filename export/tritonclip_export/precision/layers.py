"""The layers of a graph: loading and saving them, their names and values, running them."""

from __future__ import annotations

import ast
import re
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import onnx_ir as ir

from tritonclip_export.errors import ExportError
from tritonclip_export.graph.encoder import EXTERNAL_DATA_FROM_BYTES, EXTERNAL_DATA_SUFFIX
from tritonclip_export.precision.operators import CONTROL_FLOW
from tritonclip_export.served.cores import threads
from tritonclip_export.staging.folders import require_space

FLOAT = ir.DataType.FLOAT


def load(file: Path) -> Any:
    """An `onnx_ir.Model`; weights beside the graph are mapped, not read.

    Raises:
        ExportError: the graph has control flow, which TensorRT and this package do without.
    """
    model = ir.load(file)
    for value in model.graph.initializers.values():
        value.const_value = _trusted(value.const_value)
    for node in model.graph:
        if node.op_type in CONTROL_FLOW:
            raise ExportError(f"{file.name}: {node.name} is an {node.op_type}: control flow")
    return model


def save(model: Any, file: Path) -> None:
    """Write a model, its weights beside it if they pass protobuf's limit."""
    if _size_of(model) > EXTERNAL_DATA_FROM_BYTES:
        ir.save(model, file, external_data=file.name + EXTERNAL_DATA_SUFFIX)
        return
    # Else weights that came from beside another graph would still be looked for beside this one.
    for value in model.graph.initializers.values():
        if isinstance(value.const_value, ir.ExternalTensor):
            value.const_value = ir.tensor(value.const_value.numpy(), name=value.name)
    ir.save(model, file)


def _size_of(model: Any) -> int:
    """The bytes that the weights of a model take."""
    return sum(value.const_value.nbytes for value in model.graph.initializers.values())


def _trusted(tensor: Any) -> Any:
    """A tensor that is read wherever it lies.

    Beside a graph of unknown origin, onnx_ir refuses files with several links. Ours have them as
    soon as a repository shares the bundle's weights, and their hashes are in `bundle.json`.
    """
    if not isinstance(tensor, ir.ExternalTensor):
        return tensor
    return ir.ExternalTensor(
        tensor.path,
        tensor.offset,
        tensor.length,
        tensor.dtype,
        shape=tensor.shape,
        name=tensor.name,
    )


def converted(weights: Any, dtype: Any, name: str) -> Any:
    """A tensor of weights as `dtype`, lazily: a big tower's must not be in memory twice."""

    def load() -> Any:
        with np.errstate(over="ignore"):  # an attention mask's lowest float becomes -inf
            return ir.tensor(weights.numpy().astype(dtype.numpy()), dtype=dtype, name=name)

    return ir.LazyTensor(load, dtype=dtype, shape=weights.shape, name=name)


@contextmanager
def session(model: Any) -> Iterator[Any]:
    """An ONNX Runtime session of a changed model on the CPU, node by node as it stands.

    Nothing is fused or reordered: optimisation would remove casts that are there to round, and for
    a probe, whose every tensor is read, it only takes time and copies weights.

    Raises:
        DiskSpaceError: the model does not fit into the temporary folder, from where it is run.
    """
    import onnxruntime as ort

    options = ort.SessionOptions()
    options.intra_op_num_threads = threads()
    options.log_severity_level = 3
    options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_DISABLE_ALL
    # Each node as soon as it can run, and no plan that sets memory aside for a whole run: a probe
    # follows the tensor it measures, which is then given back.
    options.execution_order = ort.ExecutionOrder.PRIORITY_BASED
    options.enable_mem_pattern = False
    # Weights stay in their file: a faster layout of them does not pay for a few batches.
    options.add_session_config_entry("session.disable_prepacking", "1")
    with tempfile.TemporaryDirectory(prefix="tritonclip-") as folder:
        require_space(Path(folder), _size_of(model))
        file = Path(folder) / "model.onnx"
        save(model, file)
        yield ort.InferenceSession(str(file), options, providers=["CPUExecutionProvider"])


def layer_of(node: Any) -> str:
    """The module that a node comes from, as its tower names it: `transformer.resblocks.0.mlp`.

    The exporter leaves the chain of modules in the node's metadata; a node that was added later
    goes by its own name.
    """
    scopes = node.metadata_props.get("pkg.torch.onnx.name_scopes")
    names = ast.literal_eval(scopes) if scopes else []
    name = next((name for name in reversed(names[:-1]) if name), str(node.name))
    # The modules that `export` wraps around a tower.
    return re.sub(r"^(tower\.)+", "", name)


def is_float(value: Any) -> bool:
    """Whether a value of a graph is an FP32 tensor."""
    return value is not None and value.dtype == FLOAT


def is_constant(value: Any) -> bool:
    """Whether a value is one of the graph's weights or constants."""
    return value.const_value is not None
