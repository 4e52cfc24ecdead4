"""Small checkpoints of other families than the demo's, with seeded random weights.

Each is a folder in open_clip's own format, so it takes the same path as a real one.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

SIGLIP_MEAN = SIGLIP_STD = (0.5, 0.5, 0.5)

# SigLIP's ways: attention pooling, a text tower that attends to its padding and pools at the last
# position, sigmoid similarity, squashed images, a tokenizer from Hugging Face, canonicalised text.
SIGLIP: dict[str, Any] = {
    "model_cfg": {
        "embed_dim": 64,
        "init_logit_bias": -10,
        "custom_text": True,
        "vision_cfg": {
            "image_size": 160,
            "timm_model_name": "test_vit",
            "timm_model_pretrained": False,
            "timm_pool": "map",
            "timm_proj": "none",
        },
        "text_cfg": {
            "context_length": 20,
            "vocab_size": 400,
            "hf_tokenizer_name": "local",
            "tokenizer_kwargs": {"clean": "canonicalize"},
            "width": 64,
            "heads": 2,
            "layers": 2,
            "no_causal_mask": True,
            "proj_bias": True,
            "pool_type": "last",
            "norm_kwargs": {"eps": 1e-6},
        },
    },
    "preprocess_cfg": {
        "mean": SIGLIP_MEAN,
        "std": SIGLIP_STD,
        "interpolation": "bicubic",
        "resize_mode": "squash",
    },
}

# OpenAI's ResNets: convolutions, attention pooling over the feature map, QuickGELU; here with
# padded bilinear images, which no other checkpoint of the tests has.
RESNET: dict[str, Any] = {
    "model_cfg": {
        "embed_dim": 64,
        "quick_gelu": True,
        "vision_cfg": {"image_size": 64, "layers": [1, 1, 1, 1], "width": 16, "patch_size": None},
        "text_cfg": {
            "context_length": 77,
            "vocab_size": 49408,
            "width": 64,
            "heads": 2,
            "layers": 2,
        },
    },
    "preprocess_cfg": {
        "interpolation": "bilinear",
        "resize_mode": "longest",
        "fill_color": 127,
    },
}


# Families of transformers: the kind of their vocabulary, and their processor's size and crop.
TRANSFORMERS: dict[str, tuple[str, dict[str, Any]]] = {
    "clip": ("clip", {"size": {"shortest_edge": 48}, "crop_size": {"height": 48, "width": 48}}),
    "metaclip_2": (
        "xlm_roberta",
        {"size": {"shortest_edge": 56}, "crop_size": {"height": 48, "width": 48}},
    ),
    "siglip": ("siglip", {"size": {"height": 48, "width": 48}}),
    "siglip2": ("gemma", {"size": {"height": 48, "width": 48}, "resample": 2}),
    "chinese_clip": ("bert", {"size": {"height": 48, "width": 48}, "do_center_crop": False}),
    "altclip": (
        "xlm_roberta",
        {"size": {"shortest_edge": 48}, "crop_size": {"height": 48, "width": 48}},
    ),
}


def write_transformers_checkpoint(
    folder: Path, family: str, *, seed: int = 7, text: dict[str, Any] | None = None
) -> Path:
    """Write a checkpoint of transformers with random weights; `text` goes into its text config."""
    import torch
    import transformers
    from vocabularies import write_vocabulary

    kind, processor = TRANSFORMERS[family]
    tokenizer = transformers.AutoTokenizer.from_pretrained(write_vocabulary(kind, folder))
    shared = {
        "hidden_size": 32,
        "intermediate_size": 64,
        "num_hidden_layers": 2,
        "num_attention_heads": 2,
    }
    special = {
        name: getattr(tokenizer, name) for name in ("pad_token_id", "bos_token_id", "eos_token_id")
    }
    config, model, image_processor = {
        "clip": ("CLIPConfig", "CLIPModel", "CLIPImageProcessorPil"),
        "metaclip_2": ("MetaClip2Config", "MetaClip2Model", "CLIPImageProcessorPil"),
        "siglip": ("SiglipConfig", "SiglipModel", "SiglipImageProcessorPil"),
        "siglip2": ("SiglipConfig", "SiglipModel", "SiglipImageProcessorPil"),
        "chinese_clip": ("ChineseCLIPConfig", "ChineseCLIPModel", "ChineseCLIPImageProcessorPil"),
        "altclip": ("AltCLIPConfig", "AltCLIPModel", "CLIPImageProcessorPil"),
    }[family]
    positions = {"siglip": 16, "siglip2": 16, "altclip": 26}.get(family, 24)
    text_config = {
        **shared,
        **special,
        "vocab_size": len(tokenizer),
        "max_position_embeddings": positions,
        "type_vocab_size": 1,
        "project_dim": 24,
        **(text or {}),
    }
    if family != "altclip":
        del text_config["project_dim"]
    if family not in ("altclip", "chinese_clip"):
        del text_config["type_vocab_size"]
    projection = {} if "siglip" in family else {"projection_dim": 24}
    torch.manual_seed(seed)
    built = getattr(transformers, model)(
        getattr(transformers, config)(
            text_config=text_config,
            vision_config={**shared, "image_size": 48, "patch_size": 16},
            **projection,
        )
    )
    # Their usual initialisation maps all inputs to nearly the same vector.
    for name, tensor in built.named_parameters():
        if tensor.ndim > 1 and "embed" in name:
            tensor.data.normal_(std=0.5)
    built.save_pretrained(folder)
    getattr(transformers, image_processor)(**processor).save_pretrained(folder)
    return folder


def write_checkpoint(folder: Path, config: dict[str, Any], *, seed: int) -> Path:
    """Write a checkpoint folder with random weights."""
    import open_clip
    import torch
    from safetensors.torch import save_file

    from tritonclip_export import samples
    from tritonclip_export.random_weights import enliven

    folder.mkdir(parents=True)
    (folder / "open_clip_config.json").write_text(json.dumps(config))
    if "hf_tokenizer_name" in config["model_cfg"]["text_cfg"]:
        _write_tokenizer(folder, config["model_cfg"]["text_cfg"]["vocab_size"])
    torch.manual_seed(seed)
    model, _, transform = open_clip.create_model_and_transforms(
        f"local-dir:{folder}", load_weights=False
    )
    enliven(
        model.eval(),
        torch.stack([transform(image) for image in samples.opened_images()]),
        open_clip.get_tokenizer(f"local-dir:{folder}")([t for t in samples.sample_texts() if t]),
        seed=seed,
    )
    weights = {name: tensor.contiguous() for name, tensor in model.state_dict().items()}
    save_file(weights, folder / "open_clip_model.safetensors")
    return folder


def _write_tokenizer(folder: Path, vocab_size: int) -> None:
    """A tokenizer of SigLIP's kind (SentencePiece unigram, `</s>` at the end), trained here."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors, trainers

    from tritonclip_export.samples import sample_texts

    tokenizer = Tokenizer(models.Unigram())
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace()
    tokenizer.decoder = decoders.Metaspace()
    special = ["<pad>", "</s>", "<unk>"]
    trainer = trainers.UnigramTrainer(
        vocab_size=vocab_size, special_tokens=special, unk_token="<unk>", show_progress=False
    )
    tokenizer.train_from_iterator(sample_texts() * 3, trainer)
    tokenizer.post_processor = processors.TemplateProcessing(
        single="$A </s>", special_tokens=[("</s>", 1)]
    )
    tokenizer.save(str(folder / "tokenizer.json"))
    (folder / "tokenizer_config.json").write_text(
        json.dumps(
            {
                "tokenizer_class": "PreTrainedTokenizerFast",
                "pad_token": "<pad>",
                "eos_token": "</s>",
                "unk_token": "<unk>",
            }
        )
    )
