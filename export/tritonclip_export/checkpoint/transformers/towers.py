"""Families of Hugging Face transformers, one declaration each, and their towers to trace."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import nn

Padding = Literal["invisible", "masked", "attended"]


@dataclass(frozen=True)
class Family:
    """What tells one `model_type` from another; everything else their classes have in common."""

    model_class: str
    """The class in `transformers` with `vision_model`, `text_model` and `get_*_features`."""
    padding: Padding
    """`invisible`: a causal tower that pools at the end of the text cannot see what follows it.
    `masked`: attention leaves it out. `attended`: part of the text, as the tower was trained."""
    reserved_positions: int = 0
    """Entries of the position table before that of the first token (RoBERTa counts from its
    padding id on)."""
    highest_id_eos: int | None = None
    """An `eos_token_id` that means: pool at the highest id. Configs written before transformers
    4.31 have it by mistake."""

    @property
    def dynamic_length(self) -> bool:
        """Whether an embedding is the same at every padded length."""
        return self.padding != "attended"


FAMILIES: dict[str, Family] = {
    "clip": Family("CLIPModel", padding="invisible", highest_id_eos=2),
    "metaclip_2": Family("MetaClip2Model", padding="invisible"),
    "siglip": Family("SiglipModel", padding="attended"),
    "chinese_clip": Family("ChineseCLIPModel", padding="masked"),
    "altclip": Family("AltCLIPModel", padding="masked", reserved_positions=2),
}


def image_tower(model: Any) -> nn.Module:
    """Normalised pixels [batch, 3, height, width] -> features [batch, dim]."""
    return _ImageTower(model)


def text_tower(model: Any, family: Family, pad_id: int) -> nn.Module:
    """Token ids [batch, length] int32 -> features [batch, dim]."""
    return _TextTower(model, family, pad_id)


def padding_mask(ids: torch.Tensor, pad_id: int) -> torch.Tensor:
    """The attention mask [batch, length] of padded token ids, which TOKEN_IDS come without.

    Padding is all after the last id that is none. (A padding token typed into a text is attended
    to, as it is by the reference.)
    """
    positions = torch.arange(ids.shape[1], device=ids.device)
    last = (positions * (ids != pad_id)).amax(dim=1, keepdim=True)
    return (positions <= last).long()


class _ImageTower(nn.Module):
    def __init__(self, model: Any) -> None:
        super().__init__()
        self.tower = model.vision_model
        self.projection = getattr(model, "visual_projection", nn.Identity())

    def forward(self, pixels: torch.Tensor) -> torch.Tensor:
        features: torch.Tensor = self.projection(self.tower(pixel_values=pixels).pooler_output)
        return features


class _TextTower(nn.Module):
    """A text model and its projection."""

    def __init__(self, model: Any, family: Family, pad_id: int) -> None:
        super().__init__()
        self.tower = model.text_model
        self.projection = getattr(model, "text_projection", nn.Identity())
        self.masked = family.padding == "masked"
        self.pad_id = pad_id

    def forward(self, token_ids: torch.Tensor) -> torch.Tensor:
        ids = token_ids.long()
        mask = padding_mask(ids, self.pad_id) if self.masked else None
        hidden = self.tower(input_ids=ids, attention_mask=mask)
        # Towers of BERT's kind have no pooler and are read at their first token.
        pooled = getattr(hidden, "pooler_output", None)
        if pooled is None:
            pooled = hidden.last_hidden_state[:, 0]
        features: torch.Tensor = self.projection(pooled)
        return features
