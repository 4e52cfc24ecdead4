"""LanceDB, in this process: a folder of files, one table a collection.

Every write is a new version of the table that appears whole or not at all, so a process may die at
any moment, and several may read and write at once. The description of a collection is the table's
schema metadata.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

import lancedb
import numpy as np
import pyarrow as pa

from tritonclip.types import FloatArray
from tritonclip_search.errors import CollectionNotFound, StoreDenied, StoreError
from tritonclip_search.filters import And, Compare, Filter, Holds, Not, OneOf, Or, Scalar
from tritonclip_search.records import Kind, Record, check_vectors
from tritonclip_search.space import Description
from tritonclip_search.stores.store import EXACT_UNTIL, Method
from tritonclip_search.stores.url import StoreUrl

if TYPE_CHECKING:
    from tritonclip_search.stores.store import Store

_DESCRIPTION = b"tritonclip"
_FIELDS: dict[str, Any] = {
    **dict.fromkeys(("id", "file", "kind", "path"), pa.string()),
    "folders": pa.list_(pa.string()),
    **dict.fromkeys(("size", "modified"), pa.int64()),
    "sha256": pa.string(),
    "date": pa.int64(),
    **dict.fromkeys(("width", "height"), pa.int32()),
    "format": pa.string(),
    **dict.fromkeys(("start", "end"), pa.float64()),
    "tags": pa.list_(pa.string()),
    "tag_probabilities": pa.list_(pa.float32()),
    **dict.fromkeys(("precision", "error"), pa.string()),
}
_VECTORS = {"float32": pa.float32(), "float16": pa.float16()}

# Of an index: each partition is a graph over vectors at a byte a number. With these many partitions
# looked into, and four times as many candidates ranked by whole vectors, hardly any is missed.
_PROBES = 40
_REFINE = 4
# Versions are kept this long for whoever is reading them.
_KEEP = timedelta(minutes=10)


def connect(url: StoreUrl) -> Store:
    """Open the folder; it is made with the first collection in it."""
    return LanceStore(url)


class LanceStore:
    """See `Store`."""

    def __init__(self, url: StoreUrl) -> None:
        self.url = url
        self._folder = Path(url.path)
        self._database: Any = None

    def names(self) -> list[str]:
        tables = [file.stem for file in self._folder.glob("*.lance")]
        return sorted(name for name in tables if _remark(self._table(name)))

    def create(self, name: str, description: Description) -> None:
        vector = pa.list_(_VECTORS[description.vectors], description.space.dim)
        fields = [pa.field(field, kind, nullable=False) for field, kind in _FIELDS.items()]
        # Without a key, two processes that insert one id at once leave it there twice.
        fields[0] = fields[0].with_metadata({b"lance-schema:unenforced-primary-key": b"true"})
        schema = pa.schema(
            [*fields, pa.field("vector", vector)],
            metadata={_DESCRIPTION: description.to_json().encode()},
        )
        with self._failures():
            if self.describe(name) is None:
                self._open_database().create_table(name, schema=schema, exist_ok=True)

    def describe(self, name: str) -> Description | None:
        try:
            table = self._table(name)
        except CollectionNotFound:
            return None
        return Description.from_json(_remark(table), name)

    def upsert(self, name: str, records: Sequence[Record]) -> None:
        table = self._table(name)
        vectors = table.schema.field("vector").type
        check_vectors(records, vectors.list_size)
        if not records:
            return
        with self._failures():
            merge = table.merge_insert("id").when_matched_update_all()
            merge = merge.when_not_matched_insert_all()
            merge.execute(_to_arrow(records, table.schema), on_bad_vectors="null")

    def delete(self, name: str, ids: Sequence[str]) -> None:
        table = self._table(name)
        with self._failures():
            for begin in range(0, len(ids), 1000):
                table.delete(_sql(OneOf("id", tuple(ids[begin : begin + 1000]))))

    def nearest(
        self, name: str, vector: FloatArray, *, top: int, where: Filter | None = None
    ) -> list[Record]:
        table = self._table(name)
        with self._failures():
            # What has no vector has no distance, and is not found. Asked for in a condition, all
            # vectors would be read for it: seven times the time of a search by an index.
            query = table.search(vector).distance_type("dot")
            if where is not None:
                query = query.where(_sql(where), prefilter=True)
            if not self.method(name).exact:
                query = query.nprobes(_PROBES).refine_factor(_REFINE)
            return list(_to_records(query.limit(top).to_arrow()))

    def scan(
        self, name: str, *, where: Filter | None = None, vectors: bool = False
    ) -> Iterator[Record]:
        table = self._table(name)
        columns = [*_FIELDS, *(["vector"] if vectors else [])]
        with self._failures():
            query = table.search().select(columns)
            if where is not None:
                query = query.where(_sql(where))
            for batch in query.to_batches(8192):
                yield from _to_records(pa.Table.from_batches([batch]))

    def count(self, name: str, *, where: Filter | None = None) -> int:
        with self._failures():
            return int(self._table(name).count_rows(None if where is None else _sql(where)))

    def settle(self, name: str) -> Method:
        table = self._table(name)
        with self._failures():
            table.optimize(cleanup_older_than=_KEEP)
            if table.count_rows() > EXACT_UNTIL and not _indices(table):
                table.create_index(
                    metric="dot", vector_column_name="vector", index_type="IVF_HNSW_SQ"
                )
        return self.method(name)

    def method(self, name: str) -> Method:
        indices = _indices(self._table(name))
        return Method(indices[0].index_type, False) if indices else Method("exact scan", True)

    def drop(self, name: str) -> None:
        self._table(name)
        with self._failures():
            self._open_database().drop_table(name)

    def close(self) -> None:
        self._database = None

    def _open_database(self) -> Any:
        if self._database is None:
            # Each read sees what others have written until then.
            self._database = lancedb.connect(
                self._folder, read_consistency_interval=timedelta(seconds=0)
            )
        return self._database

    def _table(self, name: str) -> Any:
        if not (self._folder / f"{name}.lance").is_dir():
            raise CollectionNotFound(name, self.url)
        with self._failures():
            return self._open_database().open_table(name)

    @contextmanager
    def _failures(self) -> Iterator[None]:
        """Failures of the library, which come as various types with a text, as ours."""
        try:
            yield
        except (OSError, RuntimeError, ValueError) as error:
            text = str(error)
            if any(sign in text for sign in ("Permission denied", "Read-only file system")):
                raise StoreDenied(
                    f"the store {self._folder} cannot be read or written by this user: {text}"
                ) from error
            if any(sign in text for sign in ("No space left", "StorageFull", "Disk quota")):
                raise StoreError(
                    f"no space is left where the store {self._folder} lies; "
                    "what was written before is safe. Make room and run it again"
                ) from error
            raise StoreError(f"the store {self._folder} failed: {text}") from error


def _remark(table: Any) -> str:
    return str((table.schema.metadata or {}).get(_DESCRIPTION, b"").decode())


def _indices(table: Any) -> list[Any]:
    return [index for index in table.list_indices() if "vector" in index.columns]


def _to_arrow(records: Sequence[Record], schema: Any) -> Any:
    columns = {field: [getattr(record, field) for record in records] for field in _FIELDS}
    columns["kind"] = [record.kind.value for record in records]
    arrays = [pa.array(columns[field], kind) for field, kind in _FIELDS.items()]
    kind = schema.field("vector").type
    empty = np.zeros(kind.list_size, np.float32)
    rows = [empty if record.vector is None else record.vector for record in records]
    numbers = np.concatenate(rows).astype(_numpy_type(kind.value_type))
    missing = pa.array([record.vector is None for record in records])
    vectors = pa.FixedSizeListArray.from_arrays(pa.array(numbers), type=kind, mask=missing)
    return pa.Table.from_arrays([*arrays, vectors], schema=schema)


def _numpy_type(kind: Any) -> Any:
    return np.float16 if kind == pa.float16() else np.float32


def _to_records(table: Any) -> Iterator[Record]:
    columns = {field: table.column(field).to_pylist() for field in _FIELDS}
    vectors: list[FloatArray | None] = [None] * len(table)
    if "vector" in table.column_names:
        chunk = table.column("vector").combine_chunks()
        valid = np.asarray(chunk.is_valid())
        rows = iter(np.asarray(chunk.flatten(), np.float32).reshape(-1, chunk.type.list_size))
        vectors = [next(rows) if there else None for there in valid]
    for values, vector in zip(zip(*columns.values(), strict=True), vectors, strict=True):
        fields = dict(zip(columns, values, strict=True))
        fields["kind"] = Kind(fields["kind"])
        for name in ("folders", "tags", "tag_probabilities"):
            fields[name] = tuple(fields[name])
        yield Record(**fields, vector=vector)


def _sql(where: Filter) -> str:
    match where:
        case OneOf(field, values):
            return f'"{field}" IN ({", ".join(map(_literal, values))})'
        case Compare(field, operator, value):
            return f'"{field}" {operator} {_literal(value)}'
        case Holds(field, values):
            return "(" + " OR ".join(f"array_has({field}, {_literal(v)})" for v in values) + ")"
        case And(terms):
            return "(" + " AND ".join(map(_sql, terms)) + ")"
        case Or(terms):
            return "(" + " OR ".join(map(_sql, terms)) + ")"
        case Not(term):
            return f"NOT ({_sql(term)})"


def _literal(value: Scalar) -> str:
    return "'" + value.replace("'", "''") + "'" if isinstance(value, str) else repr(value)
