"""From what a user names to the files that are meant."""

from __future__ import annotations

import glob
from collections.abc import Iterable
from fnmatch import fnmatch
from pathlib import Path
from typing import BinaryIO

from tritonclip_search.errors import SourceError
from tritonclip_search.sources import local
from tritonclip_search.sources.item import Found, Problem, Source


def open_source(name: str) -> Source:
    """A folder, a file, a tar shard, a glob, or a URL that fsspec opens.

    Raises:
        SourceError: there is no such thing.
    """
    if "://" in name:
        from tritonclip_search.sources import remote

        prefix = name.rstrip("/")
        return Source(
            name, lambda: remote.find(name), lambda p: p == prefix or p.startswith(f"{prefix}/")
        )
    path = _path(name)
    absolute = path.absolute().as_posix()
    if path.is_dir():
        under = absolute if absolute.endswith("/") else f"{absolute}/"
        return Source(name, lambda: local.walk(path), lambda p: p.startswith(under))
    if path.exists():
        inside = absolute + local.MEMBER
        return Source(
            name, lambda: local.file(path), lambda p: p == absolute or p.startswith(inside)
        )
    if glob.has_magic(name):
        return Source(
            name,
            lambda: _each(sorted(glob.glob(name, recursive=True))),  # noqa: PTH207
            lambda p: fnmatch(p.partition(local.MEMBER)[0], absolute),
        )
    raise SourceError(f"{local.printable(name)}: no such file or folder")


def files_in(name: str, suffixes: tuple[str, ...]) -> Found:
    """The files with these endings in what a user names, as they are: no shard is looked into.

    Raises:
        SourceError: there is no such thing, or it cannot be listed.
    """
    if "://" in name:
        from tritonclip_search.sources import remote

        return remote.find(name, suffixes)
    path = _path(name)
    if path.is_dir():
        return local.walk(path, suffixes, into_shards=False)
    if path.exists():
        return local.file(path, into_shards=False)
    matching = sorted(glob.glob(name, recursive=True))  # noqa: PTH207
    if not matching:
        raise SourceError(f"{local.printable(name)}: no such file or folder")
    return (found for one in matching for found in files_in(one, suffixes))


def listed(names: Iterable[str]) -> Source:
    """Files, folders and URLs that are listed, e.g. a line each on standard input.

    A name that leads to nothing is a problem of its own, and costs the others nothing. The list is
    read once, and it says nothing about what has vanished.
    """
    return Source("the list", lambda: _each(names), lambda _: False)


def read(path: str, limit: int) -> bytes:
    """The first `limit` bytes of what was indexed from `path`.

    Raises:
        OSError: it is no longer there, or cannot be read.
        SourceError: its library is missing.
    """
    if "://" in path:
        from tritonclip_search.sources import remote

        return remote.read(path, limit)
    return local.read(path, limit)


def open_file(path: str) -> BinaryIO:
    """The whole of what was indexed from `path`, which can seek.

    Raises:
        OSError: it is no longer there, or cannot be read.
        SourceError: its library is missing.
    """
    if "://" in path:
        from tritonclip_search.sources import remote

        return remote.open_file(path)
    return local.open_file(path)


def is_gone(path: str) -> bool:
    """Whether what had this path, and was not found in its source, is certainly no longer there."""
    return "://" in path or local.is_gone(path)


def _path(name: str) -> Path:
    """A local path that can be asked for, whether or not it leads to something."""
    if not name:
        raise SourceError("an empty name leads to no file")
    path = Path(name)
    try:
        path.exists()
    except OSError as error:  # a name that is too long, a link that leads to itself
        raise SourceError(f"{local.printable(name)}: {error.strerror}") from error
    return path


def _each(names: Iterable[str]) -> Found:
    for name in names:
        try:
            yield from open_source(name).items()
        except SourceError as error:
            yield Problem(local.printable(name), str(error).removeprefix(f"{name}: "))
