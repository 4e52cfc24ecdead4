"""The questions and answers in gRPC: KServe v2 messages, as generated for `tritonclient.grpc`.

The raw messages rather than `tritonclient.grpc.InferInput`: that class takes a BYTES tensor only as
a numpy object array, which it then serialises element by element. Requests leave here serialized,
because protobuf would copy the images twice: into the message, and out of it.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import lru_cache, partial
from typing import Any

import grpc
import numpy as np
from numpy.typing import NDArray
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
from tritonclip.wire import DTYPES, Call, InferRequest, is_broken, no_server, not_ready, too_late

SERVICE = "/inference.GRPCInferenceService/"

# Triton's own limit, and protobuf's.
_INT32_MAX = 2**31 - 1

CHANNEL_OPTIONS: tuple[tuple[str, int | str], ...] = (
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
    # A name may stand for several servers, as that of a Kubernetes service without an address of
    # its own does: take them in turns, rather than send everything to the first. They are looked
    # up again when a connection ends, but no more than once a second.
    ("grpc.service_config", '{"loadBalancingConfig": [{"round_robin": {}}]}'),
    ("grpc.dns_min_time_between_resolutions_ms", 1_000),
)


def channel_options(endpoint: Endpoint) -> tuple[tuple[str, int], ...]:
    """How to connect; gRPC would ask the proxy in `http_proxy` for this very machine."""
    proxy = (("grpc.enable_http_proxy", 0),) if endpoint.is_loopback else ()
    return (*CHANNEL_OPTIONS, *proxy)


class GrpcWire:
    """Makes calls whose target is a method of `SERVICE`; requests and responses are serialized."""

    def __init__(self, endpoint: Endpoint) -> None:
        """Word errors for the server at `endpoint`."""
        self._endpoint = endpoint

    def infer(self, request: InferRequest) -> Call[NDArray[Any]]:
        """See `Wire`."""
        parts = request.serialized()
        head = _head(request.model, request.tensor, len(request.items), request.output)
        tensor = _RAW_INPUT + _varint(sum(map(len, parts)))
        return Call("ModelInfer", b"".join([head, tensor, *parts]), partial(_read, request.output))

    def model_config(self, model: str) -> Call[ModelConfig]:
        """See `Wire`."""

        def read(response: bytes) -> ModelConfig:
            config = service_pb2.ModelConfigResponse.FromString(response).config
            parameters = {k: v.string_value for k, v in config.parameters.items()}
            return ModelConfig(config.max_batch_size, parameters)

        request = service_pb2.ModelConfigRequest(name=model)
        return Call("ModelConfig", request.SerializeToString(), read)

    def model_ready(self, model: str) -> Call[bool]:
        """See `Wire`."""

        def read(response: bytes) -> bool:
            return bool(service_pb2.ModelReadyResponse.FromString(response).ready)

        request = service_pb2.ModelReadyRequest(name=model)
        return Call("ModelReady", request.SerializeToString(), read)

    def models(self) -> Call[Mapping[str, str]]:
        """See `Wire`."""

        def read(response: bytes) -> Mapping[str, str]:
            models = service_pb2.RepositoryIndexResponse.FromString(response).models
            return {m.name: not_ready(m.state, m.reason) for m in models}

        return Call("RepositoryIndex", b"", read)

    def server_live(self) -> Call[bool]:
        """See `Wire`."""

        def read(response: bytes) -> bool:
            return bool(service_pb2.ServerLiveResponse.FromString(response).live)

        return Call("ServerLive", b"", read)

    def server_ready(self) -> Call[bool]:
        """See `Wire`."""

        def read(response: bytes) -> bool:
            return bool(service_pb2.ServerReadyResponse.FromString(response).ready)

        return Call("ServerReady", b"", read)

    def server_version(self) -> Call[str]:
        """See `Wire`."""

        def read(response: bytes) -> str:
            return str(service_pb2.ServerMetadataResponse.FromString(response).version)

        return Call("ServerMetadata", b"", read)

    def failure(self, error: grpc.RpcError, timeout: float) -> TritonClipError:
        """The typed error for a failed call that had `timeout` seconds."""
        code, details = error.code(), error.details() or ""
        status = grpc.StatusCode
        if code is status.UNAVAILABLE or is_broken(details):
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


@lru_cache(maxsize=1024)
def _head(model: str, tensor: str, items: int, output: str) -> bytes:
    """A request without its tensor; a message's serialized parts may simply follow each other."""
    message = service_pb2.ModelInferRequest(
        model_name=model,
        inputs=[
            service_pb2.ModelInferRequest.InferInputTensor(
                name=tensor, datatype="BYTES", shape=[items, 1]
            )
        ],
        outputs=[service_pb2.ModelInferRequest.InferRequestedOutputTensor(name=output)],
    )
    return bytes(message.SerializeToString())


def _varint(number: int) -> bytes:
    """A length, as it stands in a serialized message."""
    encoded = bytearray()
    while number > 0x7F:
        encoded.append(number & 0x7F | 0x80)
        number >>= 7
    encoded.append(number)
    return bytes(encoded)


# Wire type 2: what follows the field's number is a length and so many bytes.
_RAW_INPUT = _varint(service_pb2.ModelInferRequest.RAW_INPUT_CONTENTS_FIELD_NUMBER << 3 | 2)


def _read(name: str, message: bytes) -> NDArray[Any]:
    response: Any = service_pb2.ModelInferResponse.FromString(message)
    for output, raw in zip(response.outputs, response.raw_output_contents, strict=False):
        if output.name == name and output.datatype in DTYPES:
            return np.frombuffer(raw, dtype=DTYPES[output.datatype]).reshape(tuple(output.shape))
    raise ServerError(f"model {response.model_name!r} answered without a tensor {name} of numbers")
