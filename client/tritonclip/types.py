"""The types that callers pass in and get back."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from tritonclip.errors import InvalidInput

if TYPE_CHECKING:
    from PIL.Image import Image as PillowImage

FloatArray: TypeAlias = NDArray[np.float32]

ImageInput: TypeAlias = (
    "str | os.PathLike[str] | bytes | bytearray | memoryview | PillowImage | NDArray[Any]"
)
"""A path, the bytes of an image file, a Pillow image, or uint8 pixels [H, W(, 3 or 4)]."""

OnError: TypeAlias = "Callable[[InvalidInput], object]"
"""Told of each bad item, in order, in the caller's thread."""


@dataclass(frozen=True)
class Health:
    """What a server answered when it was asked how it is."""

    live: bool
    """The server process answers."""
    ready: bool
    """The server says that it takes requests."""
    model_ready: bool
    """Both halves of this client's model, image and text, are loaded, and embed."""
    server_version: str | None = None
    detail: str = ""
    """Why something above is false, in words; empty when all is well."""

    @property
    def ok(self) -> bool:
        """Whether a request for an embedding would be taken."""
        return self.live and self.ready and self.model_ready


@dataclass(frozen=True, eq=False)
class Classification:
    """Probabilities of one image over the labels it was compared with."""

    labels: tuple[str, ...]
    probabilities: FloatArray = field(repr=False)
    """Shape [labels]. With softmax they add up to one; with sigmoid each label is judged alone."""

    @property
    def label(self) -> str:
        """The most probable label."""
        return self.labels[int(self.probabilities.argmax())]

    @property
    def probability(self) -> float:
        """The probability of `label`."""
        return float(self.probabilities.max())

    def top(self, k: int = 5) -> list[tuple[str, float]]:
        """The `k` most probable labels with their probabilities, best first."""
        best = np.argsort(-self.probabilities, kind="stable")[:k]
        return [(self.labels[i], float(self.probabilities[i])) for i in best]

    def __str__(self) -> str:
        """The best label and its probability, for a log line."""
        return f"{self.label} ({self.probability:.1%})"
