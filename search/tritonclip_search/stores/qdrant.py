"""Qdrant: a collection of points whose payload is the record.

The description of a collection is its metadata, which Qdrant keeps from 1.16 on. The port is 6333,
or 6334 for gRPC; the password or `?api_key=` is the API key, `?tls=1` asks for TLS. Without a host,
the path is a folder for the client's local mode: for one process at a time, every search exact.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import grpc
import numpy as np
from qdrant_client import QdrantClient, models
from qdrant_client.http.exceptions import ResponseHandlingException, UnexpectedResponse

from tritonclip.types import FloatArray
from tritonclip_search.errors import (
    CollectionNotFound,
    StoreDenied,
    StoreError,
    StoreUnavailable,
)
from tritonclip_search.filters import And, Compare, Filter, Holds, Not, OneOf, Or
from tritonclip_search.records import Record, check_vectors, from_plain, to_plain, valid_ids
from tritonclip_search.space import Description
from tritonclip_search.stores.store import EXACT_UNTIL, Method
from tritonclip_search.stores.url import StoreUrl

if TYPE_CHECKING:
    from tritonclip_search.stores.store import Store

_DESCRIPTION = "tritonclip"
_VECTOR = "vector"
_GRPC_PORT = 6334
_VECTORS = {
    "float32": (models.Datatype.FLOAT32, np.float32),
    "float16": (models.Datatype.FLOAT16, np.float16),
}
# Of a payload, what filters mostly ask for. An index has to be there before the graph is built,
# which gets edges for it.
_INDEXED = {
    **dict.fromkeys(
        ("file", "kind", "path", "folders", "format", "tags"), models.PayloadSchemaType.KEYWORD
    ),
    **dict.fromkeys(("size", "date", "width", "height"), models.PayloadSchemaType.INTEGER),
}
_REALS = ("start", "end")
_EF = 128
"""Candidates of a search in the graph."""
_BATCH = 500
"""Points in a request: 1536 numbers each in JSON stay under the server's 32 MB."""


def connect(url: StoreUrl) -> Store:
    """Connect to a server, or open a folder in local mode.

    Raises:
        InvalidArgument: an option that there is not.
        StoreUnavailable: it cannot be reached, or another process has the folder open.
        StoreDenied: it does not accept the key.
    """
    return QdrantStore(url)


