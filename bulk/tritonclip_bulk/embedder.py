"""What embeds the batches of a shard: a pool of servers, or a bundle in this process."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol, TypeAlias

from tritonclip.types import FloatArray
from tritonclip_search.vector_files import Origin

Answer: TypeAlias = tuple[FloatArray, Mapping[int, str]]
"""Vectors [pictures, dim], and why those at some positions, whose rows are NaN, have none."""


@dataclass(frozen=True)
class Model:
    """What embeds, as far as the bytes of a shard follow from it."""

    origin: Origin
    batch: int
    """Pictures that are embedded together. INT8's scales follow from all pictures of a batch, and
    kernels from its size, so the same picture has other last digits in another one."""
    max_image_bytes: int
    """Of an encoded picture."""

    @property
    def dim(self) -> int:
        """Length of a vector."""
        return self.origin.space.dim


class Embedder(Protocol):
    """Embeds batches, for several threads at a time.

    Attributes:
        model: what does.
        at_once: how many batches keep it busy.
    """

    model: Model
    at_once: int

    def embed(self, pictures: Sequence[bytes]) -> Answer:
        """Vectors of up to `model.batch` encoded pictures.

        Raises:
            TritonClipError: nothing can embed them now.
        """

    def close(self) -> None:
        """Stop what is being embedded, and let go what it holds."""


class Recipe(Protocol):
    """How a worker comes to its embedder: this travels to it."""

    def look(self) -> Model:
        """What will embed.

        Raises:
            TritonClipError: there is nothing.
        """

    def open(self, workers: int) -> Embedder:
        """An embedder for one of so many workers.

        Raises:
            TritonClipError: there is none.
        """
