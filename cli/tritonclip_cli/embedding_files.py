"""Embedding files: named vectors written as .npy, .npz, .parquet or JSON lines."""

from __future__ import annotations

import contextlib
import json
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol, TextIO
from zipfile import BadZipFile, ZipFile

from tritonclip.errors import InvalidArgument, TritonClipError

if TYPE_CHECKING:
    from tritonclip.types import FloatArray
    from tritonclip_search.vector_files import Origin

FORMATS = (".npy", ".npz", ".parquet", ".jsonl")

# Rows in one Parquet row group: at 768 dimensions some 12 MB.
ROW_GROUP = 4096


class NotWrittenError(TritonClipError):
    """A result has no vectors, or fewer than the one that it would replace."""


class Writer(Protocol):
    """Takes vectors [dim] one by one; one of NaN stands for an input that could not be embedded.

    Attributes:
        rows: how many of them are vectors.
    """

    rows: int

    def write(self, name: str, vector: FloatArray) -> None:
        """Add one vector."""

    def close(self) -> None:
        """Write what is still held, and end the file."""

    def abandon(self) -> None:
        """Close the file as it is, so that its space is free once it is removed."""


def check(file: Path, *, overwrite: bool) -> Path:
    """The file itself, at the end of all links, if embeddings can be written to it.

    Args:
        file: as it was named.
        overwrite: whether it may replace what is something else.

    Raises:
        InvalidArgument: an ending that is not one of `FORMATS`, no such folder, or something is
            there that is not a file of embeddings.
    """
    if file.suffix not in FORMATS:
        raise InvalidArgument(f"{file}: write to a file that ends in {', '.join(FORMATS)}")
    target = file.resolve()
    if not target.parent.is_dir():
        raise InvalidArgument(f"{file}: the folder {target.parent} does not exist")
    if target.exists() and not target.is_file():
        raise InvalidArgument(f"{file} is not a regular file: write to one")
    if not overwrite and rows_in(target) is None:
        raise InvalidArgument(
            f"{file} is there and is not a file of embeddings: name another, or replace it with "
            "--overwrite"
        )
    return target


def rows_in(file: Path) -> int | None:
    """How many vectors a file holds; 0 if there is none, None if it is something else."""
    try:
        if not file.exists() or not file.stat().st_size:
            return 0
        return _ROWS[file.suffix](file)
    except (OSError, ValueError, LookupError, BadZipFile):  # so libraries say that it is not
        return None


def _rows_of_numpy(file: Path) -> int:
    import numpy as np

    loaded = np.load(file, mmap_mode="r", allow_pickle=False)
    if file.suffix == ".npz":
        return len(loaded["names"])
    return int(np.isfinite(loaded[:, 0]).sum())


def _rows_of_parquet(file: Path) -> int:
    import pyarrow.parquet as pq

    found = pq.ParquetFile(file)
    found.schema_arrow.field("embedding")
    return int(found.metadata.num_rows)


def _rows_of_json_lines(file: Path) -> int:
    with file.open("rb") as lines:
        json.loads(lines.readline())["embedding"]
        return 1 + sum(1 for _ in lines)


_ROWS = {
    ".npy": _rows_of_numpy,
    ".npz": _rows_of_numpy,
    ".parquet": _rows_of_parquet,
    ".jsonl": _rows_of_json_lines,
}


@contextmanager
def open_writer(file: Path | None, origin: Origin, *, keep: int = 0) -> Iterator[Writer]:
    """A writer by the file's ending; JSON lines to standard output without a file.

    The file appears whole when the block ends without an error, or not at all.

    Args:
        file: what `check` gave.
        origin: of the vectors, which a .parquet keeps, for `index --from`.
        keep: leave what is there unless there are at least so many vectors to write.

    Raises:
        NotWrittenError: there are fewer, or none at all.
    """
    if file is None:
        yield _JsonLines(sys.stdout)
        return
    partial = file.with_name(f".{file.name}.partial")  # of a run that was killed, it is replaced
    try:
        with _open(partial, file.suffix, origin) as writer:
            yield writer
            writer.close()
        if not writer.rows:
            raise NotWrittenError(f"nothing could be embedded, so {file} is not written")
        if writer.rows < keep:
            raise NotWrittenError(
                f"{file} holds {keep:,} vectors and this run has {writer.rows:,}: it stays as it "
                "was. To replace it, run the same again with --overwrite, which embeds nothing "
                "twice; or name another file"
            )
        partial.replace(file)
    finally:
        partial.unlink(missing_ok=True)