class QdrantStore:
    """See `Store`."""

    def __init__(self, url: StoreUrl) -> None:
        url.allow_options("api_key", "tls")
        self.url = url
        with self._failures():
            if url.host:
                self._client = QdrantClient(
                    host=url.host,
                    port=6333 if url.port in (None, _GRPC_PORT) else url.port,
                    grpc_port=_GRPC_PORT,
                    prefer_grpc=url.port == _GRPC_PORT,
                    https=url.option("tls") == "1",
                    api_key=url.option("api_key") or url.password or None,
                    timeout=60,
                    check_compatibility=False,
                )
            else:
                self._client = QdrantClient(path=url.path)
        self.names()

    def names(self) -> list[str]:
        with self._failures():
            found = [one.name for one in self._client.get_collections().collections]
        return sorted(name for name in found if self._remark(name) is not None)

    def create(self, name: str, description: Description) -> None:
        if self.describe(name) is not None:
            return
        datatype, _ = _VECTORS[description.vectors]
        vector = models.VectorParams(
            size=description.space.dim, distance=models.Distance.DOT, datatype=datatype
        )
        try:
            with self._failures():
                # A named vector, which a point need not have.
                self._client.create_collection(
                    name,
                    vectors_config={_VECTOR: vector},
                    metadata={_DESCRIPTION: description.to_json()},
                )
                if self.url.host:  # local mode has no indices
                    for field, kind in _INDEXED.items():
                        self._client.create_payload_index(name, field, kind)
        except StoreError:
            if self.describe(name) is None:  # else another process has made it meanwhile
                raise
        if self._remark(name) is None:
            self._client.delete_collection(name)
            raise StoreError(
                f"{self.url} keeps no metadata of collections; Qdrant 1.16 or later does"
            )

    def describe(self, name: str) -> Description | None:
        with self._failures():
            if not self._client.collection_exists(name):
                return None
        return Description.from_json(self._remark(name) or "", name)

    def upsert(self, name: str, records: Sequence[Record]) -> None:
        description = self._description(name)
        check_vectors(records, description.space.dim)
        _, dtype = _VECTORS[description.vectors]
        points = [
            models.PointStruct(
                id=record.id,
                payload=to_plain(record),
                vector={}
                if record.vector is None
                else {_VECTOR: record.vector.astype(dtype).tolist()},
            )
            for record in records
        ]
        with self._failures():
            for begin in range(0, len(points), _BATCH):
                self._client.upsert(name, points[begin : begin + _BATCH], wait=True)

    def delete(self, name: str, ids: Sequence[str]) -> None:
        self._description(name)
        if ids:
            with self._failures():
                self._client.delete(name, models.PointIdsList(points=list(ids)), wait=True)

    def nearest(
        self, name: str, vector: FloatArray, *, top: int, where: Filter | None = None
    ) -> list[Record]:
        # Local mode takes no parameters, and says so each time.
        how = None
        if self.url.host:
            how = models.SearchParams(exact=self.method(name).exact, hnsw_ef=max(_EF, top))
        else:
            self._description(name)
        with self._failures():
            found = self._client.query_points(
                name,
                query=vector.tolist(),
                using=_VECTOR,
                query_filter=_filter(where),
                search_params=how,
                limit=top,
                with_vectors=True,
            )
        return [_record(point) for point in found.points]

    def scan(
        self, name: str, *, where: Filter | None = None, vectors: bool = False
    ) -> Iterator[Record]:
        self._description(name)
        offset = None
        while True:
            with self._failures():
                points, offset = self._client.scroll(
                    name,
                    scroll_filter=_filter(where),
                    limit=_BATCH,
                    offset=offset,
                    with_vectors=vectors,
                )
            yield from map(_record, points)
            if offset is None:
                return

    def count(self, name: str, *, where: Filter | None = None) -> int:
        self._description(name)
        with self._failures():
            return self._client.count(name, count_filter=_filter(where), exact=True).count

    def settle(self, name: str) -> Method:
        # The server compacts and builds the graph by itself while it is written to.
        return self.method(name)

    def method(self, name: str) -> Method:
        self._description(name)
        with self._failures():
            info = self._client.get_collection(name)
        if not self.url.host or (info.points_count or 0) <= EXACT_UNTIL:
            return Method("exact scan", True)
        hnsw = info.config.hnsw_config
        return Method(f"HNSW (m={hnsw.m}, ef_construct={hnsw.ef_construct}), ef={_EF}", False)

    def drop(self, name: str) -> None:
        self._description(name)
        with self._failures():
            self._client.delete_collection(name)

    def close(self) -> None:
        self._client.close()

    def _description(self, name: str) -> Description:
        description = self.describe(name)
        if description is None:
            raise CollectionNotFound(name, self.url)
        return description

    def _remark(self, name: str) -> str | None:
        """What we wrote about a collection; None where it is somebody else's."""
        with self._failures():
            metadata = self._client.get_collection(name).config.metadata
        return (metadata or {}).get(_DESCRIPTION)

    @contextmanager
    def _failures(self) -> Iterator[None]:
        """Failures of the library as ours."""
        try:
            yield
        except (
            UnexpectedResponse,
            ResponseHandlingException,
            grpc.RpcError,
            RuntimeError,
            ValueError,
        ) as error:
            text = self.url.redact(str(error))
            code = error.code().name if isinstance(error, grpc.RpcError) else ""
            status = error.status_code if isinstance(error, UnexpectedResponse) else None
            if status in (401, 403) or code in ("UNAUTHENTICATED", "PERMISSION_DENIED"):
                raise StoreDenied(
                    f"{self.url} does not accept the API key; give it as ?api_key=: {text}"
                ) from None
            if isinstance(error, ResponseHandlingException) or code == "UNAVAILABLE":
                raise StoreUnavailable(f"{self.url} cannot be reached: {text}") from None
            if "already accessed" in text:
                raise StoreUnavailable(
                    f"another process has {self.url} open; local mode is for one at a time, "
                    "a Qdrant server for many"
                ) from None
            raise StoreError(f"{self.url} failed: {text}") from None


def _record(point: models.Record | models.ScoredPoint) -> Record:
    vectors = point.vector if isinstance(point.vector, dict) else {}
    vector = vectors.get(_VECTOR)
    return from_plain(
        {**(point.payload or {}), "id": str(point.id)},
        None if vector is None else np.asarray(vector, np.float32),
    )


def _filter(where: Filter | None) -> models.Filter | None:
    return None if where is None else models.Filter(must=[_condition(where)])


def _condition(where: Filter) -> models.Condition:
    match where:
        case OneOf("id", values):
            return models.HasIdCondition(has_id=list(valid_ids(values)))
        case OneOf(field, values) if field in _REALS:
            same = [models.Range(gte=float(value), lte=float(value)) for value in values]
            return models.Filter(
                should=[models.FieldCondition(key=field, range=one) for one in same]
            )
        case OneOf(field, values) | Holds(field, values):
            any_of: Any = list(values)  # all texts or all whole numbers, as the field is
            return models.FieldCondition(key=field, match=models.MatchAny(any=any_of))
        case Compare(field, operator, value):
            bound = {">": "gt", ">=": "gte", "<": "lt", "<=": "lte"}[operator]
            return models.FieldCondition(key=field, range=models.Range(**{bound: value}))
        case And(terms):
            return models.Filter(must=[_condition(term) for term in terms])
        case Or(terms):
            return models.Filter(should=[_condition(term) for term in terms])
        case Not(term):
            return models.Filter(must_not=[_condition(term)])
