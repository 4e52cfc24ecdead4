"""Milvus from 2.3 on, and milvus-lite in a file.

The description of a collection is one of its properties. Milvus has neither NULL nor vectors that
are missing: a record with an error has a vector of zeros, and searches leave it out. The index is
flat, and so exact, until `settle` puts HNSW in its place.

The port is 19530, `?token=` a token in the place of user and password, `?database=` the database,
`?tls=1` asks for TLS. Without a host the path is milvus-lite's file, `milvus:///data/archive.db`.
"""

from __future__ import annotations

import json
import logging
import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import grpc
import numpy as np
from pymilvus import DataType, MilvusClient, MilvusException

from tritonclip.errors import InvalidArgument
from tritonclip.types import FloatArray
from tritonclip_search.errors import (
    CollectionNotFound,
    StoreDenied,
    StoreError,
    StoreUnavailable,
)
from tritonclip_search.filters import And, Compare, Filter, Holds, Not, OneOf, Or, Scalar
from tritonclip_search.records import FIELDS, Record, check_vectors, from_plain, to_plain
from tritonclip_search.space import Description
from tritonclip_search.stores.store import EXACT_UNTIL, Method
from tritonclip_search.stores.url import StoreUrl

if TYPE_CHECKING:
    from tritonclip_search.stores.store import Store

# It logs all that it raises, each time with a traceback, to a handler of its own.
logging.getLogger("pymilvus").setLevel(logging.CRITICAL)

_DESCRIPTION = "tritonclip"
# Bytes of UTF-8, and elements of a list, that a field takes; 65535 is Milvus' own limit.
_LONGEST = 65_535
_MOST = 1024
_TYPES: dict[str, dict[str, Any]] = {
    "id": {"datatype": DataType.VARCHAR, "max_length": 36, "is_primary": True},
    "file": {"datatype": DataType.VARCHAR, "max_length": 36},
    "kind": {"datatype": DataType.VARCHAR, "max_length": 16},
    "path": {"datatype": DataType.VARCHAR, "max_length": _LONGEST},
    "folders": {
        "datatype": DataType.ARRAY,
        "element_type": DataType.VARCHAR,
        "max_capacity": _MOST,
        "max_length": _LONGEST,
    },
    "size": {"datatype": DataType.INT64},
    "modified": {"datatype": DataType.INT64},
    "sha256": {"datatype": DataType.VARCHAR, "max_length": 64},
    "date": {"datatype": DataType.INT64},
    "width": {"datatype": DataType.INT32},
    "height": {"datatype": DataType.INT32},
    "format": {"datatype": DataType.VARCHAR, "max_length": 64},
    "start": {"datatype": DataType.DOUBLE},
    "end": {"datatype": DataType.DOUBLE},
    "tags": {
        "datatype": DataType.ARRAY,
        "element_type": DataType.VARCHAR,
        "max_capacity": _MOST,
        "max_length": _LONGEST,
    },
    "tag_probabilities": {
        "datatype": DataType.ARRAY,
        "element_type": DataType.FLOAT,
        "max_capacity": _MOST,
    },
    "precision": {"datatype": DataType.VARCHAR, "max_length": 64},
    "error": {"datatype": DataType.VARCHAR, "max_length": _LONGEST},
}
_VECTORS = {
    "float32": (DataType.FLOAT_VECTOR, np.float32),
    "float16": (DataType.FLOAT16_VECTOR, np.float16),
}
_HALF_SINCE = (2, 4)
# Not all failures come with gRPC's code.
_DENIED = re.compile("auth check failure|permission deny|privilege", re.IGNORECASE)
_CONNECT = re.compile("Fail connecting|server unavailable", re.IGNORECASE)
_HNSW = {"M": 16, "efConstruction": 200}
_EF = 128
"""Candidates of a search in the graph."""
_BATCH = 1000
"""Records in a message, of which Milvus takes 64 MB."""


