"""A pool of Triton servers that embed for one worker.

Each batch goes to the server that will answer soonest. No server has more than its share in flight;
one that fails or stops answering rests, and is asked again with one batch; one that is much slower
than the others has one batch at a time.

A request is always as large as the server's largest batch, filled up where pictures are missing.
So the server never puts pictures of others beside ours, and a batch gives the same bytes each time.
"""

from __future__ import annotations

import io
import threading
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache

import numpy as np

from tritonclip import Client
from tritonclip.batch import bad_items
from tritonclip.errors import (
    ClientClosed,
    ImageError,
    InvalidInput,
    ModelNotFound,
    RequestTimeout,
    ServerError,
    ServerUnavailable,
    TritonClipError,
)
from tritonclip_bulk.embedder import Answer, Model
from tritonclip_bulk.errors import EndpointMismatch
from tritonclip_search.vector_files import Origin

# A server that failed rests so long, twice as long each time, in seconds.
_FIRST_REST = 1.0
_LONGEST_REST = 15.0
# A request that takes so many times what its server's requests take, and so many seconds, is lost.
_LOST = 10
_LOST_SECONDS = 30.0
# The longest that any request may take.
_TIMEOUT = 300.0
# How long a server may take to say what it serves, and the time between two looks at them all.
_SOON = 5.0
_LOOK = 0.5
# A server that takes so many times what the quickest one takes has one request at a time.
_SLOW = 4
# Weight of the last request in what a server's requests take.
_LAST = 0.2
# How often a batch may make servers fail before it is taken for the cause.
_FAILURES = 5
# More than any server's largest batch.
_LARGEST = 1 << 16


