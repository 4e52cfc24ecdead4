"""Parquet files of vectors, a row a picture, as `bulk` and `embed` write them.

Columns are `name` and `embedding`, and with `bulk` what else a record says of a picture. What the
vectors are comparable with is in the file's metadata, so that they can be loaded into a store
without the server that made them.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from tritonclip.info import ModelInfo
from tritonclip.types import FloatArray
from tritonclip_search.errors import SourceError
from tritonclip_search.records import Kind, Record, file_id, folders_of
from tritonclip_search.sources.item import Item, Problem
from tritonclip_search.sources.opening import files_in, open_file, read
from tritonclip_search.space import Space

if TYPE_CHECKING:
    import pyarrow as pa

SUFFIX = ".parquet"
PLAN = "plan.json"
MANIFEST = "manifest.json"
"""What a run of `bulk` has beside its files: the first from its beginning, the other in its end."""
_MANIFEST_BYTES = 1 << 30
# Of the file's metadata.
_KEY = b"tritonclip"

FACTS = {
    "size": "int64",
    "modified": "int64",
    "sha256": "string",
    "taken": "int64",
    "width": "int32",
    "height": "int32",
    "format": "string",
}
"""Columns that a file may have beside names and vectors; each means what it does in a `Record`,
and `taken` is what EXIF says, 0 for nothing."""


@dataclass(frozen=True)
class Origin:
    """What made the vectors of a file."""

    space: Space
    precision: str

    @classmethod
    def of(cls, info: ModelInfo) -> Origin:
        """A served model."""
        return cls(Space.of(info), info.precision)

    def metadata(self) -> dict[bytes, bytes]:
        """As a file keeps it."""
        return {_KEY: json.dumps(asdict(self), sort_keys=True).encode()}

    @classmethod
    def from_metadata(cls, metadata: dict[bytes, bytes] | None, path: str) -> Origin:
        """What `metadata` of the file `path` says.

        Raises:
            SourceError: nothing.
        """
        try:
            found = json.loads((metadata or {})[_KEY])
            return cls(Space(**found["space"]), found["precision"])
        except (KeyError, ValueError, TypeError):
            raise SourceError(
                f"{path} does not say which model made its vectors, so nothing tells what they "
                "can be compared with. `tritonclip bulk` and `embed -o NAME.parquet` write that"
            ) from None


def schema(origin: Origin, *, facts: bool = False, half: bool = False) -> pa.Schema:
    """Columns and metadata of a file, with vectors in half precision or not."""
    import pyarrow as pa

    number = pa.float16() if half else pa.float32()
    columns = [("name", pa.string()), ("embedding", pa.list_(number, origin.space.dim))]
    if facts:
        columns += [(name, getattr(pa, kind)()) for name, kind in FACTS.items()]
    return pa.schema(columns, metadata=origin.metadata())


@dataclass(frozen=True)
class VectorFile:
    """A file that can be loaded."""

    path: str
    rows: int
    origin: Origin

    def records(self, at_once: int) -> Iterator[list[Record]]:
        """Its pictures as records, some at a time, so that it need not fit into memory.

        Raises:
            SourceError: it cannot be read to its end.
        """
        import pyarrow as pa
        import pyarrow.parquet as pq

        try:
            with open_file(self.path) as opened:
                for rows in pq.ParquetFile(opened).iter_batches(at_once):
                    yield _records(rows, self.origin.precision)
        except (OSError, pa.ArrowException) as error:
            raise SourceError(f"{self.path} cannot be read: {error}") from error


def find(source: str) -> list[VectorFile]:
    """The files of vectors in a folder, below a URL, or the one that it is.

    Raises:
        SourceError: there is none, one of them is something else, or a run of `bulk` has not ended.
    """
    there = list(files_in(source, (SUFFIX,)))
    _check_run(source, there)
    files = [_open(found) for found in there]
    if not files:
        raise SourceError(f"{source}: no {SUFFIX} files with vectors")
    for file in files[1:]:
        if file.origin.space.fingerprint != files[0].origin.space.fingerprint:
            raise SourceError(
                f"{file.path} holds vectors of {file.origin.space}, and {files[0].path} of "
                f"{files[0].origin.space}: load each into a collection of its own"
            )
    return files


def _check_run(source: str, there: Sequence[Item | Problem]) -> None:
    """That nothing is missing of what a run of `bulk` has written, if it was one."""
    home = (source if "://" in source else Path(source).absolute().as_posix()).rstrip("/")
    try:
        read(f"{home}/{PLAN}", 1)
    except OSError:
        return
    try:
        manifest = json.loads(read(f"{home}/{MANIFEST}", _MANIFEST_BYTES))
    except FileNotFoundError:
        raise SourceError(
            f"{source} is of a run of `tritonclip bulk` that is not done: run that again first"
        ) from None
    except (OSError, ValueError) as error:
        raise SourceError(f"{home}/{MANIFEST} cannot be read: {error}") from error
    sizes = {item.path: item.size for item in there if isinstance(item, Item)}
    for file in manifest["files"]:
        found = sizes.get(f"{home}/{file['file']}")
        if found != file["bytes"]:
            what = "is missing" if found is None else f"has {found:,} bytes, not {file['bytes']:,}"
            raise SourceError(
                f"{home}/{file['file']} {what}: copy it again, or remove its receipt and run "
                "`tritonclip bulk` again"
            )


def _open(found: Item | Problem) -> VectorFile:
    import pyarrow as pa
    import pyarrow.parquet as pq

    if isinstance(found, Problem):
        raise SourceError(str(found))
    if not found.path.endswith(SUFFIX):
        raise SourceError(f"{found.path} is no {SUFFIX} file")
    try:
        with found.open() as opened:
            table = pq.ParquetFile(opened)
            origin = Origin.from_metadata(table.schema_arrow.metadata, found.path)
            if table.schema_arrow.field("embedding").type.list_size != origin.space.dim:
                raise SourceError(f"{found.path} has vectors of another length than it says")
            return VectorFile(found.path, table.metadata.num_rows, origin)
    except (OSError, KeyError, pa.ArrowException) as error:
        raise SourceError(f"{found.path} cannot be read as a file of vectors: {error}") from error


def _records(rows: pa.RecordBatch, precision: str) -> list[Record]:
    names = rows.column("name").to_pylist()
    vectors = _matrix(rows)
    blank: dict[str, Any] = {n: "" if k == "string" else 0 for n, k in FACTS.items()}
    kept = {name: rows.column(name).to_pylist() for name in FACTS if name in rows.schema.names}
    records = []
    for number, (name, vector) in enumerate(zip(names, vectors, strict=True)):
        facts = blank | {fact: values[number] for fact, values in kept.items()}
        id = file_id(name)
        taken = facts.pop("taken")
        records.append(
            Record(
                id=id,
                file=id,
                kind=Kind.IMAGE,
                path=name,
                folders=folders_of(name),
                date=taken or facts["modified"],
                precision=precision,
                vector=vector,
                **facts,
            )
        )
    return records


def _matrix(rows: pa.RecordBatch) -> FloatArray:
    """The vectors, float32 [rows, dim]."""
    column = rows.column("embedding")
    numbers = column.flatten().to_numpy(zero_copy_only=False)
    matrix: FloatArray = numbers.astype(np.float32, copy=False).reshape(len(column), -1)
    return matrix
