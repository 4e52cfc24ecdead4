"""The two modules that are traced: everything between PIXELS or TOKEN_IDS and EMBEDDING.

Normalisation of the pixels and of the embedding is inside, so that a caller can get neither wrong;
the L2 norm is taken in FP32 whatever the precision of the rest.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import nn
from torch.nn import functional as F

from tritonclip_export.bundle import ImageSpec


def image_encoder(model: Any, image: ImageSpec) -> nn.Module:
    """The module PIXELS [batch, 3, height, width] uint8 -> EMBEDDING [batch, dim] float32."""
    return _ImageEncoder(model.visual, image).eval()


def text_encoder(model: Any) -> nn.Module:
    """The module TOKEN_IDS [batch, length] int32 -> EMBEDDING [batch, dim] float32.

    Its attribute `dynamic_length` says whether `length` may be anything up to the context length.
    """
    # open_clip's plain CLIP keeps the text tower's parts on the model itself.
    tower = getattr(model, "text", model)
    if _is_native(tower):
        return _NativeTextEncoder(tower).eval()
    return _OtherTextEncoder(tower).eval()


class _ImageEncoder(nn.Module):
    mean: torch.Tensor
    std: torch.Tensor

    def __init__(self, visual: nn.Module, image: ImageSpec) -> None:
        super().__init__()
        self.visual = visual
        self.register_buffer("mean", torch.tensor(image.mean).view(1, 3, 1, 1))
        self.register_buffer("std", torch.tensor(image.std).view(1, 3, 1, 1))

    def forward(self, pixels: torch.Tensor) -> torch.Tensor:
        # The same operations in the same order as torchvision's ToTensor and Normalize.
        return _unit(self.visual((pixels.float() / 255 - self.mean) / self.std))


class _NativeTextEncoder(nn.Module):
    """open_clip's own text transformer, for any length up to the context length.

    Its `encode_text` adds the whole positional embedding and causal mask; here both are cut to the
    ids. A causal tower that pools at the end of the text cannot see what comes after it, so the
    embedding is the same at every padded length.
    """

    def __init__(self, tower: Any) -> None:
        super().__init__()
        self.token_embedding = tower.token_embedding
        self.positional_embedding = tower.positional_embedding
        self.transformer = tower.transformer
        self.attn_mask = tower.attn_mask
        self.ln_final = tower.ln_final
        self.text_projection = tower.text_projection
        self.pool_type = _pool_type(tower)
        self.eos_id = getattr(tower, "text_eos_id", getattr(tower, "eos_id", None))
        self.dynamic_length = self.attn_mask is not None and self.pool_type in ("argmax", "eos")

    def forward(self, token_ids: torch.Tensor) -> torch.Tensor:
        from open_clip.transformer import text_global_pool

        length = token_ids.shape[1]
        x = self.token_embedding(token_ids) + self.positional_embedding[:length]
        mask = None if self.attn_mask is None else self.attn_mask[:length, :length]
        x = self.ln_final(self.transformer(x, attn_mask=mask))
        x = text_global_pool(x, token_ids, self.pool_type, eos_token_id=self.eos_id)
        if isinstance(self.text_projection, nn.Linear):
            x = self.text_projection(x)
        elif self.text_projection is not None:
            x = x @ self.text_projection
        return _unit(x)


class _OtherTextEncoder(nn.Module):
    """Every other text tower (Hugging Face's, CoCa's), at its full context length."""

    dynamic_length = False

    def __init__(self, text: nn.Module) -> None:
        super().__init__()
        self.text = text

    def forward(self, token_ids: torch.Tensor) -> torch.Tensor:
        return _unit(self.text(token_ids.long()))


def _is_native(tower: Any) -> bool:
    """Whether the tower is open_clip's text transformer without CoCa's class token or pad mask."""
    return (
        hasattr(tower, "token_embedding")
        and getattr(tower, "cls_emb", None) is None
        and not getattr(tower, "use_pad_mask", False)
    )


def _pool_type(tower: Any) -> str:
    return str(getattr(tower, "text_pool_type", None) or tower.pool_type)


def _unit(features: Any) -> torch.Tensor:
    """Unit vectors of a tower's output; CoCa's towers give their tokens as well."""
    if isinstance(features, tuple):
        features = features[0]
    return F.normalize(features.float(), dim=-1)
