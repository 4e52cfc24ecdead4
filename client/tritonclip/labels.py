"""Label embeddings, kept so that classifying another image costs one request."""

from __future__ import annotations

import threading
from collections import OrderedDict
from typing import TypeAlias

from tritonclip.types import FloatArray

LabelKey: TypeAlias = "tuple[tuple[str, ...], tuple[str, ...]]"
"""Labels and templates."""

_CAPACITY = 32


class LabelCache:
    """The label sets used last. Safe to use from several threads."""

    def __init__(self) -> None:
        """Start empty."""
        self._lock = threading.Lock()
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
            self._vectors[key] = vectors
            while len(self._vectors) > _CAPACITY:
                self._vectors.popitem(last=False)
        return vectors
