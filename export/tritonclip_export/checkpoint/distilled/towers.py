"""The text encoder of a distilled checkpoint, and its tower to trace."""

from __future__ import annotations

from typing import Any

import torch
from torch import nn

from tritonclip_export.checkpoint.transformers.towers import padding_mask


class TextEncoder(nn.Module):
    """A transformers encoder, the mean over its tokens, and one matrix.

    As in `MultilingualCLIP.forward` (github.com/FreddeFrallan/Multilingual-CLIP), and in Sentence
    Transformers' modules `Transformer`, `Pooling` and `Dense`.
    """

    def __init__(self, transformer: Any, projection: nn.Linear) -> None:
        super().__init__()
        self.transformer = transformer
        self.projection = projection

    def forward(self, ids: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
        """Token ids and attention mask [batch, length] int64 -> features [batch, dim]."""
        states = self.transformer(input_ids=ids, attention_mask=mask).last_hidden_state
        weights = mask.unsqueeze(-1).to(states.dtype)
        mean = (states * weights).sum(dim=1) / weights.sum(dim=1)
        features: torch.Tensor = self.projection(mean)
        return features


def text_tower(encoder: TextEncoder, pad_id: int) -> nn.Module:
    """Token ids [batch, length] int32 -> features [batch, dim]."""
    return _TextTower(encoder, pad_id)


class _TextTower(nn.Module):
    def __init__(self, encoder: TextEncoder, pad_id: int) -> None:
        super().__init__()
        self.tower = encoder
        self.pad_id = pad_id

    def forward(self, token_ids: torch.Tensor) -> torch.Tensor:
        ids = token_ids.long()
        features: torch.Tensor = self.tower(ids, padding_mask(ids, self.pad_id))
        return features
