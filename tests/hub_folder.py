"""A folder with files that live on a hub, as `--from` takes it: small stand-ins of each kind."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from stand_ins.vocabularies import write_vocabulary

# Text towers of transformers that open_clip's architectures name, each with its tokenizer's kind.
TEXT_TOWERS: dict[str, tuple[str, dict[str, Any]]] = {
    "roberta": ("roberta", {"hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2}),
    "xlm-roberta": (
        "xlm_roberta",
        {"hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2},
    ),
    "bert": ("bert", {"hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2}),
    "mt5": ("mt5", {"d_model": 32, "d_kv": 8, "d_ff": 64, "num_layers": 2, "num_heads": 4}),
    "m2m_100": (
        "nllb",
        {
            "d_model": 32,
            "encoder_layers": 2,
            "encoder_ffn_dim": 64,
            "encoder_attention_heads": 4,
            "decoder_layers": 1,
            "decoder_ffn_dim": 64,
            "decoder_attention_heads": 4,
        },
    ),
}


def write_text_tower(folder: Path, model_type: str) -> Path:
    """Write `config.json` and a tokenizer to `folder`, which stands for ORG/NAME on the hub."""
    import transformers

    kind, config = TEXT_TOWERS[model_type]
    tokenizer = transformers.AutoTokenizer.from_pretrained(write_vocabulary(kind, folder))
    if "hidden_size" in config:
        config = {**config, "num_attention_heads": 4, "max_position_embeddings": 90}
    config = {
        **config,
        "vocab_size": len(tokenizer),
        "pad_token_id": tokenizer.pad_token_id,
        "eos_token_id": tokenizer.eos_token_id,
        "bos_token_id": tokenizer.bos_token_id,
    }
    transformers.AutoConfig.for_model(model_type, **config).save_pretrained(folder)
    return folder


def write_model_with(folder: Path, repository: str, **text: Any) -> Path:
    """Write an open_clip checkpoint whose text tower and tokenizer are `repository`'s.

    Its weights are missing; `hf_model_name` and `hf_tokenizer_name` are names on the hub.
    """
    config = {
        "model_cfg": {
            "embed_dim": 48,
            "vision_cfg": {"image_size": 64, "layers": [1, 1, 1, 1], "width": 16},
            "text_cfg": {
                "hf_model_name": repository,
                "hf_tokenizer_name": repository,
                "hf_proj_type": "mlp",
                **text,
            },
        },
        "preprocess_cfg": {},
    }
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "open_clip_config.json").write_text(json.dumps(config))
    return folder


def write_weights(folder: Path, source: Path) -> None:
    """Draw weights for the checkpoint of `write_model_with`, whose hub files are in `source`."""
    import open_clip
    import torch
    from safetensors.torch import save_file

    text = json.loads((folder / "open_clip_config.json").read_text())["model_cfg"]["text_cfg"]
    torch.manual_seed(7)
    model = open_clip.create_model(
        f"local-dir:{folder}",
        load_weights=False,
        pretrained_text=False,
        text_cfg={
            **text,
            "hf_model_name": str(source / text["hf_model_name"]),
            "hf_model_pretrained": False,
        },
    )
    for name, tensor in model.named_parameters():
        if "embed" in name and tensor.ndim > 1:
            tensor.data.normal_(std=0.5)
    weights = {name: tensor.contiguous().clone() for name, tensor in model.state_dict().items()}
    save_file(weights, folder / "open_clip_model.safetensors")
