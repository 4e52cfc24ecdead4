"""The application: routes, and what happens around each request."""

from __future__ import annotations

import importlib.metadata
import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from http import HTTPStatus

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from fastapi_offline import FastAPIOffline
from starlette.exceptions import HTTPException
from starlette.middleware.cors import CORSMiddleware

from tritonclip.errors import TritonClipError
from tritonclip_gateway.api import (
    embeddings,
    health,
    labels,
    metrics,
    models,
    moderations,
    search,
    stream,
)
from tritonclip_gateway.errors import ApiError, api_error
from tritonclip_gateway.gateway import Gateway
from tritonclip_gateway.guards.access import Access
from tritonclip_gateway.guards.bodies import BodyLimit
from tritonclip_gateway.guards.exposure import check_exposure
from tritonclip_gateway.guards.headers import SafeHeaders
from tritonclip_gateway.guards.keys import read_keys
from tritonclip_gateway.guards.rates import parse_rate
from tritonclip_gateway.page import assets
from tritonclip_gateway.settings import Settings
from tritonclip_gateway.telemetry.requests import Requests
from tritonclip_gateway.telemetry.tracing import trace

_LOG = logging.getLogger(__name__)

_CODES = {
    400: "invalid_json",
    404: "not_found",
    405: "method_not_allowed",
    408: "timeout",
    413: "request_too_large",
}


def create_app(settings: Settings) -> FastAPI:
    """The gateway as an ASGI application."""
    gateway = Gateway(settings)

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        await gateway.start()
        yield
        await gateway.stop()

    app = FastAPIOffline(
        title="TritonCLIP gateway",
        version=importlib.metadata.version("tritonclip"),
        description="Embeddings, zero-shot labels and search, in the shapes clients speak already.",
        lifespan=lifespan,
        redoc_url=None,
        responses={"default": {"description": "An error in OpenAI's shape."}},
    )
    app.state.gateway = gateway
    for room in (embeddings, stream, models, labels, search, moderations, health, metrics):
        app.include_router(room.router)
    app.include_router(assets.router)
    app.mount("/page", assets.Assets())
    # The last one is the first that a request comes to.
    app.add_middleware(BodyLimit, limit=settings.max_body_bytes, timeout=settings.timeout)
    keys = read_keys(settings.keys_file, (key.get_secret_value() for key in settings.keys))
    check_exposure(settings, keys)
    rate = None if settings.rate is None else parse_rate(settings.rate)
    app.add_middleware(Access, keys=keys, rate=rate)
    if settings.cors:
        app.add_middleware(
            CORSMiddleware,
            allow_origins=settings.cors,
            allow_methods=["GET", "POST"],
            allow_headers=["*"],
        )
    app.add_middleware(SafeHeaders, tls=settings.tls_certificate is not None)
    app.add_middleware(Requests, metrics=gateway.metrics)
    if settings.traces is not None:
        trace(app, settings.traces)
    app.add_exception_handler(ApiError, _on_api_error)
    app.add_exception_handler(TritonClipError, _on_ours)
    app.add_exception_handler(RequestValidationError, _on_invalid)
    app.add_exception_handler(HTTPException, _on_http)
    app.add_exception_handler(Exception, _on_bug)
    return app


def _answer(error: ApiError) -> JSONResponse:
    return JSONResponse(error.to_json(), error.status, error.headers)


async def _on_api_error(_: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, ApiError)
    return _answer(error)


async def _on_ours(_: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, TritonClipError)
    answer = api_error(error)
    if answer.status >= 500:
        _LOG.warning("a request failed", extra={"code": answer.code, "reason": str(error)})
    return _answer(answer)


async def _on_invalid(_: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, RequestValidationError)
    first, *others = error.errors()
    place = [str(part) for part in first["loc"] if part not in ("body", "query", "path")]
    if first["type"] == "json_invalid":
        return _answer(ApiError(400, "invalid_json", "the body is not JSON"))
    more = f" ({len(others)} more)" if others else ""
    message = f"{'.'.join(place) or 'the body'}: {first['msg']}{more}"
    return _answer(ApiError(400, "invalid_request", message, param=place[0] if place else None))


async def _on_http(_: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, HTTPException)
    code = _CODES.get(error.status_code, "invalid_request")
    phrase = HTTPStatus(error.status_code).phrase.lower()
    if error.status_code == 400:  # FastAPI's for JSON that Python's own reader gives up on
        phrase = "the body is not UTF-8, is nested too deep, or has a number of thousands of digits"
    return _answer(ApiError(error.status_code, code, phrase, headers=error.headers))


async def _on_bug(_: Request, error: Exception) -> JSONResponse:
    # Its message may hold what was asked, so only its kind is written down.
    _LOG.error("unexpected error", extra={"kind": type(error).__name__})
    return _answer(ApiError(500, "internal_error", "the gateway failed; this is a bug"))
