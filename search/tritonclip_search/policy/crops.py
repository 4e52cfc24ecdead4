"""A picture's vector as the mean over five crops, so that no one corner decides."""

from __future__ import annotations

import io
import warnings
from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from tritonclip.types import FloatArray

if TYPE_CHECKING:
    from PIL.Image import Image

CROPS = 5
_SHARE = 0.75  # of each side, that a crop keeps


def opened(encoded: bytes) -> Image:
    """The picture in a file, as RGB.

    Raises:
        OSError, ValueError, SyntaxError: of Pillow, where it is none.
    """
    from PIL import Image

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        with Image.open(io.BytesIO(encoded)) as image:
            return image.convert("RGB")


def crops(image: Image) -> list[Image]:
    """The whole picture, and three quarters of its width and height from each corner."""
    width, height = image.size
    w, h = max(1, round(_SHARE * width)), max(1, round(_SHARE * height))
    corners = [(0, 0), (width - w, 0), (0, height - h), (width - w, height - h)]
    return [image, *(image.crop((x, y, x + w, y + h)) for x, y in corners)]


def mean(vectors: Sequence[FloatArray] | FloatArray) -> FloatArray:
    """The mean of unit vectors [crops, dim], of unit length again."""
    total = np.sum(vectors, axis=0)
    return np.asarray(total / np.linalg.norm(total), np.float32)
