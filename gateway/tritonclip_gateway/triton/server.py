"""One Triton server, as the gateway knows it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial

from tritonclip import AsyncClient
from tritonclip.info import ModelInfo

# For an answer that takes no work, in seconds.
_SOON = 5.0


class Server:
    """An address, a client for each bundle there, and how much is being asked of it."""

    def __init__(self, url: str, *, timeout: float, concurrency: int, retries: int) -> None:
        """Prepare to talk; see the client for the options."""
        self.url = url
        self.in_flight = 0
        self._client = partial(
            AsyncClient, url, timeout=timeout, concurrency=concurrency, retries=retries
        )
        self._any = AsyncClient(url, timeout=min(timeout, _SOON), retries=0)
        self._clients: dict[str, AsyncClient] = {}

    async def discover(self) -> dict[str, ModelInfo]:
        """What is served there, by the bundles' names.

        Raises:
            TritonClipError: it does not answer, or not as one of ours.
        """
        return {name: await self.client(name).info() for name in await self._any.models()}

    async def is_well(self, bundle: str) -> bool:
        """Whether it embeds."""
        return (await self.client(bundle).health()).ok

    def client(self, bundle: str) -> AsyncClient:
        """The client of a bundle there."""
        if bundle not in self._clients:
            self._clients[bundle] = self._client(model=bundle)
        return self._clients[bundle]

    @contextmanager
    def asked(self) -> Iterator[None]:
        """Within the block, there is one request more in flight."""
        self.in_flight += 1
        try:
            yield
        finally:
            self.in_flight -= 1

    async def close(self) -> None:
        """Disconnect."""
        for client in (self._any, *self._clients.values()):
            await client.close()
