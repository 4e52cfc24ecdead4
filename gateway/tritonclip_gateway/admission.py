"""A queue that has an end: beyond it, requests are told when to come back.

Waiting itself happens in the client, whose requests in flight are bounded; what is counted here is
how many items are in work or waiting, so that latency stays bounded too.
"""

from __future__ import annotations

import asyncio
import math
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager

from tritonclip_gateway.errors import ApiError

# Weight of the newest request in the average, about the last twenty.
_NEWEST = 0.1
_LONGEST = 60


class Admission:
    """Admits requests up to a number of items.

    Attributes:
        items: in work or waiting now.
    """

    def __init__(self, limit: int, on_refused: Callable[[], object]) -> None:
        """Admit up to `limit` items at a time, and a single larger request when nothing else is.

        `on_refused` is told of each request that is turned away.
        """
        self.limit = limit
        self.items = 0
        self._on_refused = on_refused
        self._left = asyncio.Event()
        self._seconds = 0.0
        """How long a request took of late, which is about how long a full queue takes to move."""

    @contextmanager
    def admit(self, items: int) -> Iterator[None]:
        """Count `items` in for as long as the block takes.

        Raises:
            ApiError: there is no room.
        """
        if not self._has_room(items):
            self._on_refused()
            after = min(max(1, math.ceil(self._seconds)), _LONGEST)
            raise ApiError(
                429,
                "queue_full",
                f"the gateway has {self.items:,} items in work or waiting, of {self.limit:,} at "
                f"most; try again in {after} s",
                headers={"Retry-After": str(after)},
            )
        with self._counted(items):
            yield

    @asynccontextmanager
    async def wait(self, items: int) -> AsyncIterator[None]:
        """Count `items` in as soon as there is room."""
        while not self._has_room(items):
            self._left.clear()
            await self._left.wait()
        with self._counted(items):
            yield

    def _has_room(self, items: int) -> bool:
        return not self.items or self.items + items <= self.limit

    @contextmanager
    def _counted(self, items: int) -> Iterator[None]:
        self.items += items
        began = time.monotonic()
        try:
            yield
        finally:
            self.items -= items
            self._left.set()
            self._seconds += _NEWEST * (time.monotonic() - began - self._seconds)
