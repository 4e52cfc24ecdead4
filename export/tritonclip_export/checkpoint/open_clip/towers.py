"""The towers of open_clip's models as modules that can be traced."""

from __future__ import annotations

from typing import Any

import torch
from torch import nn


class TextTower(nn.Module):
    """Token ids [batch, length] int32 -> features [batch, dim]."""

    dynamic_length: bool
    """Whether `length` may be anything up to the context length."""


def image_tower(model: Any) -> nn.Module:
    """Normalised pixels [batch, 3, height, width] -> features [batch, dim].

    Branches that exist for training alone (MobileCLIP's) are merged into one convolution each.
    """
    visual = model.visual
    if any(hasattr(part, "reparameterize") for part in visual.modules()):
        from timm.utils.model import reparameterize_model

        visual = reparameterize_model(visual)  # a copy: the reference stays as it was trained
    return _First(visual)


def text_tower(model: Any) -> TextTower:
    """The text tower of a `CLIP`, `CustomTextCLIP` or `CoCa`."""
    from open_clip.hf_model import HFTextEncoder

    # open_clip's plain CLIP keeps the text tower's parts on the model itself.
    tower = getattr(model, "text", model)
    if isinstance(tower, HFTextEncoder):
        return _HuggingFaceTextTower(tower)
    return _NativeTextTower(tower) if _is_native(tower) else _OtherTextTower(tower)


class _First(nn.Module):
    """A tower's pooled features; CoCa's towers give their tokens as well."""

    def __init__(self, tower: nn.Module) -> None:
        super().__init__()
        self.tower = tower

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        features: torch.Tensor | tuple[torch.Tensor, ...] = self.tower(x)
        return features[0] if isinstance(features, tuple) else features


class _NativeTextTower(TextTower):
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
        self.pool_type = str(getattr(tower, "text_pool_type", None) or tower.pool_type)
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
        features: torch.Tensor = x
        return features


class _HuggingFaceTextTower(TextTower):
    """open_clip's adapter of a transformers encoder, with its padding masked.

    The adapter's own `forward` also picks all tokens but the pooled one by a boolean mask, whose
    shape depends on data and cannot be traced.
    """

    dynamic_length = True

    def __init__(self, tower: Any) -> None:
        super().__init__()
        self.transformer = tower.transformer
        self.pooler = tower.pooler
        self.proj = tower.proj
        self.pad_id = tower.config.pad_token_id

    def forward(self, token_ids: torch.Tensor) -> torch.Tensor:
        ids = token_ids.long()
        mask = (ids != self.pad_id).long()
        hidden = self.transformer(input_ids=ids, attention_mask=mask)
        features: torch.Tensor = self.proj(self.pooler(hidden, mask))
        return features


class _OtherTextTower(TextTower):
    """Every other text tower (CoCa's, with its class token), at its full context length."""

    dynamic_length = False

    def __init__(self, tower: nn.Module) -> None:
        super().__init__()
        self.tower = _First(tower)

    def forward(self, token_ids: torch.Tensor) -> torch.Tensor:
        features: torch.Tensor = self.tower(token_ids.long())
        return features


def _is_native(tower: Any) -> bool:
    """Whether the tower is open_clip's text transformer without CoCa's class token or pad mask."""
    return (
        hasattr(tower, "token_embedding")
        and getattr(tower, "cls_emb", None) is None
        and not getattr(tower, "use_pad_mask", False)
    )
