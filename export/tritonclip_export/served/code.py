"""The sources of the Triton models, as this package finds and loads them.

`model_repository/` runs inside the server and imports nothing of ours; the toolchain reads it to
assemble repositories, and runs its preprocessing and tokenizing code in process, so that what
`verify` measures is the code that serves.
"""

from __future__ import annotations

import importlib.util
import sys
from collections.abc import Callable
from functools import cache
from pathlib import Path
from types import ModuleType
from typing import Any

from tritonclip_export.bundle import ImageSpec, TextSpec
from tritonclip_export.served import parameters


@cache
def skeletons() -> Path:
    """The folder of skeleton configs and Python-backend code."""
    installed = Path(__file__).parents[1] / "model_repository"
    return installed if installed.is_dir() else Path(__file__).parents[3] / "model_repository"


def image_transform(
    image: ImageSpec,
    limits: parameters.Limits | None = None,
    mode: parameters.Preprocess = "exact",
) -> Any:
    """The server's `ImageTransform` for `image`; its `pixels(encoded)` gives PIXELS."""
    values = parameters.image_preprocess(image, limits or parameters.Limits(), mode)
    module = _load("image_preprocess/1/pixels.py")
    return module.ImageTransform.from_parameters(_as_parsed(values))


def set_up_pillow(threads: int) -> None:
    """Set this process up to decode in so many threads, as the server is."""
    _load("image_preprocess/1/pixels.py").set_up_pillow(threads)


def jpeg_pipeline(transform: Any, max_batch: int) -> Any:
    """The server's `JpegPipeline` for the mode `dali`, on one thread of the CPU.

    Raises:
        ImportError: DALI is not installed.
    """
    module = _load("image_preprocess/1/jpeg_pipeline.py")
    return module.JpegPipeline(transform, max_batch, 1, None)


def text_transform(text: TextSpec, folder: Path, *, any_length: bool = False) -> Any:
    """The server's `TextTransform` for `text`, whose tokenizer file lies in `folder`.

    It pads to the lengths of native backends, or to the longest text for an encoder that takes
    `any_length`.
    """
    values = parameters.text_tokenize(text, any_length=any_length)
    module = _load("text_tokenize/1/tokens.py")
    return module.TextTransform.from_parameters(_as_parsed(values), folder / text.tokenizer)


def text_windows(text: TextSpec, folder: Path) -> Callable[[str], list[list[int]]]:
    """What the server does with a long text: TOKEN_IDS of its windows, unpadded."""
    transform = text_transform(text, folder)
    tokenizer = transform.tokenizer
    max_length = tokenizer.truncation["max_length"]
    tokenizer.no_truncation()
    clean = _load("text_tokenize/1/tokens.py").clean
    split = _load("text_windows/1/windows.py").windows
    return lambda text: split(clean(text, transform.cleaning), tokenizer, max_length)


def usable_cores() -> int:
    """The cores that a server would use, were it started where this process was."""
    return int(_load("image_preprocess/1/cores.py").usable())


def threads() -> int:
    """How many threads to ask ONNX Runtime for, as a server's encoder does; 0 is its own choice."""
    return int(_load("image_preprocess/1/cores.py").threads(0))


def _as_parsed(values: dict[str, str]) -> dict[str, dict[str, str]]:
    """Parameters in the form in which Triton hands them to a Python model."""
    return {key: {"string_value": value} for key, value in values.items()}


@cache
def _load(file: str) -> ModuleType:
    name = "tritonclip_export._served_" + Path(file).stem
    spec = importlib.util.spec_from_file_location(name, skeletons() / file)
    if spec is None or spec.loader is None:
        raise ImportError(f"{skeletons() / file} is missing from the installation")
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module  # dataclasses look their module up here
    spec.loader.exec_module(module)
    return module
