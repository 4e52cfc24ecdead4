"""Filters: the small language of `--where`, parsed once into a tree that every store translates.

    width >= 800 and (tags = cat or tags = dog) and not path under pictures/private

    filter      = all { "or" all }
    all         = term { "and" term }
    term        = "not" term | "(" filter ")" | comparison
    comparison  = FIELD ( "=" | "!=" | "<" | "<=" | ">" | ">=" ) VALUE
                | FIELD "in" "(" VALUE { "," VALUE } ")"
                | "path" "under" VALUE
    VALUE       = a word, or "anything" or 'anything' in quotes

Keywords and fields are the same in any case. What a value may be depends on the field:

| field | value | compares |
|---|---|---|
| `path` | a path or URL; a relative one is made absolute | `=` `!=` `in` `under` |
| `format` | `jpg`, `png`, `webp`, ... | `=` `!=` `in` |
| `kind` | `image`, `video`, `moment` | `=` `!=` `in` |
| `tags` | a tag; `=` holds where it is one of the record's | `=` `!=` `in` |
| `precision`, `sha256`, `error`, `file`, `id` | text | `=` `!=` `in` |
| `size` | bytes, or `300KB`, `2MB`, `1.5GB` (powers of 1000) | all but `under` |
| `width`, `height` | pixels | all but `under` |
| `start`, `end` | seconds of a video | all but `under` |
| `date`, `modified` | `2024`, `2024-05`, `2024-05-31`, `2024-05-31T18:30`, UTC | all but `under` |

A date stands for all of its year, month, day or minute: `date = 2024` is any time in it,
`date > 2024` any after it.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Literal, TypeAlias

from tritonclip_search.errors import InvalidFilter

Scalar: TypeAlias = str | int | float


@dataclass(frozen=True)
class OneOf:
    """The field equals one of `values`, of which there is at least one."""

    field: str
    values: tuple[Scalar, ...]


@dataclass(frozen=True)
class Compare:
    """A number in order with `value`."""

    field: str
    operator: Literal["<", "<=", ">", ">="]
    value: int | float


@dataclass(frozen=True)
class Holds:
    """The list in the field (`tags` or `folders`) has one of `values`."""

    field: str
    values: tuple[str, ...]


@dataclass(frozen=True)
class And:
    """All of `terms`, of which there are at least two, hold."""

    terms: tuple[Filter, ...]


@dataclass(frozen=True)
class Or:
    """One of `terms`, of which there are at least two, holds."""

    terms: tuple[Filter, ...]


@dataclass(frozen=True)
class Not:
    """`term` does not hold."""

    term: Filter


Filter: TypeAlias = OneOf | Compare | Holds | And | Or | Not
"""What a store translates. Fields are `Record`'s, values of the types that they have there."""


def parse(text: str) -> Filter:
    """The filter that `text` means.

    Raises:
        InvalidFilter: it is not in the grammar; names the place, and the fields where one is wrong.
    """
    return _Parser(text).filter()


def both(one: Filter | None, other: Filter | None) -> Filter | None:
    """What holds where both do; None stands for everything."""
    if one is None or other is None:
        return one or other
    return And((one, other))


Span: TypeAlias = tuple[int, int]
"""The first microsecond of a time, and the first after it."""


def _text(word: str) -> str:
    return word


def _path(word: str) -> str:
    return word if "://" in word else Path(word).absolute().as_posix()


def _format(word: str) -> str:
    upper = word.upper().removeprefix(".")
    return {"JPG": "JPEG", "TIF": "TIFF"}.get(upper, upper)


def _kind(word: str) -> str:
    if word.lower() not in ("image", "video", "moment"):
        raise ValueError("one of image, video, moment")
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


def _span(word: str) -> Span:
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


_TEXTS: dict[str, Callable[[str], str]] = {
    "path": _path,
    "format": _format,
    "kind": _kind,
    "tags": _text,
    "precision": _text,
    "sha256": _text,
    "error": _text,
    "file": _text,
    "id": _text,
}
_NUMBERS: dict[str, Callable[[str], int | float]] = {
    "size": _bytes,
    "width": _whole,
    "height": _whole,
    "start": _seconds,
    "end": _seconds,
}
_DATES = ("date", "modified")

FIELDS = (*_TEXTS, *_NUMBERS, *_DATES)
"""What a filter may ask for."""

_TOKEN = re.compile(
    r"""\s*(?: (?P<quoted>"[^"]*"|'[^']*') | <=|>=|!=|[=<>(),] | [^\s=<>!(),"']+ )""", re.VERBOSE
)


@dataclass(frozen=True)
class _Token:
    text: str
    """Without quotes."""
    quoted: bool
    at: int

    def says(self, *words: str) -> bool:
        return not self.quoted and self.text.lower() in words


