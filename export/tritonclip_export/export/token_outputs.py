"""Optional outputs: the towers as parts of something else, with one vector for every token.

The image tower's patch tokens are what multimodal language models read; the text tower's hidden
states condition diffusion models. Each is a graph of its own, so that embeddings pay nothing.
"""

from __future__ import annotations

import io
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from tritonclip_export.bundle import Bundle, Parity, Tokens, Tower
from tritonclip_export.checkpoint.dual_encoder import DualEncoder
from tritonclip_export.errors import ExportError
from tritonclip_export.graph.encoder import CHECKED_BATCHES, Encoder, Input, written
from tritonclip_export.graph.tracing import trace
from tritonclip_export.parity.figures import TOLERANCES, compare

if TYPE_CHECKING:
    import torch

    from tritonclip_export.parity.inputs import Inputs

OUTPUT = "HIDDEN_STATES"

Layers = dict[Tower, int]
"""From which layer of a tower to take tokens, counted from the end: -1 is the last."""


def towers(checkpoint: DualEncoder, layers: Layers) -> dict[Tower, torch.nn.Module]:
    """The modules to trace.

    Raises:
        ExportError: a tower has no tokens to give, or no such layer.
    """
    from tritonclip_export.export import encoders

    return {
        tower: encoders.tokens_encoder(checkpoint, tower, layer) for tower, layer in layers.items()
    }


def export(
    modules: dict[Tower, torch.nn.Module],
    layers: Layers,
    inputs: dict[Tower, Input],
    folder: Path,
    *,
    max_batch: int,
    progress: Callable[[str], None],
) -> tuple[Tokens, ...]:
    """Trace `modules`, which `towers` made, and write their graphs to `folder`.

    Raises:
        ExportError: a module cannot be traced, or its graph fails a check.
    """
    traced = []
    for tower, module in modules.items():
        layer = layers[tower]
        progress(f"tracing and checking the {tower} tower up to layer {layer}")
        file = folder / f"{tower}_tokens_encoder.onnx"
        trace(module, inputs[tower], file, output=OUTPUT)
        shape = _check(file, inputs[tower])
        traced.append(
            Tokens(
                tower=tower,
                layer=layer,
                count=shape[1] if tower == "image" else None,
                width=shape[2],
                **written(file),
                max_batch=max_batch,
            )
        )
    return tuple(traced)


def _check(file: Path, input: Input) -> tuple[int, ...]:
    """Run the graph at several batch sizes and lengths; returns the shape for the example."""
    encode = Encoder(file, packed=False)
    for item in input.items():
        answers = [encode(np.repeat(item, size, axis=0)) for size in CHECKED_BATCHES]
        alone = answers[0].shape
        for size, rows in zip(CHECKED_BATCHES, answers, strict=True):
            if rows.shape != (size, *alone[1:]) or not np.isfinite(rows).all():
                raise ExportError(f"{file.name}: batch {size} gives {rows.shape}, or NaN")
    return alone


def figures(checkpoint: DualEncoder, bundle: Bundle, inputs: Inputs) -> list[Parity]:
    """Compare the graphs with PyTorch, token by token."""
    return [_compare(checkpoint, bundle, tokens, inputs) for tokens in bundle.info.tokens]


def _compare(checkpoint: DualEncoder, bundle: Bundle, tokens: Tokens, inputs: Inputs) -> Parity:
    import torch

    from tritonclip_export.export import encoders

    module = encoders.tokens_encoder(checkpoint, tokens.tower, tokens.layer)
    encode = Encoder(bundle.file(tokens.file), packed=False)
    reference, candidate = [], []
    with torch.inference_mode():
        for item in _items(checkpoint, tokens.tower, inputs):
            reference.append(module(torch.tensor(item))[0].numpy())
            candidate.append(encode(item)[0])
    return compare(
        f"onnx {tokens.tower} tokens",
        np.concatenate(reference),
        np.concatenate(candidate),
        TOLERANCES["onnx"],
    )


def _items(checkpoint: DualEncoder, tower: Tower, inputs: Inputs) -> Sequence[npt.NDArray[Any]]:
    from PIL import Image

    if tower == "image":
        opened = (Image.open(io.BytesIO(encoded)) for encoded in inputs.images)
        return [checkpoint.pixels(image)[np.newaxis] for image in opened]
    return [checkpoint.token_ids([text]).astype(np.int32) for text in inputs.texts]
