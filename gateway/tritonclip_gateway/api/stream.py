"""`/v1/embeddings/stream`: any number of items in one request, in constant memory."""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterable, AsyncIterator
from contextlib import aclosing
from typing import Any, Literal

import orjson
from fastapi import APIRouter, Request
from fastapi.responses import Response
from pydantic import TypeAdapter, ValidationError
from starlette.types import Receive, Scope, Send

from tritonclip.errors import TritonClipError
from tritonclip.window import in_order_async
from tritonclip_gateway.api.embeddings import encoded
from tritonclip_gateway.embedding import Embedded, Long, embed
from tritonclip_gateway.errors import ApiError, Problem, api_error
from tritonclip_gateway.gateway import Gateway, Shared
from tritonclip_gateway.inputs.items import Item, Part, read_item
from tritonclip_gateway.triton.model import Model

router = APIRouter(tags=["embeddings"])

PATH = "/v1/embeddings/stream"
NDJSON = "application/x-ndjson"

# Items that are embedded together, and such batches in work at a time.
_BATCH = 16
_BATCH_BYTES = 8 * 2**20
_BATCHES = 4

_PART: TypeAdapter[Part] = TypeAdapter(Part)
_BODY = {
    "requestBody": {
        "required": True,
        "content": {
            NDJSON: {
                "schema": {"type": "string"},
                "example": '"a cat"\n{"text": "a rocket"}\n',
            }
        },
    }
}


@router.post(PATH, openapi_extra=_BODY)
async def stream(
    request: Request,
    gateway: Shared,
    model: str | None = None,
    encoding_format: Literal["float", "base64"] = "float",
    modality: Literal["text", "image"] | None = None,
    long: Long = "refuse",
) -> Response:
    """Unit vectors of lines, each a JSON string or `{"text"}` or `{"image"}`.

    A line is answered with `{"index", "embedding"}` or `{"index", "error"}`, in order and as soon
    as it is known; the last line is `{"usage"}`. A caller has to read while it sends.
    """
    stream = _Stream(gateway, gateway.models.get(model), encoding_format, modality, long)
    return _Lines(stream.answers(request.stream()), media_type=NDJSON)


class _Stream:
    """One request."""

    def __init__(
        self,
        gateway: Gateway,
        model: Model,
        encoding: Literal["float", "base64"],
        modality: Literal["text", "image"] | None,
        long: Long,
    ) -> None:
        self._gateway = gateway
        self._model = model
        self._encoding = encoding
        self._modality = modality
        self._long = long
        self._end: ApiError | None = None
        """Why the stream ends before its time, after the answers to what was read before."""

    async def answers(self, body: AsyncIterable[bytes]) -> AsyncIterator[bytes]:
        """Lines of the answer, some at a time."""
        tokens = pictures = first = 0
        try:
            batches = in_order_async(self._batches(body), self._embed, _BATCHES)
            async with aclosing(batches):
                async for embedded in batches:
                    yield self._written(embedded, first)
                    first += len(embedded.vectors)
                    tokens += embedded.tokens
                    pictures += embedded.pictures
        except TritonClipError as error:
            self._end = api_error(error)
        if self._end is not None:
            yield _line(self._end.to_json())
        else:
            usage = {
                "prompt_tokens": tokens,
                "total_tokens": tokens,
                "num_images": pictures,
            }
            yield _line({"model": self._model.info.name, "usage": usage})

    async def _embed(self, batch: tuple[int, list[Item | Problem]]) -> Embedded:
        first, items = batch
        async with self._gateway.admission.wait(len(items)):
            return await embed(items, self._model, self._gateway, long=self._long, first=first)

    async def _batches(
        self, body: AsyncIterable[bytes]
    ) -> AsyncGenerator[tuple[int, list[Item | Problem]], None]:
        first, size = 0, 0
        items: list[Item | Problem] = []
        try:
            async for line in _lines(body, self._gateway.settings.max_body_bytes):
                items.append(self._read(line, first + len(items)))
                size += len(line)
                if len(items) == _BATCH or size > _BATCH_BYTES:
                    yield first, items
                    first, items, size = first + len(items), [], 0
        except ApiError as error:
            self._end = error
        if items:
            yield first, items

    def _read(self, line: bytes, index: int) -> Item | Problem:
        try:
            part = _PART.validate_json(line)
        except ValidationError:
            message = 'is not a JSON string, {"text": ...} or {"image": ...}'
            return Problem(index, "invalid_request", message)
        return read_item(part, index, self._modality)

    def _written(self, embedded: Embedded, first: int) -> bytes:
        problems = {problem.index: problem for problem in embedded.problems}
        return b"".join(
            _line(
                {"index": i, "error": {"code": problems[i].code, "message": problems[i].message}}
                if i in problems
                else {"index": i, "embedding": encoded(vector, self._encoding)}
            )
            for i, vector in enumerate(embedded.vectors, first)
        )


class _Lines(Response):
    """A body that is written while that of the request is still being read.

    Starlette's own response of a stream listens for the end of the request, and would take its body
    away from us.
    """

    def __init__(self, lines: AsyncIterator[bytes], media_type: str) -> None:
        super().__init__(media_type=media_type)
        del self.headers["content-length"]
        self._lines = lines

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        del scope, receive
        await send(
            {"type": "http.response.start", "status": self.status_code, "headers": self.raw_headers}
        )
        async for line in self._lines:
            await send({"type": "http.response.body", "body": line, "more_body": True})
        await send({"type": "http.response.body", "body": b""})


async def _lines(body: AsyncIterable[bytes], limit: int) -> AsyncIterator[bytes]:
    """Lines that are not empty, each of at most `limit` bytes."""
    rest = bytearray()
    async for part in body:
        *ended, last = part.split(b"\n")
        for end in ended:
            line = bytes(rest + end)
            rest.clear()
            if line.strip():
                yield line
        rest += last
        if len(rest) > limit:
            raise ApiError(
                413, "request_too_large", f"a line has more than {limit:,} bytes; send less"
            )
    if rest.strip():
        yield bytes(rest)


def _line(value: Any) -> bytes:
    return orjson.dumps(value, option=orjson.OPT_SERIALIZE_NUMPY | orjson.OPT_APPEND_NEWLINE)
