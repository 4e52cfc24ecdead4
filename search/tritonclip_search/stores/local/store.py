"""The store that a plain path leads to."""

from __future__ import annotations

import shutil
import sqlite3
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from tritonclip.types import FloatArray
from tritonclip_search.errors import CollectionNotFound, StoreDenied, StoreError
from tritonclip_search.filters import Filter
from tritonclip_search.records import Record, check_vectors
from tritonclip_search.space import Description
from tritonclip_search.stores.local.collection import DATABASE, Collection
from tritonclip_search.stores.store import Method
from tritonclip_search.stores.url import StoreUrl


def connect(url: StoreUrl) -> LocalStore:
    """Open the folder; it is made with the first collection in it."""
    return LocalStore(url)


class LocalStore:
    """See `Store`."""

    def __init__(self, url: StoreUrl) -> None:
        self.url = url
        self._folder = Path(url.path)
        self._open: dict[str, Collection] = {}

    def names(self) -> list[str]:
        with self._failures():
            return sorted(file.parent.name for file in self._folder.glob(f"*/{DATABASE}"))

    def create(self, name: str, description: Description) -> None:
        with self._failures():
            if not self._exists(name):
                Collection.create(self._folder / name, description)

    def describe(self, name: str) -> Description | None:
        with self._failures():
            return self._collection(name).description if self._exists(name) else None

    def upsert(self, name: str, records: Sequence[Record]) -> None:
        with self._failures():
            collection = self._collection(name)
            check_vectors(records, collection.description.space.dim)
            collection.upsert(records)

    def delete(self, name: str, ids: Sequence[str]) -> None:
        with self._failures():
            self._collection(name).delete(ids)

    def nearest(
        self, name: str, vector: FloatArray, *, top: int, where: Filter | None = None
    ) -> list[Record]:
        with self._failures():
            return self._collection(name).nearest(vector, top, where)

    def scan(
        self, name: str, *, where: Filter | None = None, vectors: bool = False
    ) -> Iterator[Record]:
        with self._failures():
            yield from self._collection(name).scan(where, vectors)

    def count(self, name: str, *, where: Filter | None = None) -> int:
        with self._failures():
            return self._collection(name).count(where)

    def settle(self, name: str) -> Method:
        with self._failures():
            self._collection(name).compact()
        return self.method(name)

    def method(self, name: str) -> Method:
        with self._failures():
            self._collection(name)
        return Method("exact scan", exact=True)

    def drop(self, name: str) -> None:
        with self._failures():
            self._collection(name)
            self._open.pop(name).close()
            (self._folder / name / DATABASE).unlink()  # first: without it there is no collection
            shutil.rmtree(self._folder / name)

    def close(self) -> None:
        for collection in self._open.values():
            collection.close()
        self._open.clear()

    def _exists(self, name: str) -> bool:
        return (self._folder / name / DATABASE).is_file()

    def _collection(self, name: str) -> Collection:
        if name in self._open and not self._open[name].is_current:
            self._open.pop(name).close()
        if not self._exists(name):
            raise CollectionNotFound(name, self.url)
        if name not in self._open:
            self._open[name] = Collection(self._folder / name)
        return self._open[name]

    @contextmanager
    def _failures(self) -> Iterator[None]:
        """Failures of SQLite and of the file system, as ours."""
        try:
            yield
        except (OSError, sqlite3.Error) as error:
            text = (isinstance(error, OSError) and error.strerror) or str(error)
            where = f"the archive {self._folder}"
            if isinstance(error, PermissionError) or "readonly" in text or "Read-only" in text:
                raise StoreDenied(f"{where} cannot be written by this user: {text}") from error
            if any(sign in text for sign in ("No space left", "disk is full", "quota")):
                raise StoreError(
                    f"no space is left for {where} ({text}); what was written before is safe. "
                    "Make room and run it again"
                ) from error
            raise StoreError(f"{where} failed: {text}") from error
