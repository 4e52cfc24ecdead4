"""Heads that are served beside a bundle's embeddings."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from tritonclip_export.bundle import Bundle
from tritonclip_export.errors import RepositoryError


@dataclass(frozen=True, eq=False)
class ServedHead:
    """A head, as the server takes it."""

    name: str
    scores: tuple[str, ...]
    """What each of its outputs is called."""
    dim: int
    """Length of the vectors that it takes."""
    weights_sha256: str | None
    """Of the checkpoint whose vectors it was trained on; None for one that does not say."""
    file: bytes
    """Safetensors, in the layout that `model_repository/image_head` reads."""

    def fits(self, bundle: Bundle) -> bool:
        """Whether it takes a bundle's vectors."""
        weights = bundle.info.source.weights_sha256
        return self.dim == bundle.info.dim and self.weights_sha256 in (None, weights)


def check_heads(heads: Sequence[ServedHead], bundles: Sequence[Bundle]) -> None:
    """That every head fits a bundle, and that scores have names of their own.

    Raises:
        RepositoryError: one does not.
    """
    for head in heads:
        if not any(head.fits(bundle) for bundle in bundles):
            there = ", ".join(f"{bundle.name} ({bundle.info.dim})" for bundle in bundles)
            trained = f", trained on {head.weights_sha256[:12]}" if head.weights_sha256 else ""
            raise RepositoryError(
                f"the head {head.name!r} takes vectors of {head.dim} numbers{trained}, and is for "
                f"none of these bundles: {there}"
            )
    names = [score for head in heads for score in head.scores]
    if twice := sorted({name for name in names if names.count(name) > 1}):
        raise RepositoryError(f"two heads give {twice[0]!r}; rename the file of one of them")
