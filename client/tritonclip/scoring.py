"""From embeddings to probabilities, as the model was trained."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from tritonclip.info import ModelInfo
from tritonclip.types import Classification, FloatArray


def probabilities(images: FloatArray, labels: FloatArray, info: ModelInfo) -> FloatArray:
    """Probabilities [images, labels] from unit vectors [images, dim] and [labels, dim].

    With logits `logit_scale * cosine + logit_bias`: their softmax over the labels (CLIP, Radford et
    al. 2021) or the sigmoid of each (SigLIP, Zhai et al. 2023).
    """
    # Not `images @ labels.T`: OpenBLAS wakes its threads for a thousand labels, and on a machine
    # whose cores are busy they wait for each other a hundred times longer than the product takes.
    cosines: FloatArray = np.einsum("id,ld->il", images, labels)
    logits = cosines.astype(np.float64) * info.logit_scale + info.logit_bias
    result: NDArray[np.float64]
    if info.similarity == "sigmoid":
        result = 0.5 * (1 + np.tanh(0.5 * logits))  # the sigmoid, in a form that cannot overflow
    else:
        exponentials = np.exp(logits - logits.max(axis=1, keepdims=True))
        result = exponentials / exponentials.sum(axis=1, keepdims=True)
    return result.astype(np.float32)


def classifications(
    images: FloatArray, label_vectors: FloatArray, labels: Sequence[str], info: ModelInfo
) -> list[Classification]:
    """One `Classification` per row of `images`."""
    names = tuple(labels)
    return [Classification(names, row) for row in probabilities(images, label_vectors, info)]
