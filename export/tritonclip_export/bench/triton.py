"""A server of ours as a target: its requests, and its own account of where the time went."""

from __future__ import annotations

import http.client
import json
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import grpc
from google.protobuf import json_format
from tritonclient.grpc import service_pb2, service_pb2_grpc

from tritonclip.endpoint import Endpoint
from tritonclip.grpc_wire import CHANNEL_OPTIONS, GrpcWire
from tritonclip.http_wire import HttpWire
from tritonclip.info import IMAGE_SUFFIX, TEXT_SUFFIX
from tritonclip.wire import InferRequest
from tritonclip_export.bench.results import Step
from tritonclip_export.bench.sending import Request, Target
from tritonclip_export.bench.workloads import Kind, Workload
from tritonclip_export.errors import BenchmarkError

Statistics = dict[str, dict[str, Any]]


@dataclass(frozen=True)
class Requests:
    """Request `number` of a workload for the model of a bundle, `batch` items in each."""

    endpoint: Endpoint
    bundle: str
    workload: Workload
    batch: int
    _made: dict[int, Request] = field(default_factory=dict, repr=False)
    """Requests that come again; large images are copied into theirs only once."""

    def __call__(self, number: int) -> Request:
        """Make the request, or give the one that was made before."""
        if self.workload.period is None:
            return self._make(number)
        number %= self.workload.period
        if number not in self._made:
            self._made[number] = self._make(number)
        return self._made[number]

    def _make(self, number: int) -> Request:
        items = [self.workload.item(number * self.batch + i) for i in range(self.batch)]
        asked = InferRequest(*_model(self.bundle, self.workload.kind), items)
        if self.endpoint.protocol == "grpc":
            return Request(GrpcWire(self.endpoint).infer(asked).payload)
        payload = HttpWire(self.endpoint).infer(asked).payload
        return Request(payload.body, payload.headers)


def target(endpoint: Endpoint, bundle: str, kind: Kind) -> Target:
    """Where the requests of that kind go."""
    if endpoint.protocol == "grpc":
        return Target(endpoint, "/inference.GRPCInferenceService/ModelInfer")
    model, _ = _model(bundle, kind)
    return Target(endpoint, f"/v2/models/{model}/infer")


def _model(bundle: str, kind: Kind) -> tuple[str, str]:
    """The Triton model and its input."""
    return (bundle + IMAGE_SUFFIX, "IMAGE") if kind == "image" else (bundle + TEXT_SUFFIX, "TEXT")


def statistics(endpoint: Endpoint) -> Statistics:
    """Triton's counters of all models, by name, since the server started.

    Raises:
        BenchmarkError: it does not tell.
    """
    try:
        models = _over_grpc(endpoint) if endpoint.protocol == "grpc" else _over_http(endpoint)
    except (grpc.RpcError, OSError, http.client.HTTPException, KeyError, ValueError) as error:
        raise BenchmarkError(f"{endpoint} gives no model statistics: {error}") from error
    return {model["name"]: model for model in models}


def _over_grpc(endpoint: Endpoint) -> list[dict[str, Any]]:
    make: Callable[..., grpc.Channel] = grpc.insecure_channel
    arguments: tuple[Any, ...] = (CHANNEL_OPTIONS,)
    if endpoint.tls:
        make, arguments = grpc.secure_channel, (grpc.ssl_channel_credentials(), CHANNEL_OPTIONS)
    with make(endpoint.authority, *arguments) as channel:
        stub = service_pb2_grpc.GRPCInferenceServiceStub(channel)
        answer = stub.ModelStatistics(service_pb2.ModelStatisticsRequest(), timeout=10)
    found = json_format.MessageToDict(answer, preserving_proto_field_name=True)
    models: list[dict[str, Any]] = found["model_stats"]
    return models


def _over_http(endpoint: Endpoint) -> list[dict[str, Any]]:
    secure = http.client.HTTPSConnection if endpoint.tls else http.client.HTTPConnection
    connection = secure(endpoint.host, endpoint.port, timeout=10)
    try:
        connection.request("GET", f"{endpoint.path}/v2/models/stats")
        models: list[dict[str, Any]] = json.loads(connection.getresponse().read())["model_stats"]
    finally:
        connection.close()
    return models


def steps(before: Statistics, after: Statistics) -> tuple[Step, ...]:
    """What each model did between the two, for those that did anything."""
    found = []
    for name, model in sorted(after.items()):
        past = before.get(name, {})
        requests = _grown(past, model, "success", "count")
        if not requests:
            continue
        executions = _counter(model, "execution_count") - _counter(past, "execution_count")
        inferences = _counter(model, "inference_count") - _counter(past, "inference_count")
        times = {
            key: _grown(past, model, key, "ns") / requests / 1e6
            for key in ("success", "queue", "compute_input", "compute_infer", "compute_output")
        }
        found.append(
            Step(
                model=name,
                requests=requests,
                batch=inferences / executions if executions else 0.0,
                total_ms=times["success"],
                queue_ms=times["queue"],
                input_ms=times["compute_input"],
                infer_ms=times["compute_infer"],
                output_ms=times["compute_output"],
                cache_hits=_grown(past, model, "cache_hit", "count"),
            )
        )
    return tuple(found)


def _grown(before: dict[str, Any], after: dict[str, Any], what: str, field: str) -> int:
    return _timer(after, what, field) - _timer(before, what, field)


def _timer(model: dict[str, Any], what: str, field: str) -> int:
    return _counter(model.get("inference_stats", {}).get(what, {}), field)


def _counter(values: dict[str, Any], key: str) -> int:
    """A number that protobuf leaves out when it is 0, and writes as a string."""
    return int(values.get(key, 0))
