"""The tensors of an engine: what the repository's configs promise, and what a compiler reports."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any, Literal

from tritonclip_export.bundle import Binding, BundleInfo, Tower
from tritonclip_export.errors import EngineError
from tritonclip_export.graph.encoder import OUTPUT

INPUTS: dict[Tower, str] = {"image": "PIXELS", "text": "TOKEN_IDS"}

# The names in TensorRT's `DataType` and in ONNX's `TensorProto.DataType`.
_DTYPES: dict[str, Any] = {
    "UINT8": "uint8",
    "INT32": "int32",
    "INT64": "int64",
    "FLOAT": "fp32",
    "FLOAT16": "fp16",
    "HALF": "fp16",
    "BFLOAT16": "bf16",
    "BF16": "bf16",
}


def promised(info: BundleInfo, tower: Tower) -> tuple[Binding, ...]:
    """What the configs of every repository say of an encoder."""
    output = Binding(name=OUTPUT, mode="output", dtype="fp32", shape=(-1, info.dim))
    if tower == "image":
        shape = (-1, 3, info.image.height, info.image.width)
        return Binding(name=INPUTS[tower], mode="input", dtype="uint8", shape=shape), output
    length = -1 if info.text.dynamic_length else info.text.context_length
    return Binding(name=INPUTS[tower], mode="input", dtype="int32", shape=(-1, length)), output


def require(found: Iterable[Binding], promise: Iterable[Binding], what: str) -> None:
    """Refuse an engine whose tensors are not the promised ones.

    Raises:
        EngineError: names the tensors on both sides.
    """
    ours, theirs = (", ".join(sorted(map(_describe, side))) for side in (promise, found))
    if ours != theirs:
        raise EngineError(f"{what} has the tensors {theirs}; the configs promise {ours}")


def of_network(network: Any) -> tuple[Binding, ...]:
    """The tensors of a parsed TensorRT network."""

    def of(tensor: Any, mode: Literal["input", "output"]) -> Binding:
        dtype = _DTYPES[tensor.dtype.name]
        return Binding(name=tensor.name, mode=mode, dtype=dtype, shape=tuple(tensor.shape))

    return (
        *(of(network.get_input(n), "input") for n in range(network.num_inputs)),
        *(of(network.get_output(n), "output") for n in range(network.num_outputs)),
    )


def of_engine(engine: Any) -> tuple[Binding, ...]:
    """The tensors of a loaded TensorRT engine."""
    names = [engine.get_tensor_name(n) for n in range(engine.num_io_tensors)]
    return tuple(
        Binding(
            name=name,
            mode=engine.get_tensor_mode(name).name.lower(),
            dtype=_DTYPES[engine.get_tensor_dtype(name).name],
            shape=tuple(engine.get_tensor_shape(name)),
        )
        for name in names
    )


def of_graph(file: Path) -> tuple[Binding, ...]:
    """The tensors of an ONNX graph, which a strongly typed engine keeps."""
    import onnx

    def of(value: Any, mode: Literal["input", "output"]) -> Binding:
        tensor = value.type.tensor_type
        dtype = _DTYPES[onnx.TensorProto.DataType.Name(tensor.elem_type)]
        shape = tuple(d.dim_value or -1 for d in tensor.shape.dim)
        return Binding(name=value.name, mode=mode, dtype=dtype, shape=shape)

    graph = onnx.load(file, load_external_data=False).graph
    return (*(of(v, "input") for v in graph.input), *(of(v, "output") for v in graph.output))


def _describe(binding: Binding) -> str:
    return f"{binding.name} {binding.dtype} {list(binding.shape)}"
