"""What is asked of Weaviate, of which there is no server here.

The requests are those of its official client, read with the schema that comes with the client. What
a server does with them the contract tests, where WEAVIATE_URL names one.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread
from typing import Any

import grpc
import pytest
from google.protobuf.json_format import MessageToDict
from weaviate.proto.v1 import (
    aggregate_pb2,
    batch_delete_pb2,
    batch_pb2,
    search_get_pb2,
    weaviate_pb2_grpc,
)

from tests.search.stores.test_contract import DESCRIPTION, FILTERS, NAME, archive, record
from tritonclip.errors import InvalidArgument
from tritonclip_search import filters
from tritonclip_search.errors import CollectionNotFound, StoreDenied, StoreUnavailable
from tritonclip_search.filters import OneOf
from tritonclip_search.space import Description
from tritonclip_search.stores.opening import open_store
from tritonclip_search.stores.store import EXACT_UNTIL, Store


@dataclass
class Recorder(weaviate_pb2_grpc.WeaviateServicer):
    """Answers as an empty server would, and keeps what it is asked."""

    url: str = ""
    schema: dict[str, Any] = field(default_factory=dict)
    key: str | None = None
    """Which every request has to bear."""
    count: int = 0
    """Of objects, that it says it has."""
    asked: list[tuple[str, Any]] = field(default_factory=list)

    def Search(self, request: Any, _: object) -> Any:  # noqa: N802
        self.asked.append(("search", request))
        return search_get_pb2.SearchReply()

    def Aggregate(self, request: Any, _: object) -> Any:  # noqa: N802
        self.asked.append(("aggregate", request))
        single = aggregate_pb2.AggregateReply.Single(objects_count=self.count)
        return aggregate_pb2.AggregateReply(single_result=single)

    def BatchObjects(self, request: Any, _: object) -> Any:  # noqa: N802
        self.asked.append(("upsert", request))
        return batch_pb2.BatchObjectsReply()

    def BatchDelete(self, request: Any, _: object) -> Any:  # noqa: N802
        self.asked.append(("delete", request))
        return batch_delete_pb2.BatchDeleteReply()


def completed(made: dict[str, Any]) -> dict[str, Any]:
    """A collection's schema with the defaults that the server adds, and the client relies on."""
    made["invertedIndexConfig"] |= {
        "bm25": {"b": 0.75, "k1": 1.2},
        "cleanupIntervalSeconds": 60,
        "stopwords": {"preset": "en", "additions": [], "removals": []},
    }
    made["replicationConfig"] = {"factor": 1}
    made["shardingConfig"] = {
        **dict.fromkeys(("virtualPerPhysical", "desiredVirtualCount", "actualVirtualCount"), 128),
        **dict.fromkeys(("desiredCount", "actualCount"), 1),
        **{"key": "_id", "strategy": "hash", "function": "murmur3"},
    }
    indices = {"indexFilterable": True, "indexSearchable": False, "indexRangeFilters": False}
    made["properties"] = [{**indices, **one} for one in made["properties"]]
    for vector in made["vectorConfig"].values():
        vector["vectorIndexConfig"] = {
            **dict.fromkeys(("dynamicEfFactor", "dynamicEfMax", "dynamicEfMin"), 8),
            **dict.fromkeys(("cleanupIntervalSeconds", "efConstruction", "maxConnections"), 128),
            **{"skip": False, "vectorCacheMaxObjects": 10**12},
            **vector["vectorIndexConfig"],
        }
    return made


def handler(recorder: Recorder) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        def answer(self, status: int, content: object = None) -> None:
            self.send_response(status)
            self.send_header("Content-Type", "application/json")
            self.end_headers()
            if content is not None:
                self.wfile.write(json.dumps(content).encode())

        def do_GET(self) -> None:
            given = self.headers["Authorization"]
            if recorder.key is not None and given != f"Bearer {recorder.key}":
                return self.answer(401, {"error": f"not {given}"})
            match self.path.split("/")[2:]:
                case ["meta"]:
                    self.answer(200, {"version": "1.33.0", "hostname": "", "modules": {}})
                case ["schema"]:
                    self.answer(200, {"classes": list(recorder.schema.values())})
                case ["schema", name] if name in recorder.schema:
                    self.answer(200, recorder.schema[name])
                case _:
                    self.answer(404)

        def do_POST(self) -> None:
            made = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            recorder.schema[made["class"]] = completed(made)
            self.answer(200, made)

        def do_DELETE(self) -> None:
            del recorder.schema[self.path.rpartition("/")[2]]
            self.answer(200)

        def log_message(self, *_: object) -> None:
            pass

    return Handler


