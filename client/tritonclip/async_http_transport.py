"""Carrying HTTP calls, asynchronously, with aiohttp, as `tritonclient.http.aio` does."""

from __future__ import annotations

import asyncio
import io
from typing import TypeVar

import aiohttp

from tritonclip.endpoint import Endpoint
from tritonclip.errors import ClientClosed
from tritonclip.http_wire import HEADER_LENGTH, HttpReply, HttpWire
from tritonclip.wire import Call, no_server, too_late

T = TypeVar("T")


class AsyncHttpTransport:
    """Asynchronous; belongs to the event loop in which it was made."""

    def __init__(self, endpoint: Endpoint) -> None:
        """Prepare for connections; they are made when needed."""
        self.wire = HttpWire(endpoint)
        self._endpoint = endpoint
        self._origin = f"{endpoint.protocol}{'s' if endpoint.tls else ''}://{endpoint.authority}"
        # The client bounds the requests in flight, for both protocols alike.
        self._session = aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0))

    async def send(self, call: Call[T], timeout: float) -> T:
        """The answer to `call`, within `timeout` seconds.

        Raises:
            TritonClipError: whatever went wrong.
        """
        if self._session.closed:
            raise ClientClosed("the client is closed")
        method, path = call.target.split(" ", 1)
        try:
            async with self._session.request(
                method,
                self._origin + path,
                headers=call.payload.headers,
                # A file, because aiohttp warns that large bytes would hold up the event loop.
                data=io.BytesIO(call.payload.body) if call.payload.body else None,
                timeout=aiohttp.ClientTimeout(total=timeout),
            ) as response:
                length = response.headers.get(HEADER_LENGTH)
                reply = HttpReply(response.status, length, await response.read())
        except asyncio.TimeoutError as error:
            raise too_late(self._endpoint, timeout) from error
        except aiohttp.ClientResponseError as error:
            raise self.wire.not_http() from error
        except (aiohttp.ClientError, OSError) as error:
            if self._session.closed:
                raise ClientClosed("the client was closed during the request") from error
            raise no_server(self._endpoint, error or type(error).__name__) from error
        return call.result(reply)

    async def close(self) -> None:
        """Break off what is in flight and disconnect."""
        await self._session.close()
