"""`/metrics`, for Prometheus."""

from __future__ import annotations

from fastapi import APIRouter, Request, Response

from tritonclip_gateway.gateway import Shared

router = APIRouter(tags=["health"])


@router.get("/metrics", response_class=Response)
async def metrics(request: Request, gateway: Shared) -> Response:
    """Counts, queue and latencies; in OpenMetrics, with exemplars, where that is asked for."""
    content, media_type = gateway.measured().written(request.headers.get("accept", ""))
    return Response(content, media_type=media_type)
