"""Metrics, logs and traces: what they tell, and what never."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import httpx
import pytest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from prometheus_client.openmetrics.parser import text_string_to_metric_families as openmetrics
from prometheus_client.parser import text_string_to_metric_families as prometheus

from tritonclip_export.bundle import Bundle
from tritonclip_export.repository.assemble import assemble
from tritonclip_export.server.ports import Ports
from tritonclip_export.server.server import Server

SECRET = "a text that nobody must find in a log"


def samples(text: str, parse: Callable[[str], Any] = prometheus) -> dict[tuple[str, ...], Any]:
    return {
        (sample.name, *sorted(sample.labels.values())): sample
        for family in parse(text)
        for sample in family.samples
    }


def test_metrics_count_requests_items_and_batches(
    http: httpx.Client, data_uri: Callable[[str], str]
) -> None:
    def measured() -> dict[tuple[str, ...], float]:
        return {key: s.value for key, s in samples(http.get("/metrics").text).items()}

    before = measured()
    http.post("/v1/embeddings", json={"input": ["a", "b", data_uri("cat")]})
    http.post("/v1/embeddings", json={"input": []})
    after = measured()

    def grown(*key: str) -> float:
        return after[key] - before.get(key, 0)

    name = "tritonclip_gateway_"
    route = ("POST", "/v1/embeddings")
    assert grown(f"{name}requests_total", *sorted((*route, "200"))) == 1
    assert grown(f"{name}requests_total", *sorted((*route, "400"))) == 1
    assert grown(f"{name}items_total", "text") == 2
    assert grown(f"{name}items_total", "image") == 1
    assert grown(f"{name}triton_items_sum", "demo", "text") == 2
    assert grown(f"{name}request_seconds_count", "/v1/embeddings") == 2
    assert after[f"{name}items_in_work",] == 0
    assert [v for k, v in after.items() if k[0] == f"{name}triton_ready" and "demo" in k] == [1]


def test_openmetrics_has_exemplars_that_lead_to_the_log(http: httpx.Client) -> None:
    http.post("/v1/embeddings", json={"input": "a"}, headers={"X-Request-ID": "one-of-mine"})
    answer = http.get("/metrics", headers={"Accept": "application/openmetrics-text"})
    found = samples(answer.text, openmetrics)
    exemplars = {s.exemplar.labels["request_id"] for s in found.values() if s.exemplar}
    assert "one-of-mine" in exemplars


def test_each_answer_has_an_id_the_callers_own_if_it_is_one(http: httpx.Client) -> None:
    one, other = (http.get("/health/live").headers["X-Request-ID"] for _ in range(2))
    assert one != other
    given = http.get("/health/live", headers={"X-Request-ID": "abc-1"})
    assert given.headers["X-Request-ID"] == "abc-1"
    odd = http.get("/health/live", headers={"X-Request-ID": "a b;<script>"})
    assert "script" not in odd.headers["X-Request-ID"]


@dataclass(frozen=True)
class Span:
    """What two encodings of one have in common."""

    name: str
    trace: str
    id: str
    parent: str


def spans_in(body: bytes, encoding: str) -> list[Span]:
    if encoding == "application/json":  # Triton's, where ids are hexadecimal and not base64
        resources = json.loads(body)["resourceSpans"]
        return [
            Span(
                span["name"],
                span["traceId"],
                span["spanId"],
                span.get("parentSpanId", ""),
            )
            for resource in resources
            for scope in resource["scopeSpans"]
            for span in scope["spans"]
        ]
    return [
        Span(
            span.name,
            span.trace_id.hex(),
            span.span_id.hex(),
            span.parent_span_id.hex(),
        )
        for resource in ExportTraceServiceRequest.FromString(body).resource_spans
        for scope in resource.scope_spans
        for span in scope.spans
    ]


@dataclass(frozen=True)
class Collector:
    """Takes spans, as a collector of OpenTelemetry does."""

    url: str
    spans: list[Span]
    bodies: list[bytes]


@pytest.fixture
def collector() -> Iterator[Collector]:
    spans: list[Span] = []
    bodies: list[bytes] = []

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            bodies.append(body)
            spans.extend(spans_in(body, self.headers["Content-Type"]))
            self.send_response(200)
            self.end_headers()

        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield Collector(f"http://127.0.0.1:{server.server_port}/v1/traces", spans, bodies)
    server.shutdown()
    thread.join()
    server.server_close()


@pytest.fixture
def traced(
    bundle: Callable[[str], Bundle], collector: Collector, tmp_path: Path
) -> Iterator[Server]:
    """One that sends spans."""
    assemble([bundle("vit")], tmp_path / "repository", runtime="python")
    with Server(tmp_path / "repository", ports=Ports(0, 0, 0), traces=collector.url) as server:
        yield server


def test_a_process_logs_lines_of_json_traces_into_triton_and_stops_in_time(
    traced: Server, collector: Collector, environment: dict[str, str]
) -> None:
    command = [
        *(str(Path(sys.executable).with_name("tritonclip")), "gateway", "--json", "--port", "0"),
        *("--triton", traced.grpc_url),
        *("--traces", collector.url),
    ]
    process = subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment
    )
    try:
        url = json.loads(process.stdout.readline())["http"]
        trace = "0af7651916cd43dd8448eb211c80319c"
        headers = {"traceparent": f"00-{trace}-b7ad6b7169203331-01", "X-Request-ID": "traced-1"}
        with httpx.Client(base_url=url, headers=headers, timeout=30) as http:
            assert http.post("/v1/embeddings", json={"input": SECRET}).status_code == 200
            assert http.post("/v1/embeddings", json={"input": SECRET * 50}).status_code == 400
            assert http.post("/v1/embeddings", content=f'"{SECRET}').status_code == 400
            assert http.get(f"/v1/{SECRET}").status_code == 404
    finally:
        process.send_signal(signal.SIGTERM)
        _, log = process.communicate(timeout=30)
        traced.stop()  # which sends what is left

    assert process.returncode in (0, -signal.SIGTERM)
    lines = [json.loads(line) for line in log.splitlines()]
    requests = [line for line in lines if line["event"] == "request"]
    assert [line["status"] for line in requests] == [200, 400, 400, 404]
    assert requests[0]["route"] == "/v1/embeddings"
    assert requests[0]["request_id"] == "traced-1"
    assert requests[3]["route"] == "none"
    assert "nobody must find" not in log

    spans = {span.id: span for span in collector.spans}
    # The gateway's own questions, whether the server is well, are in traces of their own.
    ours = [span for span in spans.values() if span.trace == trace]
    calls = [span for span in ours if span.name.endswith("ModelInfer")]
    assert len(calls) >= 2
    for call in calls:
        assert spans[call.parent].name == "POST /v1/embeddings"
    encoders = [span for span in ours if span.name == "vit_text_encoder"]
    assert encoders
    for encoder in encoders:
        ensemble = spans[encoder.parent]
        assert (ensemble.name, spans[ensemble.parent].name) == ("vit_text", "InferRequest")
        assert spans[spans[ensemble.parent].parent] in calls
    assert not any(b"nobody must find" in body for body in collector.bodies)