@pytest.fixture
def recorder() -> Iterator[Recorder]:
    asked = Recorder()
    server = grpc.server(ThreadPoolExecutor(2))
    weaviate_pb2_grpc.add_WeaviateServicer_to_server(asked, server)
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    with ThreadingHTTPServer(("127.0.0.1", 0), handler(asked)) as http:
        Thread(target=http.serve_forever, args=(0.05,), daemon=True).start()
        asked.url = f"weaviate://127.0.0.1:{http.server_address[1]}?grpc_port={port}"
        yield asked
        http.shutdown()
    server.stop(None)


@pytest.fixture
def store(recorder: Recorder) -> Iterator[Store]:
    opened = open_store(recorder.url)
    opened.create(NAME, DESCRIPTION)
    yield opened
    opened.close()


def last(recorder: Recorder, kind: str) -> Any:
    asked, request = recorder.asked[-1]
    assert asked == kind
    return request


def test_a_collection_is_made_with_all_fields_and_its_description(
    store: Store, recorder: Recorder
) -> None:
    made = recorder.schema["Press"]
    assert json.loads(made["description"])["space"]["dim"] == DESCRIPTION.space.dim
    types = {one["name"]: (one["dataType"], one.get("tokenization")) for one in made["properties"]}
    assert types["path"] == (["text"], "field")
    assert types["tags"] == (["text[]"], "field")
    assert types["date"] == (["int"], None)
    assert types["end"] == (["number"], None)
    assert len(types) == 17  # and the id, which is the object's own
    assert made["invertedIndexConfig"]["indexPropertyLength"] is True
    vector = made["vectorConfig"]["vector"]
    assert vector["vectorizer"] == {"none": {}}
    assert vector["vectorIndexType"] == "hnsw"
    assert vector["vectorIndexConfig"]["distance"] == "dot"
    assert vector["vectorIndexConfig"]["flatSearchCutoff"] == EXACT_UNTIL
    recorder.schema["Theirs"] = {**made, "class": "Theirs", "description": "of the newsroom"}
    assert store.names() == [NAME]
    assert store.describe(NAME) == DESCRIPTION
    store.drop(NAME)
    assert list(recorder.schema) == ["Theirs"]
    with pytest.raises(CollectionNotFound, match=NAME):
        store.count(NAME)


def test_records_are_sent_with_their_ids_and_those_with_errors_bear_no_vector(
    store: Store, recorder: Recorder
) -> None:
    whole = record("/pictures/1.jpg", tags=("cat",), tag_probabilities=(0.5,), size=2**40 + 1)
    broken = record("/pictures/2.jpg", vector=None, error="not an image")
    store.upsert(NAME, [whole, broken])
    first, second = last(recorder, "upsert").objects
    assert (first.uuid, first.collection) == (whole.id, "Press")
    sent = MessageToDict(first.properties.non_ref_properties)
    assert (sent["path"], sent["size"], sent["width"]) == (whole.path, 2**40 + 1, 640)
    (vector,) = first.vectors
    assert (vector.name, vector.vector_bytes) == ("vector", whole.vector.tobytes())
    assert second.uuid == broken.id
    assert not second.vectors
    assert not second.vector_bytes


