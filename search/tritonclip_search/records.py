"""What a collection holds: one record for each file, and for each moment and frame of a video.

The fields have these names in every store, so that people can ask their own database with their own
tools. Every field but the vector always has a value: some stores know no NULL.
"""

from __future__ import annotations

import re
import uuid
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, fields
from enum import Enum
from typing import Any

import numpy as np

from tritonclip.types import FloatArray

# Of all ids: a record's is the UUIDv5 of what is indexed in this namespace.
NAMESPACE = uuid.uuid5(uuid.NAMESPACE_URL, "https://tritonclip/search")

_ID = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}")


class Kind(str, Enum):
    """What a record stands for."""

    IMAGE = "image"
    VIDEO = "video"
    """A whole video: the file's own record, which is written after those of its moments."""
    MOMENT = "moment"
    """A segment of a video: from cut to cut, with the mean of its frames."""
    FRAME = "frame"
    """A frame of a video, and the range in which what is shown is like it."""


@dataclass(frozen=True, slots=True, eq=False, kw_only=True)
class Record:
    """One record, as each store keeps it."""

    id: str
    """UUID in its canonical form; `file_id`, `moment_id` or `frame_id` make it."""
    file: str
    """The `id` of the record of the file that this is of; for images and videos, its own."""
    kind: Kind
    path: str
    """Absolute, or a URL; a member of a tar shard is `SHARD!/MEMBER`."""
    folders: tuple[str, ...]
    """All that the path lies under, the outermost first, without a slash at their ends."""
    size: int
    """Of the file, in bytes."""
    modified: int
    """When the file was last changed, in microseconds since 1970 UTC."""
    sha256: str
    """Of the file's bytes, in hexadecimal."""
    date: int
    """When the picture was taken as its EXIF says, otherwise `modified`; the same unit."""
    width: int
    """In pixels, as stored; 0 where unknown."""
    height: int
    format: str
    """As Pillow calls it (`JPEG`, `PNG`, ...); of a video, its codec; empty where unknown."""
    start: float = 0.0
    """Seconds from the beginning of the video, where a frame is shown; 0 for an image."""
    end: float = 0.0
    tags: tuple[str, ...] = ()
    tag_probabilities: tuple[float, ...] = ()
    """Of each of `tags`."""
    precision: str
    """Of the towers that made the vector, e.g. `fp16`."""
    error: str = ""
    """Why the file could not be embedded; empty where it could."""
    vector: FloatArray | None
    """Unit length, float32 [dim]; None where there is an error, and where it was not asked for."""


FIELDS = tuple(field.name for field in fields(Record) if field.name != "vector")
"""Of a record, in order, without its vector."""


def to_plain(record: Record) -> dict[str, Any]:
    """The fields without the vector, as strings, numbers and lists: what any store can write."""
    values = {field: getattr(record, field) for field in FIELDS}
    values["kind"] = record.kind.value
    return {field: list(v) if isinstance(v, tuple) else v for field, v in values.items()}


def from_plain(values: Mapping[str, Any], vector: FloatArray | None) -> Record:
    """The record of which `to_plain` made `values`; what else is in there is passed over."""
    plain = {field: values[field] for field in FIELDS}
    plain["kind"] = Kind(plain["kind"])
    for field in ("folders", "tags", "tag_probabilities"):
        plain[field] = tuple(plain[field])
    return Record(**plain, vector=vector)


def valid_ids(values: Iterable[object]) -> list[str]:
    """Those of `values` that can be a record's id; some stores fail at others."""
    return [value for value in map(str, values) if _ID.fullmatch(value)]


def file_id(path: str) -> str:
    """The id of the record of a file."""
    return str(uuid.uuid5(NAMESPACE, path))


def moment_id(path: str, start: float, end: float) -> str:
    """The id of the record of a time range, in seconds, of a video."""
    return str(uuid.uuid5(NAMESPACE, f"{path}#t={start:.3f},{end:.3f}"))


def frame_id(path: str, time: float) -> str:
    """The id of the record of the frame that is shown at `time`, in seconds, of a video."""
    return str(uuid.uuid5(NAMESPACE, f"{path}#t={time:.3f}"))


def folders_of(path: str) -> tuple[str, ...]:
    """All that `path` lies under, the outermost first; a bucket and a tar shard are folders too."""
    scheme, separator, rest = path.rpartition("://")
    parts = rest.split("/")
    above = ("/".join(parts[:depth]).removesuffix("!") for depth in range(1, len(parts)))
    return tuple(scheme + separator + folder for folder in above if folder)


def check_vectors(records: Sequence[Record], dim: int) -> None:
    """Assert what every store relies on: a vector of `dim` numbers, or an error, in each record."""
    for record in records:
        assert (record.vector is None) == bool(record.error), record.path
        assert record.vector is None or record.vector.shape == (dim,), record.path


def matrix(records: Sequence[Record]) -> FloatArray:
    """The vectors of `records`, all of which have one, float32 [records, dim]."""
    return np.stack([record.vector for record in records if record.vector is not None])
