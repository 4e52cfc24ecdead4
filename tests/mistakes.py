"""Every option of every command with every mistake people make, generated from the command line.

A cell is one command line with one mistake in it. Whether a mistake can be meant seriously depends
on the kind of the option, which its annotation tells: `-1` is no number of pictures, but a fine
name for a file. What cannot be meant has to be refused in words that name the option or the value,
with nothing asked of a server and nothing written; the rest may do what it likes but fail like a
program that nobody has tested.
"""

from __future__ import annotations

import contextlib
import io
import os
import re
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from inspect import Parameter, signature
from pathlib import Path
from types import NoneType
from typing import Any, Literal, get_args, get_origin

import typer
from typer.models import ArgumentInfo

from tritonclip_cli import app, main

HUGE = "9" * 40
NOT_UTF8 = os.fsdecode(b"caf\xe9")

# What is typed for each mistake, in a folder that holds `file.txt`, `folder` and `dangling`.
MISTAKES: dict[str, str | None] = {
    "absent": None,
    "empty": "",
    "negative": "-1",
    "zero": "0",
    "huge": HUGE,
    "wrong type": "no-such-value",
    "not a number": "nan",
    "not UTF-8": NOT_UTF8,
    "too long": "x" * 5000,
    "folder for file": "folder",
    "file for folder": "file.txt",
    "missing parent": "no/such/place/x.html",
    "dangling link": "dangling",
}
ALL = frozenset(MISTAKES)
ALWAYS = frozenset({"absent", "empty"})
WORDS = frozenset(MISTAKES) - {"negative", "zero", "huge"}

# What each kind of option cannot mean.
NONSENSE: dict[str, frozenset[str]] = {
    "text": ALWAYS | {"not UTF-8"},
    "name": ALWAYS,
    "choice": ALL,
    "count": WORDS | {"huge"},
    "bounded": WORDS | {"huge"},
    "positive": ALL,
    "below zero": ALL - {"negative"},
    "not negative": ALL - {"zero"},
    "real": WORDS | {"huge"},
    "some path": ALWAYS | {"too long"},
    "file": ALL - {"file for folder"},
    "folder": ALL - {"folder for file"},
    "new file": ALWAYS | {"too long", "folder for file", "missing parent"},
    "new folder": ALWAYS | {"too long", "file for folder"},
}


@dataclass(frozen=True)
class Option:
    """An option or argument that takes a value."""

    command: str
    flag: str | None
    """None for an argument."""
    kind: str
    required: bool

    def __str__(self) -> str:
        return f"{self.command} {self.flag or 'argument'}"


@dataclass(frozen=True)
class Cell:
    """One command line with one mistake."""

    option: Option
    mistake: str
    arguments: tuple[str, ...]

    @property
    def nonsense(self) -> bool:
        """Whether it cannot be meant."""
        if self.mistake == "absent" and not (self.option.flag or self.option.required):
            return False
        return self.mistake in NONSENSE[self.option.kind]

    def __str__(self) -> str:
        return f"{self.option} ({self.option.kind}), {self.mistake},"


def options() -> Iterator[Option]:
    """All that take a value, as the command line declares them."""
    for name, callback in _commands(app):
        for parameter in signature(callback).parameters.values():
            kind, info = get_args(parameter.annotation)
            kind = _without_none(kind)
            if kind is not bool:
                flag = _flag(parameter.name, info)
                required = parameter.default is Parameter.empty
                yield Option(name, flag, _kind(kind, info), required)


def _commands(group: typer.Typer, above: str = "") -> Iterator[tuple[str, Callable[..., Any]]]:
    """Commands by all their words: `policy check`."""
    for registered in group.registered_commands:
        assert registered.callback is not None
        own = registered.name or registered.callback.__name__.replace("_", "-")
        yield above + own, registered.callback
    for below in group.registered_groups:
        assert below.typer_instance is not None
        yield from _commands(below.typer_instance, f"{above}{below.name} ")


def _flag(name: str, info: Any) -> str | None:
    if isinstance(info, ArgumentInfo):
        return None
    long = [flag for flag in info.param_decls or () if flag.startswith("--")]
    return long[0] if long else f"--{name.replace('_', '-')}"


def _kind(kind: Any, info: Any) -> str:
    if get_origin(kind) is list:
        (kind,) = get_args(kind)
    if get_origin(kind) is Literal:
        return "choice"
    if kind is Path:
        return str(getattr(info.parser, "kind", "some path"))
    if kind in (int, float):
        if info.max is not None and info.max < 0:
            return "below zero"
        if info.min is not None and info.min > 0:
            return "positive"
        if info.min == 0:
            return "not negative"
        if info.min is not None:
            return "bounded"
        return "count" if kind is int else "real"
    return str(getattr(info.parser, "kind", "text"))


def _without_none(kind: Any) -> Any:
    given = [one for one in get_args(kind) if one is not NoneType]
    return given[0] if NoneType in get_args(kind) else kind


def cells(
    options: Sequence[Option], command: str, base: Sequence[str], without: dict[str, list[str]]
) -> Iterator[Cell]:
    """One for each option of a command and each mistake.

    Args:
        options: of all commands.
        command: the one that is called.
        base: a command line of it without mistakes, its arguments first.
        without: for options that exclude others, the command line to add them to.
    """
    for option in options:
        if option.command != command:
            continue
        line = list(without.get(str(option), base))
        if option.flag is None:
            first = next((i for i, word in enumerate(line) if word.startswith("--")), len(line))
            line = [*line[first:], "--"]
        else:
            line.append(option.flag)
        for mistake, typed in MISTAKES.items():
            yield Cell(
                option, mistake, (*command.split(), *line, *([] if typed is None else [typed]))
            )


@dataclass(frozen=True)
class Answer:
    """What a command line said."""

    status: int
    out: str
    err: str


def run(arguments: Sequence[str]) -> Answer:
    """The command line in this process."""
    before, sys.argv = sys.argv, ["tritonclip", *arguments]
    out, err = (
        io.TextIOWrapper(io.BytesIO(), encoding="utf-8", errors=errors, write_through=True)
        for errors in ("strict", "backslashreplace")
    )
    status = 0
    try:
        with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
            main()
    except SystemExit as ended:
        status = ended.code if isinstance(ended.code, int) else int(ended.code is not None)
    finally:
        sys.argv = before
    return Answer(status, *(s.buffer.getvalue().decode() for s in (out, err)))  # type: ignore[attr-defined]


def wrong(cell: Cell, answer: Answer, *, asked: bool, wrote: Sequence[str]) -> str | None:
    """What is wrong about an answer; None if nothing is.

    Args:
        cell: what was typed.
        answer: what was said.
        asked: whether a server was asked for anything.
        wrote: files that were written or changed.
    """
    said = re.sub(r"\W+", " ", answer.err.replace("│", " "))
    if found := re.search(r"unexpected \w+|Traceback|\[Errno \d+\]|bug in", answer.err):
        return f"says {found[0]!r}"
    if not cell.nonsense:
        return None
    if answer.status == 0:
        return "is taken"
    if asked:
        return "is refused only after a server was asked"
    if wrote:
        return f"is refused after {', '.join(wrote)} was written"
    flag, typed = cell.option.flag, MISTAKES[cell.mistake]
    named = (flag or "Missing argument", typed[:20] if typed else "is empty")
    if not any(re.sub(r"\W+", " ", name).strip() in said for name in named):
        return "is refused without a word on which option or value"
    return None
