"""Inputs that parity is measured on: the package's own, or a user's folder."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from tritonclip.errors import InvalidArgument

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


def texts_in(file: Path, encoding: str = "utf-8") -> list[str]:
    """The lines of a text file, without the mark that some editors begin UTF-8 with.

    Raises:
        InvalidArgument: it is not in that encoding; names the line.
    """
    with file.open("rb") as lines:
        return list(decoded(lines, str(file), encoding))


def decoded(lines: Iterable[bytes], source: str, encoding: str = "utf-8") -> Iterator[str]:
    """Lines as text, without their ends.

    Args:
        lines: as they are read from a file that is open in binary.
        source: what they are read from, for the error.
        encoding: a name that Python knows.

    Raises:
        InvalidArgument: a line is not in that encoding.
    """
    try:
        for number, line in enumerate(lines, 1):
            yield line.decode(encoding).rstrip("\r\n").removeprefix("\ufeff" if number == 1 else "")
    except UnicodeDecodeError as error:
        raise InvalidArgument(
            f"line {number} of {source} is not {encoding}: {error.reason}. "
            "Name its encoding, as in --encoding latin-1, or convert it with iconv"
        ) from error
