"""The blocking client."""

from __future__ import annotations

import threading
from collections.abc import Generator, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from types import TracebackType
from typing import TypeVar, cast, overload

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
from tritonclip.cancellation import Cancellation
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
from tritonclip.window import Slots, at_once, in_order
from tritonclip.wire import Call, Transport

T = TypeVar("T")


class Client:
    """Embeds and classifies with one CLIP model on a Triton server.

    Threads may share a client. Calls send up to `concurrency` requests at a time between them.

        with Client("127.0.0.1:8001") as clip:
            vectors = clip.embed_images(["a.jpg", "b.png"])
            print(clip.classify("a.jpg", ["cat", "dog"]))
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
        """Prepare to talk to a server; nothing is sent yet.

        Args:
            url: `host:port` or `grpc://`, `grpcs://`, `http://`, `https://`; gRPC without a scheme.
                For a private certificate authority, set GRPC_DEFAULT_SSL_ROOTS_FILE_PATH (grpcs) or
                SSL_CERT_FILE (https) in the environment.
            model: the bundle's name; None for the only one on the server.
            timeout: seconds that one request may take, its retries included.
            concurrency: requests in flight at a time.
            batch_size: items in a request; no more than the server's `max_batch_size` are sent.
            retries: how often a request is sent again, within `timeout`, when the server is
                unreachable, busy or broken; by default, as long as `timeout` lasts. The
                very first question is sent four times at most.

        Raises:
            InvalidArgument: an option makes no sense.
        """
        self._options = Options(model, timeout, concurrency, batch_size, retries)
        self._transport = _open(parse_endpoint(url))
        self._pool = ThreadPoolExecutor(concurrency, thread_name_prefix="tritonclip")
        self._slots = Slots(concurrency)
        self._closing = Cancellation()
        self._probe = Probe()
        self._labels = LabelCache()
        self._labels_lock = threading.Lock()
        self._info: ModelInfo | None = None
        self._info_lock = threading.Lock()

    def info(self) -> ModelInfo:
        """What the model is; asked of the server once."""
        self._check_open()
        if self._info is not None:
            return self._info
        with self._info_lock:
            if self._info is None:
                talk = discover(self._transport.wire, self._options.model)
                self._info = self._converse(talk, options=self._options.for_discovery())
            return self._info

    def models(self) -> list[str]:
        """The bundles on the server, sorted, whichever of them this client is of."""
        self._check_open()
        return self._converse(list_bundles(self._transport.wire))

    def health(self) -> Health:
        """Whether the server and this client's model are up, without retries.

        A tiny picture and a word are embedded for it, once a second at most: a model whose process
        has died or hangs says that it is ready.
        """
        talk = check_health(self._transport.wire, self._options.model, self._probe)
        return self._converse(talk, options=self._options.for_health())

    def embed_images(
        self, images: ImageInput | Iterable[ImageInput], *, on_error: OnError | None = None
    ) -> FloatArray:
        """Unit vectors of images.

        Args:
            images: one image or an iterable of them; see `ImageInput`.
            on_error: called with an `ImageError` for each bad image, whose vector becomes NaN.
                Without it the first one is raised.

        Returns:
            float32 [images, dim]; [dim] for one image.
        """
        return self._embed(IMAGES, images, is_single_image(images), on_error)

    def score_images(
        self, images: ImageInput | Iterable[ImageInput], *, on_error: OnError | None = None
    ) -> FloatArray:
        """What the heads that are served with the model give for images.

        Args:
            images: as for `embed_images`.
            on_error: likewise; the scores of a bad image are NaN.

        Returns:
            float32 [images, scores], named by `info().scores`; [scores] for one image.

        Raises:
            ModelMismatch: it is served without heads.
        """
        check_scores(self.info())
        return self._embed(SCORES, images, is_single_image(images), on_error)

    def embed_texts(
        self, texts: str | Iterable[str], *, long: Long = "cut", on_error: OnError | None = None
    ) -> FloatArray:
        """Unit vectors of texts, as they are; see `label_embeddings` for class names.

        Args:
            texts: one text or an iterable of them.
            long: what becomes of a text with more tokens than the model's context: "cut" off
                there, as its own library does, or the "mean" of the vectors of its windows,
                re-normalised, which leaves no token out. A shorter text has one vector either way.
            on_error: called with a `TextError` for each bad text, whose vector becomes NaN.
                Without it the first one is raised.

        Returns:
            float32 [texts, dim]; [dim] for one text.
        """
        return self._embed(text_modality(long), texts, is_single_text(texts), on_error)

    def embed_windows(
        self, texts: Iterable[str], *, on_error: OnError | None = None
    ) -> list[FloatArray]:
        """Unit vectors of each window of each text; a text that fits the context has one.

        A text is as similar to an image as its best window: `(windows @ image).max()`.

        Args:
            texts: an iterable of texts.
            on_error: as for `embed_texts`; a bad text has one window of NaN.

        Returns:
            float32 [windows, dim] for each text, its windows in order.
        """
        items = one_or_many(texts, is_single_text(texts))
        return [each_window(row) for row in self._rows(WINDOWS, items, on_error)]

    def count_tokens(self, texts: Iterable[str]) -> list[int]:
        """How many tokens each text has, special ones included, also beyond the model's context.

        Raises:
            TextError: the first text that is none.
        """
        items = one_or_many(texts, is_single_text(texts))
        return [int(row[0]) for row in self._rows(TOKEN_COUNTS, items, None)]

    def stream_images(
        self, images: Iterable[ImageInput], *, on_error: OnError | None = None
    ) -> Iterator[FloatArray]:
        """Unit vectors [dim] of images, one by one and in order.

        Reads `images` only as far ahead as keeps `concurrency` requests busy, so it may be endless.
        It is made for throughput: for items that trickle in, call `embed_images` with each.
        """
        return self._rows(IMAGES, one_or_many(images, is_single_image(images)), on_error)

    def stream_texts(
        self, texts: Iterable[str], *, long: Long = "cut", on_error: OnError | None = None
    ) -> Iterator[FloatArray]:
        """Unit vectors [dim] of texts, one by one and in order; reads `texts` as it goes."""
        items = one_or_many(texts, is_single_text(texts))
        return self._rows(text_modality(long), items, on_error)

    @overload
    def classify(  # type: ignore[overload-overlap]  # a str is one path, though an iterable of str
        self, images: ImageInput, labels: Sequence[str], templates: str | Sequence[str] = ...
    ) -> Classification: ...

    @overload
    def classify(
        self,
        images: Iterable[ImageInput],
        labels: Sequence[str],
        templates: str | Sequence[str] = ...,
    ) -> list[Classification]: ...

    def classify(
        self,
        images: ImageInput | Iterable[ImageInput],
        labels: Sequence[str],
        templates: str | Sequence[str] = "photo",
    ) -> Classification | list[Classification]:
        """Probabilities of images over `labels`, with softmax or sigmoid as the model was trained.

        Args:
            images: one image or an iterable of them.
            labels: what an image may show, e.g. `["cat", "dog"]`.
            templates: see `label_embeddings`.

        Returns:
            one `Classification` per image; just one for one image.
        """
        vectors = self.label_embeddings(labels, templates)
        embedded = np.atleast_2d(self.embed_images(images))
        result = classifications(embedded, vectors, labels, self.info())
        return result[0] if is_single_image(images) else result

    def label_embeddings(
        self, labels: Sequence[str], templates: str | Sequence[str] = "photo"
    ) -> FloatArray:
        """Unit vectors of class names: each the mean of its prompts' vectors, re-normalised.

        Args:
            labels: class names.
            templates: sentences with `{}` for the label, or the name of some: "photo" (`a photo of
                a {}.`), "openai" (the 80 of OpenAI's ImageNet evaluation), "plain" (just the
                label).

        Returns:
            float32 [labels, dim], read-only: the label sets used last are kept.
        """
        key = check_labels(labels), resolve_templates(templates)
        if (known := self._labels.get(key)) is not None:
            return known
        with self._labels_lock:  # so that threads that come together embed a set once
            if (known := self._labels.get(key)) is not None:
                return known
            means = LabelMeans(len(key[0]), len(key[1]), self.info().dim)
            for vector in self.stream_texts(prompts(*key)):
                means.add(vector)
            return self._labels.put(key, means.result())

    def similarity(
        self, images: ImageInput | Iterable[ImageInput], texts: str | Iterable[str]
    ) -> FloatArray:
        """Cosines [images, texts]; without the axis of what is a single item."""
        return np.asarray(self.embed_images(images) @ self.embed_texts(texts).T, dtype=np.float32)

    def close(self) -> None:
        """Stop what is in flight and disconnect. A second call does nothing."""
        self._closing.cancel()
        self._pool.shutdown(wait=False)
        self._transport.close()

    def __enter__(self) -> Client:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()

    def _embed(
        self, modality: Modality, inputs: object, single: bool, on_error: OnError | None
    ) -> FloatArray:
        items = one_or_many(inputs, single)
        rows = [batch.rows for batch in self._batches(modality, items, on_error)]
        if not rows:
            return np.empty((0, modality.width(self.info())), dtype=np.float32)
        return rows[0][0] if single else np.concatenate(rows)

    def _rows(
        self, modality: Modality, sources: Iterable[object], on_error: OnError | None
    ) -> Iterator[FloatArray]:
        with closing(self._batches(modality, sources, on_error)) as batches:
            for batch in batches:
                yield from batch.rows

    def _batches(
        self, modality: Modality, sources: Iterable[object], on_error: OnError | None
    ) -> Generator[Batch, None, None]:
        info = self.info()
        size = min(self._options.batch_size, info.max_batch_size)
        packer = Packer(modality, info, size, strict=on_error is None)

        def work(batch: Batch, cancellation: Cancellation | None) -> Batch:
            with self._slots:
                (cancellation or self._closing).check()
                batch.encode()
                self._converse(embed(self._transport.wire, batch), cancellation)
            return batch

        if alone := packer.alone(sources):
            results = at_once(alone, work)
        else:
            jobs, window = packer.pack(sources), self._options.window
            results = in_order(jobs, work, self._pool, window, self._closing)
        with closing(results) as batches:
            for batch in batches:
                if on_error is not None:
                    batch.report(on_error)
                yield batch

    def _converse(
        self,
        conversation: Conversation[T],
        cancellation: Cancellation | None = None,
        options: Options | None = None,
    ) -> T:
        """Carry a conversation through; see `conversations`."""
        self._check_open()
        try:
            call = next(conversation)
            while True:
                try:
                    answer = self._send(call, cancellation, options or self._options)
                except TritonClipError as error:
                    call = conversation.throw(error)
                else:
                    call = conversation.send(answer)
        except StopIteration as end:
            return cast(T, end.value)

    def _send(self, call: Call[T], cancellation: Cancellation | None, options: Options) -> T:
        backoff = Backoff(options.retries, options.timeout)
        while True:
            try:
                return self._transport.send(call, backoff.remaining(), cancellation)
            except TritonClipError as error:
                pause = backoff.pause_after(error)
            (cancellation or self._closing).sleep(pause)

    def _check_open(self) -> None:
        if self._closing.cancelled:
            raise ClientClosed("this client is closed; make another")


def _open(endpoint: Endpoint) -> Transport:
    # Imported here because gRPC takes longer to import than all the rest.
    if endpoint.protocol == "grpc":
        from tritonclip.grpc_transport import GrpcTransport

        return GrpcTransport(endpoint)
    from tritonclip.http_transport import HttpTransport

    return HttpTransport(endpoint)
