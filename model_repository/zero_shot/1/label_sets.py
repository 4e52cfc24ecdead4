"""Label embeddings on the server, kept by content so that only a set's first request embeds it.

Requests for a set that is being embedded wait for that, rather than embed it once more.
"""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from collections.abc import Awaitable, Callable
from typing import Any

import numpy as np

FloatArray = np.ndarray[Any, np.dtype[np.float32]]
# Labels and templates as they came, in UTF-8: decoding them for each request would take longer
# than finding them.
Key = tuple[tuple[bytes, ...], tuple[bytes, ...]]

# Of a bytes object, and of its place in a tuple.
_BYTES_A_STRING = 48


class LabelSets:
    """The label sets used last, within a limit of bytes. Belongs to one event loop."""

    def __init__(self, limit: int) -> None:
        """Keep `limit` bytes at most; a single set that is larger is kept alone."""
        self._limit = limit
        self._bytes = 0
        self._kept: OrderedDict[Key, FloatArray] = OrderedDict()
        self._coming: dict[Key, asyncio.Future[FloatArray]] = {}

    async def get(self, key: Key, embed: Callable[[], Awaitable[FloatArray]]) -> FloatArray:
        """Unit vectors [labels, dim] of a label set.

        Args:
            key: what the set is known by.
            embed: gives the vectors of one that is not kept; what it raises reaches all that wait
                for them, and nothing is kept.
        """
        if (vectors := self._kept.get(key)) is not None:
            self._kept.move_to_end(key)
            return vectors
        if key not in self._coming:
            self._coming[key] = asyncio.ensure_future(self._embed(key, embed))
        return await self._coming[key]

    async def _embed(self, key: Key, embed: Callable[[], Awaitable[FloatArray]]) -> FloatArray:
        try:
            vectors = await embed()
        finally:
            del self._coming[key]
        self._kept[key] = vectors
        self._bytes += _size(key, vectors)
        while self._bytes > self._limit and len(self._kept) > 1:
            self._bytes -= _size(*self._kept.popitem(last=False))
        return vectors


def _size(key: Key, vectors: FloatArray) -> int:
    return vectors.nbytes + sum(len(s) + _BYTES_A_STRING for strings in key for s in strings)
