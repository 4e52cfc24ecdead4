"""Inputs that parity is measured on: the package's own, or a user's folder."""

from __future__ import annotations

import json
from pathlib import Path

from tritonclip_export.errors import ParityError

_HERE = Path(__file__).parent
IMAGE_SUFFIXES = frozenset(
    {".jpg", ".jpeg", ".png", ".webp", ".gif", ".bmp", ".tif", ".tiff", ".avif"}
)


def sample_images() -> list[Path]:
    """Twelve photographs of several sizes and shapes."""
    return images_in(_HERE)


def sample_texts() -> list[str]:
    """Captions in several scripts, and texts that tokenizers tend to get wrong."""
    texts: list[str] = json.loads((_HERE / "texts.json").read_text(encoding="utf-8"))
    return texts


def images_in(folder: Path) -> list[Path]:
    """The image files below `folder`, sorted.

    Raises:
        ParityError: there are none.
    """
    files = sorted(
        f for f in folder.rglob("*") if f.suffix.lower() in IMAGE_SUFFIXES and f.is_file()
    )
    if not files:
        raise ParityError(f"{folder} holds no images ({', '.join(sorted(IMAGE_SUFFIXES))})")
    return files


def texts_in(file: Path) -> list[str]:
    """The lines of a UTF-8 text file.

    Raises:
        ParityError: there are none.
    """
    lines = file.read_text(encoding="utf-8").splitlines()
    if not lines:
        raise ParityError(f"{file} is empty; it should hold one text a line")
    return lines
