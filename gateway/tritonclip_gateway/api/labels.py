"""`/v1/classify` and `/v1/similarity`: pictures beside words."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Any

import numpy as np
from fastapi import APIRouter, Request
from pydantic import BaseModel, ConfigDict, Field

from tritonclip.scoring import classifications
from tritonclip_gateway.api.embeddings import check_count
from tritonclip_gateway.embedding import Embedded, embed
from tritonclip_gateway.errors import bad_items
from tritonclip_gateway.gateway import Gateway, Shared, together
from tritonclip_gateway.inputs.items import PIXEL, Text, read_picture
from tritonclip_gateway.triton.model import Model

router = APIRouter(tags=["zero-shot"])

Pictures = Annotated[
    list[str],
    Field(
        min_length=1, description="`data:image/...;base64,` URIs, base64, or URLs of allowed hosts."
    ),
]
Words = Annotated[str, Field(min_length=1)]


class ClassifyRequest(BaseModel):
    """Pictures, and what they may show."""

    model_config = ConfigDict(
        json_schema_extra={"examples": [{"images": [PIXEL], "labels": ["cat", "dog", "rocket"]}]}
    )

    model: str | None = None
    images: Pictures
    labels: list[Words] = Field(min_length=1)
    templates: str | list[str] = Field(
        "photo", description="photo, openai (80 prompts), plain, or sentences with {}."
    )
    top: int = Field(5, ge=1, description="Labels to give for each picture.")


class SimilarityRequest(BaseModel):
    """Pictures, and texts to compare each with."""

    model_config = ConfigDict(
        json_schema_extra={"examples": [{"images": [PIXEL], "texts": ["a cat", "a white page"]}]}
    )

    model: str | None = None
    images: Pictures
    texts: list[str] = Field(min_length=1)


@router.post("/v1/classify")
async def classify(body: ClassifyRequest, request: Request, gateway: Shared) -> dict[str, Any]:
    """Probabilities of pictures over labels, with softmax or sigmoid as the model was trained."""
    model = gateway.models.get(body.model)
    check_count(len(body.images) + len(body.labels), gateway.settings.max_items, "images")

    async def work() -> tuple[Embedded, Any]:
        embedded, vectors = await together(
            _embed_pictures(body.images, model, gateway),
            model.ask(lambda client: client.label_embeddings(body.labels, body.templates)),
        )
        return embedded, vectors

    embedded, vectors = await gateway.carry(request, len(body.images) + len(body.labels), work)
    found = classifications(embedded.vectors, vectors, body.labels, model.info)
    data = [
        {
            "index": i,
            "labels": [{"label": x, "probability": p} for x, p in each.top(body.top)],
        }
        for i, each in enumerate(found)
    ]
    return {"object": "list", "data": data, "model": model.info.name}


@router.post("/v1/similarity")
async def similarity(body: SimilarityRequest, request: Request, gateway: Shared) -> dict[str, Any]:
    """Cosines of pictures with texts: `data[i].scores[j]` is of `images[i]` and `texts[j]`."""
    model = gateway.models.get(body.model)
    items = len(body.images) + len(body.texts)
    check_count(items, gateway.settings.max_items, "images")

    async def work() -> tuple[Embedded, Embedded]:
        pictures, texts = await together(
            _embed_pictures(body.images, model, gateway),
            embed([Text(text) for text in body.texts], model, gateway, long="cut"),
        )
        return pictures, texts

    pictures, texts = await gateway.carry(request, items, work)
    if texts.problems:
        raise bad_items(texts.problems, "texts")
    scores = np.einsum("id,td->it", pictures.vectors, texts.vectors)
    data = [{"index": i, "scores": row.tolist()} for i, row in enumerate(scores)]
    return {"object": "list", "data": data, "model": model.info.name}


async def _embed_pictures(pictures: Sequence[str], model: Model, gateway: Gateway) -> Embedded:
    items = [read_picture(picture, i) for i, picture in enumerate(pictures)]
    embedded = await embed(items, model, gateway, long="refuse")
    if embedded.problems:
        raise bad_items(embedded.problems, "images")
    return embedded
