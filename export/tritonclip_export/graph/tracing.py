"""Tracing: a PyTorch module becomes an ONNX graph."""

from __future__ import annotations

import gc
import logging
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tritonclip_export.errors import ExportError
from tritonclip_export.graph.early_pooling import pool_early
from tritonclip_export.graph.encoder import EXTERNAL_DATA_FROM_BYTES, OPSET, OUTPUT, Input

if TYPE_CHECKING:
    import torch


def trace(module: torch.nn.Module, input: Input, file: Path, output: str = OUTPUT) -> None:
    """Trace `module` with `torch.onnx.export` and write it to `file`.

    Raises:
        ExportError: PyTorch cannot trace or translate the module; quotes why.
    """
    import torch

    # Its optimiser warns of every node that it leaves as it is.
    logging.getLogger("onnxscript").setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings(), _nothing_collected():
            warnings.simplefilter("ignore")
            program = torch.onnx.export(
                module,
                (torch.from_numpy(input.example),),
                input_names=[input.name],
                output_names=[output],
                dynamic_shapes=(dict.fromkeys(input.dynamic_axes, torch.export.Dim.DYNAMIC),),
                opset_version=OPSET,
                dynamo=True,
                optimize=True,
                verbose=False,
            )
    except Exception as error:  # whatever the tracer hits, in any library the tower is made of
        reason = str(error).strip().splitlines() or [type(error).__name__]
        raise ExportError(f"{input.name}: the encoder cannot be traced: {reason[0]}") from error
    if program is None:
        raise ExportError(f"{input.name}: torch.onnx.export returned nothing")
    model: Any = program.model
    for axis, name in input.dynamic_axes.items():
        model.graph.inputs[0].shape[axis] = name
    for axis, name in input.dynamic_axes.items():
        if axis < len(model.graph.outputs[0].shape) - 1:
            model.graph.outputs[0].shape[axis] = name
    for node in model.graph:
        # Half of a small graph, and full of paths of this machine.
        node.metadata_props.pop("pkg.torch.onnx.stack_trace", None)
    pool_early(model.graph)
    program.save(file, external_data=size_of(module) > EXTERNAL_DATA_FROM_BYTES)


def size_of(module: torch.nn.Module) -> int:
    """The bytes that the weights of a module take in its graph."""
    return sum(t.numel() * t.element_size() for t in module.state_dict().values())


@contextmanager
def _nothing_collected() -> Iterator[None]:
    """Python's collector rests.

    What a trace makes lives until its end, and looking for what does not takes a tenth of the time.
    """
    enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if enabled:
            gc.enable()
