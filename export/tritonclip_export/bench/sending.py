"""Ready-made requests and the cheapest way to send them.

A request is bytes: nothing is encoded or decoded while the clock runs, so the generator costs about
the same whatever is in it, and any server that speaks gRPC or HTTP can be its target.
"""

from __future__ import annotations

import http.client
import ssl
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from functools import partial

import grpc

from tritonclip.endpoint import Endpoint
from tritonclip.grpc_wire import CHANNEL_OPTIONS


@dataclass(frozen=True)
class Target:
    """Where requests go: a server, and the gRPC method (`/package.Service/Method`) or HTTP path."""

    endpoint: Endpoint
    path: str


@dataclass(frozen=True)
class Request:
    """What goes out: a serialized message, or an HTTP body with its headers."""

    body: bytes
    headers: Mapping[str, str] = field(default_factory=dict)


class RequestFailed(Exception):  # noqa: N818 (counted, never shown as an error)
    """The server did not answer, or not with success."""


Send = Callable[[Request], bytes]


@contextmanager
def senders(target: Target, count: int, *, timeout: float) -> Iterator[list[Send]]:
    """Functions that send a request and wait for its answer, one for each of `count` threads.

    Over gRPC they share a connection, as the threads of one client do; over HTTP each has its own.
    They raise `RequestFailed`, after `timeout` seconds at the latest.
    """
    with ExitStack() as stack:
        if target.endpoint.protocol == "grpc":
            channel = stack.enter_context(_channel(target.endpoint))
            call = partial(_send_grpc, channel.unary_unary(target.path), timeout)
            yield [call] * count
        else:
            connections = [_connection(target.endpoint, timeout) for _ in range(count)]
            for connection in connections:
                stack.callback(connection.close)
            path = target.endpoint.path + target.path
            yield [partial(_send_http, connection, path) for connection in connections]


def _channel(endpoint: Endpoint) -> grpc.Channel:
    if endpoint.tls:
        credentials = grpc.ssl_channel_credentials()
        return grpc.secure_channel(endpoint.authority, credentials, CHANNEL_OPTIONS)
    return grpc.insecure_channel(endpoint.authority, CHANNEL_OPTIONS)


def _send_grpc(call: Callable[..., bytes], timeout: float, request: Request) -> bytes:
    try:
        return call(request.body, timeout=timeout)
    except grpc.RpcError as error:
        raise RequestFailed(f"{error.code().name}: {error.details()}") from error


def _connection(endpoint: Endpoint, timeout: float) -> http.client.HTTPConnection:
    if endpoint.tls:
        context = ssl.create_default_context()
        return http.client.HTTPSConnection(
            endpoint.host, endpoint.port, timeout=timeout, context=context
        )
    return http.client.HTTPConnection(endpoint.host, endpoint.port, timeout=timeout)


def _send_http(connection: http.client.HTTPConnection, path: str, request: Request) -> bytes:
    try:
        connection.request("POST", path, request.body, dict(request.headers))
        response = connection.getresponse()
        body = response.read()
    except (OSError, http.client.HTTPException) as error:
        connection.close()  # the next request opens it again
        raise RequestFailed(f"{type(error).__name__}: {error}") from error
    if response.status != 200:
        raise RequestFailed(f"HTTP {response.status}: {body[:200].decode(errors='replace')}")
    return body
