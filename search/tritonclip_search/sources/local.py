"""Files and folders of this machine, and tar shards among them."""

# `os` and not `pathlib`, which takes several times as long where there are 100,000 files.
# ruff: noqa: PTH100, PTH116, PTH123

from __future__ import annotations

import io
import os
import stat
import tarfile
from functools import lru_cache, partial
from pathlib import Path
from typing import Any, BinaryIO

from tritonclip_search.sources.item import MEDIA_SUFFIXES, Found, Item, Problem

SHARD = ".tar"
MEMBER = "!/"
"""Between the path of a shard and that of a file in it."""

_NOT_UTF8 = "its name is not UTF-8, so no store can hold it; rename it"


def walk(
    folder: Path, suffixes: tuple[str, ...] = (*MEDIA_SUFFIXES, SHARD), *, into_shards: bool = True
) -> Found:
    """The pictures and videos below a folder, those in its shards too, in the order of their names.

    Links are followed, each folder once: a loop of links ends where it began.
    """
    waiting = [os.path.abspath(folder)]
    seen: set[tuple[int, int]] = set()
    while waiting:
        here = waiting.pop()
        try:
            status = os.stat(here)
            if (status.st_dev, status.st_ino) in seen:
                continue
            seen.add((status.st_dev, status.st_ino))
            with os.scandir(here) as entries:
                sorted_entries = sorted(entries, key=lambda entry: entry.name)
        except OSError as error:
            yield Problem(printable(here), f"cannot be read: {error.strerror}")
            continue
        folders = []
        for entry in sorted_entries:
            if _is_folder(entry):
                folders.append(entry.path)
            elif entry.name.lower().endswith(suffixes):
                yield from file(entry.path, into_shards=into_shards)
        waiting.extend(reversed(folders))


def file(path: str | Path, *, into_shards: bool = True) -> Found:
    """One file, or those in a shard."""
    absolute = os.path.abspath(path)
    try:
        absolute.encode()
    except UnicodeEncodeError:
        yield Problem(printable(absolute), _NOT_UTF8)
        return
    try:
        status = os.stat(absolute)
    except OSError as error:
        yield Problem(absolute, _missing(error))
        return
    if not stat.S_ISREG(status.st_mode):
        yield Problem(absolute, "is not a file")
        return
    named = absolute.replace(os.sep, "/")  # as paths are in every store, whatever the system
    modified = status.st_mtime_ns // 1000
    if into_shards and named.lower().endswith(SHARD):
        yield from _shard(named, modified)
    else:
        reading = partial(_read, absolute), partial(_open, absolute)
        yield Item(named, status.st_size, modified, *reading)


def read(path: str, limit: int) -> bytes:
    """The first `limit` bytes of a file, or of a member of a shard.

    Raises:
        OSError: it is not there, or cannot be read.
    """
    return _read(path, limit) if SHARD + MEMBER not in path else _member(path).read(limit)


def open_file(path: str) -> BinaryIO:
    """A file, or a member of a shard, which can seek.

    Raises:
        OSError: it is not there, or cannot be read.
    """
    return _open(path) if SHARD + MEMBER not in path else _member(path).open()


def is_gone(path: str) -> bool:
    """Whether what had this path is certainly no longer there."""
    shard, separator, _ = path.partition(SHARD + MEMBER)
    try:
        status = os.stat(shard + SHARD if separator else path)
    except (FileNotFoundError, NotADirectoryError):
        return True
    except OSError:
        return False
    return bool(separator) and path not in _members(shard + SHARD, status.st_mtime_ns)


def _member(path: str) -> Item:
    shard = path.partition(SHARD + MEMBER)[0] + SHARD
    member = _members(shard, os.stat(shard).st_mtime_ns).get(path)
    if member is None:
        raise FileNotFoundError(2, "no such file in the shard", path)
    return member


@lru_cache(maxsize=1)
def _members(shard: str, modified: int) -> dict[str, Item]:
    """By their paths; of the shard as it was at that time."""
    return {item.path: item for item in _shard(shard, modified) if isinstance(item, Item)}


def printable(path: str) -> str:
    """A path of any bytes, for people."""
    return path.encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace")


def _shard(path: str, modified: int) -> Found:
    try:
        with tarfile.open(path, "r:") as members:
            for member in members:
                if member.isfile() and member.name.lower().endswith(MEDIA_SUFFIXES):
                    read = partial(_read_member, path, member.offset_data, member.size)
                    name = member.name.removeprefix("./")
                    if printable(name) != name:
                        yield Problem(path + MEMBER + printable(name), _NOT_UTF8)
                        continue
                    whole = partial(_open_member, path, member.offset_data, member.size)
                    yield Item(path + MEMBER + name, member.size, modified, read, whole)
    except (OSError, tarfile.TarError) as error:
        yield Problem(path, f"cannot be read to its end as a tar file: {error}")


def _read(path: str, limit: int) -> bytes:
    with open(path, "rb") as opened:
        return opened.read(limit)


def _read_member(path: str, offset: int, size: int, limit: int) -> bytes:
    with open(path, "rb") as opened:
        opened.seek(offset)
        return opened.read(min(size, limit))


def _open(path: str) -> BinaryIO:
    return open(path, "rb")


def _open_member(path: str, offset: int, size: int) -> BinaryIO:
    return io.BufferedReader(_Member(path, offset, size))


class _Member(io.RawIOBase):
    """A part of a file, as a file."""

    def __init__(self, path: str, offset: int, size: int) -> None:
        self._file = io.FileIO(path)
        self._offset = offset
        self._size = size
        self._at = 0

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        base = {io.SEEK_SET: 0, io.SEEK_CUR: self._at, io.SEEK_END: self._size}[whence]
        self._at = max(0, base + offset)
        return self._at

    def readinto(self, buffer: Any) -> int:
        left = max(0, min(len(buffer), self._size - self._at))
        self._file.seek(self._offset + self._at)
        count = self._file.readinto(memoryview(buffer)[:left]) or 0
        self._at += count
        return count

    def close(self) -> None:
        self._file.close()
        super().close()


def _is_folder(entry: os.DirEntry[str]) -> bool:
    try:
        return entry.is_dir()
    except OSError:  # of a link that leads nowhere
        return False


def _missing(error: OSError) -> str:
    if isinstance(error, FileNotFoundError):
        return "no such file"
    return f"cannot be read: {error.strerror}"
