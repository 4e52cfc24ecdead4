"""Heads that others have published, told by the names and shapes of their tensors.

- LAION's first aesthetic predictor, a linear layer on OpenAI's CLIP: `weight`, `bias`
  (github.com/LAION-AI/aesthetic-predictor);
- the improved one, five linear layers without activations between them: `layers.0`, `.2`, `.4`,
  `.6`, `.7` (github.com/christophschuhmann/improved-aesthetic-predictor);
- LAION's CLIP-based NSFW detector for OpenCLIP's ViT-H-14, seven layers, with a ReLU after all but
  the last two: `layers.0`, `.3`, `.6`, `.9`, `.12`, `.15`, `.16`
  (github.com/LAION-AI/CLIP-based-NSFW-Detector, `h14_nsfw_model.py`);
- the same for OpenAI's ViT-L/14, trained with Keras, as its authors give it for PyTorch (issue 7
  there): the input made normal, then `linear_1` to `linear_4`, a ReLU after all but the last;
- the safety checker of Stable Diffusion, OpenAI's ViT-L/14 with the vectors of concepts and the
  cosine from which on each counts (CompVis/stable-diffusion-safety-checker).

All take unit vectors. Most of their files are pickles, which run code when they are read, so they
are not read here but converted once, with PyTorch refusing what is not a tensor.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from tritonclip.types import FloatArray
from tritonclip_search.heads.head import Layer, Output, fit

Tensors = Mapping[str, FloatArray]

_NORMAL = ("norm.mean", "norm.variance")
_CONCEPTS = ("special_care_embeds", "concept_embeds")
_THRESHOLDS = ("special_care_embeds_weights", "concept_embeds_weights")
# The tower and its projection, which the vectors come from that the head is given.
_TOWER = ("vision_model.", "visual_projection.")
# Keras's `backend.epsilon()`, the least deviation that its `Normalization` divides by.
_LEAST_DEVIATION = 1e-7


@dataclass(frozen=True)
class Published:
    """What a published head computes."""

    layout: str
    labels: tuple[str, ...]
    layers: tuple[Layer, ...]
    output: Output


@dataclass(frozen=True)
class _InSequence:
    """The layout of linear layers, one after the other."""

    name: str
    label: str
    widths: tuple[int, ...]
    """Of each layer's output."""
    prefixes: tuple[str, ...]
    """Of each layer's `weight` and `bias`."""
    relus: int = 0
    """How many of the first layers a ReLU follows."""
    output: Output = "score"
    normal: bool = False
    """Whether mean and variance of the input are there too."""

    def read(self, tensors: Tensors) -> Published | None:
        names = {f"{prefix}{part}" for prefix in self.prefixes for part in ("weight", "bias")}
        if names | set(_NORMAL if self.normal else ()) != tensors.keys():
            return None
        layers = [
            Layer(tensors[f"{prefix}weight"], tensors[f"{prefix}bias"], place < self.relus)
            for place, prefix in enumerate(self.prefixes)
        ]
        widths = tuple(len(layer.weight) for layer in layers)
        if widths != self.widths or not fit(layers, widths[-1]):
            return None
        if self.normal:
            mean, variance = (tensors[name].ravel() for name in _NORMAL)
            if not len(mean) == len(variance) == layers[0].weight.shape[1]:
                return None
            layers[0] = _of_normal(layers[0], mean, variance)
        return Published(self.name, (self.label,), tuple(layers), self.output)


_LAYOUTS = (
    _InSequence("LAION aesthetic, linear", "aesthetic", (1,), ("",)),
    _InSequence(
        "LAION aesthetic, improved",
        "aesthetic",
        (1024, 128, 64, 16, 1),
        tuple(f"layers.{place}." for place in (0, 2, 4, 6, 7)),
    ),
    _InSequence(
        "LAION CLIP-based NSFW detector, H-14",
        "nsfw",
        (1024, 2048, 1024, 256, 128, 16, 1),
        tuple(f"layers.{place}." for place in (0, 3, 6, 9, 12, 15, 16)),
        relus=5,
    ),
    _InSequence(
        "LAION CLIP-based NSFW detector, L-14",
        "nsfw",
        (64, 512, 256, 1),
        tuple(f"linear_{place}." for place in (1, 2, 3, 4)),
        relus=3,
        output="sigmoid",
        normal=True,
    ),
)
_CHECKER = "Stable Diffusion safety checker"
KNOWN = (*(layout.name for layout in _LAYOUTS), _CHECKER)


def without_tower(tensors: Mapping[str, Any]) -> dict[str, Any]:
    """Those tensors that are a head's, where a file holds its tower as well."""
    return {name: tensor for name, tensor in tensors.items() if not name.startswith(_TOWER)}


def read(tensors: Tensors) -> Published | None:
    """The head of these tensors, which are all of a file's but its tower's."""
    if tensors.keys() == {*_CONCEPTS, *_THRESHOLDS}:
        return _checker(tensors)
    return next((head for layout in _LAYOUTS if (head := layout.read(tensors))), None)


def _checker(tensors: Tensors) -> Published | None:
    """How far the cosine with each concept is above its threshold.

    The checker lowers the concepts' thresholds by 0.01 where one that needs special care is above
    its own; whoever reads the scores may do the same.
    """
    if any(tensors[concepts].ndim != 2 for concepts in _CONCEPTS):
        return None
    vectors = np.concatenate([tensors[name] for name in _CONCEPTS])
    thresholds = np.concatenate([tensors[name] for name in _THRESHOLDS])
    layer = Layer(vectors / np.linalg.norm(vectors, axis=1, keepdims=True), -thresholds)
    labels = tuple(
        f"{kind} {number + 1}"
        for kind, name in zip(("special care", "concept"), _CONCEPTS, strict=True)
        for number in range(len(tensors[name]))
    )
    return Published(_CHECKER, labels, (layer,), "score") if fit([layer], len(labels)) else None


def _of_normal(layer: Layer, mean: FloatArray, variance: FloatArray) -> Layer:
    """A layer that takes vectors as they are, for one that takes `(x - mean) / deviation`."""
    deviation = np.maximum(np.sqrt(variance.astype(np.float64)), _LEAST_DEVIATION)
    weight = layer.weight / deviation
    bias = layer.bias - weight @ mean
    return Layer(weight.astype(np.float32), bias.astype(np.float32), layer.relu)
