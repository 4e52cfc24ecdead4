"""Texts and pictures of a request, read from strings and objects."""

from __future__ import annotations

import base64
import binascii
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, TypeAlias

from pydantic import BaseModel, ConfigDict, Field

from tritonclip_gateway.errors import Problem

PIXEL = "data:image/gif;base64,R0lGODdhAQABAIAAAP///////ywAAAAAAQABAAACAkQBADs="
"""A picture for examples: white."""

_BASE64 = ";base64"


class TextPart(BaseModel):
    """A text, as Jina's API takes it."""

    model_config = ConfigDict(extra="forbid")

    text: str


class ImagePart(BaseModel):
    """A picture, as Jina's API takes it."""

    model_config = ConfigDict(extra="forbid")

    image: str = Field(description="A `data:image/...;base64,` URI, base64, or a URL.")


Part: TypeAlias = str | TextPart | ImagePart


@dataclass(frozen=True)
class Text:
    """To be embedded as a text."""

    text: str


@dataclass(frozen=True)
class Picture:
    """To be embedded as a picture: its file."""

    encoded: bytes


@dataclass(frozen=True)
class Link:
    """A picture that is still to be fetched."""

    url: str


Item: TypeAlias = Text | Picture | Link


def read_item(part: Part, index: int, modality: Literal["text", "image"] | None) -> Item | Problem:
    """What a part of a request means.

    Without a `modality`, a string is a picture if it is a `data:image/` URI, as for NIM, and a text
    otherwise.
    """
    if isinstance(part, TextPart):
        return Text(part.text)
    if isinstance(part, ImagePart):
        return read_picture(part.image, index)
    if modality == "image" or (modality is None and part[:11].lower() == "data:image/"):
        return read_picture(part, index)
    return Text(part)


def read_picture(string: str, index: int) -> Item | Problem:
    """A picture from a `data:` URI, a URL, or bare base64."""
    scheme = string[:8].lower()
    if scheme.startswith(("http://", "https://")):
        return Link(string)
    encoded = string
    if scheme.startswith("data:"):
        head, comma, encoded = string.partition(",")
        if not comma or not head.lower().endswith(_BASE64):
            return Problem(index, "invalid_image", "is a data: URI without `;base64,`")
    try:
        # With its alphabet checked, and the line breaks that some encoders write left out.
        return Picture(base64.b64decode("".join(encoded.split()), validate=True))
    except (binascii.Error, ValueError):
        return Problem(
            index, "invalid_image", "is not a data:image/...;base64, URI, a URL, or valid base64"
        )


def problems_among(items: Sequence[Item | Problem]) -> list[Problem]:
    """Those that cannot be embedded."""
    return [item for item in items if isinstance(item, Problem)]
