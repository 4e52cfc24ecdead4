"""`/health/live` and `/health/ready`, where load balancers and clusters look."""

from __future__ import annotations

from typing import Any

from fastapi import APIRouter
from fastapi.responses import JSONResponse

from tritonclip_gateway.gateway import Shared

router = APIRouter(tags=["health"])


@router.get("/v1/health/live", include_in_schema=False)  # where NIM has it
@router.get("/health/live")
async def live() -> dict[str, str]:
    """The gateway answers."""
    return {"status": "live"}


@router.get("/v1/health/ready", include_in_schema=False)
@router.get("/health", include_in_schema=False)  # infinity's
@router.get("/health/ready", responses={503: {"description": "Not all of them do."}})
async def ready(gateway: Shared) -> JSONResponse:
    """All models answer on at least one server."""
    is_ready = gateway.models.is_ready
    content: dict[str, Any] = {
        "status": "ready" if is_ready else "not ready",
        "models": {model.info.name: model.is_ready for model in gateway.models},
    }
    return JSONResponse(content, 200 if is_ready else 503)
