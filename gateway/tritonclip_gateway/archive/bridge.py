"""The client that a collection asks from its thread, on the models of the event loop."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterable, Sequence
from typing import TypeVar

from tritonclip import AsyncClient
from tritonclip.info import ModelInfo
from tritonclip.types import FloatArray, ImageInput
from tritonclip_gateway.triton.model import Model

T = TypeVar("T")


class Bridge:
    """What collections need of a blocking client; any number of threads may share it."""

    def __init__(self, model: Model, loop: asyncio.AbstractEventLoop) -> None:
        self._model = model
        self._loop = loop

    def info(self) -> ModelInfo:
        """See the client."""
        return self._model.info

    def embed_images(self, images: Iterable[ImageInput]) -> FloatArray:
        """See the client."""
        pictures = list(images)
        return self._wait(lambda client: client.embed_images(pictures))

    def embed_texts(self, texts: Iterable[str]) -> FloatArray:
        """See the client."""
        listed = list(texts)
        return self._wait(lambda client: client.embed_texts(listed))

    def label_embeddings(
        self, labels: Sequence[str], templates: str | Sequence[str] = "photo"
    ) -> FloatArray:
        """See the client."""
        return self._wait(lambda client: client.label_embeddings(labels, templates))

    def _wait(self, question: Callable[[AsyncClient], Awaitable[T]]) -> T:
        return asyncio.run_coroutine_threadsafe(self._model.ask(question), self._loop).result()
