"""The folder or bucket that a run writes to. Each of its files appears whole or not at all."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from contextlib import contextmanager

from tritonclip_bulk.errors import TargetError


class Target:
    """A folder, or what fsspec opens by a URL. Cheap to make, so that each worker makes its own."""

    def __init__(self, url: str) -> None:
        """Name a place; nothing is written yet.

        Raises:
            TargetError: fsspec has no such place, or lacks the library for it.
        """
        from fsspec.core import url_to_fs

        self.url = url if "://" in url else os.path.abspath(url)  # noqa: PTH100
        with self._failures(""):
            self._filesystem, self._path = url_to_fs(self.url)
        self._is_local = "://" not in self.url

    def names(self, folder: str) -> set[str]:
        """The names of the files in one of its folders; none where that is not there."""
        path = f"{self._path}/{folder}"
        with self._failures(folder):
            self._filesystem.invalidate_cache()
            try:
                found = self._filesystem.ls(path, detail=False)
            except FileNotFoundError:
                return set()
        return {str(name).rpartition("/")[2] for name in found}

    def get(self, name: str) -> bytes | None:
        """The content of a file; None where it is not there."""
        with self._failures(name):
            try:
                return bytes(self._filesystem.cat_file(f"{self._path}/{name}"))
            except FileNotFoundError:
                return None

    def put(self, name: str, content: bytes) -> None:
        """Write a file for good, in the place of what was there."""
        path = f"{self._path}/{name}"
        with self._failures(name):
            if self._is_local:
                _replace(path, content)
            else:
                # Object stores show an object once all of it is there.
                self._filesystem.pipe_file(path, content)

    def remove(self, name: str) -> None:
        """Remove a file, if it is there."""
        with self._failures(name), contextlib.suppress(FileNotFoundError):
            self._filesystem.rm_file(f"{self._path}/{name}")

    def holds(self, path: str) -> bool:
        """Whether what has this absolute path, or URL, lies in it."""
        return path.startswith(self.url.rstrip("/") + "/")

    @contextmanager
    def _failures(self, name: str) -> Iterator[None]:
        """Failures of the libraries, which are of any kind, as ours."""
        where = f"{self.url}/{name}".rstrip("/")
        try:
            yield
        except ModuleNotFoundError as error:
            raise TargetError(f"{where} needs {error.name}, which is not installed") from error
        except OSError as error:
            raise TargetError(f"{where}: {error.strerror or error}") from error
        except Exception as error:
            raise TargetError(f"{where}: {type(error).__name__}: {error}") from error


def _replace(path: str, content: bytes) -> None:
    # pathlib has no fsync, and its names cost as much as the calls.
    folder = os.path.dirname(path)  # noqa: PTH120
    partial = f"{path}.{os.getpid()}.partial"
    os.makedirs(folder, exist_ok=True)  # noqa: PTH103
    try:
        with open(partial, "wb") as file:  # noqa: PTH123
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        os.replace(partial, path)  # noqa: PTH105
    except BaseException:
        with contextlib.suppress(OSError):
            os.unlink(partial)  # noqa: PTH108
        raise


def is_unfinished(name: str) -> bool:
    """Whether a file was left by a process that was killed while it wrote."""
    return name.endswith(".partial")
