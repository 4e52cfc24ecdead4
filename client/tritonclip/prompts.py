"""Prompt templates: turning class names into the sentences a CLIP text tower was trained on.

A label is embedded as the mean of its prompts' unit vectors, re-normalised (Radford et al. 2021,
section 3.1.4).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
from numpy.typing import NDArray

from tritonclip.errors import InvalidArgument
from tritonclip.types import FloatArray

PLAIN: tuple[str, ...] = ("{}",)
PHOTO: tuple[str, ...] = ("a photo of a {}.",)
# The 80 templates of OpenAI's ImageNet evaluation:
# https://github.com/openai/CLIP/blob/main/notebooks/Prompt_Engineering_for_ImageNet.ipynb
OPENAI: tuple[str, ...] = (
    "a bad photo of a {}.",
    "a photo of many {}.",
    "a sculpture of a {}.",
    "a photo of the hard to see {}.",
    "a low resolution photo of the {}.",
    "a rendering of a {}.",
    "graffiti of a {}.",
    "a bad photo of the {}.",
    "a cropped photo of the {}.",
    "a tattoo of a {}.",
    "the embroidered {}.",
    "a photo of a hard to see {}.",
    "a bright photo of a {}.",
    "a photo of a clean {}.",
    "a photo of a dirty {}.",
    "a dark photo of the {}.",
    "a drawing of a {}.",
    "a photo of my {}.",
    "the plastic {}.",
    "a photo of the cool {}.",
    "a close-up photo of a {}.",
    "a black and white photo of the {}.",
    "a painting of the {}.",
    "a painting of a {}.",
    "a pixelated photo of the {}.",
    "a sculpture of the {}.",
    "a bright photo of the {}.",
    "a cropped photo of a {}.",
    "a plastic {}.",
    "a photo of the dirty {}.",
    "a jpeg corrupted photo of a {}.",
    "a blurry photo of the {}.",
    "a photo of the {}.",
    "a good photo of the {}.",
    "a rendering of the {}.",
    "a {} in a video game.",
    "a photo of one {}.",
    "a doodle of a {}.",
    "a close-up photo of the {}.",
    "a photo of a {}.",
    "the origami {}.",
    "the {} in a video game.",
    "a sketch of a {}.",
    "a doodle of the {}.",
    "a origami {}.",
    "a low resolution photo of a {}.",
    "the toy {}.",
    "a rendition of the {}.",
    "a photo of the clean {}.",
    "a photo of a large {}.",
    "a rendition of a {}.",
    "a photo of a nice {}.",
    "a photo of a weird {}.",
    "a blurry photo of a {}.",
    "a cartoon {}.",
    "art of a {}.",
    "a sketch of the {}.",
    "a embroidered {}.",
    "a pixelated photo of a {}.",
    "itap of the {}.",
    "a jpeg corrupted photo of the {}.",
    "a good photo of a {}.",
    "a plushie {}.",
    "a photo of the nice {}.",
    "a photo of the small {}.",
    "a photo of the weird {}.",
    "the cartoon {}.",
    "art of the {}.",
    "a drawing of the {}.",
    "a photo of the large {}.",
    "a black and white photo of a {}.",
    "the plushie {}.",
    "a dark photo of a {}.",
    "itap of a {}.",
    "graffiti of the {}.",
    "a toy {}.",
    "itap of my {}.",
    "a photo of a cool {}.",
    "a photo of a small {}.",
    "a tattoo of the {}.",
)
TEMPLATES: dict[str, tuple[str, ...]] = {"plain": PLAIN, "photo": PHOTO, "openai": OPENAI}


def resolve_templates(templates: str | Sequence[str]) -> tuple[str, ...]:
    """The templates meant by a name, a single template, or a sequence of templates.

    Raises:
        InvalidArgument: an unknown name, no template, or one without `{}` to put the label in.
    """
    if isinstance(templates, str):
        if "{}" not in templates and templates not in TEMPLATES:
            known = ", ".join(map(repr, TEMPLATES))
            raise InvalidArgument(
                f"unknown templates {templates!r}: known are {known}; or pass your own, with {{}} "
                "for the label"
            )
        return TEMPLATES.get(templates, (templates,))
    resolved = tuple(templates)
    if not resolved:
        raise InvalidArgument("templates is empty; use 'plain' to embed the labels as they are")
    for template in resolved:
        if not isinstance(template, str) or "{}" not in template:
            raise InvalidArgument(f"template {template!r} has no {{}} for the label")
    return resolved


def check_labels(labels: Sequence[str]) -> tuple[str, ...]:
    """`labels` as a tuple.

    Raises:
        InvalidArgument: none, a bare string, or something that is not a string among them.
    """
    if isinstance(labels, str):
        raise InvalidArgument(f"labels must be a sequence of strings; did you mean [{labels!r}]?")
    checked = tuple(labels)
    if not checked:
        raise InvalidArgument("labels is empty; pass at least one")
    for i, label in enumerate(checked):
        if not isinstance(label, str):
            raise InvalidArgument(f"label {i} is {label!r} ({type(label).__name__}), not a string")
    return checked


def prompts(labels: Sequence[str], templates: Sequence[str]) -> Iterator[str]:
    """Every label in every template, label by label. Braces within a label stay as they are."""
    return (template.replace("{}", label) for label in labels for template in templates)


class LabelMeans:
    """Gathers prompt vectors, in the order of `prompts`, into one unit vector per label.

    It keeps [labels, dim] numbers, however many templates there are.
    """

    def __init__(self, labels: int, templates: int, dim: int) -> None:
        self._sums = np.zeros((labels, dim), dtype=np.float64)
        self._templates = templates
        self._seen = 0

    def add(self, vector: FloatArray) -> None:
        """Add the next prompt's unit vector."""
        self._sums[self._seen // self._templates] += vector
        self._seen += 1

    def result(self) -> FloatArray:
        """Unit vectors [labels, dim]."""
        unit: NDArray[np.float64] = self._sums / np.linalg.norm(self._sums, axis=1, keepdims=True)
        return unit.astype(np.float32)
