"""Limits to requests: their size, also where they do not say it, and the time that they take."""

from __future__ import annotations

import asyncio

from starlette.exceptions import HTTPException
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from tritonclip_gateway.api.stream import PATH

# What is left of the body is not waited for.
_HANG_UP = {"Connection": "close"}


class BodyLimit:
    """ASGI middleware; streams of lines have no limit but for each line."""

    def __init__(self, app: ASGIApp, limit: int, timeout: float) -> None:
        """Take bodies of `limit` bytes, each part of which arrives within `timeout` seconds."""
        self._app = app
        self._limit = limit
        self._timeout = timeout

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Hand the request on, and count its body."""
        if scope["type"] != "http" or scope["path"] == PATH:
            await self._app(scope, receive, send)
            return
        read = 0
        ended = False

        async def counted() -> Message:
            nonlocal read, ended
            if ended:  # whoever asks now waits for the caller to hang up
                return await receive()
            try:
                message = await asyncio.wait_for(receive(), self._timeout)
            except asyncio.TimeoutError:
                raise HTTPException(408, headers=_HANG_UP) from None
            ended = not message.get("more_body", False)
            read += len(message.get("body", b""))
            if read > self._limit:
                raise HTTPException(413, headers=_HANG_UP)
            return message

        await self._app(scope, counted, send)
