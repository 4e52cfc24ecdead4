"""TritonCLIP's client: embeddings and zero-shot labels from a CLIP model on Triton.

    from tritonclip import Client

    with Client("127.0.0.1:8001") as clip:
        vectors = clip.embed_images(["a.jpg", "b.jpg"])  # float32 [2, dim], unit vectors
        print(clip.classify("a.jpg", ["cat", "dog"]))  # cat (98.2%)

`AsyncClient` is the same with `await`. Everything raised on purpose is a `TritonClipError`.
"""

from importlib import import_module
from typing import TYPE_CHECKING

from tritonclip.errors import (
    ClientClosed,
    ImageError,
    InvalidArgument,
    InvalidInput,
    ModelMismatch,
    ModelNotFound,
    RequestTimeout,
    ServerError,
    ServerUnavailable,
    TextError,
    TritonClipError,
    WrongProtocol,
)

if TYPE_CHECKING:
    from tritonclip.async_client import AsyncClient
    from tritonclip.client import Client
    from tritonclip.info import ModelInfo
    from tritonclip.types import Classification, Health, ImageInput

__all__ = [
    "AsyncClient",
    "Classification",
    "Client",
    "ClientClosed",
    "Health",
    "ImageError",
    "ImageInput",
    "InvalidArgument",
    "InvalidInput",
    "ModelInfo",
    "ModelMismatch",
    "ModelNotFound",
    "RequestTimeout",
    "ServerError",
    "ServerUnavailable",
    "TextError",
    "TritonClipError",
    "WrongProtocol",
]

# Imported on first use: these need numpy, which takes longer to import than a command line may
# take to print its help.
_HOMES = {
    "AsyncClient": "async_client",
    "Client": "client",
    "ModelInfo": "info",
    "Classification": "types",
    "Health": "types",
    "ImageInput": "types",
}


def __getattr__(name: str) -> object:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)


def __dir__() -> list[str]:
    return __all__
