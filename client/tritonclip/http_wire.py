"""The questions and answers in HTTP: the KServe v2 protocol with its binary tensor data extension.

A request is a JSON header followed by the tensor's raw bytes, and so is the answer.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import partial
from typing import Any
from urllib.parse import quote

import numpy as np
from numpy.typing import NDArray

from tritonclip.endpoint import Endpoint
from tritonclip.errors import (
    InvalidInput,
    ModelNotFound,
    ServerError,
    ServerUnavailable,
    TritonClipError,
    WrongProtocol,
)
from tritonclip.info import ModelConfig
from tritonclip.wire import DTYPES, Call, InferRequest, is_broken, not_ready

HEADER_LENGTH = "Inference-Header-Content-Length"


@dataclass(frozen=True)
class HttpRequest:
    """What goes out besides method and path."""

    headers: Mapping[str, str] = field(default_factory=dict)
    body: bytes = b""


@dataclass(frozen=True)
class HttpReply:
    """What came back."""

    status: int
    header_length: str | None
    body: bytes


class HttpWire:
    """Makes calls whose target is `METHOD /path`."""

    def __init__(self, endpoint: Endpoint) -> None:
        """Ask, and word errors for, the server at `endpoint`."""
        self._endpoint = endpoint

    def infer(self, request: InferRequest) -> Call[NDArray[Any]]:
        """See `Wire`."""
        parts = request.serialized()
        header = json.dumps(
            {
                "inputs": [
                    {
                        "name": request.tensor,
                        "shape": [len(request.items), 1],
                        "datatype": "BYTES",
                        "parameters": {"binary_data_size": sum(map(len, parts))},
                    }
                ],
                "outputs": [{"name": request.output, "parameters": {"binary_data": True}}],
            }
        ).encode()
        return Call(
            f"POST {self._model(request.model)}/infer",
            HttpRequest({HEADER_LENGTH: str(len(header))}, b"".join([header, *parts])),
            partial(self._read, request.output),
        )

    def model_config(self, model: str) -> Call[ModelConfig]:
        """See `Wire`."""

        def read(reply: HttpReply) -> ModelConfig:
            config = self._json(reply)
            parameters = config.get("parameters", {})
            return ModelConfig(
                int(config.get("max_batch_size", 0)),
                {key: value.get("string_value", "") for key, value in parameters.items()},
            )

        return Call(f"GET {self._model(model)}/config", HttpRequest(), read)

    def model_ready(self, model: str) -> Call[bool]:
        """See `Wire`."""
        return self._check(f"{self._model(model)}/ready")

    def models(self) -> Call[Mapping[str, str]]:
        """See `Wire`."""

        def read(reply: HttpReply) -> Mapping[str, str]:
            return {
                model["name"]: not_ready(model.get("state", ""), model.get("reason", ""))
                for model in self._json(reply)
            }

        path = f"{self._endpoint.path}/v2/repository/index"
        return Call(f"POST {path}", HttpRequest(body=b"{}"), read)

    def server_live(self) -> Call[bool]:
        """See `Wire`."""
        return self._check(f"{self._endpoint.path}/v2/health/live")

    def server_ready(self) -> Call[bool]:
        """See `Wire`."""
        return self._check(f"{self._endpoint.path}/v2/health/ready")

    def server_version(self) -> Call[str]:
        """See `Wire`."""
        return Call(
            f"GET {self._endpoint.path}/v2",
            HttpRequest(),
            lambda reply: str(self._json(reply)["version"]),
        )

    def not_http(self) -> TritonClipError:
        """The typed error for an answer that is not HTTP."""
        return WrongProtocol(
            f"what answers at {self._endpoint} is not HTTP: connect to Triton's HTTP port (8000 by "
            f"default), or with grpc://{self._endpoint.authority}"
        )

    def _model(self, name: str) -> str:
        return f"{self._endpoint.path}/v2/models/{quote(name, safe='')}"

    def _check(self, path: str) -> Call[bool]:
        def read(reply: HttpReply) -> bool:
            return reply.status == 200

        return Call(f"GET {path}", HttpRequest(), read)

    def _json(self, reply: HttpReply) -> Any:
        self._raise_for_status(reply)
        return json.loads(reply.body)

    def _read(self, name: str, reply: HttpReply) -> NDArray[Any]:
        self._raise_for_status(reply)
        split = int(reply.header_length or len(reply.body))
        for output in json.loads(reply.body[:split])["outputs"]:
            if output["name"] == name and (dtype := DTYPES.get(output["datatype"])):
                return np.frombuffer(reply.body, dtype, offset=split).reshape(output["shape"])
        raise ServerError(f"{self._endpoint} answered without a tensor {name} of numbers")

    def _raise_for_status(self, reply: HttpReply) -> None:
        if reply.status == 200:
            return
        try:
            message = str(json.loads(reply.body)["error"])
        except (ValueError, KeyError, TypeError):
            message = ""
        # 405 for methods that Triton takes there, or 404 not as it says it.
        if reply.status == 405 or (reply.status == 404 and not message):
            raise WrongProtocol(
                f"what answers at {self._endpoint} (HTTP {reply.status}) is not Triton's HTTP "
                "port, 8000 by default: 8002 is that of its metrics, and gRPC's is 8001"
            )
        message = message or reply.body[:200].decode(errors="replace").strip() or "no explanation"
        where = f"{self._endpoint} (HTTP {reply.status})"
        if reply.status in (429, 502, 503) or is_broken(message):
            raise ServerUnavailable(f"the server at {where} cannot take the request now: {message}")
        if reply.status == 404:
            raise ModelNotFound(f"{message}, server {where}")
        if reply.status == 400:
            raise InvalidInput(message)
        raise ServerError(f"the server at {where} failed: {message}")
