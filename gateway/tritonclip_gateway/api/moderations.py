"""`/v1/moderations`, in OpenAI's shape over a policy of one's own, and `/v1/heads/NAME`."""

from __future__ import annotations

import uuid
from collections.abc import Sequence
from typing import Any, Literal

from fastapi import APIRouter, Request
from pydantic import BaseModel, ConfigDict, Field

from tritonclip_gateway.api.embeddings import check_count
from tritonclip_gateway.embedding import Embedded, embed
from tritonclip_gateway.errors import ApiError, bad_items
from tritonclip_gateway.gateway import Gateway, Shared
from tritonclip_gateway.inputs.items import PIXEL, ImagePart, read_picture
from tritonclip_gateway.triton.model import Model
from tritonclip_search.policy import Action, Decision, decide

router = APIRouter(tags=["moderation"])


class ImageUrl(BaseModel):
    """OpenAI's: a `data:` URI, or a URL of an allowed host."""

    url: str


class ImageUrlPart(BaseModel):
    """A picture, as OpenAI's moderation takes it."""

    type: Literal["image_url"]
    image_url: ImageUrl


class WrittenPart(BaseModel):
    """A text, which a policy cannot decide on."""

    type: Literal["text"]
    text: str


_Part = str | ImageUrlPart | ImagePart | WrittenPart


class ModerationsRequest(BaseModel):
    """Pictures to decide on."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [{"input": [{"type": "image_url", "image_url": {"url": PIXEL}}]}]
        }
    )

    model: str | None = None
    input: _Part | list[_Part] = Field(
        description="Pictures; a string is a `data:` URI, base64, or a URL of an allowed host."
    )


class HeadRequest(BaseModel):
    """Pictures to judge."""

    model_config = ConfigDict(json_schema_extra={"examples": [{"images": [PIXEL]}]})

    model: str | None = None
    images: list[str]


@router.post("/v1/moderations")
async def moderations(
    body: ModerationsRequest, request: Request, gateway: Shared
) -> dict[str, Any]:
    """What the policy says of each picture, with its evidence.

    `flagged` is what is to be reviewed or blocked. Categories are the rules.
    """
    model = gateway.models.get(body.model)
    parts = body.input if isinstance(body.input, list) else [body.input]
    check_count(len(parts), gateway.settings.max_items)
    pictures = [_picture(part, place) for place, part in enumerate(parts)]
    policy = await gateway.moderation.policy(model)
    embedded = await _embed(pictures, model, request, gateway, "input")
    return {
        "id": f"modr-{uuid.uuid4().hex}",
        "model": model.info.name,
        "results": [_result(decision) for decision in decide(policy, embedded.vectors)],
    }


@router.post("/v1/heads/{name}")
async def heads(name: str, body: HeadRequest, request: Request, gateway: Shared) -> dict[str, Any]:
    """What a small model on top of the embeddings gives for each picture."""
    model = gateway.models.get(body.model)
    head = gateway.moderation.head(name, model)
    check_count(len(body.images), gateway.settings.max_items, "images")
    embedded = await _embed(body.images, model, request, gateway, "images")
    data = [
        {"index": i, "scores": dict(zip(head.labels, row, strict=True))}
        for i, row in enumerate(head.scores(embedded.vectors).tolist())
    ]
    return {"object": "list", "head": name, "output": head.output, "data": data}


async def _embed(
    pictures: Sequence[str], model: Model, request: Request, gateway: Gateway, field: str
) -> Embedded:
    items = [read_picture(picture, i) for i, picture in enumerate(pictures)]
    embedded = await gateway.carry(
        request, len(items), lambda: embed(items, model, gateway, long="refuse")
    )
    if embedded.problems:
        raise bad_items(embedded.problems, field)
    return embedded


def _picture(part: _Part, place: int) -> str:
    match part:
        case str():
            return part
        case ImageUrlPart():
            return part.image_url.url
        case ImagePart():
            return part.image
    raise ApiError(
        400,
        "text_not_supported",
        f"item {place} is a text; a policy decides on what pictures show",
        param=f"input[{place}]",
    )


def _result(decision: Decision) -> dict[str, Any]:
    """OpenAI's fields, and how the decision came about."""
    evidence = decision.evidence
    return {
        "flagged": decision.action.severity >= Action.REVIEW.severity,
        "categories": {one.rule: one.applies for one in evidence},
        "category_scores": {
            one.rule: one.score if one.probability is None else one.probability for one in evidence
        },
        "category_applied_input_types": {one.rule: ["image"] for one in evidence},
        "decision": decision.action.value,
        "rule": decision.rule,
        "labels": list(decision.labels),
        "evidence": [{**one._asdict(), "action": one.action.value} for one in evidence],
    }
