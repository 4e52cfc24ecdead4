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

# OpenAI's and OpenCLIP's vision transformers, with the class token in front of the patches.
VIT: dict[str, Any] = {
    "model_cfg": {
        "embed_dim": 48,
        "vision_cfg": {"image_size": 64, "patch_size": 16, "layers": 3, "width": 64},
        "text_cfg": {
            "context_length": 77,
            "vocab_size": 49408,
            "width": 64,
            "heads": 2,
            "layers": 2,
        },
    },
    "preprocess_cfg": {},
}

# OpenAI's ResNets: convolutions, attention pooling over the feature map, QuickGELU; as deep as RN50
# because rounding errors grow with depth. Here with padded bilinear images, which no other
# checkpoint of the tests has.
RESNET: dict[str, Any] = {
    "model_cfg": {
        "embed_dim": 64,
        "quick_gelu": True,
        "vision_cfg": {"image_size": 64, "layers": [3, 4, 6, 3], "width": 16, "patch_size": None},
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


def write_checkpoint(folder: Path, config: dict[str, Any], *, seed: int) -> Path:
    """Write a checkpoint folder with random weights."""
    import open_clip
    import torch
    from safetensors.torch import save_file

    from tritonclip_export import samples
    from tritonclip_export.checkpoint.open_clip.random_weights import enliven

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
    """A tokenizer of SigLIP's kind (SentencePiece unigram, `</s>` at the end).

    Its pieces are those of BPE, whose trainer finds the same ones at every run: with others the
    random weights would mean other texts.
    """
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors, trainers

    from tritonclip_export.samples import sample_texts

    words = dict.fromkeys(word for text in sample_texts() for word in text.split())
    special = ["<pad>", "</s>", "<unk>"]
    trainer = trainers.BpeTrainer(
        vocab_size=vocab_size, special_tokens=special, show_progress=False
    )
    pairs = Tokenizer(models.BPE())
    pairs.pre_tokenizer = pre_tokenizers.Metaspace()
    pairs.train_from_iterator([word for word in words if word.isascii()], trainer)
    pieces = sorted(pairs.get_vocab(), key=pairs.token_to_id)
    # All cost the same, so the fewest pieces win.
    tokenizer = Tokenizer(
        models.Unigram([(piece, -10.0) for piece in pieces], unk_id=special.index("<unk>"))
    )
    tokenizer.add_special_tokens(special)
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace()
    tokenizer.decoder = decoders.Metaspace()
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
