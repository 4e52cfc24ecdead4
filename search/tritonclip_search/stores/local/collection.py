"""One collection: its records, and its vectors by their slots."""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from tritonclip.types import FloatArray
from tritonclip_search.filters import Filter
from tritonclip_search.records import Record
from tritonclip_search.space import Description
from tritonclip_search.stores.local.rows import COLUMNS, UPSERT, from_row, schema, to_row, to_sql

DATABASE = "records.sqlite"

_PAGE = 8192
# Rows whose products are taken at a time: enough for BLAS.
_BLOCK = 16384
# Numbers of half precision that are widened at a time: within a processor's own cache.
_WIDENED = 2**18
# Of all slots, those that may be left behind before the file is written anew.
_WASTE = 0.25
# Seconds to wait for another process that writes.
_PATIENCE = 60.0


class Collection:
    """An open collection."""

    def __init__(self, folder: Path) -> None:
        """Open what `create` made.

        Raises:
            OSError: there is none.
        """
        self._folder = folder
        self._inode = self._file.stat().st_ino
        self._database = _connect(self._file)
        with self._transaction("DEFERRED"):
            row = self._database.execute("SELECT json FROM description").fetchone()
        self.description = Description.from_json(row[0], folder.name)
        self._dtype = np.dtype(self.description.vectors)

    @classmethod
    def create(cls, folder: Path, description: Description) -> None:
        """Make an empty collection unless one is there."""
        folder.mkdir(parents=True, exist_ok=True)
        database = _connect(folder / DATABASE)
        try:
            database.execute("BEGIN IMMEDIATE")
            if database.execute("PRAGMA user_version").fetchone() == (0,):
                for statement in schema():
                    database.execute(statement)
                database.execute("INSERT INTO description VALUES (?, 0)", [description.to_json()])
                database.execute("PRAGMA user_version = 1")
            database.execute("COMMIT")
        finally:
            database.close()

    @property
    def is_current(self) -> bool:
        """Whether it was not dropped, or dropped and made again, by another process."""
        try:
            return self._file.stat().st_ino == self._inode
        except FileNotFoundError:
            return False

    def upsert(self, records: Sequence[Record]) -> None:
        """See `Store`; so for the other methods."""
        vectors = [record.vector for record in records if record.vector is not None]
        with self._transaction("IMMEDIATE"):
            file, slot = self._end()
            if vectors:
                self._write(file, slot, np.stack(vectors))
            rows = []
            for record in records:
                rows.append((*to_row(record), None if record.vector is None else slot))
                slot += record.vector is not None
            self._database.executemany(UPSERT, rows)

    def delete(self, ids: Sequence[str]) -> None:
        """Their slots are left behind."""
        with self._transaction("IMMEDIATE"):
            self._database.executemany("DELETE FROM records WHERE id = ?", [(i,) for i in ids])

    def nearest(self, vector: FloatArray, top: int, where: Filter | None) -> list[Record]:
        """By the product with every row, or with those that pass."""
        with self._transaction("DEFERRED"):
            matrix = self._matrix()
            if where is None:
                return self._nearest_of_all(matrix, vector, top)
            condition, values = to_sql(where)
            rows = self._database.execute(
                f"SELECT slot FROM records WHERE slot IS NOT NULL AND ({condition}) ORDER BY slot",
                values,
            )
            slots = np.fromiter((slot for (slot,) in rows), np.int64)
            return self._in_slots(matrix, slots[_best(_products(matrix, vector, slots), top)])

    def scan(self, where: Filter | None, vectors: bool) -> Iterator[Record]:
        """In pages, as one query for all would keep others from writing until it is read."""
        condition, values = to_sql(where)
        last = 0
        while True:
            with self._transaction("DEFERRED"):
                page = self._database.execute(
                    f"SELECT {COLUMNS}, slot, rowid FROM records "
                    f"WHERE rowid > ? AND ({condition}) ORDER BY rowid LIMIT {_PAGE}",
                    [last, *values],
                ).fetchall()
                slots = [row[-2] for row in page if row[-2] is not None and vectors]
                rows = self._matrix()[slots].astype(np.float32)
            if not page:
                return
            found = dict(zip(slots, rows, strict=True))
            yield from (from_row(row[:-2], found.get(row[-2])) for row in page)
            last = page[-1][-1]

    def count(self, where: Filter | None) -> int:
        """See `Store`."""
        condition, values = to_sql(where)
        query = f"SELECT count(*) FROM records WHERE {condition}"
        return int(self._database.execute(query, values).fetchone()[0])

    def compact(self) -> None:
        """Write the file of vectors anew if much of it was left behind."""
        with self._transaction("IMMEDIATE"):
            file, slots = self._end()
            live = self._database.execute(
                "SELECT slot, rowid FROM records WHERE slot IS NOT NULL ORDER BY slot"
            ).fetchall()
            if slots - len(live) <= _WASTE * slots:
                return
            old, new = self._matrix(), self._folder / f"vectors.{_generation(file) + 1}"
            new.unlink(missing_ok=True)  # of an attempt that was cut short
            for begin in range(0, len(live), _BLOCK):
                self._write(new, begin, old[[slot for slot, _ in live[begin : begin + _BLOCK]]])
            # Slots only become smaller, and in order, so none is taken twice on the way.
            self._database.executemany(
                "UPDATE records SET slot = ? WHERE rowid = ?",
                [(slot, rowid) for slot, (_, rowid) in enumerate(live)],
            )
            self._database.execute("UPDATE description SET generation = generation + 1")
        file.unlink()  # nobody reads it: a commit waits for those who do

    def close(self) -> None:
        """See `Store`."""
        self._database.close()

    def _nearest_of_all(self, matrix: NDArray[Any], vector: FloatArray, top: int) -> list[Record]:
        products = _products(matrix, vector)
        wanted = top
        while True:  # some of the best may be in slots that were left behind
            found = self._in_slots(matrix, _best(products, wanted))
            if len(found) >= top or wanted >= len(matrix):
                return found[:top]
            wanted *= 4

    def _in_slots(self, matrix: NDArray[Any], slots: NDArray[np.int64]) -> list[Record]:
        """The records in these slots, in their order; a slot that was left behind has none."""
        found: dict[int, Record] = {}
        for begin in range(0, len(slots), 500):
            some = slots[begin : begin + 500].tolist()
            query = (
                f"SELECT {COLUMNS}, slot FROM records WHERE slot IN ({', '.join('?' * len(some))})"
            )
            for *row, slot in self._database.execute(query, some):
                found[slot] = from_row(row, matrix[slot].astype(np.float32))
        return [found[slot] for slot in slots.tolist() if slot in found]

    def _end(self) -> tuple[Path, int]:
        """The file of vectors in use, and its first slot that is free, as are all after it."""
        generation, end = self._database.execute(
            "SELECT generation, (SELECT ifnull(max(slot), -1) + 1 FROM records) FROM description"
        ).fetchone()
        return self._folder / f"vectors.{generation}", end

    def _matrix(self) -> NDArray[Any]:
        """All slots, [slots, dim], mapped from the file."""
        file, slots = self._end()
        shape = (slots, self.description.space.dim)
        return np.memmap(file, self._dtype, "r", shape=shape) if slots else np.empty(shape)

    def _write(self, file: Path, slot: int, vectors: NDArray[Any]) -> None:
        rows = vectors.astype(self._dtype, copy=False)
        file.touch()
        with file.open("r+b") as opened:
            opened.seek(slot * rows[0].nbytes)
            opened.write(rows.tobytes())
            opened.flush()
            os.fsync(opened.fileno())  # before the records that point to them, should power fail

    @property
    def _file(self) -> Path:
        return self._folder / DATABASE

    @contextmanager
    def _transaction(self, kind: Literal["IMMEDIATE", "DEFERRED"]) -> Iterator[None]:
        """All or nothing for a writer (IMMEDIATE), one state of affairs for a reader."""
        self._database.execute(f"BEGIN {kind}")
        try:
            yield
        except BaseException:
            if self._database.in_transaction:  # a full disk has ended it already
                self._database.execute("ROLLBACK")
            raise
        self._database.execute("COMMIT")


