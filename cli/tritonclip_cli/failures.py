"""Errors as a person at a terminal should read them."""

from __future__ import annotations

import errno
import sys
from pathlib import Path

from tritonclip.errors import TritonClipError
from tritonclip_cli.values import shown

# What a system refuses while files are read and written, and what helps.
_REMEDIES = {
    errno.ENOSPC: "no space is left on the disk{at}: free some, or name a place on another disk",
    errno.EDQUOT: "this user's quota of the disk{at} is used up: free some, or name another place",
    errno.EFBIG: "{place} would become larger than the limit for files (`ulimit -f` shows it)",
    errno.EROFS: "the file system{at} can only be read: name a place on another one",
    errno.EACCES: "this user may not open {place}: see its permissions with `ls -ld`",
    errno.EPERM: "this user may not change {place}: see its permissions with `ls -ld`",
    errno.ENOENT: "there is no {place}, or no folder for it (any more)",
    errno.ENAMETOOLONG: "the name is too long for this file system: {place}",
    errno.EMFILE: "too many files are open: raise the limit with `ulimit -n`",
}

# Which extra brings a package whose import failed.
_EXTRAS = {
    "export": ("torch", "torchvision", "open_clip", "onnx", "onnxscript", "transformers"),
    "serve": ("pytriton", "onnxruntime", "tokenizers", "ftfy", "pydantic"),
    "tensorrt": ("tensorrt", "polygraphy"),
    "parquet": ("pyarrow",),
    "bulk": ("fsspec", "ray"),
    "policy": ("ruamel",),
    "heads": ("sklearn", "safetensors"),
    "gateway": ("fastapi", "fastapi_offline", "limits", "orjson", "pydantic_settings", "uvicorn"),
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
    elif isinstance(error, OSError):
        message = explained(error)
    else:
        message = (
            f"unexpected {type(error).__name__}: {error}\n"
            "This is a bug in tritonclip; run the command again with --debug for the traceback."
        )
    print(f"error: {message}", file=sys.stderr)
    return 1


def explained(error: OSError) -> str:
    """What the system refused, and what to do about it."""
    place = shown(error.filename) if isinstance(error.filename, str | bytes | Path) else ""
    remedy = _REMEDIES.get(error.errno or 0)
    if remedy is None:
        return f"{place}: {error.strerror}" if place and error.strerror else str(error)
    return remedy.format(at=f" at {place}" if place else "", place=place or "a file")


def _extra_with(module: str) -> str | None:
    top = module.partition(".")[0]
    return next((extra for extra, modules in _EXTRAS.items() if top in modules), None)
