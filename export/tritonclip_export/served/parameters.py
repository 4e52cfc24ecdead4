"""What the models of a bundle are told through `parameters` of their `config.pbtxt`.

Everything a server or a client needs travels here, so neither needs a file of ours.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal, get_args

from tritonclip_export.bundle import (
    BundleInfo,
    ImageSpec,
    Precision,
    Similarity,
    TextSpec,
    Tower,
    bucket_lengths,
)

PREFIX = "tritonclip_"

Preprocess = Literal["exact", "draft", "dali"]
PREPROCESS: tuple[Preprocess, ...] = get_args(Preprocess)


@dataclass(frozen=True)
class Limits:
    """What one image or one text of a request may be."""

    max_image_bytes: int = 32 << 20
    # Pillow's own threshold for a decompression bomb: a quarter of a gigabyte at 3 bytes a pixel.
    max_image_pixels: int = 89_478_485
    # Cleaning and tokenizing take half a second for so many, while other texts wait. The longest
    # text that `text_windows` takes, of 256 windows, is of some 90 KB.
    max_text_bytes: int = 128 << 10


def image_preprocess(
    image: ImageSpec, limits: Limits, mode: Preprocess, *, orient: bool = False
) -> dict[str, str]:
    """For `image_preprocess`: the transform, its mode, EXIF orientation and its limits."""
    return {
        "height": str(image.height),
        "width": str(image.width),
        "resize_mode": image.resize_mode,
        "short_side": str(image.short_side or ""),
        "interpolation": image.interpolation,
        "fill": str(image.fill),
        "rules": image.rules,
        "transparency": image.transparency,
        "mode": mode,
        "orient": json.dumps(orient),
        "max_bytes": str(limits.max_image_bytes),
        "max_pixels": str(limits.max_image_pixels),
    }


def text_tokenize(text: TextSpec, limits: Limits, *, any_length: bool = False) -> dict[str, str]:
    """For `text_tokenize`: cleaning, padding and the limit, as JSON values.

    Args:
        text: the bundle's.
        limits: what one text of a request may be.
        any_length: whether the encoder takes every text at its own length.
    """
    return {
        "cleaning": json.dumps(text.cleaning),
        "pad_id": json.dumps(text.pad_id),
        "last_id": json.dumps(text.last_id),
        "replaced_ids": json.dumps(text.replaced_ids),
        "lengths": json.dumps([] if any_length else bucket_lengths(text)),
        "max_bytes": json.dumps(limits.max_text_bytes),
    }


def padding(text: TextSpec, *, ends_with_pad: bool) -> str:
    """For a `text_encoder` that takes any length: what is behind a text, as JSON.

    Args:
        text: the bundle's.
        ends_with_pad: whether the id that pads also ends a text.
    """
    return json.dumps({"pad_id": text.pad_id, "ends_with_pad": ends_with_pad})


def text_windows(
    name: str, text: TextSpec, max_batch: int, limits: Limits, *, any_length: bool
) -> dict[str, str]:
    """For `text_windows`: as for `text_tokenize`, and the encoder it calls."""
    return {
        **text_tokenize(text, limits, any_length=any_length),
        "encoder": f"{name}_text_encoder",
        "max_batch": str(max_batch),
    }


def zero_shot(name: str, similarity: Similarity, max_batch: int) -> dict[str, str]:
    """For `zero_shot`: the ensembles it calls and how cosine becomes a probability."""
    return {
        "image_model": f"{name}_image",
        "text_model": f"{name}_text",
        "max_batch": str(max_batch),
        "similarity": similarity.kind,
        "logit_scale": repr(similarity.logit_scale),
        "logit_bias": repr(similarity.logit_bias),
    }


def heads(files: Iterable[str]) -> dict[str, str]:
    """For `image_head`: the names of its files."""
    return {"heads": json.dumps(list(files))}


def scores(names: Sequence[str]) -> dict[str, str]:
    """For the ensembles of a bundle with heads: what these give, in order."""
    return {PREFIX + "scores": json.dumps(list(names))}


def description(
    info: BundleInfo,
    runtime: str,
    precisions: Mapping[Tower, Precision | None],
    limits: Limits,
    preprocess: Preprocess,
    *,
    orient: bool,
) -> dict[str, str]:
    """For the ensembles: what the model is, for `Client.info()` and for people.

    Args:
        info: the bundle's.
        runtime: what executes the encoders.
        precisions: of each tower; None for an engine that nobody described.
        limits: what one image or one text of a request may be.
        preprocess: how images become pixels.
        orient: whether they are turned by their EXIF orientation.
    """
    named = {tower: precision or "unknown" for tower, precision in precisions.items()}
    alike = len(set(named.values())) == 1
    values = {
        "name": info.name,
        "source": info.source.reference,
        "weights_sha256": info.source.weights_sha256,
        "dim": str(info.dim),
        "similarity": info.similarity.kind,
        "logit_scale": repr(info.similarity.logit_scale),
        "logit_bias": repr(info.similarity.logit_bias),
        "image_height": str(info.image.height),
        "image_width": str(info.image.width),
        "context_length": str(info.text.context_length),
        "precision": named["image"]
        if alike
        else ", ".join(f"{tower} {precision}" for tower, precision in named.items()),
        "runtime": runtime,
        "preprocess": preprocess,
        "orient": json.dumps(orient),
        "max_image_bytes": str(limits.max_image_bytes),
        "max_image_pixels": str(limits.max_image_pixels),
        "max_text_bytes": str(limits.max_text_bytes),
    }
    return {PREFIX + key: value for key, value in values.items()}