def connect(url: StoreUrl) -> Store:
    """Connect to a server, or open milvus-lite's file.

    Raises:
        InvalidArgument: an option that there is not.
        StoreUnavailable: it cannot be reached.
        StoreDenied: it does not let us in.
    """
    return MilvusStore(url)


class MilvusStore:
    """See `Store`."""

    def __init__(self, url: StoreUrl) -> None:
        url.allow_options("database", "tls", "token")
        self.url = url
        uri = url.path
        if url.host:
            scheme = "https" if url.option("tls") == "1" else "http"
            host = f"[{url.host}]" if ":" in url.host else url.host
            uri = f"{scheme}://{host}:{url.port or 19530}"
        login = f"{url.user}:{url.password}" if url.user else ""
        with self._failures():
            self._client = MilvusClient(
                uri=uri,
                token=url.option("token") or login,
                db_name=url.option("database") or "",
                timeout=10,
            )

    def names(self) -> list[str]:
        with self._failures():
            found = self._client.list_collections()
        return sorted(name for name in found if self._remark(name))

    def create(self, name: str, description: Description) -> None:
        if self.describe(name) is not None:
            return
        if description.vectors == "float16" and not self._keeps_half():
            raise InvalidArgument(
                f"{self.url} keeps no float16, which Milvus does from 2.4 on and milvus-lite does "
                "not; ask for float32"
            )
        schema = self._client.create_schema(auto_id=False)
        for field, what in _TYPES.items():
            schema.add_field(field, **what)
        kind, _ = _VECTORS[description.vectors]
        schema.add_field("vector", kind, dim=description.space.dim)
        try:
            with self._failures():
                self._client.create_collection(
                    name,
                    schema=schema,
                    index_params=self._index("FLAT"),
                    properties={_DESCRIPTION: description.to_json()},
                    # Our own writes show at once, other processes' within seconds.
                    consistency_level="Session",
                )
        except StoreError:
            if self.describe(name) is None:  # else another process has made it meanwhile
                raise

    def describe(self, name: str) -> Description | None:
        with self._failures():
            if not self._client.has_collection(name):
                return None
        return Description.from_json(self._remark(name), name)

    def upsert(self, name: str, records: Sequence[Record]) -> None:
        description = self._description(name)
        check_vectors(records, description.space.dim)
        _, dtype = _VECTORS[description.vectors]
        zeros = np.zeros(description.space.dim, dtype)
        rows = [
            {
                **to_plain(record),
                "vector": zeros if record.vector is None else record.vector.astype(dtype),
            }
            for record in records
        ]
        with self._failures():
            for begin in range(0, len(rows), _BATCH):
                self._client.upsert(name, rows[begin : begin + _BATCH])

    def delete(self, name: str, ids: Sequence[str]) -> None:
        self._description(name)
        with self._failures():
            for begin in range(0, len(ids), _BATCH):
                self._client.delete(name, ids=list(ids[begin : begin + _BATCH]))

    def nearest(
        self, name: str, vector: FloatArray, *, top: int, where: Filter | None = None
    ) -> list[Record]:
        _, dtype = _VECTORS[self._description(name).vectors]
        embedded = OneOf("error", ("",))
        condition = _expression(embedded if where is None else And((embedded, where)))
        with self._failures():
            (found,) = self._client.search(
                name,
                data=[vector.astype(dtype)],
                filter=condition,
                limit=top,
                output_fields=[*FIELDS, "vector"],
                search_params={"params": {"ef": max(_EF, top)}},
            )
        return [_record(hit["entity"], dtype) for hit in found]

    def scan(
        self, name: str, *, where: Filter | None = None, vectors: bool = False
    ) -> Iterator[Record]:
        _, dtype = _VECTORS[self._description(name).vectors]
        with self._failures():
            pages = self._client.query_iterator(
                name,
                batch_size=_BATCH,
                filter=_expression(where),
                output_fields=[*FIELDS, *(["vector"] if vectors else [])],
                consistency_level="Strong",
            )
            while page := pages.next():
                yield from (_record(row, dtype) for row in page)
            pages.close()

    def count(self, name: str, *, where: Filter | None = None) -> int:
        self._description(name)
        with self._failures():
            found = self._client.query(
                name,
                filter=_expression(where),
                output_fields=["count(*)"],
                consistency_level="Strong",
            )
            return int(found[0]["count(*)"])

    def settle(self, name: str) -> Method:
        if self.method(name).exact and self.count(name) > EXACT_UNTIL:
            with self._failures():
                self._client.flush(name)
                self._client.release_collection(name)  # no index of a loaded one can be dropped
                self._client.drop_index(name, "vector")
                self._client.create_index(name, self._index("HNSW", **_HNSW))
                self._client.load_collection(name)
        return self.method(name)

    def method(self, name: str) -> Method:
        self._description(name)
        with self._failures():
            index = self._client.describe_index(name, "vector")
        if index["index_type"] == "FLAT":
            return Method("exact scan", True)
        options = ", ".join(f"{option}={index[option]}" for option in _HNSW if option in index)
        return Method(f"{index['index_type']} ({options}), ef={_EF}", False)

    def drop(self, name: str) -> None:
        self._description(name)
        with self._failures():
            self._client.drop_collection(name)

    def close(self) -> None:
        self._client.close()

    def _index(self, kind: str, **options: int) -> Any:
        index = self._client.prepare_index_params()
        index.add_index("vector", kind, "vector", metric_type="IP", params=options)
        return index

    def _keeps_half(self) -> bool:
        if not self.url.host:
            return False
        with self._failures():
            version = self._client.get_server_version()
        numbers = re.findall(r"\d+", version)
        return tuple(map(int, numbers[:2])) >= _HALF_SINCE

    def _description(self, name: str) -> Description:
        description = self.describe(name)
        if description is None:
            raise CollectionNotFound(name, self.url)
        return description

    def _remark(self, name: str) -> str:
        """What we wrote about a collection; empty where it is somebody else's."""
        with self._failures():
            about = self._client.describe_collection(name)
        return str(about.get("properties", {}).get(_DESCRIPTION, ""))

    @contextmanager
    def _failures(self) -> Iterator[None]:
        """Failures of the library as ours."""
        try:
            yield
        except (MilvusException, grpc.RpcError) as error:
            cause = error if isinstance(error, grpc.RpcError) else error.__cause__
            code = cause.code().name if isinstance(cause, grpc.RpcError) else ""
            text = self.url.redact(str(error))
            if code in ("UNAUTHENTICATED", "PERMISSION_DENIED") or _DENIED.search(text):
                raise StoreDenied(f"{self.url} does not let us in: {text}") from None
            if code in ("UNAVAILABLE", "DEADLINE_EXCEEDED") or _CONNECT.search(text):
                raise StoreUnavailable(f"{self.url} cannot be reached: {text}") from None
            raise StoreError(f"{self.url} failed: {text}") from None


def _record(row: dict[str, Any], dtype: Any) -> Record:
    vector = row.get("vector")
    if vector is not None:
        # Half precision comes as bytes.
        packed = vector[0] if isinstance(vector[0], bytes) else vector
        numbers = np.frombuffer(packed, dtype) if isinstance(packed, bytes) else packed
        vector = None if row["error"] else np.asarray(numbers, np.float32)
    return from_plain(row, vector)


def _expression(where: Filter | None) -> str:
    match where:
        case None:
            return ""
        case OneOf(field, values):
            return f"{field} in {_literal(values)}"
        case Compare(field, operator, value):
            return f"{field} {operator} {value}"
        case Holds(field, values):
            return f"array_contains_any({field}, {_literal(values)})"
        case And(terms):
            return "(" + " and ".join(map(_expression, terms)) + ")"
        case Or(terms):
            return "(" + " or ".join(map(_expression, terms)) + ")"
        case Not(term):
            return f"(not ({_expression(term)}))"


def _literal(values: Sequence[Scalar]) -> str:
    """A list, whose texts are quoted as in JSON."""
    return json.dumps(values, ensure_ascii=False)