def _connect(file: Path) -> sqlite3.Connection:
    return sqlite3.connect(file, timeout=_PATIENCE, isolation_level=None, check_same_thread=False)


def _generation(file: Path) -> int:
    return int(file.suffix.removeprefix("."))


def _products(
    matrix: NDArray[Any], vector: FloatArray, slots: NDArray[np.int64] | None = None
) -> FloatArray:
    """Of `vector` with each row, or with those in `slots`; a block of rows at a time."""
    count = len(matrix) if slots is None else len(slots)
    half = matrix.dtype == np.float16
    rows = max(1, _WIDENED // matrix.shape[1]) if half else _BLOCK
    vector = vector * np.float32(2**112) if half else vector
    products = np.empty(count, np.float32)
    for begin in range(0, count, rows):
        end = begin + rows
        block = matrix[begin:end] if slots is None else matrix[slots[begin:end]]
        products[begin:end] = (_widened(block) if half else block) @ vector
    return products


def _widened(half: NDArray[np.float16]) -> FloatArray:
    """The numbers in float32, divided by 2**112, which is the difference of the exponents' biases.

    Sign, exponent and fraction are moved to where float32 has them. Three times as fast as numpy's
    conversion, and as exact, but for infinity and NaN, which no unit vector has.
    """
    bits = half.view(np.int16).astype(np.int32)  # the sign fills what is added in front
    bits <<= 13
    bits &= np.int32(-0x70002000)  # of the sign, one bit
    return bits.view(np.float32)


def _best(products: FloatArray, top: int) -> NDArray[np.int64]:
    """Positions of the `top` largest, the largest first."""
    best = (
        np.argpartition(-products, top)[:top] if top < len(products) else np.arange(len(products))
    )
    return np.asarray(best[np.argsort(-products[best], kind="stable")], np.int64)
