"""Carrying HTTP calls, blocking.

On the standard library's client: that of `tritonclient.http` can neither be shared between threads
nor stopped, and knows no deadline.
"""

from __future__ import annotations

import http.client
import socket
import ssl
import time
from collections import deque
from contextlib import suppress
from functools import partial
from typing import TypeVar

from tritonclip.cancellation import Cancellation
from tritonclip.endpoint import Endpoint
from tritonclip.errors import ClientClosed
from tritonclip.http_wire import HEADER_LENGTH, HttpReply, HttpWire
from tritonclip.wire import Call, no_server, too_late

T = TypeVar("T")


class HttpTransport:
    """Blocking; any number of threads may send at once, each over a connection from a pool."""

    def __init__(self, endpoint: Endpoint) -> None:
        """Prepare for connections; they are made when needed."""
        self.wire = HttpWire(endpoint)
        self._endpoint = endpoint
        self._tls = ssl.create_default_context() if endpoint.tls else None
        self._idle: deque[http.client.HTTPConnection] = deque()
        self._closing = Cancellation()

    def send(self, call: Call[T], timeout: float, cancellation: Cancellation | None) -> T:
        """The answer to `call`, within about `timeout` seconds.

        Raises:
            TritonClipError: whatever went wrong.
        """
        if self._closing.cancelled:
            raise ClientClosed("the client is closed")
        cancellation = cancellation or self._closing
        try:
            return call.result(self._exchange(call, time.monotonic() + timeout, cancellation))
        except TimeoutError as error:
            raise too_late(self._endpoint, timeout) from error
        except (OSError, http.client.HTTPException) as error:
            if cancellation.cancelled:
                raise ClientClosed("the request was cancelled") from error
            if isinstance(error, http.client.BadStatusLine) and not isinstance(error, OSError):
                raise self.wire.not_http() from error
            raise no_server(self._endpoint, error or type(error).__name__) from error

    def close(self) -> None:
        """Disconnect, and stop what is in flight without a cancellation of its own."""
        self._closing.cancel()
        with suppress(IndexError):
            while True:
                self._idle.pop().close()

    def _exchange(self, call: Call[T], end: float, cancellation: Cancellation) -> HttpReply:
        try:
            waiting = self._idle.pop()
        except IndexError:
            return self._exchange_over(self._connection(), call, end, cancellation)
        with suppress(ConnectionError):
            # A connection that waited may have been dropped meanwhile, which shows only now.
            return self._exchange_over(waiting, call, end, cancellation)
        return self._exchange_over(self._connection(), call, end, cancellation)

    def _connection(self) -> http.client.HTTPConnection:
        host, port = self._endpoint.host, self._endpoint.port
        if self._tls is not None:
            return http.client.HTTPSConnection(host, port, context=self._tls)
        return http.client.HTTPConnection(host, port)

    def _exchange_over(
        self,
        connection: http.client.HTTPConnection,
        call: Call[T],
        end: float,
        cancellation: Cancellation,
    ) -> HttpReply:
        method, path = call.target.split(" ", 1)
        try:
            if connection.sock is None:
                connection.timeout = _until(end)
                connection.connect()
            with cancellation.stopping(partial(_hang_up, connection.sock)):
                connection.sock.settimeout(_until(end))
                connection.request(method, path, call.payload.body or None, call.payload.headers)
                connection.sock.settimeout(_until(end))
                response = connection.getresponse()
                reply = HttpReply(
                    response.status, response.getheader(HEADER_LENGTH), response.read()
                )
        except BaseException:
            connection.close()
            raise
        if self._closing.cancelled:
            connection.close()
        elif connection.sock is not None:  # else the server asked to close it
            self._idle.append(connection)
        return reply


def _until(end: float) -> float:
    if (left := end - time.monotonic()) <= 0:
        raise TimeoutError
    return left


def _hang_up(sock: socket.socket) -> None:
    # Unlike close(), this wakes the thread that is waiting for the answer.
    with suppress(OSError):
        sock.shutdown(socket.SHUT_RDWR)
