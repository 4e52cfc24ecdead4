"""Small checkpoints of Hugging Face transformers with seeded random weights, one of each family."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

SQUARE = {"height": 48, "width": 48}
CROPPED = {"size": {"shortest_edge": 48}, "crop_size": SQUARE}


@dataclass(frozen=True)
class Tiny:
    """What tells a family's checkpoint from another's."""

    name: str
    """As in `NAMEModel` and `NAMEConfig`."""
    vocabulary: str
    processor: str
    image: dict[str, Any]
    text: dict[str, Any]
    top: dict[str, Any] = field(default_factory=lambda: {"projection_dim": 24})


FAMILIES = {
    "clip": Tiny("CLIP", "clip", "CLIP", CROPPED, {"max_position_embeddings": 24}),
    "metaclip_2": Tiny(
        "MetaClip2",
        "xlm_roberta",
        "CLIP",
        {"size": {"shortest_edge": 55}, "crop_size": SQUARE},
        {"max_position_embeddings": 24},
    ),
    "siglip": Tiny(
        "Siglip", "siglip", "Siglip", {"size": SQUARE}, {"max_position_embeddings": 16}, {}
    ),
    # SigLIP 2 of fixed resolution is a SiglipModel with Gemma's tokenizer.
    "siglip2": Tiny(
        "Siglip",
        "gemma",
        "Siglip",
        {"size": SQUARE, "resample": 2},
        {"max_position_embeddings": 16},
        {},
    ),
    "chinese_clip": Tiny(
        "ChineseCLIP",
        "bert",
        "ChineseCLIP",
        {"size": SQUARE, "do_center_crop": False},
        {"max_position_embeddings": 24, "type_vocab_size": 2},
    ),
    "altclip": Tiny(
        "AltCLIP",
        "xlm_roberta",
        "CLIP",
        CROPPED,
        {"max_position_embeddings": 26, "type_vocab_size": 1, "project_dim": 40},
    ),
}


def write_transformers_checkpoint(folder: Path, family: str, **text: Any) -> Path:
    """Write the checkpoint of `family`; `text` changes its text config."""
    import torch
    import transformers

    from stand_ins.vocabularies import write_vocabulary

    tiny = FAMILIES[family]
    tokenizer = transformers.AutoTokenizer.from_pretrained(
        write_vocabulary(tiny.vocabulary, folder)
    )
    shared = {
        "hidden_size": 32,
        "intermediate_size": 64,
        "num_hidden_layers": 2,
        "num_attention_heads": 2,
    }
    special = ("pad_token_id", "bos_token_id", "eos_token_id")
    config = getattr(transformers, f"{tiny.name}Config")(
        text_config={
            **shared,
            "vocab_size": len(tokenizer),
            **{name: getattr(tokenizer, name) for name in special},
            **tiny.text,
            **text,
        },
        vision_config={**shared, "image_size": 48, "patch_size": 16},
        **tiny.top,
    )
    torch.manual_seed(7)
    model = getattr(transformers, f"{tiny.name}Model")(config)
    # The usual initialisation maps all inputs to nearly the same vector.
    for name, tensor in model.named_parameters():
        if tensor.ndim > 1 and "embed" in name:
            tensor.data.normal_(std=0.5)
    model.save_pretrained(folder)
    processor = getattr(transformers, f"{tiny.processor}ImageProcessorPil")(**tiny.image)
    processor.save_pretrained(folder)
    return folder
