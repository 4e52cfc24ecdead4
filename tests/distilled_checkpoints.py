"""Small distilled checkpoints of each format, with random weights."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from hub_folder import write_text_tower
from stand_ins.distilled import write_mclip, write_sentence_transformers
from stand_ins.vocabularies import write_vocabulary
from transformers_checkpoints import write_transformers_checkpoint

DIM = 24
"""Of the small teacher, a `CLIPModel`."""


def write_distilled_checkpoint(home: Path, kind: str) -> Path:
    """Write a small one of `kind` to `home / kind`, its teacher and what is on a hub beside it."""
    teacher = home / "teacher"
    if not teacher.exists():
        write_transformers_checkpoint(teacher, "clip")
    KINDS[kind](home / kind, home / "hub", teacher)
    return home / kind


def _small_mclip(folder: Path, hub: Path, teacher: Path) -> None:
    import transformers

    config = write_text_tower(hub / "some" / "xlm-roberta", "xlm-roberta")
    write_vocabulary("xlm_roberta", folder)
    encoder = _encoder(transformers.AutoConfig.from_pretrained(config), bias=True)
    write_mclip(folder, encoder, base="some/xlm-roberta", image_tower=teacher)


def _small_sentence_transformers(folder: Path, _: Path, teacher: Path) -> None:
    import transformers

    tokenizer = transformers.AutoTokenizer.from_pretrained(write_vocabulary("bert", folder))
    config = transformers.DistilBertConfig(
        vocab_size=len(tokenizer), dim=32, n_heads=4, n_layers=2, hidden_dim=64
    )
    encoder = _encoder(config, bias=False)
    write_sentence_transformers(folder, encoder, context_length=20, image_tower=teacher)


def _encoder(config: Any, *, bias: bool) -> Any:
    import torch
    import transformers

    from tritonclip_export.checkpoint.distilled.towers import TextEncoder

    torch.manual_seed(7)
    transformer = transformers.AutoModel.from_config(config)
    # The usual initialisation maps all inputs to nearly the same vector.
    transformer.embeddings.word_embeddings.weight.data.normal_(std=0.5)
    return TextEncoder(transformer, torch.nn.Linear(config.hidden_size, DIM, bias=bias))


KINDS = {"mclip": _small_mclip, "sentence-transformers": _small_sentence_transformers}
