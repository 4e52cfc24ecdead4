"""A collection that several requests search at a time."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import TypeVar, cast

import anyio
from anyio.to_thread import run_sync

from tritonclip import Client
from tritonclip_gateway.archive.bridge import Bridge
from tritonclip_gateway.archive.thumbnails import Thumbnails
from tritonclip_gateway.telemetry.metrics import Metrics
from tritonclip_gateway.triton.model import Model
from tritonclip_gateway.triton.models import Models
from tritonclip_search import Collection, open_collection
from tritonclip_search.collection import DEFAULT_NAME
from tritonclip_search.errors import CollectionNotFound, SpaceMismatch
from tritonclip_search.space import Space
from tritonclip_search.stores.opening import open_store
from tritonclip_search.stores.url import StoreUrl

T = TypeVar("T")

# An exact scan is bound by memory, which a few threads share.
_THREADS = 4


class Archive:
    """Connections to one collection, each used by one thread at a time."""

    def __init__(self, address: str, name: str | None, models: Models, metrics: Metrics) -> None:
        """Connect to nothing yet; see `open_collection` for address and name."""
        self._url, named = StoreUrl.parse(address).split()
        self.name = name or named or DEFAULT_NAME
        self._models = models
        self.thumbnails = Thumbnails(metrics.thumbnails)
        self._idle: list[Collection] = []
        self._threads = anyio.CapacityLimiter(_THREADS)

    async def ask(self, question: Callable[[Collection], T]) -> T:
        """The answer of the collection, from a thread.

        Raises:
            ApiError: no model is served yet.
            CollectionNotFound, SpaceMismatch, StoreError: it cannot be asked.
        """
        loop = asyncio.get_running_loop()
        return await run_sync(self._answer, question, loop, limiter=self._threads)

    def close(self) -> None:
        """Disconnect."""
        while self._idle:
            self._idle.pop().close()

    def _answer(self, question: Callable[[Collection], T], loop: asyncio.AbstractEventLoop) -> T:
        collection = self._idle.pop() if self._idle else self._open(loop)
        try:
            answer = question(collection)
        except CollectionNotFound:  # dropped, perhaps to be made anew of another model
            collection.close()
            raise
        except BaseException:
            self._idle.append(collection)
            raise
        self._idle.append(collection)
        return answer

    def _open(self, loop: asyncio.AbstractEventLoop) -> Collection:
        client = cast(Client, Bridge(self._model(), loop))
        return open_collection(self._url, client, self.name)

    def _model(self) -> Model:
        """The model whose vectors the collection holds."""
        store = open_store(self._url)
        try:
            description = store.describe(self.name)
        finally:
            store.close()
        if description is None:
            raise CollectionNotFound(self.name, store.url)
        for model in self._models:
            if Space.of(model.info).fingerprint == description.space.fingerprint:
                return model
        self._models.get(None)  # says so if none is served yet
        raise SpaceMismatch(f"{self.name!r} holds vectors of {description.space}")
