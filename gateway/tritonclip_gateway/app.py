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

from tritonclip.errors import TritonClipError
from tritonclip_gateway.api import embeddings, health, labels, models, search, stream
from tritonclip_gateway.bodies import BodyLimit
from tritonclip_gateway.errors import ApiError, api_error
from tritonclip_gateway.gateway import Gateway
from tritonclip_gateway.settings import Settings

_LOG = logging.getLogger(__name__)

_CODES = {
    400: "invalid_json",
    404: "not_found",
    405: "method_not_allowed",
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
    for room in (embeddings, stream, models, labels, search, health):
        app.include_router(room.router)
    app.add_middleware(BodyLimit, limit=settings.max_body_bytes)
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
    return _answer(ApiError(error.status_code, code, phrase, headers=error.headers))


async def _on_bug(_: Request, error: Exception) -> JSONResponse:
    # Its message may hold what was asked, so only its kind is written down.
    _LOG.error("unexpected error", extra={"kind": type(error).__name__})
    return _answer(ApiError(500, "internal_error", "the gateway failed; this is a bug"))
