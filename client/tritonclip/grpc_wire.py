"""The questions and answers in gRPC: KServe v2 messages, as generated for `tritonclient.grpc`.

The raw messages rather than `tritonclient.grpc.InferInput`: that class takes a BYTES tensor only as
a numpy object array, which it then serialises element by element.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import grpc
import numpy as np
from tritonclient.grpc import service_pb2

from tritonclip.endpoint import Endpoint
from tritonclip.errors import (
    InvalidInput,
    ModelNotFound,
    ServerError,
    ServerUnavailable,
    TritonClipError,
)
from tritonclip.info import ModelConfig
from tritonclip.types import FloatArray
from tritonclip.wire import OUTPUT, Call, InferRequest, no_server, not_ready, too_late

# Triton's own limit, and protobuf's.
_INT32_MAX = 2**31 - 1

CHANNEL_OPTIONS: tuple[tuple[str, int], ...] = (
    ("grpc.max_send_message_length", _INT32_MAX),
    ("grpc.max_receive_message_length", _INT32_MAX),
    # An error's message travels as metadata. One that names every bad image of a request may exceed
    # gRPC's default of 8 KiB.
    ("grpc.max_metadata_size", 2**20),
    ("grpc.absolute_max_metadata_size", 2**21),
    # While a call waits, ping every five minutes: more often and Triton, with its default
    # --grpc-http2-min-recv-ping-interval-without-data, hangs up ("too_many_pings").
    ("grpc.keepalive_time_ms", 300_000),
    ("grpc.keepalive_timeout_ms", 20_000),
    # Look for a restarted server about as often as requests are retried, not every two minutes.
    ("grpc.initial_reconnect_backoff_ms", 100),
    ("grpc.max_reconnect_backoff_ms", 2_000),
)


class GrpcWire:
    """Makes calls whose target is a method of `GRPCInferenceService`."""

    def __init__(self, endpoint: Endpoint) -> None:
        """Word errors for the server at `endpoint`."""
        self._endpoint = endpoint

    def infer(self, request: InferRequest) -> Call[FloatArray]:
        """See `Wire`."""
        message = service_pb2.ModelInferRequest(
            model_name=request.model,
            inputs=[
                service_pb2.ModelInferRequest.InferInputTensor(
                    name=request.tensor, datatype="BYTES", shape=[len(request.items), 1]
                )
            ],
            outputs=[service_pb2.ModelInferRequest.InferRequestedOutputTensor(name=OUTPUT)],
            raw_input_contents=[request.serialized()],
        )
        return Call("ModelInfer", message, _read_embedding)

    def model_config(self, model: str) -> Call[ModelConfig]:
        """See `Wire`."""

        def read(response: Any) -> ModelConfig:
            parameters = {k: v.string_value for k, v in response.config.parameters.items()}
            return ModelConfig(response.config.max_batch_size, parameters)

        return Call("ModelConfig", service_pb2.ModelConfigRequest(name=model), read)

    def model_ready(self, model: str) -> Call[bool]:
        """See `Wire`."""
        request = service_pb2.ModelReadyRequest(name=model)
        return Call("ModelReady", request, lambda response: bool(response.ready))

    def models(self) -> Call[Mapping[str, str]]:
        """See `Wire`."""

        def read(response: Any) -> Mapping[str, str]:
            return {m.name: not_ready(m.state, m.reason) for m in response.models}

        return Call("RepositoryIndex", service_pb2.RepositoryIndexRequest(), read)

    def server_live(self) -> Call[bool]:
        """See `Wire`."""
        return Call("ServerLive", service_pb2.ServerLiveRequest(), lambda r: bool(r.live))

    def server_ready(self) -> Call[bool]:
        """See `Wire`."""
        return Call("ServerReady", service_pb2.ServerReadyRequest(), lambda r: bool(r.ready))

    def server_version(self) -> Call[str]:
        """See `Wire`."""
        return Call("ServerMetadata", service_pb2.ServerMetadataRequest(), lambda r: str(r.version))

    def failure(self, error: grpc.RpcError, timeout: float) -> TritonClipError:
        """The typed error for a failed call that had `timeout` seconds."""
        code, details = error.code(), error.details() or ""
        status = grpc.StatusCode
        if code is status.UNAVAILABLE:
            return self._unavailable(details)
        if code is status.RESOURCE_EXHAUSTED and not _too_large(details):
            return ServerUnavailable(f"the server at {self._endpoint} is overloaded: {details}")
        if code is status.DEADLINE_EXCEEDED:
            return too_late(self._endpoint, timeout)
        if code is status.INVALID_ARGUMENT:
            return InvalidInput(details)
        if code is status.NOT_FOUND:
            return ModelNotFound(f"{details} (server {self._endpoint})")
        if code is status.CANCELLED:
            return ServerUnavailable(f"{self._endpoint} cancelled the request: {details}")
        return ServerError(f"the server at {self._endpoint} failed: {details} ({code.name})")

    def _unavailable(self, details: str) -> ServerUnavailable:
        if "Socket closed" in details:
            return ServerUnavailable(
                f"{self._endpoint} hung up: it is shutting down, or this is not Triton's gRPC port "
                f"(8001 by default); for its HTTP port use http://{self._endpoint.authority}"
            )
        if "connect" in details or "resolving" in details:
            return no_server(self._endpoint, details)
        return ServerUnavailable(f"{self._endpoint} cannot take the request now: {details}")


def _too_large(details: str) -> bool:
    """Whether it is a message, rather than the server, that has reached a limit."""
    return "larger than max" in details or "exceeds" in details


def _read_embedding(response: Any) -> FloatArray:
    for output, raw in zip(response.outputs, response.raw_output_contents, strict=False):
        if output.name == OUTPUT and output.datatype == "FP32":
            return np.frombuffer(raw, dtype="<f4").reshape(tuple(output.shape))
    raise ServerError(f"model {response.model_name!r} answered without a tensor {OUTPUT} of FP32")
