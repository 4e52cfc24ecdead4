"""The vectors of a run of `embed` that has not ended, kept so that the next one goes on.

A journal is one line of JSON that says what made the vectors, then batches: their number, the keys
and vectors, and a CRC-32 over them. A batch is on the disk before the next one begins. What a crash
leaves half written at the end fails its checksum and is cut off.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import struct
import time
import zlib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import IO

import numpy as np

from tritonclip.errors import InvalidArgument
from tritonclip.types import FloatArray

FORMAT = 1
KEY_BYTES = 16
# A batch ends with so many vectors or after so many seconds, whichever comes first: what a crash
# costs at most.
BATCH = 1024
SECONDS = 2.0


class Journal:
    """Vectors by key, added one by one and durable in batches.

    Attributes:
        file: where it is.
        kept: how many vectors of earlier runs it holds.
    """

    def __init__(
        self, file: Path, made_by: Mapping[str, object], *, drop_others: bool = False
    ) -> None:
        """Open the journal at `file`, or begin one.

        Args:
            file: where it is.
            made_by: what makes the vectors, `dim` among it: they go with no others.
            drop_others: drop what something else has made.

        Raises:
            InvalidArgument: it holds vectors that something else made, or another process has it.
            OSError: it cannot be written.
        """
        self.file = file
        self._header = {"format": FORMAT, **made_by}
        self._row = np.dtype([("key", f"V{KEY_BYTES}"), ("vector", "<f4", (int(made_by["dim"]),))])  # type: ignore[call-overload]
        self._stream: IO[bytes] = os.fdopen(os.open(file, os.O_RDWR | os.O_CREAT, 0o666), "r+b")
        try:
            _lock(self._stream, file)
            self._places = self._read(drop_others=drop_others)
            if not self._places:
                self._begin()
        except BaseException:
            self._stream.close()
            raise
        self.kept = len(self._places)
        self._end = self._stream.seek(0, os.SEEK_END)
        self._waiting: list[tuple[bytes, FloatArray]] = []
        self._last = time.monotonic()

    def __contains__(self, key: bytes) -> bool:
        """Whether an earlier run kept a vector under a key."""
        return key in self._places

    def __getitem__(self, key: bytes) -> FloatArray:
        """That vector, [dim]."""
        self._stream.seek(self._places[key])
        row = np.frombuffer(self._stream.read(self._row.itemsize), self._row)
        vector: FloatArray = row["vector"][0]
        return vector

    def add(self, key: bytes, vector: FloatArray) -> None:
        """Keep a vector; it is durable with its batch.

        Raises:
            OSError: the batch cannot be written. The ones before it stay.
        """
        self._waiting.append((key, vector))
        if len(self._waiting) >= BATCH or time.monotonic() - self._last > SECONDS:
            self.flush()

    def flush(self) -> None:
        """Make all that was added durable.

        Raises:
            OSError: it cannot be written.
        """
        rows = np.zeros(len(self._waiting), self._row)
        for row, (key, vector) in zip(rows, self._waiting, strict=True):
            row["key"], row["vector"] = np.void(key), vector
        if len(rows):
            body = rows.tobytes()
            self._stream.seek(self._end)
            self._stream.write(struct.pack("<I", len(rows)) + body)
            self._stream.write(struct.pack("<I", zlib.crc32(body)))
            self._stream.flush()
            os.fsync(self._stream.fileno())
            self._end = self._stream.tell()
            self.kept += len(rows)
        self._waiting, self._last = [], time.monotonic()

    def close(self) -> None:
        """Make durable what can be, and leave the file for the next run."""
        # A full disk has been reported by then, or is worth no second word.
        with contextlib.suppress(OSError):
            self.flush()
        with contextlib.suppress(OSError):  # of what the stream still holds
            self._stream.close()

    def discard(self) -> None:
        """Close it and remove the file."""
        self._waiting = []
        self.file.unlink(missing_ok=True)
        self._stream.close()

    def _read(self, *, drop_others: bool) -> dict[bytes, int]:
        """Where the vector of each key is; cuts off what is damaged."""
        line = self._stream.readline()
        try:
            header = json.loads(line)
        except ValueError:
            return {}  # a crash before the first batch
        if header != self._header and drop_others:
            return {}
        if header != self._header:
            differ = [name for name in self._header if header.get(name) != self._header[name]]
            raise InvalidArgument(
                f"{self.file} holds what an unfinished run embedded otherwise (its "
                f"{', '.join(f'{name} was {header.get(name)!r}' for name in differ)}): go on as it "
                "began, or drop it with --overwrite"
            )
        places: dict[bytes, int] = {}
        end = self._stream.tell()
        for body in self._batches():
            for i, key in enumerate(np.frombuffer(body, self._row)["key"].tolist()):
                places[key] = end + 4 + i * self._row.itemsize
            end = self._stream.tell()
        self._stream.truncate(end)
        return places

    def _batches(self) -> Iterator[bytes]:
        while len(count := self._stream.read(4)) == 4:
            size = struct.unpack("<I", count)[0] * self._row.itemsize
            left = os.fstat(self._stream.fileno()).st_size - self._stream.tell()
            if size > left:
                return
            body, check = self._stream.read(size), self._stream.read(4)
            if check != struct.pack("<I", zlib.crc32(body)):
                return
            yield body

    def _begin(self) -> None:
        self._stream.seek(0)
        self._stream.truncate()
        self._stream.write(json.dumps(self._header).encode() + b"\n")
        self._stream.flush()


def path_for(output: Path) -> Path:
    """Where the journal of a run that writes `output` is."""
    return output.with_name(f".{output.name}.unfinished")


def key_of(name: str, *, file: bool) -> bytes:
    """Of a text itself, or of a file by its name, size and time of change."""
    parts = [name]
    if file:
        try:
            found = os.stat(name)  # noqa: PTH116 (a name of any bytes)
            parts += [str(found.st_size), str(found.st_mtime_ns)]
        except (OSError, ValueError):
            pass  # it will fail when it is read
    joined = "\0".join(parts).encode("utf-8", "surrogatepass")
    return hashlib.blake2b(joined, digest_size=KEY_BYTES).digest()


def _lock(stream: IO[bytes], file: Path) -> None:
    """Keep other processes away until the stream is closed; where a system can't, do without."""
    try:
        import fcntl

        fcntl.flock(stream, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        raise InvalidArgument(
            f"another process embeds into the same file (it has {file}): wait for it, or name "
            "another file"
        ) from None
    except (ImportError, OSError):
        pass
