"""Carrying gRPC calls, blocking and asynchronously."""

from __future__ import annotations

import asyncio
from typing import Any, TypeVar

import grpc

from tritonclip.cancellation import Cancellation
from tritonclip.endpoint import Endpoint
from tritonclip.errors import ClientClosed
from tritonclip.grpc_wire import SERVICE, GrpcWire, channel_options
from tritonclip.wire import Call

T = TypeVar("T")


class GrpcTransport:
    """Blocking; any number of threads may send at once over the one connection."""

    def __init__(self, endpoint: Endpoint) -> None:
        """Prepare a connection; it is made when first needed."""
        self.wire = GrpcWire(endpoint)
        options = channel_options(endpoint)
        if endpoint.tls:
            credentials = grpc.ssl_channel_credentials()
            self._channel = grpc.secure_channel(endpoint.authority, credentials, options)
        else:
            self._channel = grpc.insecure_channel(endpoint.authority, options)
        self._methods = _Methods(self._channel)
        self._closed = False

    def send(self, call: Call[T], timeout: float, cancellation: Cancellation | None) -> T:
        """The answer to `call`, within `timeout` seconds.

        Raises:
            TritonClipError: whatever went wrong.
        """
        try:
            return call.result(self._answer(call, timeout, cancellation))
        except (grpc.RpcError, grpc.FutureCancelledError) as error:
            cancelled = self._closed or (cancellation is not None and cancellation.cancelled)
            if cancelled or isinstance(error, grpc.FutureCancelledError):
                raise ClientClosed("the request was cancelled") from error
            raise self.wire.failure(error, timeout) from error

    def close(self) -> None:
        """Cancel what is in flight and disconnect."""
        self._closed = True
        self._channel.close()

    def _answer(self, call: Call[T], timeout: float, cancellation: Cancellation | None) -> bytes:
        method = self._methods[call.target]
        try:
            if cancellation is None:
                # Half the CPU time of a future, which another thread completes.
                answer: bytes = method(call.payload, timeout=timeout)
                return answer
            future = method.future(call.payload, timeout=timeout)
        except ValueError as error:  # "Cannot invoke RPC on closed channel!"
            raise ClientClosed("the client is closed") from error
        try:
            with cancellation.stopping(future.cancel):
                answer = future.result()
                return answer
        finally:
            future.cancel()  # for Ctrl-C in the wait above; a finished call does not mind


class AsyncGrpcTransport:
    """Asynchronous; belongs to the event loop in which it was made."""

    def __init__(self, endpoint: Endpoint) -> None:
        """Prepare a connection; it is made when first needed."""
        self.wire = GrpcWire(endpoint)
        options = channel_options(endpoint)
        if endpoint.tls:
            credentials = grpc.ssl_channel_credentials()
            channel = grpc.aio.secure_channel(endpoint.authority, credentials, options)
        else:
            channel = grpc.aio.insecure_channel(endpoint.authority, options)
        self._channel = channel
        self._methods = _Methods(channel)
        self._closed = False

    async def send(self, call: Call[T], timeout: float) -> T:
        """The answer to `call`, within `timeout` seconds.

        Raises:
            TritonClipError: whatever went wrong.
        """
        if self._closed:
            raise ClientClosed("the client is closed")
        try:
            return call.result(await self._methods[call.target](call.payload, timeout=timeout))
        except (grpc.RpcError, asyncio.CancelledError, grpc.aio.UsageError) as error:
            # Closing the channel cancels its calls, which looks as if the waiting task had been.
            if self._closed:
                raise ClientClosed("the client was closed during the request") from error
            if isinstance(error, grpc.RpcError):
                raise self.wire.failure(error, timeout) from error
            raise

    async def close(self) -> None:
        """Cancel what is in flight and disconnect."""
        self._closed = True
        await self._channel.close()


class _Methods(dict[str, Any]):
    """A channel's methods by name, which take and give serialized messages; made once."""

    def __init__(self, channel: Any) -> None:
        super().__init__()
        self._channel = channel

    def __missing__(self, name: str) -> Any:
        return self.setdefault(name, self._channel.unary_unary(SERVICE + name))