def test_the_nearest_are_asked_of_what_has_a_vector(store: Store, recorder: Recorder) -> None:
    asked = archive()[0].vector
    assert store.nearest(NAME, asked, top=7, where=filters.parse("width > 500")) == []
    request = last(recorder, "search")
    assert (request.collection, request.limit) == ("Press", 7)
    (target,) = request.near_vector.targets.target_vectors
    assert target == "vector"
    (sent,) = request.near_vector.vectors
    assert sent.vector_bytes == asked.tobytes()
    assert MessageToDict(request.filters) == {
        "operator": "OPERATOR_AND",
        "filters": [
            {
                "operator": "OPERATOR_EQUAL",
                "valueInt": "0",
                "target": {"property": "len(error)"},
            },
            {
                "operator": "OPERATOR_GREATER_THAN",
                "valueInt": "500",
                "target": {"property": "width"},
            },
        ],
    }


def answer(condition: Any, one: Any) -> bool:
    """What Weaviate's documentation says that a filter means."""
    name = condition.target.property
    if not name:
        parts = [answer(part, one) for part in condition.filters]
        return all(parts) if condition.operator == condition.OPERATOR_AND else any(parts)
    value = getattr(condition, condition.WhichOneof("test_value"))
    there = len(getattr(one, name[4:-1])) if name.startswith("len(") else getattr(one, name)
    elements = there if isinstance(there, tuple) else (there,)
    operators = {
        condition.OPERATOR_EQUAL: lambda: value in elements,
        condition.OPERATOR_NOT_EQUAL: lambda: value not in elements,
        condition.OPERATOR_GREATER_THAN: lambda: there > value,
        condition.OPERATOR_GREATER_THAN_EQUAL: lambda: there >= value,
        condition.OPERATOR_LESS_THAN: lambda: there < value,
        condition.OPERATOR_LESS_THAN_EQUAL: lambda: there <= value,
    }
    return operators[condition.operator]()


@pytest.mark.parametrize("negated", ["{}", "not ({})"])
def test_filters_mean_what_they_do_elsewhere(
    store: Store, recorder: Recorder, negated: str
) -> None:
    every = [*archive(), replace(archive()[0], vector=None, error="broken")]
    for where in FILTERS:
        parsed = filters.parse(negated.format(where))
        store.count(NAME, where=parsed)
        condition = last(recorder, "aggregate").filters
        for one in every:
            assert answer(condition, one) == filters.holds(parsed, one), where


def test_ids_are_asked_for_as_ids(store: Store, recorder: Recorder) -> None:
    ids = [one.id for one in archive()[:2]]
    store.count(NAME, where=OneOf("id", (*ids, "nonsense")))
    condition = last(recorder, "aggregate").filters
    assert condition.target.property == "_id"
    assert condition.operator == condition.OPERATOR_CONTAINS_ANY
    assert list(condition.value_text_array.values) == ids
    store.delete(NAME, ids)
    deleted = last(recorder, "delete")
    assert (deleted.collection, deleted.filters.target.property) == ("Press", "_id")
    assert list(deleted.filters.value_text_array.values) == ids


def test_searches_are_exact_until_the_size_asks_for_the_graph(
    store: Store, recorder: Recorder
) -> None:
    recorder.count = EXACT_UNTIL - 1
    assert store.settle(NAME).exact
    recorder.count = EXACT_UNTIL
    assert store.method(NAME).name == "HNSW, ef=128"
    assert not store.method(NAME).exact


def test_half_precision_is_refused(store: Store) -> None:
    with pytest.raises(InvalidArgument, match="keeps no float16"):
        store.create("half", Description(DESCRIPTION.space, "float16"))


def test_a_wrong_key_is_refused_without_showing_it(recorder: Recorder) -> None:
    recorder.key = "right"
    url = recorder.url.replace("weaviate://", "weaviate://:hunter2@")
    with pytest.raises(StoreDenied, match="does not accept the API key") as raised:
        open_store(url).names()
    assert "hunter2" not in str(raised.value)
    store = open_store(url.replace("hunter2", "right"))
    assert store.names() == []
    store.close()


def test_a_server_that_is_down_is_named(free_port: int) -> None:
    with pytest.raises(StoreUnavailable, match=r"weaviate://:\*\*\*@127.0.0.1") as raised:
        open_store(f"weaviate://:hunter2@127.0.0.1:{free_port}")
    assert "hunter2" not in str(raised.value)
