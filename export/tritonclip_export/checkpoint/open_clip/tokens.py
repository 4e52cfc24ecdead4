"""What open_clip's towers know of every patch and of every token, before it is pooled."""

from __future__ import annotations

from typing import Any

import torch
from torch import nn

from tritonclip_export.errors import ExportError


def image_tokens_tower(model: Any, layer: int) -> nn.Module:
    """Normalised pixels [batch, 3, height, width] -> patch tokens [batch, patches, width].

    Raises:
        ExportError: the tower has no patches, or no such layer.
    """
    tower = _ImageTokens(model.visual, layer)
    size = model.visual.preprocess_cfg["size"]
    height, width = size if isinstance(size, (tuple, list)) else (size, size)
    try:
        with torch.inference_mode():
            tower(torch.zeros(1, 3, height, width))
    except Exception as error:  # whatever the library of the tower thinks of it
        raise ExportError(
            f"the image tower gives no patch tokens at layer {layer}: {error or type(error)}"
        ) from error
    return tower


def text_tokens_tower(model: Any, layer: int) -> nn.Module:
    """Token ids [batch, length] int32 -> hidden states [batch, length, width].

    Raises:
        ExportError: the tower is not open_clip's own, or has no such layer.
    """
    tower = getattr(model, "text", model)
    blocks = getattr(getattr(tower, "transformer", None), "resblocks", None)
    if blocks is None or getattr(tower, "cls_emb", None) is not None:
        raise ExportError("hidden states are exported of open_clip's own text towers only")
    if not -len(blocks) <= layer < 0:
        raise ExportError(f"the text tower has layers -1 to -{len(blocks)}, not {layer}")
    return _TextTokens(tower, len(blocks) + layer + 1)


class _ImageTokens(nn.Module):
    def __init__(self, visual: Any, layer: int) -> None:
        super().__init__()
        self.visual = visual
        self.layer = layer

    def forward(self, pixels: torch.Tensor) -> torch.Tensor:
        found = self.visual.forward_intermediates(
            pixels,
            indices=[self.layer],
            stop_early=True,
            intermediates_only=True,
            output_fmt="NLC",
        )
        tokens: torch.Tensor = found["image_intermediates"][0]
        return tokens


class _TextTokens(nn.Module):
    """The first `depth` blocks and the final normalisation, at any length up to the context."""

    def __init__(self, tower: Any, depth: int) -> None:
        super().__init__()
        self.token_embedding = tower.token_embedding
        self.positional_embedding = tower.positional_embedding
        self.blocks = tower.transformer.resblocks[:depth]
        self.attn_mask = tower.attn_mask
        self.ln_final = tower.ln_final

    def forward(self, token_ids: torch.Tensor) -> torch.Tensor:
        length = token_ids.shape[1]
        x = self.token_embedding(token_ids) + self.positional_embedding[:length]
        mask = None if self.attn_mask is None else self.attn_mask[:length, :length]
        for block in self.blocks:
            x = block(x, attn_mask=mask)
        tokens: torch.Tensor = self.ln_final(x)
        return tokens
