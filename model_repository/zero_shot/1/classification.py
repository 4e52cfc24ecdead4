"""The arithmetic of zero-shot classification.

A label's vector is the mean of its prompts' unit vectors, re-normalised (Radford et al. 2021,
section 3.1.4); probabilities are a softmax over labels, or, for SigLIP, a sigmoid for each
(Zhai et al. 2023).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

FloatArray = np.ndarray[Any, np.dtype[np.float32]]

DEFAULT_TEMPLATES = ("a photo of a {}.",)


def prompts(labels: Sequence[str], templates: Sequence[str]) -> list[str]:
    """Every label in every template, the templates of one label together.

    Raises:
        ValueError: a template has no `{}` to put the label in.
    """
    if bad := [template for template in templates if "{}" not in template]:
        raise ValueError(f"template {bad[0]!r} has no {{}} for the label")
    return [template.replace("{}", label) for label in labels for template in templates]


def label_embeddings(prompt_embeddings: FloatArray, labels: int) -> FloatArray:
    """Unit vectors [labels, dim] from the embeddings of `prompts`, [labels * templates, dim]."""
    dim = prompt_embeddings.shape[-1]
    mean: FloatArray = prompt_embeddings.reshape(labels, -1, dim).mean(axis=1)
    return np.asarray(mean / np.linalg.norm(mean, axis=1, keepdims=True), np.float32)


def probabilities(
    images: FloatArray, labels: FloatArray, similarity: str, scale: float, bias: float
) -> FloatArray:
    """Probabilities [images, labels], float32, of unit vectors [images, dim] and [labels, dim]."""
    # Not `images @ labels.T`: OpenBLAS wakes its threads for a thousand labels, and on a machine
    # whose cores are busy they wait for each other a hundred times longer than the product takes.
    logits = scale * np.einsum("id,ld->il", images, labels).astype(np.float64) + bias
    if similarity == "sigmoid":
        return np.asarray(1.0 / (1.0 + np.exp(-logits)), np.float32)
    exponentials = np.exp(logits - logits.max(axis=1, keepdims=True))
    return np.asarray(exponentials / exponentials.sum(axis=1, keepdims=True), np.float32)
