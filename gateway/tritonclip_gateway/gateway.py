"""What all requests share: the models, the queue, the archive."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Coroutine, Sequence
from typing import Annotated, Any, TypeVar

from fastapi import Depends, Request

from tritonclip_gateway.admission import Admission
from tritonclip_gateway.archive.archive import Archive
from tritonclip_gateway.errors import ApiError
from tritonclip_gateway.inputs.fetching import Fetcher
from tritonclip_gateway.moderation import Moderation
from tritonclip_gateway.settings import Settings
from tritonclip_gateway.telemetry.metrics import Metrics
from tritonclip_gateway.triton.models import Models
from tritonclip_gateway.triton.server import Server

T = TypeVar("T")

# One server is worth waiting for; of several, another one answers sooner.
_RETRIES_OF_ONE = 3


class Gateway:
    """The state of a running gateway."""

    def __init__(self, settings: Settings) -> None:
        """Prepare; nothing is connected yet."""
        self.settings = settings
        retries = _RETRIES_OF_ONE if len(settings.triton) == 1 else 0
        servers = [
            Server(url, timeout=settings.timeout, concurrency=settings.concurrency, retries=retries)
            for url in settings.triton
        ]
        self.models = Models(servers, settings.aliases, settings.default_model)
        self.metrics = Metrics()
        self.admission = Admission(settings.queue, on_refused=self.metrics.refused.inc)
        self.moderation = Moderation(settings.policy, settings.heads)
        self.fetcher = Fetcher(settings.allow_urls)
        self.archive = (
            Archive(settings.archive, settings.collection, self.models, self.metrics)
            if settings.archive is not None
            else None
        )

    async def start(self) -> None:
        """Look for the models once, and go on watching them."""
        await self.models.look()
        self._watching = asyncio.create_task(self.models.watch())

    async def stop(self) -> None:
        """Disconnect from everything."""
        self._watching.cancel()
        await self.models.close()
        await self.fetcher.close()
        if self.archive is not None:
            self.archive.close()

    def measured(self) -> Metrics:
        """The metrics, with what changes by itself as it is now."""
        metrics = self.metrics
        metrics.in_work.set(self.admission.items)
        for server in self.models.servers:
            metrics.in_flight.labels(server.url).set(server.in_flight)
        for model in self.models:
            for server, is_well in model.servers.items():
                metrics.ready.labels(server.url, model.info.name).set(is_well)
        return metrics

    async def carry(
        self, request: Request, items: int, work: Callable[[], Coroutine[Any, Any, T]]
    ) -> T:
        """What `work` gives, which is admitted as so many items.

        It ends with the request: when the caller hangs up, or its time is over.

        Raises:
            ApiError: there is no room for it, or its time is over.
        """
        seconds = _seconds(request, self.settings.timeout)
        with self.admission.admit(items):
            return await _within(request, seconds, work())


async def together(*work: Awaitable[Any]) -> Sequence[Any]:
    """The results of all; when one fails, the others stop."""
    tasks = [asyncio.ensure_future(each) for each in work]
    try:
        return await asyncio.gather(*tasks)
    finally:
        for task in tasks:
            task.cancel()


async def _within(request: Request, seconds: float, work: Coroutine[Any, Any, T]) -> T:
    task = asyncio.ensure_future(work)
    gone = asyncio.ensure_future(request.receive())  # the body has been read
    try:
        await asyncio.wait({task, gone}, timeout=seconds, return_when=asyncio.FIRST_COMPLETED)
        if task.done():
            return task.result()
        if gone.done():
            raise ApiError(499, "client_closed_request", "the caller hung up")
        raise ApiError(504, "timeout", f"not done within {seconds:g} s")
    finally:
        # Stopped in the client, which tells Triton.
        task.cancel()
        gone.cancel()


def _seconds(request: Request, most: float) -> float:
    asked = request.headers.get("x-request-timeout")
    if asked is None:
        return most
    try:
        seconds = float(asked)
    except ValueError:
        seconds = 0.0
    if not seconds > 0:
        raise ApiError(
            400, "invalid_request", f"X-Request-Timeout is a number of seconds, not {asked[:40]!r}"
        )
    return min(seconds, most)


def _gateway(request: Request) -> Gateway:
    gateway: Gateway = request.app.state.gateway
    return gateway


Shared = Annotated[Gateway, Depends(_gateway)]
"""The gateway, as an argument of what answers a request."""
