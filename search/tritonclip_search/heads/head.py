"""What a head computes: some linear layers on a unit vector, and what their outputs mean."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any, Literal, TypeAlias

import numpy as np
from numpy.typing import NDArray

from tritonclip.types import FloatArray

Output: TypeAlias = Literal["score", "sigmoid", "softmax"]
"""What the last layer gives: scores as they are, the logit of each label alone, or of one among
all."""


@dataclass(frozen=True, eq=False)
class Layer:
    """`weight @ x + bias`, negative results set to zero where it is followed by a ReLU."""

    weight: FloatArray
    """[outputs, inputs]"""
    bias: FloatArray
    """[outputs]"""
    relu: bool = False


@dataclass(frozen=True, eq=False)
class Head:
    """A small model on unit vectors."""

    name: str
    labels: tuple[str, ...]
    """What each output stands for."""
    layers: tuple[Layer, ...]
    output: Output
    layout: str
    """Whose layout the file has: `tritonclip`, or a published head's."""
    sha256: str = ""
    """Of its file."""
    card: Mapping[str, Any] = field(default_factory=dict)
    """Where it comes from, as `card.py` writes it; empty for published ones."""

    @property
    def dim(self) -> int:
        """Length of the vectors it takes."""
        return int(self.layers[0].weight.shape[1])

    def logits(self, vectors: FloatArray) -> FloatArray:
        """What the last layer gives, float32 [vectors, labels], for unit vectors [vectors, dim]."""
        values = vectors
        for layer in self.layers:
            values = values @ layer.weight.T + layer.bias
            if layer.relu:
                values = np.maximum(values, 0)
        return np.asarray(values, np.float32)

    def scores(self, vectors: FloatArray) -> FloatArray:
        """Scores, or probabilities where it was trained for those, float32 [vectors, labels]."""
        logits = self.logits(vectors)
        if self.output == "score":
            return logits
        wide: NDArray[np.float64] = logits.astype(np.float64)
        if self.output == "sigmoid":
            return np.asarray(0.5 * (1 + np.tanh(0.5 * wide)), np.float32)
        powers = np.exp(wide - wide.max(axis=1, keepdims=True))
        return np.asarray(powers / powers.sum(axis=1, keepdims=True), np.float32)

    def log_odds(self, vectors: FloatArray) -> NDArray[np.float64]:
        """Of the probabilities, float64 [vectors, labels]; `output` is not "score"."""
        wide: NDArray[np.float64] = self.logits(vectors).astype(np.float64)
        if self.output == "sigmoid":
            return wide
        result = np.empty_like(wide)
        for column in range(wide.shape[1]):
            others = np.delete(wide, column, axis=1)
            result[:, column] = wide[:, column] - np.logaddexp.reduce(others, axis=1)
        return result


def fit(layers: Sequence[Layer], outputs: int) -> bool:
    """Whether each layer takes what the one before gives, and the last one gives `outputs`."""
    shaped = all(
        layer.weight.ndim == 2 and layer.bias.shape == layer.weight.shape[:1] for layer in layers
    )
    return (
        shaped
        and all(
            after.weight.shape[1] == before.weight.shape[0] for before, after in pairwise(layers)
        )
        and len(layers[-1].weight) == outputs
    )
