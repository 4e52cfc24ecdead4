"""The embedding space of a collection: what makes two vectors comparable.

That is the checkpoint, the dimension and how images become pixels. It is not the precision: FP16 or
INT8 towers of one checkpoint give nearly the same vectors, so their collection is one. Each record
says which precision it was embedded in.
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from typing import Literal, TypeAlias

from tritonclip.info import ModelInfo
from tritonclip_search.errors import SpaceMismatch, StoreError

VectorType: TypeAlias = Literal["float32", "float16"]


@dataclass(frozen=True)
class Space:
    """An embedding space, as a collection records it."""

    source: str
    """Architecture and weights as a person says them, e.g. `ViT-B-32:laion2b_s34b_b79k`."""
    weights_sha256: str
    """Hash of the checkpoint, whatever its precision."""
    dim: int
    """Length of a vector."""
    preprocess: str
    """How images became pixels: `exact`, or another way, `oriented` where they were turned by their
    EXIF orientation first; see the client's `ModelInfo`."""

    @classmethod
    def of(cls, info: ModelInfo) -> Space:
        """The space of a served model."""
        preprocess = f"{info.preprocess}, oriented" if info.orient else info.preprocess
        return cls(info.source, info.weights_sha256, info.dim, preprocess)

    @property
    def fingerprint(self) -> tuple[str, int, str]:
        """Equal where vectors are comparable."""
        return self.weights_sha256, self.dim, self.preprocess

    def __str__(self) -> str:
        """For errors: which checkpoint, and what else tells it from its namesakes."""
        return f"{self.source} ({self.weights_sha256[:12]}, {self.dim} dim, {self.preprocess})"


@dataclass(frozen=True)
class Description:
    """What a store keeps about a collection besides its records, from its creation on."""

    space: Space
    vectors: VectorType = "float32"
    """What a store keeps of a vector's numbers."""

    def check(self, name: str, model: Space) -> None:
        """Make sure that a model's vectors belong into this collection.

        Raises:
            SpaceMismatch: they do not.
        """
        if model.fingerprint != self.space.fingerprint:
            raise SpaceMismatch(
                f"collection {name!r} holds vectors of {self.space}, and this is of "
                f"{model}; ask the server of the former, or index into another collection"
            )

    def to_json(self) -> str:
        """For the place a store has for remarks on a collection."""
        return json.dumps(asdict(self), sort_keys=True)

    @classmethod
    def from_json(cls, text: str, name: str) -> Description:
        """What `to_json` wrote for the collection `name`.

        Raises:
            StoreError: it was not written by us.
        """
        try:
            read = json.loads(text)
            return cls(Space(**read["space"]), read["vectors"])
        except (ValueError, KeyError, TypeError) as error:
            raise StoreError(
                f"{name!r} exists in the store, but was not made by tritonclip; name another"
            ) from error
