"""What can be exported: open_clip's architectures and pretrained tags."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class Entry:
    """One architecture; sizes in pixels, `context_length` in tokens."""

    architecture: str
    image_height: int
    image_width: int
    dim: int
    context_length: int
    tags: tuple[str, ...]


def search(words: Sequence[str]) -> list[Entry]:
    """Architectures whose name or tags hold every one of `words`, whatever their case."""
    import open_clip

    entries = [_entry(name) for name in open_clip.list_models()]
    return [entry for entry in entries if all(_holds(entry, word.lower()) for word in words)]


def _holds(entry: Entry, word: str) -> bool:
    return any(word in text.lower() for text in (entry.architecture, *entry.tags))


def _entry(name: str) -> Entry:
    import open_clip

    config = open_clip.get_model_config(name)
    size = config["vision_cfg"].get("image_size", 224)
    height, width = size if isinstance(size, (list, tuple)) else (size, size)
    return Entry(
        architecture=name,
        image_height=height,
        image_width=width,
        dim=config["embed_dim"],
        context_length=config["text_cfg"].get("context_length", 77),
        tags=tuple(open_clip.list_pretrained_tags_by_model(name)),
    )
