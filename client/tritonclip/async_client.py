"""The asynchronous client: `Client` with `await`."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterable, AsyncIterator, Iterable, Sequence
from contextlib import aclosing
from types import TracebackType
from typing import TypeAlias, TypeVar, cast, overload

import numpy as np

from tritonclip.batch import (
    IMAGES,
    SCORES,
    TOKEN_COUNTS,
    Batch,
    Modality,
    Packer,
    check_scores,
    one_or_many,
)
from tritonclip.conversations import Conversation, check_health, discover, embed, list_bundles
from tritonclip.endpoint import Endpoint, parse_endpoint
from tritonclip.errors import ClientClosed, TritonClipError
from tritonclip.images import is_single_image
from tritonclip.info import ModelInfo
from tritonclip.labels import LabelCache
from tritonclip.long_texts import WINDOWS, Long, each_window, text_modality
from tritonclip.options import Options
from tritonclip.probe import Probe
from tritonclip.prompts import LabelMeans, check_labels, prompts, resolve_templates
from tritonclip.retry import Backoff
from tritonclip.scoring import classifications
from tritonclip.texts import is_single_text
from tritonclip.types import Classification, FloatArray, Health, ImageInput, OnError
from tritonclip.window import at_once_async, in_order_async
from tritonclip.wire import AsyncTransport, Call

T = TypeVar("T")
_Items: TypeAlias = Iterable[object] | AsyncIterable[object]


class AsyncClient:
    """Embeds and classifies with one CLIP model on a Triton server, asynchronously.

    Takes what `Client` takes, and asynchronous iterables besides. Belongs to the event loop in
    which it is first used; there, any number of tasks may share it.

        async with AsyncClient("127.0.0.1:8001") as clip:
            async for vector in clip.stream_images(paths):
                ...
    """

    def __init__(
        self,
        url: str = "127.0.0.1:8001",
        *,
        model: str | None = None,
        timeout: float = 60.0,
        concurrency: int = 8,
        batch_size: int = 16,
        retries: int = 40,
    ) -> None:
        """See `Client`."""
        self._options = Options(model, timeout, concurrency, batch_size, retries)
        self._endpoint = parse_endpoint(url)
        self._transport: AsyncTransport | None = None
        self._closed = False
        self._slots = asyncio.Semaphore(concurrency)
        self._probe = Probe()
        self._labels = LabelCache()
        self._labels_lock = asyncio.Lock()
        self._info: ModelInfo | None = None
        self._info_lock = asyncio.Lock()

    async def info(self) -> ModelInfo:
        """See `Client.info`."""
        wire = self._connected().wire
        async with self._info_lock:
            if self._info is None:
                talk = discover(wire, self._options.model)
                self._info = await self._converse(talk, self._options.for_discovery())
            return self._info

    async def models(self) -> list[str]:
        """See `Client.models`."""
        return await self._converse(list_bundles(self._connected().wire))

    async def health(self) -> Health:
        """See `Client.health`."""
        talk = check_health(self._connected().wire, self._options.model, self._probe)
        return await self._converse(talk, self._options.for_health())

    async def embed_images(
        self,
        images: ImageInput | Iterable[ImageInput] | AsyncIterable[ImageInput],
        *,
        on_error: OnError | None = None,
    ) -> FloatArray:
        """See `Client.embed_images`."""
        return await self._embed(IMAGES, images, is_single_image(images), on_error)

    async def score_images(
        self,
        images: ImageInput | Iterable[ImageInput] | AsyncIterable[ImageInput],
        *,
        on_error: OnError | None = None,
    ) -> FloatArray:
        """See `Client.score_images`."""
        check_scores(await self.info())
        return await self._embed(SCORES, images, is_single_image(images), on_error)

    async def embed_texts(
        self,
        texts: str | Iterable[str] | AsyncIterable[str],
        *,
        long: Long = "cut",
        on_error: OnError | None = None,
    ) -> FloatArray:
        """See `Client.embed_texts`."""
        return await self._embed(text_modality(long), texts, is_single_text(texts), on_error)

    async def embed_windows(
        self, texts: Iterable[str] | AsyncIterable[str], *, on_error: OnError | None = None
    ) -> list[FloatArray]:
        """See `Client.embed_windows`."""
        items = _items(texts, is_single_text(texts))
        return [each_window(row) async for row in self._rows(WINDOWS, items, on_error)]

    async def count_tokens(self, texts: Iterable[str] | AsyncIterable[str]) -> list[int]:
        """See `Client.count_tokens`."""
        items = _items(texts, is_single_text(texts))
        return [int(row[0]) async for row in self._rows(TOKEN_COUNTS, items, None)]

    def stream_images(
        self,
        images: Iterable[ImageInput] | AsyncIterable[ImageInput],
        *,
        on_error: OnError | None = None,
    ) -> AsyncIterator[FloatArray]:
        """See `Client.stream_images`."""
        return self._rows(IMAGES, _items(images, is_single_image(images)), on_error)

    def stream_texts(
        self,
        texts: Iterable[str] | AsyncIterable[str],
        *,
        long: Long = "cut",
        on_error: OnError | None = None,
    ) -> AsyncIterator[FloatArray]:
        """See `Client.stream_texts`."""
        return self._rows(text_modality(long), _items(texts, is_single_text(texts)), on_error)

    @overload
    async def classify(  # type: ignore[overload-overlap]  # a str is one path, see `Client`
        self, images: ImageInput, labels: Sequence[str], templates: str | Sequence[str] = ...
    ) -> Classification: ...

    @overload
    async def classify(
        self,
        images: Iterable[ImageInput] | AsyncIterable[ImageInput],
        labels: Sequence[str],
        templates: str | Sequence[str] = ...,
    ) -> list[Classification]: ...

    async def classify(
        self,
        images: ImageInput | Iterable[ImageInput] | AsyncIterable[ImageInput],
        labels: Sequence[str],
        templates: str | Sequence[str] = "photo",
    ) -> Classification | list[Classification]:
        """See `Client.classify`."""
        vectors = await self.label_embeddings(labels, templates)
        embedded = np.atleast_2d(await self.embed_images(images))
        result = classifications(embedded, vectors, labels, await self.info())
        return result[0] if is_single_image(images) else result

    async def label_embeddings(
        self, labels: Sequence[str], templates: str | Sequence[str] = "photo"
    ) -> FloatArray:
        """See `Client.label_embeddings`."""
        key = check_labels(labels), resolve_templates(templates)
        if (known := self._labels.get(key)) is not None:
            return known
        async with self._labels_lock:  # so that tasks that come together embed a set once
            if (known := self._labels.get(key)) is not None:
                return known
            means = LabelMeans(len(key[0]), len(key[1]), (await self.info()).dim)
            async for vector in self.stream_texts(prompts(*key)):
                means.add(vector)
            return self._labels.put(key, means.result())

    async def similarity(
        self,
        images: ImageInput | Iterable[ImageInput] | AsyncIterable[ImageInput],
        texts: str | Iterable[str] | AsyncIterable[str],
    ) -> FloatArray:
        """See `Client.similarity`."""
        image_vectors = await self.embed_images(images)
        text_vectors = await self.embed_texts(texts)
        return np.asarray(image_vectors @ text_vectors.T, dtype=np.float32)

    async def close(self) -> None:
        """Stop what is in flight and disconnect. A second call does nothing."""
        self._closed = True
        if self._transport is not None:
            await self._transport.close()

    async def __aenter__(self) -> AsyncClient:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        await self.close()

    async def _embed(
        self, modality: Modality, inputs: object, single: bool, on_error: OnError | None
    ) -> FloatArray:
        async with aclosing(self._batches(modality, _items(inputs, single), on_error)) as batches:
            rows = [batch.rows async for batch in batches]
        if not rows:
            return np.empty((0, modality.width(await self.info())), dtype=np.float32)
        return rows[0][0] if single else np.concatenate(rows)

    async def _rows(
        self, modality: Modality, sources: _Items, on_error: OnError | None
    ) -> AsyncIterator[FloatArray]:
        async with aclosing(self._batches(modality, sources, on_error)) as batches:
            async for batch in batches:
                for row in batch.rows:
                    yield row

    async def _batches(
        self, modality: Modality, sources: _Items, on_error: OnError | None
    ) -> AsyncGenerator[Batch, None]:
        info = await self.info()
        size = min(self._options.batch_size, info.max_batch_size)
        packer = Packer(modality, info, size, strict=on_error is None)

        async def work(batch: Batch) -> Batch:
            async with self._slots:
                if batch.is_slow_to_encode:
                    await asyncio.to_thread(batch.encode)
                else:
                    batch.encode()
                await self._converse(embed(self._connected().wire, batch))
            return batch

        if alone := packer.alone(sources):
            results = at_once_async(alone, work)
        else:
            results = in_order_async(_pack(packer, sources), work, self._options.window)
        async with aclosing(results) as batches:
            async for batch in batches:
                if on_error is not None:
                    batch.report(on_error)
                yield batch

    async def _converse(self, conversation: Conversation[T], options: Options | None = None) -> T:
        """Carry a conversation through; see `conversations`."""
        try:
            call = next(conversation)
            while True:
                try:
                    answer = await self._send(call, options or self._options)
                except TritonClipError as error:
                    call = conversation.throw(error)
                else:
                    call = conversation.send(answer)
        except StopIteration as end:
            return cast(T, end.value)

    async def _send(self, call: Call[T], options: Options) -> T:
        backoff = Backoff(options.retries, options.timeout)
        while True:
            try:
                return await self._connected().send(call, backoff.remaining())
            except TritonClipError as error:
                pause = backoff.pause_after(error)
            await asyncio.sleep(pause)

    def _connected(self) -> AsyncTransport:
        if self._closed:
            raise ClientClosed("this client is closed; make another")
        if self._transport is None:
            self._transport = _open(self._endpoint)
        return self._transport


def _open(endpoint: Endpoint) -> AsyncTransport:
    # Imported here because each takes longer to import than all the rest.
    if endpoint.protocol == "grpc":
        from tritonclip.grpc_transport import AsyncGrpcTransport

        return AsyncGrpcTransport(endpoint)
    from tritonclip.async_http_transport import AsyncHttpTransport

    return AsyncHttpTransport(endpoint)


async def _pack(packer: Packer, sources: _Items) -> AsyncIterator[Batch]:
    """`Packer.pack` for an asynchronous iterable, too."""
    if not isinstance(sources, AsyncIterable):
        for batch in packer.pack(sources):
            yield batch
        return
    async for source in sources:
        if full := packer.add(source):
            yield full
    if rest := packer.flush():
        yield rest


def _items(inputs: object, single: bool) -> _Items:
    if isinstance(inputs, AsyncIterable) and not single:
        return inputs
    return one_or_many(inputs, single)
