"""What can be exported by name: open_clip's architectures, and others' checkpoints on the hub.

The data is `catalogue.json`, which `scripts/write_catalogue.py` takes from open_clip and
transformers: asking them directly costs the import of torch, and counting parameters half a minute
of building models. Any other checkpoint of these families is exported just the same.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from tritonclip_export.checkpoint.families import family_of, licence_of
from tritonclip_export.checkpoint.references import HUB_PREFIX

FILE = Path(__file__).parent / "catalogue.json"


@dataclass(frozen=True)
class Tag:
    """Pretrained weights of an architecture."""

    name: str
    licence: str | None
    """As their authors state it, where that is known."""


@dataclass(frozen=True)
class Entry:
    """One architecture; sizes in pixels, `context_length` in tokens."""

    architecture: str
    """open_clip's name, or `hf-hub:ORG/NAME`."""
    family: str
    note: str
    image_height: int
    image_width: int
    dim: int
    context_length: int
    similarity: Literal["softmax", "sigmoid"]
    image_parameters: int
    text_parameters: int
    tags: tuple[Tag, ...]
    """Those whose weights want the activation that the architecture has; `default` on the hub."""

    @property
    def parameters(self) -> int:
        """Of both towers."""
        return self.image_parameters + self.text_parameters

    @property
    def is_on_hub(self) -> bool:
        """Whether it is a checkpoint on the hub, not an architecture of open_clip."""
        return self.architecture.startswith(HUB_PREFIX)


def search(words: Sequence[str] = ()) -> list[Entry]:
    """Architectures of open_clip, then checkpoints on the hub, that hold every one of `words`.

    A word is looked for, whatever its case, in the architecture's name, its family, its tags and
    their licences.
    """
    data = json.loads(FILE.read_text(encoding="utf-8"))
    entries = [_entry(values) for values in (*data["architectures"], *data["hub"])]
    return [entry for entry in entries if all(_holds(entry, word.lower()) for word in words)]


def open_clip_version() -> str:
    """The release of open_clip that the data was taken from."""
    version: str = json.loads(FILE.read_text(encoding="utf-8"))["open_clip"]
    return version


def _entry(values: dict[str, Any]) -> Entry:
    name = values["architecture"]
    family = family_of(name)
    tags = tuple(Tag(tag, licence_of(name, tag)) for tag in values["tags"])
    return Entry(**{**values, "tags": tags, "family": family.name, "note": family.note})


def _holds(entry: Entry, word: str) -> bool:
    texts = [entry.architecture, entry.family, entry.note, entry.similarity]
    texts += [text for tag in entry.tags for text in (tag.name, tag.licence or "")]
    return any(word in text.lower() for text in texts)
