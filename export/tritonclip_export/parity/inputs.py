"""What parity is measured on, and how it becomes the tensors that encoders take."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt

from tritonclip_export import samples
from tritonclip_export.bundle import Bundle, ImageSpec, Tower
from tritonclip_export.errors import ParityError
from tritonclip_export.served import code

Embeddings: TypeAlias = npt.NDArray[np.float32]
Tensors: TypeAlias = Sequence[npt.NDArray[Any]]

# Inputs go through PyTorch and ONNX Runtime this many at a time, to bound memory on big towers.
BATCH = 16


@dataclass(frozen=True)
class Inputs:
    """What parity is measured on: encoded images and texts."""

    images: tuple[bytes, ...]
    texts: tuple[str, ...]

    @classmethod
    def read(cls, images: Sequence[Path], texts: Sequence[str]) -> Inputs:
        """Read the image files.

        Raises:
            ParityError: there are no images or no texts to measure on.
        """
        if not images or not texts:
            missing = "images" if not images else "texts"
            raise ParityError(f"there are no {missing} to measure parity on")
        return cls(tuple(file.read_bytes() for file in images), tuple(texts))

    @classmethod
    def of(
        cls, images: Path | None = None, texts: Path | None = None, encoding: str = "utf-8"
    ) -> Inputs:
        """The images below a folder and the lines of a file; where None, the package's own.

        Raises:
            ParityError: there are no images or no texts to measure on.
            InvalidArgument: the file is not in `encoding`.
        """
        return cls.read(
            samples.images_in(images) if images else samples.sample_images(),
            samples.texts_in(texts, encoding) if texts else samples.sample_texts(),
        )

    @property
    def sha256(self) -> str:
        """Over all of them, in their order."""
        digest = hashlib.sha256()
        for item in (*self.images, *(text.encode() for text in self.texts)):
            digest.update(hashlib.sha256(item).digest())
        return digest.hexdigest()


@dataclass(frozen=True)
class Batches:
    """Inputs as the server's own code turns them into tensors."""

    pixels: Tensors
    token_ids: Tensors
    """One text each, at the length it would have alone: the shortest there is."""
    padded_ids: Tensors
    """The texts together, at the length of the longest."""

    @classmethod
    def of(cls, bundle: Bundle, inputs: Inputs, *, orient: bool = False) -> Batches:
        """Preprocess and tokenize `inputs`, turned by their EXIF orientation if `orient`."""
        pixels = served_pixels(bundle.info.image, inputs, orient=orient)
        transform = code.text_transform(bundle.info.text, bundle.path)
        ids = transform.encode(inputs.texts)
        return cls(
            [np.stack(some) for some in in_batches(pixels)],
            [transform.pad([one]) for one in ids],
            in_batches(transform.pad(ids)),
        )

    def of_tower(self, tower: Tower) -> Tensors:
        """What the encoder of `tower` takes."""
        return self.pixels if tower == "image" else self.token_ids

    @property
    def sha256(self) -> str:
        """Over what both encoders take."""
        digest = hashlib.sha256()
        for tensor in (*self.pixels, *self.token_ids):
            digest.update(f"{tensor.dtype} {tensor.shape} ".encode() + tensor.tobytes())
        return digest.hexdigest()


def served_pixels(
    image: ImageSpec, inputs: Inputs, *, orient: bool = False
) -> list[npt.NDArray[np.uint8]]:
    """PIXELS of the images of `inputs`, by the code that runs in the server."""
    transform = code.image_transform(image, orient=orient)
    return [transform.pixels(encoded) for encoded in inputs.images]


def in_batches(items: Any) -> list[Any]:
    """Slices of `items`, `BATCH` each but the last."""
    return [items[start : start + BATCH] for start in range(0, len(items), BATCH)]
