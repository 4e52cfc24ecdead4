"""Write `catalogue.json`: every architecture of open_clip and others' checkpoints, with parameters.

    python -m scripts.write_catalogue

Models are built on PyTorch's `meta` device, without memory or weights; about a minute in all.
"""

from __future__ import annotations

import json
import logging
import tempfile
from pathlib import Path
from typing import Any

import open_clip
import torch

from stand_ins import hub_checkpoints
from stand_ins.hub_checkpoints import Distilled, HubCheckpoint
from stand_ins.text_configs import write_text_configs
from tritonclip_export.checkpoint.catalogue import FILE
from tritonclip_export.checkpoint.open_clip import quick_gelu
from tritonclip_export.checkpoint.open_clip import towers as open_clip_towers
from tritonclip_export.checkpoint.references import HUB_PREFIX
from tritonclip_export.checkpoint.transformers import towers as transformers_towers
from tritonclip_export.checkpoint.transformers.checkpoint import embedding_dim


def main() -> None:
    """Write the file."""
    logging.disable(logging.WARNING)
    with tempfile.TemporaryDirectory() as folder:
        configs = write_text_configs(Path(folder))
        entries = [describe(name, configs) for name in open_clip.list_models()]
    teachers = {entry["architecture"]: entry for entry in entries}
    on_hub = [describe_on_hub(found, teachers) for found in hub_checkpoints.CHECKPOINTS]
    parts = [
        f'"open_clip": "{open_clip.__version__}"',
        f'"architectures": {_lines(entries)}',
        f'"hub": {_lines(on_hub)}',
    ]
    FILE.write_text("{\n " + ",\n ".join(parts) + "\n}\n", encoding="utf-8")


def _lines(entries: list[dict[str, Any]]) -> str:
    return "[\n  " + ",\n  ".join(json.dumps(entry) for entry in entries) + "\n ]"


def describe(name: str, configs: Path) -> dict[str, Any]:
    """One architecture, its parameters per tower counted on the `meta` device."""
    config = open_clip.get_model_config(name)
    text = {**config["text_cfg"], "hf_model_pretrained": False}
    if repository := text.get("hf_model_name"):
        text["hf_model_name"] = str(configs / repository)
    with torch.device("meta"):
        model = open_clip.create_model(
            name, load_weights=False, pretrained_text=False, device="meta", text_cfg=text
        )
    size = config["vision_cfg"].get("image_size", 224)
    height, width = size if isinstance(size, (list, tuple)) else (size, size)
    return {
        "architecture": name,
        "image_height": height,
        "image_width": width,
        "dim": config["embed_dim"],
        "context_length": text.get("context_length") or 77,
        "similarity": "softmax" if model.logit_bias is None else "sigmoid",
        # As published: with the branches of MobileCLIP that exist for training alone.
        "image_parameters": count(model.visual),
        "text_parameters": count(open_clip_towers.text_tower(model)),
        "tags": quick_gelu.tags(name),
    }


def describe_on_hub(
    checkpoint: HubCheckpoint, teachers: dict[str, dict[str, Any]]
) -> dict[str, Any]:
    """One checkpoint on the hub; a distilled one with the image tower of its teacher."""
    with torch.device("meta"):
        model = checkpoint.build()
    entry = {
        "architecture": f"{HUB_PREFIX}{checkpoint.repository}",
        "context_length": checkpoint.context_length,
        "tags": ["default"],
    }
    if isinstance(checkpoint, Distilled):
        teacher = teachers[checkpoint.teacher]
        same = ("image_height", "image_width", "dim", "similarity", "image_parameters")
        return {**{key: teacher[key] for key in same}, "text_parameters": count(model), **entry}
    family = transformers_towers.FAMILIES[model.config.model_type]
    return {
        "image_height": model.config.vision_config.image_size,
        "image_width": model.config.vision_config.image_size,
        "dim": embedding_dim(model),
        "similarity": "sigmoid" if hasattr(model, "logit_bias") else "softmax",
        "image_parameters": count(transformers_towers.image_tower(model)),
        "text_parameters": count(transformers_towers.text_tower(model, family, 0)),
        **entry,
    }


def count(tower: torch.nn.Module) -> int:
    """Parameters, each once."""
    return sum(parameter.numel() for parameter in tower.parameters())


if __name__ == "__main__":
    main()
