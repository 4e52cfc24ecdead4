"""Pictures that are the same but for their size, their compression or their edges."""

from __future__ import annotations

import io
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from tritonclip import Client
from tritonclip.errors import InvalidInput
from tritonclip.types import FloatArray
from tritonclip_search.errors import SourceError
from tritonclip_search.records import Record
from tritonclip_search.sources.opening import read

if TYPE_CHECKING:
    from PIL.Image import Image

_RECOGNISED = 0.95
# Rows and columns of the products that are looked at together: 128 MiB.
_ROWS, _COLUMNS = 2048, 16384


@dataclass(frozen=True)
class Threshold:
    """A cosine from which on two pictures are taken for one."""

    cosine: float
    pictures: int
    """That were altered to find it; 0 where it was given."""


def find_threshold(records: Sequence[Record], client: Client) -> Threshold | None:
    """The cosine with their originals that 95 % of altered pictures still have.

    Altered as pictures are on their way through mails and web pages: half the size, less quality,
    a fiftieth cut off at each edge. None where no file of `records` can be read.

    Args:
        records: of some pictures, with vectors.
        client: embeds what became of them.
    """
    originals: list[FloatArray] = []
    altered: list[Image] = []
    for record in records:
        try:
            made = _copies(read(record.path, client.info().max_image_bytes))
        except (OSError, SourceError, ValueError, SyntaxError):  # of Pillow, all but the second
            continue
        assert record.vector is not None
        originals += [record.vector] * len(made)
        altered += made
    failed: list[InvalidInput] = []
    vectors = client.embed_images(altered, on_error=failed.append)
    cosines = np.einsum("nd,nd->n", np.reshape(originals, vectors.shape), vectors)
    cosines = cosines[~np.isnan(cosines)]
    if not len(cosines):
        return None
    return Threshold(float(np.quantile(cosines, 1 - _RECOGNISED)), len(altered) // 3)


def group(vectors: FloatArray, threshold: float) -> list[list[int]]:
    """Rows that belong together, as each is near enough to one other: groups of two and more.

    Takes the products of all pairs, a part at a time.

    Args:
        vectors: unit vectors [rows, dim].
        threshold: the cosine from which on two rows are near enough.

    Returns:
        positions, ascending in each group; groups by their first.
    """
    leader = np.arange(len(vectors))

    def find(row: int) -> int:
        while leader[row] != row:
            leader[row] = leader[leader[row]]
            row = int(leader[row])
        return row

    for row, others in _near(vectors, threshold):
        # Of a thousand frames that are all black, each is near all others: their leaders are few.
        for other in np.unique(leader[others]).tolist():
            low, high = sorted((find(row), find(other)))
            leader[high] = low
    groups: dict[int, list[int]] = {}
    for row in range(len(vectors)):
        groups.setdefault(find(row), []).append(row)
    return [rows for rows in groups.values() if len(rows) > 1]


def _near(vectors: FloatArray, threshold: float) -> Iterator[tuple[int, NDArray[np.int64]]]:
    """Rows, each with some of those near it; of two rows that are, one comes with the other."""
    for top in range(0, len(vectors), _ROWS):
        rows = vectors[top : top + _ROWS]
        for left in range(top, len(vectors), _COLUMNS):
            near = rows @ vectors[left : left + _COLUMNS].T >= threshold
            for i in np.flatnonzero(near.any(axis=1)).tolist():
                yield top + i, left + np.flatnonzero(near[i])


def _copies(encoded: bytes) -> list[Image]:
    from PIL import Image

    with Image.open(io.BytesIO(encoded)) as opened:
        picture = opened.convert("RGB")
    width, height = picture.size
    squeezed = io.BytesIO()
    picture.save(squeezed, "JPEG", quality=75)
    x, y = round(width / 50), round(height / 50)
    half = (max(1, width // 2), max(1, height // 2))
    return [
        picture.resize(half, Image.Resampling.BILINEAR),
        Image.open(squeezed),
        picture.crop((x, y, width - x, height - y)),
    ]