@dataclass(frozen=True)
class Endpoints:
    """Servers of one model."""

    urls: tuple[str, ...]
    model: str | None = None
    in_flight: int = 4
    """Requests at a time, to each server, of all workers together; of each worker at least one."""
    patience: float = 300.0
    """Seconds to wait for the first of them to come back while none answers."""

    def look(self) -> Model:
        """See `Recipe`."""
        pool = self.open(1)
        pool.close()
        return pool.model

    def open(self, workers: int) -> Pool:
        """A pool for one of so many workers.

        Raises:
            EndpointMismatch: they embed differently.
            ServerUnavailable: none answers.
        """
        return Pool(self, max(1, self.in_flight // workers))


@dataclass(eq=False)
class _Server:
    url: str
    client: Client | None = None
    since: list[float] = field(default_factory=list)
    """When each of its requests was sent."""
    seconds: float = 0.0
    """What a request takes."""
    failures: int = 0
    """Since the last answer."""
    rests_until: float = 0.0
    why: str = ""
    """Of the last failure."""


class Pool:
    """An `Embedder`."""

    def __init__(self, endpoints: Endpoints, share: int) -> None:
        """See `Endpoints.open`; `share` is the requests to each server at a time."""
        self._endpoints = endpoints
        self._share = share
        self._servers = [_Server(url) for url in endpoints.urls]
        self._free = threading.Condition()
        self._answered = time.monotonic()
        self._closed = threading.Event()
        self._mismatch: EndpointMismatch | None = None
        self.at_once = share * len(self._servers)
        models = {}
        for server in self._servers:
            try:
                server.client, models[server.url] = self._connect(server.url)
            except (ServerUnavailable, RequestTimeout, ModelNotFound) as error:
                self._put_to_rest(server, error)
        if not models:
            self.close()
            raise ServerUnavailable(f"no server answers: {self._reasons()}")
        (first, self.model), *others = models.items()
        for url, model in others:
            _check(url, model, self.model, first)
        threading.Thread(target=self._watch, daemon=True).start()

    def embed(self, pictures: Sequence[bytes]) -> Answer:
        """See `Embedder`."""
        bad: dict[int, str] = {}
        failures = 0
        while len(bad) < len(pictures):
            server, client, began = self._take()
            try:
                vectors = client.embed_images(_filled(pictures, bad, self.model.batch))
            except ImageError as error:
                self._give_back(server, client, began)
                bad |= _named(error)
            except (
                *(ServerUnavailable, ServerError, RequestTimeout),
                *(ClientClosed, ModelNotFound),
            ) as error:
                if self._closed.is_set():
                    raise
                self._give_back(server, client, began, error)
                failures += isinstance(error, ServerError)
                if failures == _FAILURES:
                    raise
            else:
                self._give_back(server, client, began)
                rows = vectors[: len(pictures)]
                rows[list(bad)] = np.nan
                return rows, bad
        return np.full((len(pictures), self.model.dim), np.nan, np.float32), bad

    def close(self) -> None:
        """See `Embedder`."""
        self._closed.set()
        for server in self._servers:
            if server.client is not None:
                server.client.close()
        with self._free:
            self._free.notify_all()

    def _take(self) -> tuple[_Server, Client, float]:
        """Wait for a server that may be asked: it, a client of it, and the time."""
        asked = time.monotonic()
        with self._free:
            while True:
                if self._closed.is_set():
                    raise ClientClosed("the pool is closed")
                if self._mismatch is not None:
                    raise self._mismatch
                now = time.monotonic()
                if may := [server for server in self._servers if self._has_room(server)]:
                    server = min(may, key=lambda s: (len(s.since) + 1) * s.seconds)
                    server.since.append(now)
                    assert server.client is not None
                    return server, server.client, now
                in_flight = any(server.since for server in self._servers)
                waited = now - max(asked, self._answered)
                if not in_flight and waited > self._endpoints.patience:
                    raise ServerUnavailable(
                        f"no server has answered for {waited:.0f} s: {self._reasons()}"
                    )
                self._free.wait(0.2)

    def _has_room(self, server: _Server) -> bool:
        quickest = min(s.seconds for s in self._servers if s.seconds) if server.seconds else 0.0
        on_trial = server.failures or server.seconds > _SLOW * quickest > 0
        share = 1 if on_trial else self._share
        return server.client is not None and len(server.since) < share

    def _give_back(
        self,
        server: _Server,
        client: Client,
        began: float,
        error: TritonClipError | None = None,
    ) -> None:
        """Note what became of a request."""
        with self._free:
            server.since.remove(began)
            now = time.monotonic()
            if error is None:
                taken = now - began
                server.seconds += (taken - server.seconds) * (_LAST if server.seconds else 1)
                server.failures = 0
                self._answered = now
            elif server.client is client:  # of several that fail together, the first counts
                self._put_to_rest(server, error)
            self._free.notify()

    def _put_to_rest(self, server: _Server, error: TritonClipError) -> None:
        server.why = str(error)
        if server.client is not None:
            server.client.close()
            server.client = None
        rest = min(_FIRST_REST * 2**server.failures, _LONGEST_REST)
        server.failures += 1
        server.rests_until = time.monotonic() + rest

    def _connect(self, url: str) -> tuple[Client, Model]:
        """Ask a server anew what it serves: it may have been started with something else."""
        model = self._endpoints.model
        with Client(url, model=model, timeout=_SOON, retries=0) as asked:
            info = asked.info()
        client = Client(
            url,
            model=info.name,
            timeout=_TIMEOUT,
            concurrency=self._share,
            batch_size=_LARGEST,
            retries=0,
        )
        return client, Model(Origin.of(info), info.max_batch_size, info.max_image_bytes)

    def _watch(self) -> None:
        """Give up requests that are lost, and look for servers that have come back."""
        while not self._closed.wait(_LOOK):
            now = time.monotonic()
            with self._free:
                for server in self._servers:
                    if server.client is not None and self._is_lost(server, now):
                        server.client.close()  # which ends what waits for it
            for server in self._servers:
                if server.client is None and server.rests_until <= now:
                    self._try_again(server)

    def _is_lost(self, server: _Server, now: float) -> bool:
        known = [each.seconds for each in self._servers if each.seconds]
        usual = server.seconds or min(known, default=_TIMEOUT)
        return now - min(server.since, default=now) > max(_LOST_SECONDS, _LOST * usual)

    def _try_again(self, server: _Server) -> None:
        try:
            client, found = self._connect(server.url)
        except TritonClipError as error:
            with self._free:
                self._put_to_rest(server, error)
            return
        with self._free:
            try:
                _check(server.url, found, self.model, "what the run was begun with")
                server.client = client
            except EndpointMismatch as error:
                self._mismatch = error
                client.close()
            self._free.notify_all()

    def _reasons(self) -> str:
        return "; ".join(f"{server.url}: {server.why}" for server in self._servers if server.why)


def _check(url: str, found: Model, wanted: Model, whose: str) -> None:
    """That two servers make the same of a batch.

    Raises:
        EndpointMismatch: names what differs.
    """
    mine, other = found.origin, wanted.origin
    differ = {
        "checkpoint": (str(mine.space), str(other.space)),
        "precision": (mine.precision, other.precision),
        "largest batch": (found.batch, wanted.batch),
    }
    if mine.space.fingerprint == other.space.fingerprint:
        del differ["checkpoint"]
    said = [f"its {what} is {a}, not {b}" for what, (a, b) in differ.items() if a != b]
    if said:
        raise EndpointMismatch(
            f"the server at {url} embeds otherwise than {whose}: {'; '.join(said)}. Take it "
            "out, or let it serve the same"
        )


def _filled(pictures: Sequence[bytes], bad: Mapping[int, str], size: int) -> list[bytes]:
    """`pictures` without the bad ones, as a whole batch."""
    good = [_filler() if number in bad else each for number, each in enumerate(pictures)]
    return good + [_filler()] * (size - len(good))


@cache
def _filler() -> bytes:
    """A small picture in the place of none."""
    from PIL import Image

    file = io.BytesIO()
    Image.new("RGB", (8, 8), (128, 128, 128)).save(file, "PNG")
    return file.getvalue()


def _named(error: ImageError) -> dict[int, str]:
    """All pictures that a server refuses in one answer, of which the client raises the first."""
    cause = error.__cause__  # where it was the server that refused
    refused = bad_items(cause.reason, error.noun) if isinstance(cause, InvalidInput) else []
    return dict(refused) or {error.index or 0: error.reason}
