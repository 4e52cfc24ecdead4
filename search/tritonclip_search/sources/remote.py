"""What fsspec opens: s3://, gs://, sftp:// and many more, each with a library of its own."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime, timezone
from functools import partial
from typing import Any, BinaryIO
from urllib.parse import urlsplit

from tritonclip_search.errors import SourceError
from tritonclip_search.sources.item import MEDIA_SUFFIXES, Found, Item


def find(url: str, suffixes: tuple[str, ...] = MEDIA_SUFFIXES) -> Found:
    """The pictures and videos below a URL, or the one that it is.

    Raises:
        SourceError: it cannot be listed.
    """
    filesystem, path = _open(url)
    with _failures(url):
        filesystem.invalidate_cache()  # whoever watches looks anew each time
        listed = filesystem.find(path, detail=True)
    for name, info in sorted(listed.items()):
        if name.lower().endswith(suffixes):
            whole = str(filesystem.unstrip_protocol(name))
            reading = partial(_read, filesystem, name), partial(_open_file, filesystem, name)
            yield Item(whole, int(info["size"]), _modified(info), *reading)


def read(url: str, limit: int) -> bytes:
    """The first so many bytes of what a URL leads to.

    Raises:
        OSError: it cannot be read.
    """
    filesystem, path = _open(url)
    return _read(filesystem, path, limit)


def open_file(url: str) -> BinaryIO:
    """What a URL leads to, which can seek.

    Raises:
        OSError: it cannot be read.
    """
    filesystem, path = _open(url)
    return _open_file(filesystem, path)


def _open(url: str) -> tuple[Any, str]:
    parts = urlsplit(url)
    if parts.password:
        raise SourceError(
            f"the address of {parts.hostname} has a password, which the path of every record would "
            "show; give it to the library in its environment variables or configuration"
        )
    with _failures(url):
        try:
            from fsspec.core import url_to_fs
        except ModuleNotFoundError as error:
            raise SourceError(f'{url} needs fsspec. pip install "tritonclip[remote]"') from error
        filesystem, path = url_to_fs(url)
        return filesystem, str(path)


@contextmanager
def _failures(url: str) -> Iterator[None]:
    """Failures of the libraries, which are of any kind, as ours."""
    try:
        yield
    except SourceError:
        raise
    except ImportError as error:
        raise SourceError(f"{url} cannot be opened: {error}") from error
    except Exception as error:
        raise SourceError(f"{url} cannot be read: {type(error).__name__}: {error}") from error


def _read(filesystem: Any, path: str, limit: int) -> bytes:
    try:
        return bytes(filesystem.cat_file(path, start=0, end=limit))
    except OSError:
        raise
    except Exception as error:  # libraries raise what they like
        raise OSError(0, f"{type(error).__name__}: {error}") from error


def _open_file(filesystem: Any, path: str) -> BinaryIO:
    try:
        opened: BinaryIO = filesystem.open(path, "rb")
    except OSError:
        raise
    except Exception as error:  # libraries raise what they like
        raise OSError(0, f"{type(error).__name__}: {error}") from error
    return opened


def _modified(info: dict[str, Any]) -> int:
    for key in ("LastModified", "last_modified", "updated", "mtime", "modified"):
        match info.get(key):
            case datetime() as moment:
                aware = moment if moment.tzinfo else moment.replace(tzinfo=timezone.utc)
                return round(aware.timestamp() * 1e6)
            case int() | float() as seconds:
                return round(seconds * 1e6)
    return 0
