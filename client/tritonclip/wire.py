"""What both protocols have in common: which questions a client asks, and how answers come.

A `Call` is a question that is ready to send and knows how to read its answer. `GrpcWire` and
`HttpWire` make calls; transports, blocking and asynchronous, do nothing but carry them.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Generic, Protocol, TypeVar

from numpy.typing import NDArray

from tritonclip.cancellation import Cancellation
from tritonclip.endpoint import Endpoint
from tritonclip.errors import RequestTimeout, ServerError, ServerUnavailable, TritonClipError
from tritonclip.info import ModelConfig

EMBEDDING = "EMBEDDING"

DTYPES = {"FP32": "<f4", "INT32": "<i4"}
"""Of the outputs that are read here, as numpy calls them."""

_LENGTH = struct.Struct("<I")

T = TypeVar("T")


@dataclass(frozen=True)
class InferRequest:
    """Items for one Triton model with a single BYTES input of shape [items, 1]."""

    model: str
    tensor: str
    items: Sequence[bytes]
    output: str = EMBEDDING
    """The tensor that is asked for."""

    def serialized(self) -> list[bytes]:
        """The BYTES tensor as Triton's binary format has it: each item after its length, uint32.

        In pieces, so that a protocol copies an image once: into the message that it sends. The
        format is part of the binary tensor data extension of the KServe v2 protocol.
        """
        parts: list[bytes] = []
        for item in self.items:
            parts += (_LENGTH.pack(len(item)), item)
        return parts


@dataclass(frozen=True)
class Call(Generic[T]):
    """One question to the server."""

    target: str
    """The gRPC method, or the HTTP method and path."""
    payload: Any
    """The serialized protobuf message, or the HTTP headers and body."""
    read: Callable[[Any], T]
    """Turns the raw answer into the result; see `result`."""

    def result(self, answer: Any) -> T:
        """What the raw answer says.

        Raises:
            TritonClipError: it says that something failed, or is none of Triton's.
        """
        try:
            return self.read(answer)
        except TritonClipError:
            raise
        except Exception as error:  # whatever parsing raises on what a stranger sent
            raise ServerError(
                f"the answer to {self.target} is not Triton's ({error!r}): is it a Triton server "
                "that answers, and nothing in between that changes its answers?"
            ) from error


class Wire(Protocol):
    """The questions, in one protocol."""

    def infer(self, request: InferRequest) -> Call[NDArray[Any]]:
        """Ask for the output [items, ...], e.g. embeddings [items, dim]."""

    def model_config(self, model: str) -> Call[ModelConfig]:
        """Ask for a model's configuration."""

    def model_ready(self, model: str) -> Call[bool]:
        """Ask whether a model is loaded."""

    def models(self) -> Call[Mapping[str, str]]:
        """Ask for the repository's models; each with why it is not ready, or '' if it is."""

    def server_live(self) -> Call[bool]:
        """Ask whether the server is up."""

    def server_ready(self) -> Call[bool]:
        """Ask whether the server takes requests."""

    def server_version(self) -> Call[str]:
        """Ask for Triton's version."""


class Transport(Protocol):
    """Carries calls to one server, for any number of threads."""

    @property
    def wire(self) -> Wire:
        """Makes the calls that this transport carries."""

    def send(self, call: Call[T], timeout: float, cancellation: Cancellation | None) -> T:
        """The answer to `call`; without a cancellation of its own, only `close` stops it."""

    def close(self) -> None:
        """Stop what is in flight and disconnect."""


class AsyncTransport(Protocol):
    """Carries calls to one server, within one event loop."""

    @property
    def wire(self) -> Wire:
        """Makes the calls that this transport carries."""

    async def send(self, call: Call[T], timeout: float) -> T:
        """The answer to `call`."""

    async def close(self) -> None:
        """Disconnect."""


def no_server(endpoint: Endpoint, why: object) -> ServerUnavailable:
    """The error for a connection that could not be made or broke."""
    what = "server with TLS" if endpoint.tls else "server"
    return ServerUnavailable(
        f"no {what} at {endpoint}: is it running? Start one with `tritonclip serve REPOSITORY`. "
        f"({why})"
    )


def too_late(endpoint: Endpoint, timeout: float) -> RequestTimeout:
    """The error for an answer that did not arrive within `timeout` seconds."""
    return RequestTimeout(
        f"no answer from {endpoint} within {timeout:.3g} s; raise `timeout`, or see whether the "
        "server is overloaded"
    )


def is_broken(message: str) -> bool:
    """Whether an error is about a Python model without a process, which `serve` will mend.

    The process ("stub") died, perhaps with this request; another may do.
    """
    return "Stub process" in message and "healthy" in message


def not_ready(state: str, reason: str) -> str:
    """Why a model of the repository index is not ready, or '' if it is."""
    return "" if state == "READY" else reason or "not loaded"