@contextmanager
def _open(file: Path, format: str, origin: Origin) -> Iterator[Writer]:
    writer: Writer
    if format == ".parquet":
        writer = _Parquet(file, origin)
    elif format == ".jsonl":
        writer = _JsonLines(file.open("w", encoding="utf-8"))
    else:
        writer = _Numpy(file, format, origin.space.dim)
    try:
        yield writer
    except BaseException:
        with contextlib.suppress(OSError):  # again, of a full disk
            writer.abandon()
        raise


def failed(vector: FloatArray) -> bool:
    """Whether a vector stands for an input that could not be embedded."""
    return bool(vector[0] != vector[0])  # only NaN differs from itself


class _JsonLines:
    def __init__(self, stream: TextIO) -> None:
        self.rows = 0
        self._stream = stream

    def write(self, name: str, vector: FloatArray) -> None:
        if not failed(vector):
            # str() of a float32 is the shortest number that reads back as the same one.
            line = {"name": name, "embedding": [float(str(x)) for x in vector]}
            self._stream.write(json.dumps(line, ensure_ascii=False) + "\n")
            self.rows += 1

    def close(self) -> None:
        self._stream.close()

    abandon = close


class _Numpy:
    """Holds all vectors: both formats begin with their number."""

    def __init__(self, file: Path, format: str, dim: int) -> None:
        self.rows = 0
        self._stream = file.open("wb")  # now, where it cannot be
        self._format = format
        self._dim = dim
        self._names: list[str] = []
        self._vectors: list[FloatArray] = []

    def write(self, name: str, vector: FloatArray) -> None:
        # Without names beside it, a .npy only lines up with its inputs if no row is missing.
        self.rows += not failed(vector)
        if self._format == ".npy" or not failed(vector):
            self._names.append(name)
            self._vectors.append(vector)

    def close(self) -> None:
        import numpy as np

        vectors = np.array(self._vectors, np.float32).reshape(-1, self._dim)
        with self._stream as stream:
            if self._format == ".npy":
                # Not np.save, which does not say why a disk took less than it was given.
                header = np.lib.format.header_data_from_array_1_0(vectors)  # type: ignore[no-untyped-call]
                np.lib.format.write_array_header_1_0(stream, header)  # type: ignore[no-untyped-call]
                stream.write(vectors.data)
            else:
                # Not np.savez, which leaves an archive that it could not end to complain later.
                with ZipFile(stream, "w") as archive:
                    names = np.array(self._names, np.str_)
                    for name, array in (("embeddings", vectors), ("names", names)):
                        with archive.open(f"{name}.npy", "w", force_zip64=True) as member:
                            np.lib.format.write_array(member, array, allow_pickle=False)  # type: ignore[no-untyped-call]

    def abandon(self) -> None:
        self._stream.close()


class _Parquet:
    """Columns `name` (string) and `embedding` (fixed-size list of float32), in row groups."""

    def __init__(self, file: Path, origin: Origin) -> None:
        import pyarrow.parquet as pq

        from tritonclip_search.vector_files import schema

        self._schema = schema(origin)
        self.rows = 0
        self._writer: Any = pq.ParquetWriter(file, self._schema)
        self._names: list[str] = []
        self._vectors: list[FloatArray] = []

    def write(self, name: str, vector: FloatArray) -> None:
        if not failed(vector):
            self.rows += 1
            self._names.append(name)
            self._vectors.append(vector)
            if len(self._names) == ROW_GROUP:
                self._flush()

    def close(self) -> None:
        self._flush()
        self._writer.close()

    def abandon(self) -> None:
        self._writer.close()

    def _flush(self) -> None:
        import pyarrow as pa

        if self._names:
            columns = {"name": self._names, "embedding": [v.tolist() for v in self._vectors]}
            self._writer.write_table(pa.table(columns, schema=self._schema))
            self._names, self._vectors = [], []
