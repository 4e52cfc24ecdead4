"""Inputs that parity is measured on: the package's own, or a user's folder."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from PIL import Image

_HERE = Path(__file__).parent
IMAGE_SUFFIXES = frozenset(
    {".jpg", ".jpeg", ".png", ".webp", ".gif", ".bmp", ".tif", ".tiff", ".avif"}
)


def sample_images() -> list[Path]:
    """Twelve photographs of several sizes and shapes."""
    return images_in(_HERE)


def opened_images() -> list[Image.Image]:
    """The same, decoded."""
    from PIL import Image

    opened: list[Image.Image] = [Image.open(file) for file in sample_images()]
    for image in opened:
        image.load()
    return opened


def sample_texts() -> list[str]:
    """Captions in several scripts, and texts that tokenizers tend to get wrong."""
    texts: list[str] = json.loads((_HERE / "texts.json").read_text(encoding="utf-8"))
    return texts


def images_in(folder: Path) -> list[Path]:
    """The image files below `folder`, by their endings, sorted."""
    return sorted(
        file
        for file in folder.rglob("*")
        if file.suffix.lower() in IMAGE_SUFFIXES and file.is_file()
    )


def texts_in(file: Path) -> list[str]:
    """The lines of a UTF-8 text file."""
    return file.read_text(encoding="utf-8").splitlines()
