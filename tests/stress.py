"""The demo checkpoint with activations as large, or as close together, as those of real towers.

Each change is undone by the LayerNorm behind it, so the checkpoint's embeddings, and its accuracy,
stay what they are in FP32. SigLIP's and EVA's own activations are of this kind.
"""

from __future__ import annotations

import shutil
from pathlib import Path

# What writes to the residual streams of both towers.
_IMAGE_WRITERS = ("patch_embed.norm.", "downsample.norm.", ".attn.proj.", ".mlp.fc2.")
_TEXT_WRITERS = ("token_embedding", "positional_embedding", "attn.out_proj", "mlp.c_proj")


def write_stressed(source: Path, folder: Path, *, scale: float = 1, offset: float = 0) -> Path:
    """Copy a checkpoint with its residual streams multiplied by `scale` and shifted by `offset`."""
    from safetensors.torch import load_file, save_file

    shutil.copytree(source, folder)
    file = folder / "open_clip_model.safetensors"
    weights = {name: tensor.float() for name, tensor in load_file(file).items()}
    for name, tensor in weights.items():
        image = name.startswith("visual.trunk")
        if any(writer in name for writer in (_IMAGE_WRITERS if image else _TEXT_WRITERS)):
            tensor.mul_(scale)
        if name.endswith(("patch_embed.norm.bias", "downsample.norm.bias")):
            tensor.add_(offset)
    weights["positional_embedding"].add_(offset)
    save_file(weights, file)
    return folder
