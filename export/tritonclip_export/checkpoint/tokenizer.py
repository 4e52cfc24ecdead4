"""A checkpoint's own tokenizer as `tokenizer.json` plus cleaning rules.

The Rust `tokenizers` library then gives the same ids inside the server, without torch, open_clip or
transformers there.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tritonclip_export.bundle import CleaningRule, TextSpec, sha256_of
from tritonclip_export.checkpoint.character_classes import frozen
from tritonclip_export.checkpoint.transformers import siglip_tokenizer
from tritonclip_export.errors import ExportError

FILENAME = "tokenizer.json"


@dataclass(frozen=True)
class ServedTokenizer:
    """A tokenizer as it runs in the server."""

    tokenizer: Any
    """A `tokenizers.Tokenizer` that adds the special tokens."""
    cleaning: tuple[CleaningRule, ...]
    """What is done to a text before it."""
    pad_id: int
    context_length: int
    """In tokens, special ones included; longer texts are cut so that the end token survives."""
    last_id: int | None = None
    replaced_ids: dict[int, int] = field(default_factory=dict)

    def write(self, folder: Path, *, dynamic_length: bool) -> TextSpec:
        """Write `tokenizer.json` into `folder` and describe it."""
        self.tokenizer.no_padding()
        self.tokenizer.enable_truncation(self.context_length - (self.last_id is not None))
        file = folder / FILENAME
        self.tokenizer.save(str(file))
        return TextSpec(
            context_length=self.context_length,
            tokenizer=FILENAME,
            tokenizer_sha256=sha256_of(file),
            cleaning=self.cleaning,
            pad_id=self.pad_id,
            last_id=self.last_id,
            replaced_ids=self.replaced_ids,
            dynamic_length=dynamic_length,
        )


def from_transformers(
    tokenizer: Any, cleaning: tuple[CleaningRule, ...], context_length: int
) -> ServedTokenizer:
    """The Rust tokenizer inside a transformers one.

    Raises:
        ExportError: it has none and no conversion, or pads or cuts on the left.
    """
    for what, side in (
        ("padding", tokenizer.padding_side),
        ("truncation", tokenizer.truncation_side),
    ):
        if side != "right":
            raise ExportError(f"{what} on the {side} has no conversion")
    if tokenizer.is_fast:
        tokenizer("")  # settles its special tokens: NLLB goes back to its source language
        converted = frozen(tokenizer.backend_tokenizer)
    elif type(tokenizer).__name__ == "SiglipTokenizer":
        converted, cleaning = siglip_tokenizer.convert(tokenizer), (*cleaning, "siglip")
    else:
        raise ExportError(f"{type(tokenizer).__name__} has no Rust version and no conversion")
    return ServedTokenizer(
        tokenizer=converted,
        cleaning=cleaning,
        pad_id=int(tokenizer.pad_token_id),
        context_length=context_length,
    )
