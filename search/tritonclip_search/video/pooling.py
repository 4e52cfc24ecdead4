"""One vector for many frames."""

from __future__ import annotations

from typing import Literal, TypeAlias

import numpy as np

from tritonclip.types import FloatArray

Pool: TypeAlias = Literal["mean", "max", "weighted"]

# Of a softmax over cosines with the mean: at 0.1 a frame that is 0.2 less typical of the clip than
# another counts for a seventh.
_TEMPERATURE = 0.1


def pooled(vectors: FloatArray, how: Pool = "mean") -> FloatArray:
    """A unit vector [dim] for a clip.

    Args:
        vectors: of its frames, unit length [frames, dim], at least one.
        how: "mean"; "max", the largest of each number; or "weighted", a mean in which frames count
            by their cosine with the plain mean, so that fades and odd shots count for little.
    """
    if how == "max":
        return unit(vectors.max(axis=0))
    mean = unit(vectors.mean(axis=0))
    if how == "mean":
        return mean
    weights = np.exp(vectors @ mean / _TEMPERATURE)
    return unit(weights @ vectors)


def unit(vector: FloatArray) -> FloatArray:
    """At unit length, float32; zero stays zero."""
    norm = float(np.linalg.norm(vector))
    return np.asarray(vector / norm if norm else vector, np.float32)
