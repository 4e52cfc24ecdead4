"""Embedding files: named vectors written as .npy, .npz, .parquet or JSON lines."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol, TextIO

from tritonclip.errors import InvalidArgument

if TYPE_CHECKING:
    from tritonclip.types import FloatArray

FORMATS = (".npy", ".npz", ".parquet", ".jsonl")

# Rows in one Parquet row group: at 768 dimensions some 12 MB.
ROW_GROUP = 4096


class Writer(Protocol):
    """Takes vectors [dim] one by one; one of NaN stands for an input that could not be embedded."""

    def write(self, name: str, vector: FloatArray) -> None:
        """Add one vector."""

    def close(self) -> None:
        """Write what is still held."""


@contextmanager
def open_writer(file: Path | None, *, dim: int) -> Iterator[Writer]:
    """A writer by the file's ending; JSON lines to standard output without a file.

    The file appears whole when the block ends without an error, or not at all.

    Raises:
        InvalidArgument: an ending that is not one of `FORMATS`, or no such folder.
    """
    if file is None:
        yield _JsonLines(sys.stdout)
        return
    if file.suffix not in FORMATS:
        raise InvalidArgument(f"{file}: write to a file that ends in {', '.join(FORMATS)}")
    if not file.absolute().parent.is_dir():
        raise InvalidArgument(f"{file}: the folder {file.absolute().parent} does not exist")
    partial = file.with_name(f".{file.stem}.{os.getpid()}.partial{file.suffix}")
    try:
        writer = _open(partial, dim)
        yield writer
        writer.close()
        partial.replace(file)
    finally:
        partial.unlink(missing_ok=True)


def _open(file: Path, dim: int) -> Writer:
    if file.suffix == ".parquet":
        return _Parquet(file, dim)
    if file.suffix == ".jsonl":
        return _JsonLines(file.open("w", encoding="utf-8"))
    return _Numpy(file, dim)


def _failed(vector: FloatArray) -> bool:
    return bool(vector[0] != vector[0])  # only NaN differs from itself


class _JsonLines:
    def __init__(self, stream: TextIO) -> None:
        self._stream = stream

    def write(self, name: str, vector: FloatArray) -> None:
        if not _failed(vector):
            # str() of a float32 is the shortest number that reads back as the same one.
            line = {"name": name, "embedding": [float(str(x)) for x in vector]}
            self._stream.write(json.dumps(line, ensure_ascii=False) + "\n")

    def close(self) -> None:
        self._stream.close()


class _Numpy:
    """Holds all vectors: both formats begin with their number."""

    def __init__(self, file: Path, dim: int) -> None:
        self._file = file
        self._dim = dim
        self._names: list[str] = []
        self._vectors: list[FloatArray] = []

    def write(self, name: str, vector: FloatArray) -> None:
        # Without names beside it, a .npy only lines up with its inputs if no row is missing.
        if self._file.suffix == ".npy" or not _failed(vector):
            self._names.append(name)
            self._vectors.append(vector)

    def close(self) -> None:
        import numpy as np

        vectors = np.array(self._vectors, np.float32).reshape(-1, self._dim)
        if self._file.suffix == ".npy":
            np.save(self._file, vectors)
        else:
            np.savez(self._file, embeddings=vectors, names=np.array(self._names, np.str_))


class _Parquet:
    """Columns `name` (string) and `embedding` (fixed-size list of float32), in row groups."""

    def __init__(self, file: Path, dim: int) -> None:
        import pyarrow as pa
        import pyarrow.parquet as pq

        self._schema = pa.schema(
            [("name", pa.string()), ("embedding", pa.list_(pa.float32(), dim))]
        )
        self._writer: Any = pq.ParquetWriter(file, self._schema)
        self._names: list[str] = []
        self._vectors: list[FloatArray] = []

    def write(self, name: str, vector: FloatArray) -> None:
        if not _failed(vector):
            self._names.append(name)
            self._vectors.append(vector)
            if len(self._names) == ROW_GROUP:
                self._flush()

    def close(self) -> None:
        self._flush()
        self._writer.close()

    def _flush(self) -> None:
        import pyarrow as pa

        if self._names:
            columns = {"name": self._names, "embedding": [v.tolist() for v in self._vectors]}
            self._writer.write_table(pa.table(columns, schema=self._schema))
            self._names, self._vectors = [], []
