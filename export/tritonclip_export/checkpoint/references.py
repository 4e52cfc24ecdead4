"""References: what a user types to name a checkpoint, parsed without loading anything.

A reference is one of

- `ARCH:TAG`, an open_clip architecture and pretrained tag: `ViT-B-32:laion2b_s34b_b79k`
- `ARCH:FILE`, an architecture and a local weights file: `ViT-B-32:./finetuned.safetensors`
- `ARCH`, with a seed for random weights: for trying things and for benchmarks
- `hf-hub:ORG/NAME`, a repository on the Hugging Face hub
- a folder, with an optional `local-dir:` before it

A repository or folder belongs to open_clip if it holds `open_clip_config.json`, and to Hugging Face
transformers if it holds only `config.json`, itself or in Sentence Transformers' folder for CLIP.
"""

from __future__ import annotations

import difflib
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Literal

from tritonclip_export.errors import CheckpointError

HUB_PREFIX = "hf-hub:"
FOLDER_PREFIX = "local-dir:"
OPEN_CLIP_CONFIG = "open_clip_config.json"
TRANSFORMERS_CONFIG = "config.json"
# Where Sentence Transformers keeps a CLIP model of transformers.
CLIP_MODULE = "0_CLIPModel"
# The first that is there says whose the checkpoint is, and lies beside its weights.
CONFIGS = (OPEN_CLIP_CONFIG, TRANSFORMERS_CONFIG, f"{CLIP_MODULE}/{TRANSFORMERS_CONFIG}")


@dataclass(frozen=True)
class Reference:
    """A parsed reference."""

    text: str
    """As it was typed."""
    kind: Literal["architecture", "folder", "hub"]
    name: str
    """open_clip's name of the architecture, the folder's path, or the hub's ORG/NAME."""
    weights: str | None = None
    """The tag or the file of an architecture, if it has one."""

    @property
    def title(self) -> str:
        """The architecture, the folder's own name, or the hub's ORG/NAME."""
        return Path(self.name).resolve().name if self.kind == "folder" else self.name

    @property
    def default_name(self) -> str:
        """A bundle name made of the reference: `ViT-B-32-laion2b_s34b_b79k`."""
        parts = self.title.rsplit("/", 1)[-1]
        if self.weights:
            parts = f"{parts}-{Path(self.weights).stem}"
        return "".join(c if c.isalnum() or c in "_.-" else "-" for c in parts)


def parse(text: str) -> Reference:
    """Resolve a reference without loading anything.

    Raises:
        CheckpointError: an unknown architecture, tag or folder; names the nearest known ones.
    """
    if text.startswith(HUB_PREFIX):
        return _parse_hub(text, text.removeprefix(HUB_PREFIX))
    folder = Path(text.removeprefix(FOLDER_PREFIX)).expanduser()
    if find_config(folder):
        return Reference(text, "folder", str(folder))
    # A folder that is no checkpoint may have an architecture's name: a bundle of it, say.
    if text.startswith(FOLDER_PREFIX) or (folder.is_dir() and text not in _architectures()):
        raise CheckpointError(
            f"{folder} is not a checkpoint: it has neither {OPEN_CLIP_CONFIG} (open_clip) nor "
            f"{TRANSFORMERS_CONFIG} (transformers). A checkpoint folder holds one of them and "
            "the weights as safetensors."
        )
    architecture, _, weights = text.partition(":")
    return _parse_architecture(text, architecture.replace("/", "-"), weights)


def find_config(folder: Path) -> Path | None:
    """The file that says whose checkpoint is in `folder`; None if there is none."""
    files = (folder / name for name in CONFIGS)
    return next((file for file in files if file.is_file()), None)


def _parse_hub(text: str, name: str) -> Reference:
    if name.count("/") != 1 or not all(name.split("/")):
        raise CheckpointError(f"{text!r} is not {HUB_PREFIX}ORG/NAME, as in {HUB_PREFIX}timm/RN50")
    return Reference(text, "hub", name)


def _architectures() -> list[str]:
    """What `open_clip.list_models` says, without importing it, which takes seconds to a misprint.

    Raises:
        ModuleNotFoundError: open_clip is not installed.
    """
    spec = find_spec("open_clip")
    if spec is None or spec.origin is None:
        raise ModuleNotFoundError("No module named 'open_clip'", name="open_clip")
    return sorted(file.stem for file in Path(spec.origin).parent.glob("model_configs/*.json"))


def _parse_architecture(text: str, architecture: str, weights: str) -> Reference:
    known = _architectures()
    if architecture not in known:
        raise CheckpointError(
            f"no architecture or folder is called {text!r}.{nearest(architecture, known)} "
            "`tritonclip models` lists what can be exported."
        )
    if not weights:
        return Reference(text, "architecture", architecture)
    import open_clip

    tags = open_clip.list_pretrained_tags_by_model(architecture)
    if weights in tags:
        return Reference(text, "architecture", architecture, weights)
    if Path(weights).expanduser().is_file():
        return Reference(text, "architecture", architecture, str(Path(weights).expanduser()))
    raise CheckpointError(
        f"{architecture} has no pretrained tag {weights!r}, and no file has that name."
        f"{nearest(weights, tags)} Its tags: {', '.join(tags) or 'none'}."
    )


def nearest(word: str, known: Sequence[str]) -> str:
    """` Did you mean ...?` with the names closest to `word`, or nothing."""
    by_lower = {name.lower(): name for name in known}
    close = difflib.get_close_matches(word.lower(), by_lower, n=3, cutoff=0.5)
    return f" Did you mean {', '.join(by_lower[name] for name in close)}?" if close else ""
