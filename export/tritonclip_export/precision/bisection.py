"""Finding the layer that lower precision breaks.

Layers are lowered from the input on, the rest kept in FP32; the error of the embeddings over the
number of lowered layers is bisected for the step past the tolerance, as Polygraphy does with the
layers of an engine.

Bisection takes the error to grow with every layer that is lowered. Mostly it does, but the errors
of two layers may cancel. The step that is found is then still one past the tolerance, measured on
both sides, but need be neither the first nor the only one. So what keeping that one layer in FP32
helps is measured, too.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass


@dataclass(frozen=True)
class Culprit:
    """A layer with which the error leaves the tolerance."""

    layer: str
    error_before: float
    """With the layers before it lowered."""
    error_with: float
    """With the layers before it and itself lowered."""
    error_kept: float
    """With it kept in FP32 and all others lowered."""
    is_enough: bool
    """Whether keeping it alone brings the error into the tolerance."""

    @property
    def is_gradual(self) -> bool:
        """Whether this layer only tips a scale that the layers before it have filled."""
        return self.error_before > self.error_with / 2


def worst_layer(
    layers: list[str], error_of: Callable[[list[str]], float], tolerance: float
) -> Culprit | None:
    """One of `layers` whose lowering takes the error past `tolerance`; None if all lowered do not.

    The first one, where the error grows with every layer.

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
    layer = layers[bad - 1]
    kept = error_of([layer])
    return Culprit(layer, before, errors[bad], kept, is_enough=kept <= tolerance)
