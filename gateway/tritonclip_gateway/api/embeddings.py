"""`/v1/embeddings`: OpenAI's API, with the pictures of NIM, infinity and Jina."""

from __future__ import annotations

import base64
from typing import Any, Literal

import orjson
from fastapi import APIRouter, Request, Response
from pydantic import AliasChoices, BaseModel, ConfigDict, Field, model_validator
from pydantic_core import PydanticCustomError

from tritonclip.info import ModelInfo
from tritonclip.types import FloatArray
from tritonclip_gateway.embedding import Embedded, Long, embed
from tritonclip_gateway.errors import ApiError, bad_items
from tritonclip_gateway.gateway import Shared
from tritonclip_gateway.inputs.items import PIXEL, Part, read_item

router = APIRouter(tags=["embeddings"])


class EmbeddingsRequest(BaseModel):
    """What OpenAI's clients send, and what those of NIM, infinity and Jina add to it."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {"input": ["a cat", "a rocket"]},
                {
                    "input": [
                        {"text": "a cat"},
                        {"image": PIXEL},
                    ]
                },
            ]
        }
    )

    model: str | None = Field(None, description="A bundle's name or an alias of one.")
    input: Part | list[Part] = Field(
        description="Texts, and pictures as `data:image/...;base64,` URIs; one or a list."
    )
    encoding_format: Literal["float", "base64"] = Field(
        "float",
        validation_alias=AliasChoices("encoding_format", "embedding_type"),
        description="`base64` is of little-endian float32, and what OpenAI's clients ask for.",
    )
    dimensions: int | None = Field(None, description="The model's own, if any.")
    modality: Literal["text", "image"] | None = Field(
        None, description="infinity's: what strings are. Without it, each string tells."
    )
    truncate: bool | Literal["NONE", "END"] = Field(
        False, description="Whether texts beyond the model's context are cut off there."
    )
    long: Literal["mean"] | None = Field(
        None, description="Texts beyond the context become the mean of their parts' vectors."
    )
    normalized: Literal[True] = Field(True, description="Jina's; vectors always have unit length.")

    @model_validator(mode="before")
    @classmethod
    def _no_token_ids(cls, data: Any) -> Any:
        first = data.get("input") if isinstance(data, dict) else None
        while isinstance(first, list) and first:
            first = first[0]
        if isinstance(first, int):
            raise PydanticCustomError(
                "token_ids",
                "input holds token ids, which are of another model's vocabulary; send strings "
                "(with LangChain: check_embedding_ctx_length=False)",
            )
        return data

    def parts(self) -> list[Part]:
        """The input as a list."""
        return self.input if isinstance(self.input, list) else [self.input]

    @property
    def long_texts(self) -> Long:
        """What becomes of texts beyond the context."""
        if self.long is not None:
            return self.long
        return "cut" if self.truncate in (True, "END") else "refuse"


@router.post("/v1/embeddings")
async def embeddings(body: EmbeddingsRequest, request: Request, gateway: Shared) -> Response:
    """Unit vectors of texts and pictures, in the order of the input.

    A request with a bad item fails as a whole, and the error names all of them in `items`.
    """
    model = gateway.models.get(body.model)
    check_dimensions(body.dimensions, model.info)
    parts = body.parts()
    check_count(len(parts), gateway.settings.max_items)
    items = [read_item(part, i, body.modality) for i, part in enumerate(parts)]
    embedded = await gateway.carry(
        request,
        len(items),
        lambda: embed(items, model, gateway, long=body.long_texts),
    )
    if embedded.problems:
        raise bad_items(embedded.problems)
    return Response(
        _answer(embedded, model.info.name, body.encoding_format), media_type="application/json"
    )


def check_dimensions(dimensions: int | None, info: ModelInfo) -> None:
    """Refuse any number but the model's.

    Raises:
        ApiError: another one is asked for.
    """
    if dimensions not in (None, info.dim):
        raise ApiError(
            400,
            "dimensions_not_supported",
            f"{info.name} gives {info.dim} dimensions, and was not trained to give fewer: a part "
            f"of its vectors would find other things. Leave `dimensions` out",
            param="dimensions",
        )


def check_count(count: int, most: int, field: str = "input") -> None:
    """Refuse nothing, and too much.

    Raises:
        ApiError: there are no items, or more than `most`.
    """
    if not 0 < count <= most:
        raise ApiError(
            400,
            "invalid_request",
            f"{field} has {count:,} items; send 1 to {most:,}",
            param=field,
        )


def encoded(vector: FloatArray, encoding: Literal["float", "base64"]) -> FloatArray | str:
    """A vector as it is written."""
    if encoding == "float":
        return vector
    return base64.b64encode(vector.astype("<f4").tobytes()).decode()


def _answer(embedded: Embedded, model: str, encoding: Literal["float", "base64"]) -> bytes:
    data = [
        {"object": "embedding", "index": i, "embedding": encoded(vector, encoding)}
        for i, vector in enumerate(embedded.vectors)
    ]
    usage = {
        "prompt_tokens": embedded.tokens,
        "total_tokens": embedded.tokens,
        "num_images": embedded.pictures,
    }
    answer = {"object": "list", "data": data, "model": model, "usage": usage}
    return orjson.dumps(answer, option=orjson.OPT_SERIALIZE_NUMPY)
