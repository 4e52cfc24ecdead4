"""Label embeddings, kept so that classifying another image costs one request."""

from __future__ import annotations

import threading
from collections import OrderedDict
from typing import TypeAlias

from tritonclip.types import FloatArray

LabelKey: TypeAlias = "tuple[tuple[str, ...], tuple[str, ...]]"
"""Labels and templates."""

# About 120 sets of 1,000 labels at 512 dimensions, as on the server.
_LIMIT_BYTES = 256 * 2**20
# Of a short label and its places in tuples.
_LABEL_BYTES = 64


class LabelCache:
    """The label sets used last, within a limit of bytes. Safe to use from several threads."""

    def __init__(self, limit: int = _LIMIT_BYTES) -> None:
        """Start empty; a single set beyond `limit` is kept alone."""
        self._lock = threading.Lock()
        self._limit = limit
        self._bytes = 0
        self._vectors: OrderedDict[LabelKey, FloatArray] = OrderedDict()

    def get(self, key: LabelKey) -> FloatArray | None:
        """The unit vectors [labels, dim] of a label set, if they are known."""
        with self._lock:
            if (vectors := self._vectors.get(key)) is not None:
                self._vectors.move_to_end(key)
            return vectors

    def put(self, key: LabelKey, vectors: FloatArray) -> FloatArray:
        """Keep `vectors`, which become read-only because callers share them."""
        vectors.flags.writeable = False
        with self._lock:
            if key not in self._vectors:
                self._bytes += _size(vectors)
            self._vectors[key] = vectors
            while self._bytes > self._limit and len(self._vectors) > 1:
                _, dropped = self._vectors.popitem(last=False)
                self._bytes -= _size(dropped)
        return vectors


def _size(vectors: FloatArray) -> int:
    return vectors.nbytes + _LABEL_BYTES * len(vectors)
