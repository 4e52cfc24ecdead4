"""Write `catalogue.json`: what open_clip knows of every architecture, and their parameters.

    python scripts/write_catalogue.py

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

from text_configs import write_text_configs
from tritonclip_export import open_clip_towers, quick_gelu
from tritonclip_export.catalogue import FILE


def main() -> None:
    """Write the file."""
    logging.disable(logging.WARNING)
    with tempfile.TemporaryDirectory() as folder:
        configs = write_text_configs(Path(folder))
        entries = [describe(name, configs) for name in open_clip.list_models()]
    lines = ",\n  ".join(json.dumps(entry) for entry in entries)
    FILE.write_text(
        f'{{\n "open_clip": "{open_clip.__version__}",\n "architectures": [\n  {lines}\n ]\n}}\n',
        encoding="utf-8",
    )


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
        "image_parameters": count(open_clip_towers.image_tower(model)),
        "text_parameters": count(open_clip_towers.text_tower(model)),
        "tags": quick_gelu.tags(name),
    }


def count(tower: torch.nn.Module) -> int:
    """Parameters, each once."""
    return sum(parameter.numel() for parameter in tower.parameters())


if __name__ == "__main__":
    main()
