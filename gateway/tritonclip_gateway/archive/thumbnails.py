"""Small pictures for pages, made once and kept in memory."""

from __future__ import annotations

import io
import threading
from collections import OrderedDict

from prometheus_client import Counter

from tritonclip_search.hits import Hit
from tritonclip_search.looking.thumbnails import of_hit
from tritonclip_search.records import Record

_LIMIT_BYTES = 128 * 2**20


class Thumbnails:
    """JPEGs of the pictures and frames that were looked at last, for any number of threads."""

    def __init__(self, asked: Counter, limit: int = _LIMIT_BYTES) -> None:
        """Keep up to `limit` bytes of them; `asked` counts which were known."""
        self._asked = asked
        self._lock = threading.Lock()
        self._limit = limit
        self._bytes = 0
        self._kept: OrderedDict[tuple[str, float, int], bytes] = OrderedDict()

    def get(self, record: Record, side: int) -> bytes | None:
        """A JPEG of at most `side` pixels a side; None where there is no picture any more."""
        shown = Hit(record, score=0, start=record.start, end=record.end)
        key = record.sha256, shown.time, side
        with self._lock:
            if key in self._kept:
                self._asked.labels("hit").inc()
                self._kept.move_to_end(key)
                return self._kept[key]
        self._asked.labels("miss").inc()
        small = of_hit(shown, side)
        if small is None:
            return None
        file = io.BytesIO()
        small.save(file, "JPEG", quality=80)
        made = file.getvalue()
        with self._lock:
            if key not in self._kept:
                self._bytes += len(made)
            self._kept[key] = made
            while self._bytes > self._limit and len(self._kept) > 1:
                _, dropped = self._kept.popitem(last=False)
                self._bytes -= len(dropped)
        return made
