"""Who may ask, and how often."""

from __future__ import annotations

import math
import time

from limits import RateLimitItem
from limits.storage import MemoryStorage
from limits.strategies import MovingWindowRateLimiter
from starlette.requests import HTTPConnection
from starlette.responses import JSONResponse
from starlette.types import ASGIApp, Receive, Scope, Send

from tritonclip_gateway.errors import ApiError
from tritonclip_gateway.guards.keys import Keys

COOKIE = "tritonclip-key"
"""For pictures in a page, which cannot send a header; of requests that change nothing only."""

_OPEN = ("/v1/health/live", "/v1/health/ready")
# The application itself; what is not here holds nothing of anybody.
_GUARDED = ("/v1/", "/metrics")


class Access:
    """ASGI middleware: asks for a key where there are any, and counts requests of each caller."""

    def __init__(self, app: ASGIApp, keys: Keys, rate: RateLimitItem | None) -> None:
        """Let everybody in if there are no keys, each with this rate if not one of its own."""
        self._app = app
        self._keys = keys
        self._rate = rate
        self._rates = {key.name: key.rate for key in keys if key.rate is not None}
        self._limiter = MovingWindowRateLimiter(MemoryStorage())

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Hand the request on, or answer it."""
        guarded = scope["type"] == "http" and scope["path"].startswith(_GUARDED)
        if guarded and scope["path"] not in _OPEN:
            try:
                self._admit(HTTPConnection(scope))
            except ApiError as error:
                answer = JSONResponse(error.to_json(), error.status, error.headers)
                await answer(scope, receive, send)
                return
        await self._app(scope, receive, send)

    def _admit(self, connection: HTTPConnection) -> None:
        key = None
        if self._keys:
            key = self._keys.find(_presented(connection))
            if key is None:
                raise ApiError(
                    401,
                    "invalid_api_key",
                    "no valid API key; send it as `Authorization: Bearer KEY`",
                    headers={"WWW-Authenticate": "Bearer"},
                )
            connection.scope["state"]["caller"] = key.name
        caller = key.name if key is not None else (connection.client or ("",))[0]
        rate = self._rates.get(caller, self._rate)
        if rate is not None and not self._limiter.hit(rate, caller):
            reset = self._limiter.get_window_stats(rate, caller).reset_time
            after = max(1, math.ceil(reset - time.time()))
            raise ApiError(
                429,
                "rate_limit_exceeded",
                f"more than {rate.amount} requests in {rate.get_expiry()} s; "
                f"try again in {after} s",
                headers={"Retry-After": str(after)},
            )


def _presented(connection: HTTPConnection) -> str:
    scheme, _, key = connection.headers.get("authorization", "").partition(" ")
    if scheme.lower() == "bearer":
        return key.strip()
    if (named := connection.headers.get("x-api-key")) is not None:
        return named
    changes_nothing = connection.scope["method"] in ("GET", "HEAD")
    return connection.cookies.get(COOKIE, "") if changes_nothing else ""
