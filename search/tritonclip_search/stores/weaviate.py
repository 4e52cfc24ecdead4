"""Weaviate, through its client of version 4.

Weaviate's names begin with a capital: the collection `press` is `Press` there. The description of a
collection is its description. Objects may lack a vector, and searches leave them out.

Up to the size where other stores begin with an index, every search is exact: each one has a filter,
and Weaviate looks at all vectors that pass one while they are no more than `flatSearchCutoff`.

The port is 8080, and `?grpc_port=` 50051; the password or `?api_key=` is the API key, `?tls=1` asks
for TLS.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import reduce
from operator import and_, or_
from typing import TYPE_CHECKING, Any

import numpy as np
import weaviate
from weaviate.classes.config import Configure, DataType, Property, Tokenization, VectorDistances
from weaviate.classes.data import DataObject
from weaviate.classes.init import AdditionalConfig, Auth, Timeout
from weaviate.classes.query import Filter as Condition
from weaviate.exceptions import (
    AuthenticationFailedException,
    WeaviateBaseError,
    WeaviateConnectionError,
    WeaviateGRPCUnavailableError,
    WeaviateStartUpError,
    WeaviateTimeoutError,
)

from tritonclip.errors import InvalidArgument
from tritonclip.types import FloatArray
from tritonclip_search.errors import (
    CollectionNotFound,
    StoreDenied,
    StoreError,
    StoreUnavailable,
)
from tritonclip_search.filters import And, Compare, Filter, Holds, Not, OneOf, Or, Scalar, holds
from tritonclip_search.records import FIELDS, Record, check_vectors, from_plain, to_plain, valid_ids
from tritonclip_search.space import Description
from tritonclip_search.stores.store import EXACT_UNTIL, Method
from tritonclip_search.stores.url import StoreUrl

if TYPE_CHECKING:
    from tritonclip_search.stores.store import Store

_TYPES = {
    **dict.fromkeys(("file", "kind", "path"), DataType.TEXT),
    "folders": DataType.TEXT_ARRAY,
    **dict.fromkeys(("size", "modified"), DataType.INT),
    "sha256": DataType.TEXT,
    "date": DataType.INT,
    **dict.fromkeys(("width", "height"), DataType.INT),
    "format": DataType.TEXT,
    **dict.fromkeys(("start", "end"), DataType.NUMBER),
    "tags": DataType.TEXT_ARRAY,
    "tag_probabilities": DataType.NUMBER_ARRAY,
    **dict.fromkeys(("precision", "error"), DataType.TEXT),
}
_VECTOR = "vector"
_TEXTS = (DataType.TEXT, DataType.TEXT_ARRAY)
_UNREACHED = (
    WeaviateConnectionError,
    WeaviateGRPCUnavailableError,
    WeaviateStartUpError,
    WeaviateTimeoutError,
)
_EF = 128
"""Candidates of a search in the graph."""
_NOBODY = "00000000-0000-0000-0000-000000000000"
_BATCH = 500
# What the server gives at most to one question (QUERY_MAXIMUM_RESULTS).
_MOST = 10_000


def connect(url: StoreUrl) -> Store:
    """Connect to a server.

    Raises:
        InvalidArgument: an option that there is not, or no host.
        StoreUnavailable: it cannot be reached.
        StoreDenied: it does not accept the key.
    """
    return WeaviateStore(url)


class WeaviateStore:
    """See `Store`."""

    def __init__(self, url: StoreUrl) -> None:
        url.allow_options("api_key", "grpc_port", "tls")
        if not url.host:
            raise InvalidArgument(f"{url} names no host; write weaviate://HOST")
        self.url = url
        key = url.option("api_key") or url.password
        tls = url.option("tls") == "1"
        with self._failures():
            self._client = weaviate.connect_to_custom(
                http_host=url.host,
                http_port=url.port or 8080,
                http_secure=tls,
                grpc_host=url.host,
                grpc_port=int(url.option("grpc_port") or 50051),
                grpc_secure=tls,
                auth_credentials=Auth.api_key(key) if key else None,
                skip_init_checks=True,  # one of them asks PyPI for the latest client
                additional_config=AdditionalConfig(timeout=Timeout(init=10, query=60, insert=120)),
            )
        self.names()

    def names(self) -> list[str]:
        with self._failures():
            found = self._client.collections.list_all()
        return sorted(
            _ours(there) for there, config in found.items() if _is_ours(config.description)
        )

    def create(self, name: str, description: Description) -> None:
        if description.vectors != "float32":
            raise InvalidArgument(f"Weaviate keeps no {description.vectors}; ask for float32")
        if self.describe(name) is not None:
            return
        properties = [
            Property(
                name=field,
                data_type=kind,
                # Whole, and as it is written.
                tokenization=Tokenization.FIELD if kind in _TEXTS else None,
                index_searchable=False if kind in _TEXTS else None,
            )
            for field, kind in _TYPES.items()
        ]
        try:
            with self._failures():
                self._client.collections.create(
                    _theirs(name),
                    description=description.to_json(),
                    properties=properties,
                    vector_config=Configure.Vectors.self_provided(
                        name=_VECTOR,
                        vector_index_config=Configure.VectorIndex.hnsw(
                            distance_metric=VectorDistances.DOT,
                            ef=_EF,
                            flat_search_cutoff=EXACT_UNTIL,
                        ),
                    ),
                    # Empty texts are found by their length: they have no token to be found by.
                    inverted_index_config=Configure.inverted_index(index_property_length=True),
                )
        except StoreError:
            if self.describe(name) is None:  # else another process has made it meanwhile
                raise

    def describe(self, name: str) -> Description | None:
        with self._failures():
            if not self._client.collections.exists(_theirs(name)):
                return None
            remark = self._client.collections.get(_theirs(name)).config.get().description
        return Description.from_json(remark or "", name)

    def upsert(self, name: str, records: Sequence[Record]) -> None:
        collection, description = self._collection(name)
        check_vectors(records, description.space.dim)
        objects = []
        for record in records:
            values = to_plain(record)
            del values["id"]  # the object's own
            vectors = None if record.vector is None else {_VECTOR: record.vector.tolist()}
            objects.append(DataObject(properties=values, uuid=record.id, vector=vectors))
        for begin in range(0, len(objects), _BATCH):
            with self._failures():
                done = collection.data.insert_many(objects[begin : begin + _BATCH])
            for error in done.errors.values():
                raise StoreError(f"{self.url} failed: {self.url.redact(error.message)}")

    def delete(self, name: str, ids: Sequence[str]) -> None:
        collection, _ = self._collection(name)
        for begin in range(0, len(ids), _BATCH):
            some = list(ids[begin : begin + _BATCH])
            with self._failures():
                collection.data.delete_many(where=Condition.by_id().contains_any(some))

    def nearest(
        self, name: str, vector: FloatArray, *, top: int, where: Filter | None = None
    ) -> list[Record]:
        collection, _ = self._collection(name)
        embedded = OneOf("error", ("",))
        condition = _condition(embedded if where is None else And((embedded, where)))
        with self._failures():
            found = collection.query.near_vector(
                vector.tolist(),
                target_vector=_VECTOR,
                limit=top,
                filters=condition,
                include_vector=True,
            )
        return [_record(one) for one in found.objects]

    def scan(
        self, name: str, *, where: Filter | None = None, vectors: bool = False
    ) -> Iterator[Record]:
        collection, _ = self._collection(name)
        with self._failures():
            if where is not None and self.count(name, where=where) <= _MOST:
                found = collection.query.fetch_objects(
                    limit=_MOST, filters=_condition(where), include_vector=vectors
                )
                yield from map(_record, found.objects)
                return
            # The server's cursor takes no filter.
            for one in collection.iterator(include_vector=vectors, cache_size=_BATCH):
                record = _record(one)
                if where is None or holds(where, record):
                    yield record

    def count(self, name: str, *, where: Filter | None = None) -> int:
        collection, _ = self._collection(name)
        condition = None if where is None else _condition(where)
        with self._failures():
            found = collection.aggregate.over_all(filters=condition, total_count=True)
        return found.total_count or 0

    def settle(self, name: str) -> Method:
        # The server compacts and builds the graph by itself while it is written to.
        return self.method(name)

    def method(self, name: str) -> Method:
        if self.count(name, where=OneOf("error", ("",))) < EXACT_UNTIL:
            return Method("exact scan", True)
        return Method(f"HNSW, ef={_EF}", False)

    def drop(self, name: str) -> None:
        self._collection(name)
        with self._failures():
            self._client.collections.delete(_theirs(name))

    def close(self) -> None:
        self._client.close()

    def _collection(self, name: str) -> tuple[Any, Description]:
        description = self.describe(name)
        if description is None:
            raise CollectionNotFound(name, self.url)
        return self._client.collections.get(_theirs(name)), description

    @contextmanager
    def _failures(self) -> Iterator[None]:
        """Failures of the library as ours."""
        try:
            yield
        except WeaviateBaseError as error:
            text = self.url.redact(str(error))
            status = getattr(error, "status_code", None)
            if status in (401, 403) or isinstance(error, AuthenticationFailedException):
                raise StoreDenied(
                    f"{self.url} does not accept the API key; give it as ?api_key=: {text}"
                ) from None
            if isinstance(error, _UNREACHED):
                raise StoreUnavailable(f"{self.url} cannot be reached: {text}") from None
            raise StoreError(f"{self.url} failed: {text}") from None


def _theirs(name: str) -> str:
    return name[0].upper() + name[1:]


def _ours(name: str) -> str:
    return name[0].lower() + name[1:]


def _is_ours(remark: str | None) -> bool:
    try:
        Description.from_json(remark or "", "")
    except StoreError:
        return False
    return True


def _record(one: Any) -> Record:
    vector = one.vector.get(_VECTOR)
    values = {**one.properties, "id": str(one.uuid)}
    for field in FIELDS:  # an empty list may come back as none
        if values.get(field) is None:
            values[field] = []
    return from_plain(values, np.asarray(vector, np.float32) if vector else None)


def _condition(where: Filter, wanted: bool = True) -> Any:
    """What objects have to be like for `where` to be `wanted`.

    Negation goes down to the comparisons: only newer servers and clients have it for a whole.
    """
    join = and_ if wanted else or_
    match where:
        case Not(term):
            return _condition(term, not wanted)
        case And(terms):
            return reduce(join, (_condition(term, wanted) for term in terms))
        case Or(terms):
            other = or_ if wanted else and_
            return reduce(other, (_condition(term, wanted) for term in terms))
        case Compare(field, operator, value):
            property_ = Condition.by_property(field)
            compared: dict[str, Any] = {
                "<": (property_.less_than, property_.greater_or_equal),
                "<=": (property_.less_or_equal, property_.greater_than),
                ">": (property_.greater_than, property_.less_or_equal),
                ">=": (property_.greater_or_equal, property_.less_than),
            }
            return compared[operator][0 if wanted else 1](value)
        case OneOf("id", values):
            ids = valid_ids(values) or [_NOBODY]
            if wanted:
                return Condition.by_id().contains_any(ids)
            return reduce(and_, (Condition.by_id().not_equal(one) for one in ids))
        case OneOf(field, values) | Holds(field, values):
            each = (_equal(field, value, wanted) for value in values)
            return reduce(or_ if wanted else and_, each)


def _equal(field: str, value: Scalar, wanted: bool) -> Any:
    if value == "":
        length = Condition.by_property(field, length=True)
        return length.equal(0) if wanted else length.greater_than(0)
    property_ = Condition.by_property(field)
    # Of a list: whether one of its elements is, or none.
    return property_.equal(value) if wanted else property_.not_equal(value)
