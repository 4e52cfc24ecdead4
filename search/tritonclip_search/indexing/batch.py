"""Records on their way into a store, some at a time."""

from __future__ import annotations

import time

from tritonclip_search.records import Record
from tritonclip_search.stores.store import Store

# How many are written at a time, and the seconds after which fewer are.
_SIZE = 256
_LATEST = 2.0


class Batch:
    """What is lost where a process dies: no more than this."""

    def __init__(self, store: Store, name: str) -> None:
        """Write into the collection `name`."""
        self._store = store
        self._name = name
        self._records: dict[str, Record] = {}
        self._superseded: list[str] = []
        self._since = time.monotonic()

    def add(self, record: Record, *, instead_of: str | None = None) -> None:
        """Write a record soon, and only then remove the one with the id `instead_of`."""
        self._records[record.id] = record
        if instead_of is not None:
            self._superseded.append(instead_of)
        if len(self._records) >= _SIZE or time.monotonic() - self._since > _LATEST:
            self.write()

    def write(self) -> None:
        """Write what waits."""
        if self._records:
            self._store.upsert(self._name, list(self._records.values()))
        if self._superseded:
            self._store.delete(self._name, self._superseded)
        self._records, self._superseded = {}, []
        self._since = time.monotonic()
