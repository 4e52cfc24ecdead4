"""Serves the page: files as they lie in `static/`, which no other host adds to."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from fastapi import APIRouter, Request
from starlette.responses import Response
from starlette.staticfiles import StaticFiles

STATIC = Path(__file__).with_name("static")

HEADERS = {
    # What is shown comes from here alone; pictures that are dropped are shown from memory.
    "Content-Security-Policy": (
        "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; "
        "img-src 'self' data: blob:; media-src 'self' blob:; "
        "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    ),
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    # Asked again each time, and answered by 304: a page of one release with the script of another
    # would be worse than the request.
    "Cache-Control": "no-cache",
}

# Else the machine's own table decides, which on some calls scripts plain text.
_TYPES = {
    ".html": "text/html; charset=utf-8",
    ".css": "text/css; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".svg": "image/svg+xml",
}


class Assets(StaticFiles):
    """The page's files, with their headers."""

    def __init__(self) -> None:
        super().__init__(directory=STATIC)

    def file_response(self, full_path: Any, *args: Any, **kwargs: Any) -> Response:
        """See Starlette."""
        response = super().file_response(full_path, *args, **kwargs)
        response.headers.update(HEADERS)
        if media := _TYPES.get(Path(full_path).suffix):
            response.headers["Content-Type"] = media
        return response


router = APIRouter(include_in_schema=False)
_ASSETS = Assets()


@router.get("/")
async def index(request: Request) -> Response:
    """The page itself."""
    return await _ASSETS.get_response("index.html", request.scope)
