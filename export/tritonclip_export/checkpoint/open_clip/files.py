"""What an open_clip checkpoint is made of: its configuration, weights, tokenizer and text tower.

A name in a configuration may stand for files on the Hugging Face hub: those of the text tower
(`hf_model_name`), of the tokenizer (`hf_tokenizer_name`), and of a pretrained tag. They are found
here, before open_clip is asked for anything, and it is given nothing but local files.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tritonclip_export.checkpoint import hub
from tritonclip_export.checkpoint.references import OPEN_CLIP_CONFIG, Reference

# open_clip's names for the weights in a repository of its own format.
WEIGHTS = ("open_clip_model.safetensors", "open_clip_pytorch_model.bin")


@dataclass(frozen=True)
class Files:
    """The parts of a checkpoint, all of them local."""

    config: dict[str, Any]
    """open_clip's `model_cfg`, with a local folder for `hf_model_name`."""
    weights: str | None
    """A file, or None where open_clip finds it in the folder, or is to draw random weights."""
    tokenizer: Path | None
    """The folder of a Hugging Face tokenizer; None for CLIP's own, which open_clip brings."""


def find(reference: Reference, folder: Path | None, source: Path | None) -> Files:
    """Find the parts of a checkpoint.

    Args:
        reference: the reference.
        folder: where the checkpoint lies, if it is not one of open_clip's architectures.
        source: a folder to take the hub's files from; None asks the hub.

    Raises:
        CheckpointError: files are missing; names all of them.
    """
    config = _config(reference, folder)
    text = config["text_cfg"]
    parts = _wanted(reference, text, folder)
    paths = hub.obtain(list(parts.values()), source, reference=reference.text)
    found = {part: paths[item] for part, item in parts.items()}
    if "text" in found:
        text["hf_model_name"] = str(found["text"].parent)
    return Files(
        config=config,
        weights=str(found["weights"]) if "weights" in found else reference.weights,
        tokenizer=(
            found["tokenizer"].parent if "tokenizer" in found else _local_tokenizer(text, folder)
        ),
    )


def of_architecture(reference: Reference) -> list[hub.Wanted]:
    """The files of an architecture's tag that live on a hub."""
    return list(_wanted(reference, _config(reference, None)["text_cfg"], None).values())


def _wanted(
    reference: Reference, text: dict[str, Any], folder: Path | None
) -> dict[str, hub.Wanted]:
    """The parts that live on a hub, by name."""
    parts: dict[str, hub.Wanted] = {}
    if (name := text.get("hf_model_name")) and not Path(name).is_dir():
        parts["text"] = hub.text_config(name)
    if (name := text.get("hf_tokenizer_name")) and _local_tokenizer(text, folder) is None:
        parts["tokenizer"] = hub.tokenizer(name)
    if tag := _tag(reference):
        parts["weights"] = _weights_of_tag(reference.name, tag)
    return parts


def preprocessing(reference: Reference) -> dict[str, Any]:
    """Keywords of `create_model_and_transforms` for the preprocessing that the weights want.

    It is known for a tag. A file, or random weights, get that of the architecture's tags, if they
    all agree: open_clip itself would prepare images as for OpenAI's weights, even for SigLIP's.
    """
    import open_clip
    from open_clip.pretrained import get_pretrained_cfg

    if reference.kind != "architecture":
        return {}
    tag = _tag(reference)
    tags = [tag] if tag else open_clip.list_pretrained_tags_by_model(reference.name)
    keys = ("mean", "std", "interpolation", "resize_mode")
    known = [
        {f"image_{key}": get_pretrained_cfg(reference.name, tag).get(key) for key in keys}
        for tag in tags
    ]
    return known[0] if known and all(one == known[0] for one in known) else {}


def _config(reference: Reference, folder: Path | None) -> dict[str, Any]:
    import open_clip

    if folder is None:
        config: dict[str, Any] = open_clip.get_model_config(reference.name)
        return config
    whole: dict[str, Any] = json.loads((folder / OPEN_CLIP_CONFIG).read_text(encoding="utf-8"))
    return dict(whole.get("model_cfg", whole))


def _local_tokenizer(text: dict[str, Any], folder: Path | None) -> Path | None:
    """The folder of the tokenizer, where the name is a folder or the checkpoint brings its own."""
    name = text.get("hf_tokenizer_name")
    if not name:
        return None
    homes = [home for home in (folder, Path(name)) if home is not None and home.is_dir()]
    files = hub.tokenizer(name).one_of
    return next((home for home in homes if any((home / file).is_file() for file in files)), None)


def _tag(reference: Reference) -> str | None:
    import open_clip

    if reference.kind != "architecture" or reference.weights is None:
        return None
    tags = open_clip.list_pretrained_tags_by_model(reference.name)
    return reference.weights if reference.weights in tags else None


def _weights_of_tag(architecture: str, tag: str) -> hub.Wanted:
    from open_clip.pretrained import get_pretrained_cfg

    # `ORG/NAME/` or `ORG/NAME/FILE`; every tag has one.
    repository, _, file = get_pretrained_cfg(architecture, tag)["hf_hub"].rpartition("/")
    names = (Path(file).with_suffix(".safetensors").name, file) if file else WEIGHTS
    return hub.weights(repository, *names)
