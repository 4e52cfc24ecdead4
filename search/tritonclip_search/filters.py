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
| `kind` | `image`, `video`, `moment`, `frame` | `=` `!=` `in` |
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

import operator
import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Literal, TypeAlias

from tritonclip_search.errors import InvalidFilter
from tritonclip_search.filter_values import DATES, FIELDS, NUMBERS, TEXTS, Span, absolute, span

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


def holds(where: Filter, record: object) -> bool:
    """Whether `where` does for a record: for stores that cannot ask it of all that they have."""
    match where:
        case OneOf(field, values):
            return getattr(record, field) in values
        case Compare(field, operator, value):
            return _ORDERS[operator](getattr(record, field), value)
        case Holds(field, values):
            return not set(values).isdisjoint(getattr(record, field))
        case And(terms):
            return all(holds(term, record) for term in terms)
        case Or(terms):
            return any(holds(term, record) for term in terms)
        case Not(term):
            return not holds(term, record)


_ORDERS: dict[str, Callable[[float, float], bool]] = {
    "<": operator.lt,
    "<=": operator.le,
    ">": operator.gt,
    ">=": operator.ge,
}

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
            return Holds("folders", (absolute(self._word(field)),))
        if operator.says("in"):
            return _equals(field, [self._value(field, word) for word in self._words(field)])
        if operator.says("=", "!="):
            same = _equals(field, [self._value(field, self._word(field))])
            return Not(same) if operator.text == "!=" else same
        if operator.says("<", "<=", ">", ">=") and field not in TEXTS:
            return _ordered(field, operator.text, self._value(field, self._word(field)))
        allowed = "=, != or in" if field in TEXTS else "=, !=, <, <=, >, >= or in"
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
        read: Callable[[str], Scalar | Span] = {**TEXTS, **NUMBERS}.get(field, span)
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
    if field in DATES:
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
