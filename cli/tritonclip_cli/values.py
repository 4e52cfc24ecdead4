"""What the values of options may be, checked while the command line is read, before any work.

`flat` gives every option the checks of its type: a string is not empty and is Unicode, a number is
finite and not absurd, a path is not empty. What else an option wants it says where it is declared:
`file`, `folder`, `new_file` and `new_folder` for paths, `check` for the rest.
"""

from __future__ import annotations

import math
import os
import stat
import tempfile
from collections.abc import Callable
from copy import copy
from pathlib import Path
from types import NoneType
from typing import Annotated, Any, Literal, get_args, get_origin

import typer

from tritonclip.errors import TritonClipError

# Protobuf's and C's int; a count beyond it is a slip of the keyboard.
LARGEST_INT = 2**31 - 1
# Below it a float still counts in ones.
LARGEST_FLOAT = 1e15

Kind = Literal["some path", "file", "folder", "new file", "new folder"]


class PathOf:
    """Reads a path of one kind. Typer shows its name as that of the type."""

    __name__ = "PATH"

    def __init__(self, kind: Kind) -> None:
        self.kind = kind

    def __call__(self, typed: str | Path) -> Path:
        """The path.

        Raises:
            BadParameter: it is empty, or not what it has to be.
        """
        if typed == "":
            raise typer.BadParameter("is empty, where a path is expected")
        path = Path(typed)
        try:
            if refusal := _refusal(self.kind, path):
                raise typer.BadParameter(f"{shown(path)}: {refusal}")
        except OSError as error:
            raise typer.BadParameter(f"{shown(path)}: {error.strerror or error}") from error
        return path


class AnyName:
    """Reads a name that may be one of a file, and so of any bytes."""

    __name__ = "TEXT"
    kind = "name"

    def __call__(self, typed: str) -> str:
        """The name as it is.

        Raises:
            BadParameter: it is empty, as an unset variable of a shell is.
        """
        if not typed:
            raise typer.BadParameter("is empty, where a name is expected")
        return typed


ANY_NAME = AnyName()


def file(help: str, *names: str, **more: Any) -> Any:
    """An option that names a file which is there."""
    return typer.Option(*names, parser=PathOf("file"), help=help, metavar="FILE", **more)


def folder(help: str, *names: str, **more: Any) -> Any:
    """An option that names a folder which is there."""
    return typer.Option(*names, parser=PathOf("folder"), help=help, metavar="FOLDER", **more)


def new_file(help: str, *names: str, **more: Any) -> Any:
    """An option that names a file to write; one that is there is replaced."""
    return typer.Option(*names, parser=PathOf("new file"), help=help, metavar="FILE", **more)


def new_folder(help: str, *names: str, **more: Any) -> Any:
    """An option that names a folder to write to; it is made with all above it."""
    return typer.Option(*names, parser=PathOf("new folder"), help=help, metavar="FOLDER", **more)


def check(one: Callable[[Any], object]) -> Callable[[Any], Any]:
    """A callback for Typer that refuses what `one` raises an error of ours for.

    An option that can be given several times has each of its values checked.
    """

    def checked(value: Any) -> Any:
        for each in value if isinstance(value, list) else [value]:
            if each is not None:
                try:
                    one(each)
                except TritonClipError as error:
                    raise typer.BadParameter(str(error)) from error
        return value

    return checked


def guarded(annotation: Any) -> Any:
    """`annotation` of an option, as Typer takes it, with the checks of its type."""
    kind, *rest = get_args(annotation) or (annotation,)
    if not rest:
        return annotation
    option = copy(rest[0])
    if _item(kind) is Path:
        option.parser = option.parser or PathOf(_declared(option))
    elif _item(kind) in (str, int, float) and option.parser is None:
        option.callback = _both(check(_sensible), option.callback)
    return Annotated[kind, option]


def _declared(option: Any) -> Kind:
    """What an option says of its path in Typer's own words, which a parser of ours takes over."""
    if not option.exists or option.file_okay == option.dir_okay:
        return "some path"
    return "file" if option.file_okay else "folder"


def shown(path: Path | str | bytes) -> str:
    """A path as UTF-8 can show it."""
    return os.fsencode(path).decode("utf-8", "backslashreplace")


def _sensible(value: str | float) -> None:
    if isinstance(value, str):
        if not value:
            raise typer.BadParameter("is empty")
        if not value.isprintable():
            _unicode(value)
    elif isinstance(value, int):
        if abs(value) > LARGEST_INT:
            raise typer.BadParameter(f"{value:,} is too large: {LARGEST_INT:,} at most")
    elif not math.isfinite(value) or abs(value) > LARGEST_FLOAT:
        raise typer.BadParameter(f"{value:g} is not a number between -1e15 and 1e15")


def _unicode(value: str) -> None:
    try:
        value.encode()
    except UnicodeEncodeError:
        raise typer.BadParameter(f"{shown(value)!r} is not UTF-8") from None


def _item(kind: Any) -> Any:
    """The type of one value, without `| None` and `list[...]`."""
    for part in get_args(kind):
        if part is not NoneType and (NoneType in get_args(kind) or get_origin(kind) is list):
            return _item(part)
    return kind


def _both(first: Callable[[Any], Any], then: Callable[[Any], Any] | None) -> Callable[[Any], Any]:
    if then is None:
        return first
    return lambda value: then(first(value))


def _refusal(kind: Kind, path: Path) -> str | None:
    """Why `path` cannot be what it has to be.

    Raises:
        OSError: the system does not even look for it.
    """
    there = _stat(path)
    is_folder = there is not None and stat.S_ISDIR(there.st_mode)
    if kind == "some path":
        return None
    if there is not None and is_folder != kind.endswith("folder"):
        return "is a folder, not a file" if is_folder else "is a file, not a folder"
    if kind in ("file", "folder"):
        return None if there is not None else _missing(path)
    if there is not None and not is_folder and not stat.S_ISREG(there.st_mode):
        return None  # a device or a pipe, which is written as it is
    target = path.resolve()
    if kind == "new file":
        return _not_writable(target.parent)
    return _not_writable(next(p for p in (target, *target.parents) if p.exists()))


def _stat(path: Path) -> os.stat_result | None:
    """What is there, at the end of all links; None for nothing."""
    try:
        return path.stat()
    except (FileNotFoundError, NotADirectoryError):
        return None


def _missing(path: Path) -> str:
    if path.is_symlink():
        return f"is a link to {shown(path.readlink())}, which does not exist"
    return "does not exist"


def _not_writable(folder: Path) -> str | None:
    """Why nothing can be written in `folder`, found by writing there; nothing is left of it."""
    if not folder.exists():
        return f"the folder {shown(folder)} does not exist; make it first"
    if not folder.is_dir():
        return f"{shown(folder)} is a file, not a folder"
    try:
        with tempfile.TemporaryFile(dir=folder):
            return None
    except OSError as error:
        return f"nothing can be written in {shown(folder)}: {error.strerror or error}"
