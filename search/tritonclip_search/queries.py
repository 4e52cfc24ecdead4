"""What is asked of a collection, as one vector.

Texts and images are added up by their weights. What is excluded is not asked for in words, as CLIP
hardly hears a "no", but taken away: of a wanted unit vector q and an excluded one n,

    q - strength * (n - (n . q) q)

That is, only what of n is not in q itself is subtracted, so that "people at a beach" without
"people" still asks for the beach.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from tritonclip import Client
from tritonclip.errors import InvalidArgument
from tritonclip.types import FloatArray, ImageInput

STRENGTH = 0.5
"""Of an exclusion. On the demo's drawings it leaves about half as many of what was excluded among
the first 20, and three quarters of the others where they were; at 1 a third and a half
(`benchmarks/studies/exclusion.py`)."""

# A text of more characters for each token of the model's context would be cut off silently; English
# has four to five.
_CHARACTERS_PER_TOKEN = 16


@dataclass(frozen=True)
class Query:
    """What to look for. There is at least one text, image or vector."""

    texts: Sequence[str] = ()
    images: Sequence[ImageInput] = ()
    vectors: Sequence[FloatArray] = ()
    """Unit vectors of the same space, e.g. of pictures that were found before."""
    weights: Sequence[float] | None = None
    """Of the texts, then of the images, then of the vectors; all alike without."""
    without: Sequence[str] = ()
    """Texts of what not to find."""
    templates: str | Sequence[str] = "plain"
    """Sentences around the texts; see the client's `label_embeddings`."""

    @property
    def is_one_text(self) -> bool:
        """Whether it is nothing but a text, to which a model may give a probability."""
        others = self.images or self.vectors or self.without
        return len(self.texts) == 1 and not others

    def vector(self, client: Client) -> FloatArray:
        """Its unit vector, float32 [dim].

        Raises:
            InvalidArgument: nothing is asked for, a text is too long, or the weights do not fit.
            ImageError: an image cannot be embedded.
        """
        weights = self._checked_weights()
        for text in (*self.texts, *self.without):
            _check(text, client.info().context_length)
        parts = []
        if self.texts:
            parts.append(client.label_embeddings(self.texts, self.templates))
        if self.images:
            parts.append(client.embed_images(list(self.images)))
        if self.vectors:
            parts.append(np.stack(self.vectors))
        wanted = _unit(np.asarray(weights, np.float32) @ np.concatenate(parts))
        if self.without:
            unwanted = client.label_embeddings(self.without, self.templates)
            others = unwanted - np.outer(unwanted @ wanted, wanted)
            wanted = _unit(wanted - STRENGTH * others.sum(axis=0))
        return wanted

    def _checked_weights(self) -> Sequence[float]:
        count = len(self.texts) + len(self.images) + len(self.vectors)
        if not count:
            raise InvalidArgument("nothing is asked for; give a text or an image")
        if self.weights is None:
            return [1.0] * count
        if len(self.weights) != count:
            raise InvalidArgument(
                f"{len(self.weights)} weights for {count} texts and pictures; give one for each"
            )
        return self.weights


def _check(text: str, context_length: int) -> None:
    if not text.strip():
        raise InvalidArgument("a text of the query is empty; say what to look for")
    if len(text) > _CHARACTERS_PER_TOKEN * context_length:
        raise InvalidArgument(
            f"a text of the query has {len(text):,} characters, of which the model would read the "
            f"first {context_length} tokens only; ask in fewer words"
        )


def _unit(vector: FloatArray) -> FloatArray:
    norm = float(np.linalg.norm(vector))
    if norm < 1e-6:
        raise InvalidArgument("the parts of the query cancel each other; change their weights")
    return np.asarray(vector / norm, np.float32)
