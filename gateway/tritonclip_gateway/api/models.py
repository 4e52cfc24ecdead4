"""`/v1/models`: what is served, under which names."""

from __future__ import annotations

from typing import Any

from fastapi import APIRouter

from tritonclip_gateway.gateway import Shared
from tritonclip_gateway.triton.model import Model

router = APIRouter(tags=["models"])


@router.get("/v1/models")
async def models(gateway: Shared) -> dict[str, Any]:
    """All models, and the names that stand for one of them."""
    named = {model.info.name: model for model in gateway.models}
    aliased = {
        alias: named[name] for alias, name in gateway.models.aliases.items() if name in named
    }
    data = [describe(name, model) for name, model in {**named, **aliased}.items()]
    return {"object": "list", "data": data}


@router.get("/v1/models/{name}")
async def model(name: str, gateway: Shared) -> dict[str, Any]:
    """One model."""
    return describe(name, gateway.models.get(name))


def describe(name: str, model: Model) -> dict[str, Any]:
    """OpenAI's fields, and what an application has to know besides."""
    info = model.info
    return {
        "id": name,
        "object": "model",
        "created": model.created,
        "owned_by": "tritonclip",
        "root": info.name,
        "source": info.source,
        "dimensions": info.dim,
        "context_length": info.context_length,
        "modalities": ["text", "image"],
        "image_size": [info.image_width, info.image_height],
        "similarity": info.similarity,
        "precision": info.precision,
        "ready": model.is_ready,
    }
