"""What may stand behind a comparison in a filter, for each field."""

from __future__ import annotations

import re
from collections.abc import Callable
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import TypeAlias

Span: TypeAlias = tuple[int, int]
"""The first microsecond of a time, and the first after it."""


def _text(word: str) -> str:
    return word


def absolute(word: str) -> str:
    """A path as records have it."""
    return word if "://" in word else Path(word).absolute().as_posix()


def _format(word: str) -> str:
    upper = word.upper().removeprefix(".")
    return {"JPG": "JPEG", "TIF": "TIFF"}.get(upper, upper)


def _kind(word: str) -> str:
    if word.lower() not in ("image", "video", "moment", "frame"):
        raise ValueError("one of image, video, moment, frame")
    return word.lower()


def _whole(word: str) -> int:
    if not re.fullmatch(r"\d{1,9}", word):
        raise ValueError("a whole number")
    return int(word)


def _seconds(word: str) -> float:
    if not re.fullmatch(r"\d{1,9}(\.\d+)?", word):
        raise ValueError("seconds, such as 12.5")
    return float(word)


_UNITS = {"": 1, "B": 1, "KB": 10**3, "MB": 10**6, "GB": 10**9, "TB": 10**12}


def _bytes(word: str) -> int:
    match = re.fullmatch(r"(\d{1,15}(?:\.\d+)?)([KMGT]?B)?", word, re.IGNORECASE)
    if match is None:
        raise ValueError("bytes, or a number with KB, MB, GB or TB")
    return round(float(match[1]) * _UNITS[(match[2] or "").upper()])


_DATE = re.compile(r"(\d{4})(?:-(\d\d)(?:-(\d\d)(?:[T ](\d\d):(\d\d))?)?)?")
_EPOCH = datetime(1970, 1, 1, tzinfo=timezone.utc)


def span(word: str) -> Span:
    """What a date stands for.

    Raises:
        ValueError: with what it should have been.
    """
    match = _DATE.fullmatch(word)
    try:
        if match is None:
            raise ValueError
        year, month, day, hour, minute = (int(part or 0) for part in match.groups())
        first = datetime(year, month or 1, day or 1, hour, minute, tzinfo=timezone.utc)
        if match[2] is None:
            after = first.replace(year=first.year + 1)
        elif match[3] is None:
            after = (first + timedelta(days=31)).replace(day=1)
        else:
            after = first + (timedelta(days=1) if match[4] is None else timedelta(minutes=1))
    except (ValueError, OverflowError):
        raise ValueError("a date such as 2024, 2024-05, 2024-05-31 or 2024-05-31T18:30") from None
    return microseconds(first), microseconds(after)


def microseconds(moment: datetime) -> int:
    """Since 1970 UTC, as records have their times."""
    return (moment - _EPOCH) // timedelta(microseconds=1)


# How the value of a field is read; each raises ValueError with what it should have been.
TEXTS: dict[str, Callable[[str], str]] = {
    "path": absolute,
    "format": _format,
    "kind": _kind,
    "tags": _text,
    "precision": _text,
    "sha256": _text,
    "error": _text,
    "file": _text,
    "id": _text,
}
NUMBERS: dict[str, Callable[[str], int | float]] = {
    "size": _bytes,
    "width": _whole,
    "height": _whole,
    "start": _seconds,
    "end": _seconds,
}
DATES = ("date", "modified")

FIELDS = (*TEXTS, *NUMBERS, *DATES)
"""What a filter may ask for."""
