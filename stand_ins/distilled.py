"""Text encoders that imitate another's, in the formats in which they are published."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any


def write_mclip(folder: Path, encoder: Any, *, base: str, image_tower: Path) -> None:
    """Write a `TextEncoder` as Multilingual-CLIP's: one pickle, and the name of its base."""
    import torch

    parts = {"transformer": encoder.transformer, "LinearTransformation": encoder.projection}
    weights = {
        f"{name}.{key}": value
        for name, part in parts.items()
        for key, value in part.state_dict().items()
    }
    # As saved by the transformers of its time.
    weights["transformer.embeddings.position_ids"] = torch.arange(90)[None]
    torch.save(weights, folder / "pytorch_model.bin")
    config = {
        "model_type": "M-CLIP",
        "modelBase": base,
        "transformerDimensions": encoder.projection.in_features,
        "numDims": encoder.projection.out_features,
        "image_tower": str(image_tower),
    }
    write_json(folder / "config.json", config)


def write_sentence_transformers(
    folder: Path, encoder: Any, *, context_length: int, image_tower: Path
) -> None:
    """Write a `TextEncoder` as Sentence Transformers before release 6."""
    from safetensors.torch import save_file

    encoder.transformer.save_pretrained(folder)
    types = ("Transformer", "Pooling", "Dense")
    modules = [
        {
            "idx": index,
            "name": str(index),
            "path": f"{index}_{name}" if index else "",
            "type": f"sentence_transformers.models.{name}",
        }
        for index, name in enumerate(types)
    ]
    pooling = {
        "word_embedding_dimension": encoder.projection.in_features,
        "pooling_mode_cls_token": False,
        "pooling_mode_mean_tokens": True,
        "pooling_mode_max_tokens": False,
        "pooling_mode_mean_sqrt_len_tokens": False,
    }
    dense = {
        "in_features": encoder.projection.in_features,
        "out_features": encoder.projection.out_features,
        "bias": False,
        "activation_function": "torch.nn.modules.linear.Identity",
    }
    write_json(folder / "modules.json", modules)
    write_json(folder / "sentence_bert_config.json", {"max_seq_length": context_length})
    write_json(folder / "1_Pooling" / "config.json", pooling)
    write_json(folder / "2_Dense" / "config.json", dense)
    weights = {"linear.weight": encoder.projection.weight.data}
    save_file(weights, folder / "2_Dense" / "model.safetensors")
    config = json.loads((folder / "config.json").read_text())
    write_json(folder / "config.json", {**config, "image_tower": str(image_tower)})


def write_json(file: Path, content: Any) -> None:
    """Write it, and the folder that it lies in."""
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(json.dumps(content))
