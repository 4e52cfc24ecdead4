"""`/v1/search`, and the pictures that it finds: by id, never by path."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timezone
from pathlib import Path
from typing import Any, Literal
from urllib.parse import quote
from uuid import UUID

from fastapi import APIRouter, Request, Response
from fastapi.responses import FileResponse
from pydantic import BaseModel, ConfigDict, Field

from tritonclip.errors import ImageError
from tritonclip_gateway.archive.archive import Archive
from tritonclip_gateway.errors import ApiError, Problem, bad_items, problem_of
from tritonclip_gateway.gateway import Gateway, Shared, together
from tritonclip_gateway.inputs.fetching import FetchRefused
from tritonclip_gateway.inputs.items import Link, Picture, read_picture
from tritonclip_search import Collection, Hit
from tritonclip_search.records import Record
from tritonclip_search.sources import opening

router = APIRouter(tags=["search"])

_MOST = 10_000
_MAX_BYTES = 256 * 2**20
# What a browser shows; what has another ending is offered as a download. No SVG, which has scripts.
_MEDIA = {
    "jpg": "image/jpeg",
    "jpeg": "image/jpeg",
    "png": "image/png",
    "webp": "image/webp",
    "gif": "image/gif",
    "bmp": "image/bmp",
    "avif": "image/avif",
    "tif": "image/tiff",
    "tiff": "image/tiff",
    "mp4": "video/mp4",
    "m4v": "video/mp4",
    "webm": "video/webm",
    "mov": "video/quicktime",
}


class SearchRequest(BaseModel):
    """What to look for: texts, pictures and pictures found before are added up."""

    model_config = ConfigDict(
        json_schema_extra={"examples": [{"text": "a citrus fruit", "without": ["lemon"], "top": 5}]}
    )

    text: str | list[str] = Field([], description="What to look for; several are added up.")
    images: list[str] = Field(
        [], description="Pictures like it: `data:` URIs, base64, or URLs of allowed hosts."
    )
    like: list[UUID] = Field([], description="Ids of hits like it.")
    weights: list[float] | None = Field(
        None, description="Of the texts, then the images, then `like`; all alike without."
    )
    without: list[str] = Field([], description="What not to find, one exclusion each.")
    templates: str | list[str] = "plain"
    where: str | None = Field(None, description="E.g. `width >= 800 and date > 2023`.")
    above: float | None = Field(None, description="Only scores of at least this.")
    top: int = Field(20, ge=1, le=1000)
    offset: int = Field(0, ge=0, lt=_MOST, description="Hits to pass over, for further pages.")
    near_duplicates: Literal["show", "group"] = "show"


@router.post("/v1/search")
async def search(body: SearchRequest, request: Request, gateway: Shared) -> dict[str, Any]:
    """The pictures and moments of the collection that are nearest to a query, the nearest first."""
    archive = _archive(gateway)
    texts = [body.text] if isinstance(body.text, str) else body.text

    async def work() -> list[Hit]:
        images = await _pictures(body.images, gateway)

        def ask(collection: Collection) -> list[Hit]:
            return collection.search(
                texts,
                images=images,
                like=[str(id) for id in body.like],
                weights=body.weights,
                without=body.without,
                templates=body.templates,
                where=body.where,
                above=body.above,
                top=min(body.offset + body.top, _MOST),
                near_duplicates=body.near_duplicates,
            )

        try:
            return await archive.ask(ask)
        except ImageError as error:
            raise bad_items([problem_of(error, error.index or 0)], "images") from error

    hits = await gateway.carry(request, len(texts) + len(body.images) + 1, work)
    data = [_hit(hit) for hit in hits[body.offset :]]
    return {"object": "list", "data": data, "collection": archive.name}


@router.get("/v1/collection")
async def collection(gateway: Shared) -> dict[str, Any]:
    """The collection that is searched."""
    archive = _archive(gateway)

    def ask(collection: Collection) -> dict[str, Any]:
        method = collection.method
        return {"pictures": len(collection), "method": method.name, "exact": method.exact}

    return {"object": "collection", "id": archive.name, **await archive.ask(ask)}


@router.get("/v1/items/{id}")
async def item(id: UUID, gateway: Shared) -> dict[str, Any]:
    """A picture or moment of the collection."""
    return _described(await _record(id, gateway))


@router.get(
    "/v1/items/{id}/thumbnail",
    response_class=Response,
    responses={200: {"content": {"image/jpeg": {}}}, 404: {"description": "It is not there."}},
)
async def thumbnail(
    id: UUID, request: Request, gateway: Shared, side: Literal["160", "320", "640"] = "320"
) -> Response:
    """A small JPEG of at most so many pixels a side, on white."""
    record = await _record(id, gateway)
    tag = f'"{record.sha256[:32]}-{record.start:g}-{side}"'  # a video has many frames
    headers = {"ETag": tag, "Cache-Control": "private, max-age=3600"}
    if request.headers.get("if-none-match") == headers["ETag"]:
        return Response(status_code=304, headers=headers)
    thumbnails = _archive(gateway).thumbnails
    made = await _archive(gateway).ask(lambda _: thumbnails.get(record, int(side)))
    if made is None:
        raise ApiError(404, "file_unavailable", "there is no picture in this file any more")
    return Response(made, media_type="image/jpeg", headers=headers)


@router.get(
    "/v1/items/{id}/original",
    response_class=Response,
    responses={
        200: {"content": {"image/*": {}, "video/*": {}}},
        404: {"description": "It is not there."},
    },
)
async def original(id: UUID, gateway: Shared) -> Response:
    """The file as it was indexed; parts of it, too, so that videos play from a moment on."""
    record = await _record(id, gateway)
    name = record.path.rpartition("/")[2]
    media = _MEDIA.get(name.rpartition(".")[2].lower(), "application/octet-stream")
    shown = "attachment" if media == "application/octet-stream" else "inline"
    headers = {
        "Cache-Control": "private, max-age=3600",
        "Content-Disposition": f"{shown}; filename*=UTF-8''{quote(name)}",
    }
    if Path(record.path).is_file():
        return FileResponse(record.path, media_type=media, headers=headers)
    try:
        content = await _archive(gateway).ask(lambda _: opening.read(record.path, _MAX_BYTES))
    except OSError as error:
        message = "the file cannot be read any more"
        raise ApiError(404, "file_unavailable", message) from error
    return Response(content, media_type=media, headers=headers)


def _archive(gateway: Gateway) -> Archive:
    if gateway.archive is None:
        raise ApiError(404, "no_archive", "this gateway has no archive; start it with --archive")
    return gateway.archive


async def _record(id: UUID, gateway: Gateway) -> Record:
    key = str(id)
    found = await _archive(gateway).ask(lambda collection: collection.get([key]))
    if key not in found:
        raise ApiError(404, "item_not_found", f"there is no picture {key} in the collection")
    return found[key]


async def _pictures(strings: Sequence[str], gateway: Gateway) -> list[bytes]:
    """The files of pictures, fetched where they are links.

    Raises:
        ApiError: one of them cannot be had.
    """
    limit = max((model.info.max_image_bytes for model in gateway.models), default=_MAX_BYTES)

    async def read(i: int, string: str) -> bytes | Problem:
        match read_picture(string, i):
            case Picture(encoded):
                return encoded
            case Link(url):
                try:
                    return await gateway.fetcher.fetch(url, limit)
                except FetchRefused as error:
                    return Problem(i, "url_refused", str(error))
            case problem:
                assert isinstance(problem, Problem)
                return problem

    found = await together(*(read(i, string) for i, string in enumerate(strings)))
    if problems := [each for each in found if isinstance(each, Problem)]:
        raise bad_items(problems, "images")
    return [each for each in found if isinstance(each, bytes)]


def _hit(hit: Hit) -> dict[str, Any]:
    return {
        **_described(hit.record),
        "start": hit.start,
        "end": hit.end,
        "score": hit.score,
        "probability": hit.probability,
        "near_duplicates": [_described(other.record) for other in hit.near_duplicates],
    }


def _described(record: Record) -> dict[str, Any]:
    """What a caller is told about a record; times in seconds, dates in UTC."""
    taken = datetime.fromtimestamp(record.date / 1e6, timezone.utc)
    return {
        "id": record.id,
        "file": record.file,
        "kind": record.kind.value,
        "name": record.path.rpartition("/")[2],
        "path": record.path,
        "width": record.width,
        "height": record.height,
        "format": record.format,
        "size": record.size,
        "date": taken.isoformat(timespec="seconds"),
        "start": record.start,
        "end": record.end,
        "tags": dict(zip(record.tags, record.tag_probabilities, strict=True)),
        "thumbnail": f"/v1/items/{record.id}/thumbnail",
        "original": f"/v1/items/{record.id}/original",
    }
