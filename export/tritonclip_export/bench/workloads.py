"""What is sent: images of several sizes and formats, texts of several lengths.

The same on every machine: photographs that ship with this package, resized, with film grain from a
seeded generator, because a resized photograph alone is smoother than a camera's and its JPEG is
cheaper to decode.
"""

from __future__ import annotations

import io
import itertools
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Literal

import numpy as np
from PIL import Image, ImageOps

from tritonclip.errors import InvalidArgument
from tritonclip_export import samples

Kind = Literal["image", "text"]

JPEG_QUALITY = 88
# Standard deviation, of 255.
GRAIN = 4.0

# Of one token each in CLIP's vocabulary. Their combinations come again after 1.7 million texts, so
# that no response cache answers.
_WORDS = tuple(
    column.split()
    for column in (
        "two three four five six seven eight nine ten some many small large old new young tall",
        "red blue green black white yellow brown grey pink purple orange golden silver dark",
        "dogs cats horses birds cars boats trees houses flowers chairs tables bottles books bikes "
        "trains planes sheep cows bears trucks shoes hats clocks lamps plates apples pizzas",
        "beach street table road hill bridge roof field lake river floor wall grass snow sand "
        "boat train bus bench stage square shelf desk",
        "spring summer autumn winter march april may june july august september october",
    )
)


@dataclass(frozen=True)
class Workload:
    """A kind of input.

    Attributes:
        name: as it is chosen and reported.
        kind: images, encoded as files are; or texts, in UTF-8.
        about: what it is, for a reader of results.
        item: gives the input with a number; the same number gives the same input.
        period: after which number inputs come again; None where they practically do not.
    """

    name: str
    kind: Kind
    about: str
    item: Callable[[int], bytes]
    period: int | None = None


def text(number: int, clauses: int) -> bytes:
    """A text of so many clauses of eight words; another one for each number below 1.7 million."""
    parts = []
    for clause in range(clauses):
        rest, words = number + 7919 * clause, []
        for column in _WORDS:
            rest, index = divmod(rest, len(column))
            words.append(column[index])
        count, colour, things, place, month = words
        parts.append(f"{count} {colour} {things} on the {place} in {month}")
    return ", ".join(parts).encode()


def photographs(width: int, height: int, file_format: str, count: int) -> tuple[bytes, ...]:
    """`count` different photographs of that size, encoded."""
    files = itertools.islice((f for f in samples.sample_images() if f.suffix == ".jpg"), count)
    random = np.random.default_rng(0)
    return tuple(_photograph(file, (width, height), file_format, random) for file in files)


def _photograph(
    file: Path, size: tuple[int, int], file_format: str, random: np.random.Generator
) -> bytes:
    image = ImageOps.fit(Image.open(file).convert("RGB"), size, Image.Resampling.BICUBIC)
    grain = random.normal(0, GRAIN, (size[1], size[0], 1)).astype(np.float32)
    pixels = np.clip(np.asarray(image, dtype=np.float32) + grain, 0, 255).astype(np.uint8)
    encoded = io.BytesIO()
    options = {"quality": JPEG_QUALITY} if file_format == "JPEG" else {}
    Image.fromarray(pixels).save(encoded, file_format, **options)
    return encoded.getvalue()


def _images(
    name: str, about: str, width: int, height: int, file_format: str, count: int
) -> Workload:
    return _repeated(name, "image", about, photographs(width, height, file_format, count))


def _texts(name: str, about: str, clauses: int) -> Workload:
    return Workload(name, "text", about, partial(text, clauses=clauses))


_JPEG, _PNG = "JPEG photographs of {} pixels", "PNG photographs of {} pixels"
# Made when they are chosen: large photographs take seconds.
WORKLOADS: dict[str, Callable[[str], Workload]] = {
    "jpeg-640x480": lambda n: _images(n, _JPEG.format("640 x 480"), 640, 480, "JPEG", 11),
    "jpeg-12mp": lambda n: _images(n, _JPEG.format("4032 x 3024"), 4032, 3024, "JPEG", 3),
    "png-640x480": lambda n: _images(n, _PNG.format("640 x 480"), 640, 480, "PNG", 11),
    "jpeg-224x224": lambda n: _images(n, _JPEG.format("224 x 224"), 224, 224, "JPEG", 11),
    "text-short": lambda n: _texts(n, "captions of eight words", 1),
    "text-medium": lambda n: _texts(n, "texts of 24 words", 3),
    "text-long": lambda n: _texts(n, "texts of 80 words, more than most towers see", 10),
}


def named(names: str) -> list[Workload]:
    """The workloads of a comma-separated list.

    Raises:
        InvalidArgument: there is none of that name.
    """
    wanted = [name.strip() for name in names.split(",") if name.strip()]
    if unknown := [name for name in wanted if name not in WORKLOADS]:
        raise InvalidArgument(f"no workload {unknown[0]!r}; there are {', '.join(WORKLOADS)}")
    return [WORKLOADS[name](name) for name in wanted]


def of_files(files: list[Path]) -> Workload:
    """Images of one's own, over and over.

    Raises:
        InvalidArgument: there are none.
    """
    if not files:
        raise InvalidArgument("no images to send; give a folder that holds some")
    return _repeated(
        "your-images", "image", "your own images", tuple(file.read_bytes() for file in files)
    )


def of_texts(texts: list[str]) -> Workload:
    """Texts of one's own, over and over: a server's response cache will know them.

    Raises:
        InvalidArgument: there are none.
    """
    if not texts:
        raise InvalidArgument("no texts to send; give a file with one a line")
    return _repeated("your-texts", "text", "your own texts", tuple(text.encode() for text in texts))


def _repeated(name: str, kind: Kind, about: str, items: tuple[bytes, ...]) -> Workload:
    return Workload(name, kind, about, partial(_nth, items), period=len(items))


def _nth(items: tuple[bytes, ...], number: int) -> bytes:
    return items[number % len(items)]
