"""What the towers of transformers know of every patch and of every token, before it is pooled."""

from __future__ import annotations

from typing import Any

import torch
from torch import nn

from tritonclip_export.errors import ExportError


def image_tokens_tower(model: Any, layer: int) -> nn.Module:
    """Normalised pixels [batch, 3, height, width] -> patch tokens [batch, patches, width].

    Raises:
        ExportError: the tower has no such layer.
    """
    _check(model.config.vision_config, layer, "image")
    return _ImageTokens(model.vision_model, layer)


def text_tokens_tower(model: Any, layer: int) -> nn.Module:
    """Token ids [batch, length] int32 -> hidden states [batch, length, width].

    Raises:
        ExportError: the tower is of BERT's kind, or has no such layer.
    """
    if not hasattr(model.text_model, "final_layer_norm"):
        raise ExportError("hidden states are exported of CLIP's and SigLIP's text towers only")
    _check(model.config.text_config, layer, "text")
    return _TextTokens(model.text_model, layer)


def _check(config: Any, layer: int, tower: str) -> None:
    count = config.num_hidden_layers
    if not -count <= layer < 0:
        raise ExportError(f"the {tower} tower has layers -1 to -{count}, not {layer}")


class _ImageTokens(nn.Module):
    def __init__(self, tower: Any, layer: int) -> None:
        super().__init__()
        self.tower = tower
        self.layer = layer
        # SigLIP's tower has no class token.
        self.first_patch = int(hasattr(tower.embeddings, "class_embedding"))

    def forward(self, pixels: torch.Tensor) -> torch.Tensor:
        states = self.tower(pixel_values=pixels, output_hidden_states=True).hidden_states
        tokens: torch.Tensor = states[self.layer][:, self.first_patch :]
        return tokens


class _TextTokens(nn.Module):
    def __init__(self, tower: Any, layer: int) -> None:
        super().__init__()
        self.tower = tower
        self.layer = layer

    def forward(self, token_ids: torch.Tensor) -> torch.Tensor:
        states = self.tower(input_ids=token_ids.long(), output_hidden_states=True).hidden_states
        tokens: torch.Tensor = self.tower.final_layer_norm(states[self.layer])
        return tokens
