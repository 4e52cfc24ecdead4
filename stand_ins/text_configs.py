"""The text towers of transformers that other checkpoints name, by their published sizes.

Enough to build them with random weights where the hub cannot be reached.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

_BASE: dict[str, Any] = {"max_position_embeddings": 514, "type_vocab_size": 1, "pad_token_id": 1}
LARGE = {
    "hidden_size": 1024,
    "intermediate_size": 4096,
    "num_hidden_layers": 24,
    "num_attention_heads": 16,
}
"""A transformer of this size, for images or texts."""
_MT5 = {"vocab_size": 250112, "feed_forward_proj": "gated-gelu", "d_kv": 64}
_NLLB = {"vocab_size": 256206, "d_model": 1024, "scale_embedding": True}

# Repository on the hub -> its model_type and what differs from that type's defaults.
TEXT_CONFIGS: dict[str, tuple[str, dict[str, Any]]] = {
    "roberta-base": ("roberta", {**_BASE, "vocab_size": 50265}),
    "xlm-roberta-base": ("xlm-roberta", {**_BASE, "vocab_size": 250002}),
    "xlm-roberta-large": ("xlm-roberta", {**_BASE, **LARGE, "vocab_size": 250002}),
    "sentence-transformers/LaBSE": ("bert", {"vocab_size": 501153}),
    "distilbert-base-multilingual-cased": ("distilbert", {"vocab_size": 119547}),
    "google/mt5-base": (
        "mt5",
        {**_MT5, "d_model": 768, "d_ff": 2048, "num_layers": 12, "num_heads": 12},
    ),
    "google/mt5-xl": (
        "mt5",
        {**_MT5, "d_model": 2048, "d_ff": 5120, "num_layers": 24, "num_heads": 32},
    ),
    "facebook/nllb-200-distilled-600M": (
        "m2m_100",
        {
            **_NLLB,
            **{f"{side}_layers": 12 for side in ("encoder", "decoder")},
            **{f"{side}_ffn_dim": 4096 for side in ("encoder", "decoder")},
        },
    ),
    "facebook/nllb-200-distilled-1.3B": (
        "m2m_100",
        {
            **_NLLB,
            **{f"{side}_layers": 24 for side in ("encoder", "decoder")},
            **{f"{side}_ffn_dim": 8192 for side in ("encoder", "decoder")},
        },
    ),
}


def write_text_configs(folder: Path) -> Path:
    """Write every `config.json` to FOLDER/ORG/NAME, as `export --from FOLDER` reads it."""
    import transformers

    for repository, (model_type, values) in TEXT_CONFIGS.items():
        transformers.AutoConfig.for_model(model_type, **values).save_pretrained(folder / repository)
    return folder
