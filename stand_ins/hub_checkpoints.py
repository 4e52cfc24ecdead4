"""Checkpoints on the hub that are not open_clip's, by their published shapes.

Enough to count their parameters, and to build them with random weights where the hub cannot be
reached.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import Any

from torch import nn

from stand_ins.text_configs import LARGE, TEXT_CONFIGS

_BASE = {
    "hidden_size": 768,
    "intermediate_size": 3072,
    "num_hidden_layers": 12,
    "num_attention_heads": 12,
}
_HUGE = {
    "hidden_size": 1280,
    "intermediate_size": 5120,
    "num_hidden_layers": 32,
    "num_attention_heads": 16,
}
_BASE_32 = {**_BASE, "patch_size": 32, "image_size": 224}
_BASE_16 = {**_BASE, "patch_size": 16, "image_size": 224}
_LARGE_14 = {**LARGE, "patch_size": 14, "image_size": 224}
_LARGE_14_336 = {**_LARGE_14, "image_size": 336}
_HUGE_14 = {**_HUGE, "patch_size": 14, "image_size": 224}
_CLIP_TEXT = {"vocab_size": 49408, "max_position_embeddings": 77}
_CLIP_TEXT_BASE = {
    **_BASE,
    "hidden_size": 512,
    "intermediate_size": 2048,
    "num_attention_heads": 8,
}
_CHINESE_TEXT = {"vocab_size": 21128, "max_position_embeddings": 512, "type_vocab_size": 2}


@dataclass(frozen=True)
class HubCheckpoint(ABC):
    """What is published at ORG/NAME."""

    repository: str
    vocabulary: str
    """The kind of its tokenizer."""
    context_length: int

    @abstractmethod
    def build(self) -> Any:
        """The model, with the initial weights of transformers."""


@dataclass(frozen=True)
class Whole(HubCheckpoint):
    """A dual encoder of transformers."""

    name: str
    """As in `NAMEModel` and `NAMEConfig`."""
    vision: dict[str, Any]
    text: dict[str, Any]
    top: dict[str, Any]

    def build(self, **text: Any) -> Any:
        """The model, with `text` changed in the configuration of its text tower."""
        import transformers

        config = getattr(transformers, f"{self.name}Config")(
            vision_config=self.vision, text_config={**self.text, **text}, **self.top
        )
        return getattr(transformers, f"{self.name}Model")(config).eval()


@dataclass(frozen=True)
class Distilled(HubCheckpoint):
    """A text encoder that imitates that of another model."""

    base: str
    """In `TEXT_CONFIGS`."""
    teacher: str
    """An architecture of open_clip."""
    is_mclip: bool = True

    def build(self) -> Any:
        """The text encoder alone."""
        import open_clip
        import transformers

        from tritonclip_export.checkpoint.distilled.towers import TextEncoder

        model_type, values = TEXT_CONFIGS[self.base]
        config = transformers.AutoConfig.for_model(model_type, **values)
        dim = open_clip.get_model_config(self.teacher)["embed_dim"]
        projection = nn.Linear(config.hidden_size, dim, bias=self.is_mclip)
        return TextEncoder(transformers.AutoModel.from_config(config), projection).eval()


def _clip(name: str, vision: dict[str, Any], text: dict[str, Any], dim: int) -> Whole:
    top = {"projection_dim": dim}
    return Whole(f"openai/clip-vit-{name}", "clip", 77, "CLIP", vision, {**_CLIP_TEXT, **text}, top)


def _siglip(name: str, vocabulary: str, vocab_size: int) -> Whole:
    text = {**_BASE, "max_position_embeddings": 64, "vocab_size": vocab_size}
    return Whole(f"google/{name}", vocabulary, 64, "Siglip", _BASE_16, text, {})


def _chinese(name: str, vision: dict[str, Any], text: dict[str, Any], dim: int) -> Whole:
    shape = {**_CHINESE_TEXT, **text}
    top = {"projection_dim": dim}
    return Whole(f"OFA-Sys/chinese-clip-vit-{name}", "bert", 512, "ChineseCLIP", vision, shape, top)


def _altclip(vision: dict[str, Any]) -> Whole:
    text = {**TEXT_CONFIGS["xlm-roberta-large"][1], "project_dim": 768}
    top = {"projection_dim": 768}
    return Whole("BAAI/AltCLIP", "xlm_roberta", 512, "AltCLIP", vision, text, top)


def _mclip(name: str, teacher: str) -> Distilled:
    return Distilled(f"M-CLIP/{name}", "xlm_roberta", 512, "xlm-roberta-large", teacher)


def _labse(teacher: str) -> Distilled:
    base = "sentence-transformers/LaBSE"
    return Distilled("M-CLIP/LABSE-Vit-L-14", "bert", 512, base, teacher)


def _sentence_transformers(teacher: str) -> Distilled:
    name = "sentence-transformers/clip-ViT-B-32-multilingual-v1"
    base = "distilbert-base-multilingual-cased"
    return Distilled(name, "bert", 128, base, teacher, is_mclip=False)


CHECKPOINTS: tuple[HubCheckpoint, ...] = (
    _clip("base-patch32", _BASE_32, _CLIP_TEXT_BASE, 512),
    _clip("large-patch14", _LARGE_14, _BASE, 768),
    _siglip("siglip-base-patch16-224", "siglip", 32000),
    _siglip("siglip2-base-patch16-224", "gemma", 256000),
    _chinese("base-patch16", _BASE_16, _BASE, 512),
    _chinese("large-patch14", _LARGE_14, _BASE, 768),
    _chinese("large-patch14-336px", _LARGE_14_336, _BASE, 768),
    _chinese("huge-patch14", _HUGE_14, LARGE, 1024),
    _altclip(_LARGE_14),
    _mclip("XLM-Roberta-Large-Vit-B-32", "ViT-B-32-quickgelu"),
    _mclip("XLM-Roberta-Large-Vit-B-16Plus", "ViT-B-16-plus-240"),
    _mclip("XLM-Roberta-Large-Vit-L-14", "ViT-L-14-quickgelu"),
    _labse("ViT-L-14-quickgelu"),
    _sentence_transformers("ViT-B-32-quickgelu"),
)


def find(repository: str) -> HubCheckpoint:
    """The checkpoint at ORG/NAME."""
    return next(found for found in CHECKPOINTS if found.repository == repository)
