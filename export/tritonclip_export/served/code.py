"""The code that preprocesses and tokenizes in the server, run in this process.

So what `verify` measures is the code that serves.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from tritonclip_export.bundle import ImageSpec, TextSpec
from tritonclip_export.served import parameters
from tritonclip_export.served.sources import load


def image_transform(
    image: ImageSpec,
    limits: parameters.Limits | None = None,
    mode: parameters.Preprocess = "exact",
    *,
    orient: bool = False,
) -> Any:
    """The server's `ImageTransform` for `image`; its `pixels(encoded)` gives PIXELS."""
    values = parameters.image_preprocess(image, limits or parameters.Limits(), mode, orient=orient)
    module = load("image_preprocess/1/pixels.py")
    return module.ImageTransform.from_parameters(_as_parsed(values))


def set_up_pillow(threads: int) -> None:
    """Set this process up to decode in so many threads, as the server is."""
    load("image_preprocess/1/pixels.py").set_up_pillow(threads)


def jpeg_pipeline(transform: Any, max_batch: int) -> Any:
    """The server's `JpegPipeline` for the mode `dali`, on one thread of the CPU.

    Raises:
        ImportError: DALI is not installed.
    """
    module = load("image_preprocess/1/jpeg_pipeline.py")
    return module.JpegPipeline(transform, max_batch, 1, None)


def text_transform(text: TextSpec, folder: Path, *, any_length: bool = False) -> Any:
    """The server's `TextTransform` for `text`, whose tokenizer file lies in `folder`.

    It pads to the lengths of native backends, or to the longest text for an encoder that takes
    `any_length`.
    """
    values = parameters.text_tokenize(text, parameters.Limits(), any_length=any_length)
    module = load("text_tokenize/1/tokens.py")
    return module.TextTransform.from_parameters(_as_parsed(values), folder / text.tokenizer)


def text_windows(text: TextSpec, folder: Path) -> Callable[[str], list[list[int]]]:
    """What the server does with a long text: TOKEN_IDS of its windows, unpadded."""
    transform = text_transform(text, folder)
    tokenizer = transform.tokenizer
    max_length = tokenizer.truncation["max_length"]
    tokenizer.no_truncation()
    clean = load("text_tokenize/1/tokens.py").clean
    split = load("text_windows/1/windows.py").windows
    return lambda text: split(clean(text, transform.cleaning), tokenizer, max_length)


def _as_parsed(values: dict[str, str]) -> dict[str, dict[str, str]]:
    """Parameters in the form in which Triton hands them to a Python model."""
    return {key: {"string_value": value} for key, value in values.items()}
