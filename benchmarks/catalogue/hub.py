"""What the catalogue wants from a hub, made here: configurations, tokenizers, checkpoints.

Towers and embedding tables get their published sizes. Vocabularies are small ones of the same kind,
trained on sentences in many scripts: a conversion that is exact for one is exact for the other.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import nn

from stand_ins.distilled import write_json, write_mclip, write_sentence_transformers
from stand_ins.hub_checkpoints import Distilled, HubCheckpoint, Whole
from stand_ins.text_configs import write_text_configs
from stand_ins.vocabularies import write_vocabulary
from tritonclip_export import samples
from tritonclip_export.checkpoint.open_clip import random_weights

# The first pattern that is part of a repository's name.
KINDS = (
    ("SigLIP2", "gemma"),
    ("SigLIP", "mt5"),  # T5's unigram SentencePiece, English or multilingual
    ("mt5", "mt5"),
    ("nllb", "nllb"),
    ("xlm", "xlm_roberta"),
    ("roberta", "roberta"),
    ("bert", "bert"),
)


def write_files(folder: Path) -> Path:
    """Write everything to FOLDER/ORG/NAME, as `export --from FOLDER` reads it."""
    import open_clip

    write_text_configs(folder)
    texts = [open_clip.get_model_config(name)["text_cfg"] for name in open_clip.list_models()]
    for repository in sorted({text.get("hf_tokenizer_name", "") for text in texts} - {""}):
        kind = next(kind for part, kind in KINDS if part in repository)
        write_vocabulary(kind, folder / repository)
    return folder


def write_checkpoint(checkpoint: HubCheckpoint, home: Path, *, seed: int) -> Path:
    """Write it, sensitive to its inputs, to HOME/ORG/NAME; a distilled one's teacher beside it."""
    import transformers

    folder = write_vocabulary(checkpoint.vocabulary, home / checkpoint.repository)
    tokenizer = transformers.AutoTokenizer.from_pretrained(
        folder, model_max_length=checkpoint.context_length
    )
    tokenizer.save_pretrained(folder)
    torch.manual_seed(seed)
    if isinstance(checkpoint, Whole):
        _write_whole(checkpoint, folder, tokenizer, seed)
    elif isinstance(checkpoint, Distilled):
        _write_teacher(checkpoint.teacher, home / "teacher", seed)
        _write_distilled(checkpoint, folder, tokenizer, home / "teacher", seed)
    return folder


def _write_whole(checkpoint: Whole, folder: Path, tokenizer: Any, seed: int) -> None:
    import transformers

    special = ("pad_token_id", "bos_token_id", "eos_token_id")
    model = checkpoint.build(**{name: getattr(tokenizer, name) for name in special})
    pixels = checkpoint.vision["image_size"]
    size = {"height": pixels, "width": pixels}
    processors = {
        "Siglip": lambda: transformers.SiglipImageProcessorPil(size=size),
        "ChineseCLIP": lambda: transformers.ChineseCLIPImageProcessorPil(
            size=size, do_center_crop=False
        ),
    }
    cropped = {"size": {"shortest_edge": pixels}, "crop_size": size}
    processor = processors.get(
        checkpoint.name, lambda: transformers.CLIPImageProcessorPil(**cropped)
    )()
    images = processor(samples.opened_images(), do_convert_rgb=True, return_tensors="pt")
    tokens = _tokens(tokenizer, "max_length" if checkpoint.name == "Siglip" else True)
    mask = None if checkpoint.name in ("Siglip", "CLIP") else tokens["attention_mask"]
    calls = _Calls(
        model,
        lambda values: model.get_image_features(pixel_values=values),
        lambda ids: model.get_text_features(input_ids=ids, attention_mask=mask),
    )
    random_weights.enliven(calls, images["pixel_values"], tokens["input_ids"], seed=seed)
    model.save_pretrained(folder)
    processor.save_pretrained(folder)


def _write_distilled(
    checkpoint: Distilled, folder: Path, tokenizer: Any, teacher: Path, seed: int
) -> None:
    encoder = checkpoint.build()
    tokens = _tokens(tokenizer, True)
    calls = _Calls(encoder, lambda _: None, lambda ids: encoder(ids, tokens["attention_mask"]))
    random_weights.enliven(calls, torch.empty(0), tokens["input_ids"], seed=seed)
    if checkpoint.is_mclip:
        write_mclip(folder, encoder, base=checkpoint.base, image_tower=teacher)
    else:
        length = checkpoint.context_length
        write_sentence_transformers(folder, encoder, context_length=length, image_tower=teacher)


def _write_teacher(architecture: str, folder: Path, seed: int) -> None:
    """Write an architecture of open_clip as a folder."""
    import open_clip
    from safetensors.torch import save_file

    from tritonclip_export.checkpoint import loading
    from tritonclip_export.checkpoint.open_clip.checkpoint import OpenClipEncoder

    loaded = loading.load(loading.parse(architecture), random_seed=seed)
    assert isinstance(loaded, OpenClipEncoder)
    config = {"model_cfg": open_clip.get_model_config(architecture), "preprocess_cfg": {}}
    write_json(folder / "open_clip_config.json", config)
    weights = {name: value.contiguous() for name, value in loaded.model.state_dict().items()}
    save_file(weights, folder / "open_clip_model.safetensors")


class _Calls(nn.Module):
    """A model as `enliven` calls it."""

    def __init__(self, model: nn.Module, image: Callable[..., Any], text: Callable[..., Any]):
        super().__init__()
        self.model = model
        self.encode_image = image
        self.encode_text = text


def _tokens(tokenizer: Any, padding: bool | str) -> Any:
    texts = [text for text in samples.sample_texts() if text]
    return tokenizer(texts, padding=padding, truncation=True, return_tensors="pt")
