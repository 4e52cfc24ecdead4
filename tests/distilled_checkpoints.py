"""Small text encoders that stand for distilled ones, with seeded random weights."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from hub_folder import write_text_tower
from transformers_checkpoints import write_transformers_checkpoint
from vocabularies import write_vocabulary

DIM = 24
"""Of the teacher, a `CLIPModel`."""


def write_distilled_checkpoint(home: Path, kind: str) -> Path:
    """Write a checkpoint of `kind` to `home / kind`, its teacher and what is on a hub beside it."""
    teacher = home / "teacher"
    if not teacher.exists():
        write_transformers_checkpoint(teacher, "clip")
    KINDS[kind](home / kind, home / "hub")
    config = json.loads((home / kind / "config.json").read_text())
    write_json(home / kind / "config.json", {**config, "image_tower": str(teacher)})
    return home / kind


def write_json(file: Path, content: Any) -> None:
    """Write it, and the folder that it lies in."""
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(json.dumps(content))


def _mclip(folder: Path, hub: Path) -> None:
    """Multilingual-CLIP's: one pickle, and the name of another model that has the configuration."""
    import torch
    import transformers

    base = write_text_tower(hub / "some" / "xlm-roberta", "xlm-roberta")
    write_vocabulary("xlm_roberta", folder)
    torch.manual_seed(7)
    transformer = transformers.AutoModel.from_config(transformers.AutoConfig.from_pretrained(base))
    transformer.embeddings.word_embeddings.weight.data.normal_(std=0.5)
    projection = torch.nn.Linear(transformer.config.hidden_size, DIM)
    weights = {
        **{f"transformer.{name}": value for name, value in transformer.state_dict().items()},
        **{
            f"LinearTransformation.{name}": value for name, value in projection.state_dict().items()
        },
        # Saved by the transformers of its time.
        "transformer.embeddings.position_ids": torch.arange(90)[None],
    }
    torch.save(weights, folder / "pytorch_model.bin")
    config = {"model_type": "M-CLIP", "modelBase": "some/xlm-roberta", "numDims": DIM}
    write_json(folder / "config.json", {**config, "transformerDimensions": projection.in_features})


def _sentence_transformers(folder: Path, _: Path) -> None:
    """Sentence Transformers': DistilBERT, the mean of its tokens, a layer without bias."""
    import torch
    import transformers
    from safetensors.torch import save_file

    tokenizer = transformers.AutoTokenizer.from_pretrained(write_vocabulary("bert", folder))
    torch.manual_seed(7)
    transformer = transformers.DistilBertModel(
        transformers.DistilBertConfig(
            vocab_size=len(tokenizer), dim=32, n_heads=4, n_layers=2, hidden_dim=64
        )
    )
    transformer.embeddings.word_embeddings.weight.data.normal_(std=0.5)
    transformer.save_pretrained(folder)
    types = ("Transformer", "Pooling", "Dense")
    write_json(
        folder / "modules.json",
        [
            {
                "idx": index,
                "name": str(index),
                "path": f"{index}_{name}" if index else "",
                "type": f"sentence_transformers.models.{name}",
            }
            for index, name in enumerate(types)
        ],
    )
    write_json(folder / "sentence_bert_config.json", {"max_seq_length": 20})
    write_json(
        folder / "1_Pooling" / "config.json",
        {
            "word_embedding_dimension": 32,
            "pooling_mode_cls_token": False,
            "pooling_mode_mean_tokens": True,
            "pooling_mode_max_tokens": False,
            "pooling_mode_mean_sqrt_len_tokens": False,
        },
    )
    write_json(
        folder / "2_Dense" / "config.json",
        {
            "in_features": 32,
            "out_features": DIM,
            "bias": False,
            "activation_function": "torch.nn.modules.linear.Identity",
        },
    )
    weights = {"linear.weight": torch.nn.Linear(32, DIM, bias=False).weight.data}
    save_file(weights, folder / "2_Dense" / "model.safetensors")


KINDS = {"mclip": _mclip, "sentence-transformers": _sentence_transformers}
