"""Finding the layer that lower precision breaks.

Layers are lowered from the input on, the rest kept in FP32; the error of the embeddings over the
number of lowered layers is bisected for the step past the tolerance, as Polygraphy does with the
layers of an engine.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass


@dataclass(frozen=True)
class Culprit:
    """The layer with which the error leaves the tolerance, and the error without and with it."""

    layer: str
    error_before: float
    error_with: float

    @property
    def is_gradual(self) -> bool:
        """Whether this layer only tips a scale that the layers before it have filled."""
        return self.error_before > self.error_with / 2


def worst_layer(
    layers: list[str], error_of: Callable[[list[str]], float], tolerance: float
) -> Culprit | None:
    """The first of `layers` whose lowering takes the error past `tolerance`.

    None if not even lowering all of them does.

    Args:
        layers: in order of computation.
        error_of: the error with exactly those layers kept in FP32.
        tolerance: what the error may be.
    """
    good, bad = 0, len(layers)  # how many of them are lowered
    errors = {bad: error_of([])}
    # A NaN is past every tolerance.
    if errors[bad] <= tolerance:
        return None
    while bad - good > 1:
        middle = (good + bad) // 2
        errors[middle] = error_of(layers[middle:])
        if errors[middle] <= tolerance:
            good = middle
        else:
            bad = middle
    before = errors[good] if good in errors else error_of(layers)
    return Culprit(layers[bad - 1], before, errors[bad])
