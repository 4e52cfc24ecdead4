"""The two modules that are traced: everything between PIXELS or TOKEN_IDS and EMBEDDING.

Normalisation of the pixels and of the embedding is inside, so that a caller can get neither wrong;
the L2 norm is taken in FP32 whatever the precision of the rest.
"""

from __future__ import annotations

import torch
from torch import nn
from torch.nn import functional as F

from tritonclip_export.bundle import ImageSpec, Tower
from tritonclip_export.checkpoint.dual_encoder import DualEncoder


def image_encoder(checkpoint: DualEncoder) -> nn.Module:
    """The module PIXELS [batch, 3, height, width] uint8 -> EMBEDDING [batch, dim] float32."""
    return _ImageEncoder(checkpoint.image_tower(), checkpoint.image).eval()


def text_encoder(checkpoint: DualEncoder) -> nn.Module:
    """The module TOKEN_IDS [batch, length] int32 -> EMBEDDING [batch, dim] float32."""
    return _TextEncoder(checkpoint.text_tower()).eval()


def tokens_encoder(checkpoint: DualEncoder, tower: Tower, layer: int) -> nn.Module:
    """The module PIXELS or TOKEN_IDS -> HIDDEN_STATES [batch, tokens, width] float32.

    Raises:
        ExportError: the tower has no tokens to give, or no such layer.
    """
    if tower == "image":
        return _ImageTokens(checkpoint.image_tokens_tower(layer), checkpoint.image).eval()
    return checkpoint.text_tokens_tower(layer).eval()


class _ImageEncoder(nn.Module):
    mean: torch.Tensor
    std: torch.Tensor

    def __init__(self, tower: nn.Module, image: ImageSpec) -> None:
        super().__init__()
        self.tower = tower
        self.register_buffer("mean", torch.tensor(image.mean).view(1, 3, 1, 1))
        self.register_buffer("std", torch.tensor(image.std).view(1, 3, 1, 1))

    def forward(self, pixels: torch.Tensor) -> torch.Tensor:
        return _unit(self.tower(self._normalised(pixels)))

    def _normalised(self, pixels: torch.Tensor) -> torch.Tensor:
        # The same operations in the same order as torchvision's ToTensor and Normalize.
        return (pixels.float() / 255 - self.mean) / self.std


class _ImageTokens(_ImageEncoder):
    def forward(self, pixels: torch.Tensor) -> torch.Tensor:
        tokens: torch.Tensor = self.tower(self._normalised(pixels))
        return tokens.float()


class _TextEncoder(nn.Module):
    def __init__(self, tower: nn.Module) -> None:
        super().__init__()
        self.tower = tower

    def forward(self, token_ids: torch.Tensor) -> torch.Tensor:
        return _unit(self.tower(token_ids))


def _unit(features: torch.Tensor) -> torch.Tensor:
    return F.normalize(features.float(), dim=-1)