def _tokens(text: str) -> Iterator[_Token]:
    at = 0
    while at < len(text.rstrip()):
        match = _TOKEN.match(text, at)
        if match is None:
            raise InvalidFilter(f"where {text!r}: cannot read on from {text[at:].strip()!r}")
        quoted = match["quoted"]
        yield _Token(quoted[1:-1] if quoted else match[0].strip(), bool(quoted), match.start())
        at = match.end()


class _Parser:
    """Recursive descent, a method a rule of the grammar."""

    def __init__(self, text: str) -> None:
        self._where = text
        self._left = list(_tokens(text))[::-1]
        self._depth = 0

    def filter(self) -> Filter:
        found = self._any()
        if self._left:
            raise self._expected("'and', 'or' or the end")
        return found

    def _any(self) -> Filter:
        self._depth += 1
        if self._depth > 50:
            raise InvalidFilter("where: more than 50 brackets within each other")
        terms = [self._all()]
        while self._take("or"):
            terms.append(self._all())
        self._depth -= 1
        return terms[0] if len(terms) == 1 else Or(tuple(terms))

    def _all(self) -> Filter:
        terms = [self._term()]
        while self._take("and"):
            terms.append(self._term())
        return terms[0] if len(terms) == 1 else And(tuple(terms))

    def _term(self) -> Filter:
        negations = 0
        while self._take("not"):
            negations += 1
        if self._take("("):
            inner = self._any()
            if not self._take(")"):
                raise self._expected("')'")
        else:
            inner = self._comparison()
        return Not(inner) if negations % 2 else inner

    def _comparison(self) -> Filter:
        name = self._next("a field")
        field = name.text.lower()
        if name.quoted or field not in FIELDS:
            raise InvalidFilter(
                f"where {self._where!r}: there is no field {name.text!r}; "
                f"there are {', '.join(FIELDS)}"
            )
        operator = self._next(f"a comparison after {field!r}")
        if field == "path" and operator.says("under"):
            return Holds("folders", (_path(self._word(field)),))
        if operator.says("in"):
            return _equals(field, [self._value(field, word) for word in self._words(field)])
        if operator.says("=", "!="):
            same = _equals(field, [self._value(field, self._word(field))])
            return Not(same) if operator.text == "!=" else same
        if operator.says("<", "<=", ">", ">=") and field not in _TEXTS:
            return _ordered(field, operator.text, self._value(field, self._word(field)))
        allowed = "=, != or in" if field in _TEXTS else "=, !=, <, <=, >, >= or in"
        under = ", or under" if field == "path" else ""
        raise InvalidFilter(
            f"where {self._where!r}: {field} compares with {allowed}{under}, not {operator.text!r}"
        )

    def _words(self, field: str) -> list[str]:
        if not self._take("("):
            raise self._expected("'(' after in")
        words = [self._word(field)]
        while self._take(","):
            words.append(self._word(field))
        if not self._take(")"):
            raise self._expected("',' or ')'")
        return words

    def _word(self, field: str) -> str:
        token = self._next(f"a value for {field}")
        if token.says("=", "!=", "<", "<=", ">", ">=", "(", ")", ","):
            raise InvalidFilter(
                f"where {self._where!r}: expected a value for {field}, found {token.text!r}"
            )
        return token.text

    def _value(self, field: str, word: str) -> Scalar | Span:
        read: Callable[[str], Scalar | Span] = {**_TEXTS, **_NUMBERS}.get(field, _span)
        try:
            return read(word)
        except ValueError as error:
            raise InvalidFilter(
                f"where {self._where!r}: {field} is {error}, not {word!r}"
            ) from None

    def _next(self, wanted: str) -> _Token:
        if not self._left:
            raise self._expected(wanted)
        return self._left.pop()

    def _take(self, word: str) -> bool:
        if self._left and self._left[-1].says(word):
            self._left.pop()
            return True
        return False

    def _expected(self, wanted: str) -> InvalidFilter:
        found = repr(self._left[-1].text) if self._left else "nothing more"
        return InvalidFilter(f"where {self._where!r}: expected {wanted}, found {found}")


def _equals(field: str, values: Sequence[Scalar | Span]) -> Filter:
    if field in _DATES:
        spans = [
            And((Compare(field, ">=", value[0]), Compare(field, "<", value[1])))
            for value in values
            if isinstance(value, tuple)
        ]
        return spans[0] if len(spans) == 1 else Or(tuple(spans))
    scalars = tuple(value for value in values if not isinstance(value, tuple))
    if field == "tags":
        return Holds(field, tuple(map(str, scalars)))
    return OneOf(field, scalars)


def _ordered(field: str, operator: str, value: Scalar | Span) -> Filter:
    assert not isinstance(value, str)
    if isinstance(value, tuple):
        first, after = value
        match operator:
            case "<":
                return Compare(field, "<", first)
            case "<=":
                return Compare(field, "<", after)
            case ">":
                return Compare(field, ">=", after)
            case _:
                return Compare(field, ">=", first)
    match operator:
        case "<" | "<=" | ">" | ">=":
            return Compare(field, operator, value)
    raise AssertionError(operator)
