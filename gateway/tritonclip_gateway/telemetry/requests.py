"""Each request has an id, and leaves a line in the log and its time in the metrics."""

from __future__ import annotations

import logging
import re
import time
import uuid

from starlette.datastructures import Headers, MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from tritonclip_gateway.telemetry.metrics import Metrics

_LOG = logging.getLogger("tritonclip_gateway.requests")

HEADER = "X-Request-ID"
_ID = re.compile(r"[\w.:-]{1,64}", re.ASCII)
# Of a request that ended without an answer: its caller had hung up.
_NO_ANSWER = 499


class Requests:
    """ASGI middleware."""

    def __init__(self, app: ASGIApp, metrics: Metrics) -> None:
        self._app = app
        self._metrics = metrics

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Hand the request on, and see what becomes of it."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        given = Headers(scope=scope).get(HEADER, "")
        id = given if _ID.fullmatch(given) else uuid.uuid4().hex
        status = _NO_ANSWER

        async def with_id(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                MutableHeaders(scope=message)[HEADER] = id
            await send(message)

        began = time.perf_counter()
        try:
            await self._app(scope, receive, with_id)
        finally:
            seconds = time.perf_counter() - began
            # The route and not the path, which callers choose.
            route = getattr(scope.get("route"), "path", "none")
            self._metrics.answered(route, scope["method"], status, seconds, id)
            _LOG.info(
                "request",
                extra={
                    "request_id": id,
                    "route": route,
                    "method": scope["method"],
                    "status": status,
                    "seconds": round(seconds, 6),
                    "caller": scope.get("state", {}).get("caller"),
                },
            )
