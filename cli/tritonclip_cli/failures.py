"""Errors as a person at a terminal should read them."""

from __future__ import annotations

import sys

from tritonclip.errors import TritonClipError

# Which extra brings a package whose import failed.
_EXTRAS = {
    "export": ("torch", "torchvision", "open_clip", "onnx", "onnxscript", "transformers"),
    "serve": ("pytriton", "onnxruntime", "tokenizers", "ftfy", "pydantic"),
    "tensorrt": ("tensorrt", "polygraphy"),
    "parquet": ("pyarrow",),
    "bench": ("psutil", "hdrh", "matplotlib"),
}


def report(error: Exception) -> int:
    """Print one paragraph to standard error; returns the exit status."""
    if isinstance(error, TritonClipError):
        message = str(error)
    elif isinstance(error, ModuleNotFoundError) and (extra := _extra_with(error.name or "")):
        message = (
            f"this command needs {error.name}, which is not installed. "
            f'pip install "tritonclip[{extra}]"'
        )
    elif isinstance(error, OSError):  # a full disk, a missing permission: not ours to explain
        message = str(error)
    else:
        message = (
            f"unexpected {type(error).__name__}: {error}\n"
            "This is a bug in tritonclip; run the command again with --debug for the traceback."
        )
    print(f"error: {message}", file=sys.stderr)
    return 1


def _extra_with(module: str) -> str | None:
    top = module.partition(".")[0]
    return next((extra for extra, modules in _EXTRAS.items() if top in modules), None)
