"""What a client learns about a model from the server alone.

`tritonclip assemble` writes these facts into the `parameters` of each `config.pbtxt`, so no file
has to travel to the clients and nothing can disagree with what is being served.
"""

from __future__ import annotations

import json
import math
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from typing import Literal

from tritonclip.errors import ModelMismatch, ModelNotFound

IMAGE_SUFFIX = "_image"
TEXT_SUFFIX = "_text"
WINDOWS_SUFFIX = "_text_windows"
TOKENIZE_SUFFIX = "_text_tokenize"
SCORES_SUFFIX = "_image_scores"


@dataclass(frozen=True)
class ModelConfig:
    """The part of a Triton model configuration that this client reads."""

    max_batch_size: int
    parameters: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class ModelInfo:
    """One served dual encoder."""

    name: str
    source: str
    """Architecture and weights, e.g. `ViT-B-32:laion2b_s34b_b79k`."""
    dim: int
    """Length of an embedding."""
    similarity: Literal["softmax", "sigmoid"]
    """How cosines become probabilities: over all labels (CLIP) or for each alone (SigLIP)."""
    logit_scale: float
    """What cosines are multiplied with; already exponentiated."""
    logit_bias: float
    image_height: int
    image_width: int
    context_length: int
    """Tokens that the text tower sees; a longer text is cut there, unless `long` says otherwise."""
    precision: str
    runtime: str
    preprocess: str
    """How images become pixels: `exact`, as the checkpoint's own transform does, or another way."""
    orient: bool
    """Whether the server turns images by their EXIF orientation first."""
    weights_sha256: str
    max_image_bytes: int
    """Largest encoded image the server takes."""
    max_image_pixels: int
    """Largest decoded image the server takes, width times height."""
    max_text_bytes: int
    """Longest text the server takes, in UTF-8."""
    max_batch_size: int
    """Most items in one request."""
    scores: tuple[str, ...] = ()
    """What `score_images` gives for an image, in order; empty where no heads are served."""


def bundles_of(models: Collection[str]) -> list[str]:
    """The bundles, sorted, among the Triton models of a server."""
    stems = (model.removesuffix(IMAGE_SUFFIX) for model in models if model.endswith(IMAGE_SUFFIX))
    return sorted(stem for stem in stems if stem + TEXT_SUFFIX in models)


def choose_model(models: Collection[str], wanted: str | None) -> str:
    """The bundle to use among a server's Triton models.

    Args:
        models: names of all models in the server's repository.
        wanted: the bundle's name as the caller gave it, or None for the only one there.

    Raises:
        ModelNotFound: it is not there, or the choice is not clear; lists what is there.
    """
    bundles = bundles_of(models)
    found = ", ".join(bundles) or "none"
    if wanted is not None:
        if wanted in bundles:
            return wanted
        raise ModelNotFound(f"no model {wanted!r} on this server; CLIP models there: {found}")
    if len(bundles) == 1:
        return bundles[0]
    if bundles:
        raise ModelNotFound(
            f"this server has several CLIP models: {found}; say which, e.g. model={bundles[0]!r}"
        )
    others = ", ".join(sorted(models)) or "none at all"
    raise ModelNotFound(
        f"no CLIP model on this server, that is no pair NAME{IMAGE_SUFFIX} and NAME{TEXT_SUFFIX}; "
        f"models there: {others}. Make a repository with `tritonclip assemble`"
    )


def parse_info(name: str, image: ModelConfig, text: ModelConfig) -> ModelInfo:
    """Read the configurations of `NAME_image` and `NAME_text`.

    Raises:
        ModelMismatch: a parameter is missing or odd, or the two do not belong together.
    """
    read = _Parameters(name + IMAGE_SUFFIX, image.parameters)
    other = _Parameters(name + TEXT_SUFFIX, text.parameters)
    for key in ("name", "weights_sha256", "dim"):
        if read.text(key) != other.text(key):
            raise other.odd(
                key, f"{read.model} has {read.text(key)!r}; they are of different bundles"
            )
    if read.text("name") != name:
        raise read.odd("name", f"expected {name!r}; was the folder renamed by hand?")
    if min(image.max_batch_size, text.max_batch_size) < 1:
        raise ModelMismatch(f"model {name!r} does not batch (max_batch_size 0); assemble it again")
    return ModelInfo(
        name=name,
        source=read.text("source"),
        dim=read.positive("dim"),
        similarity=read.similarity(),
        logit_scale=read.number("logit_scale"),
        logit_bias=read.number("logit_bias"),
        image_height=read.positive("image_height"),
        image_width=read.positive("image_width"),
        context_length=read.positive("context_length"),
        precision=read.text("precision"),
        runtime=read.text("runtime"),
        preprocess=read.text("preprocess"),
        # Servers that were assembled before there was a choice do not turn.
        orient=image.parameters.get("tritonclip_orient") == "true",
        weights_sha256=read.text("weights_sha256"),
        max_image_bytes=read.positive("max_image_bytes"),
        max_image_pixels=read.positive("max_image_pixels"),
        # Servers that were assembled before there was a limit take what a message holds.
        max_text_bytes=int(text.parameters.get("tritonclip_max_text_bytes", 2**31 - 1)),
        max_batch_size=min(image.max_batch_size, text.max_batch_size),
        scores=read.names("scores"),
    )


@dataclass(frozen=True)
class _Parameters:
    """The `tritonclip_*` parameters of one model, read with errors that name model and key."""

    model: str
    values: Mapping[str, str]

    def odd(self, key: str, why: str) -> ModelMismatch:
        value = self.values.get(f"tritonclip_{key}")
        what = "is missing" if value is None else f"is {value!r}"
        return ModelMismatch(
            f"model {self.model!r} was not assembled by tritonclip, or by another version: "
            f"parameter tritonclip_{key} {what} ({why})"
        )

    def text(self, key: str) -> str:
        if not (value := self.values.get(f"tritonclip_{key}", "")):
            raise self.odd(key, "expected a value")
        return value

    def number(self, key: str) -> float:
        text = self.text(key)
        try:
            value = float(text)
        except ValueError as error:
            raise self.odd(key, "expected a number") from error
        if not math.isfinite(value):
            raise self.odd(key, "expected a finite number")
        return value

    def positive(self, key: str) -> int:
        text = self.text(key)
        if not text.isdecimal() or int(text) == 0:
            raise self.odd(key, "expected a positive integer")
        return int(text)

    def names(self, key: str) -> tuple[str, ...]:
        """A list that need not be there."""
        try:
            return tuple(map(str, json.loads(self.values.get(f"tritonclip_{key}", "[]"))))
        except (ValueError, TypeError) as error:
            raise self.odd(key, "expected a list of names") from error

    def similarity(self) -> Literal["softmax", "sigmoid"]:
        match self.text("similarity"):
            case "softmax":
                return "softmax"
            case "sigmoid":
                return "sigmoid"
        raise self.odd("similarity", "expected softmax or sigmoid")
