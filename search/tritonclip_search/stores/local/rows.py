"""Records as rows of SQLite, and filters as its conditions."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

from tritonclip.types import FloatArray
from tritonclip_search.filters import And, Compare, Filter, Holds, Not, OneOf, Or
from tritonclip_search.records import Kind, Record

_LISTS = ("folders", "tags", "tag_probabilities")
"""Fields that are kept as JSON."""
_TEXTS = ("id", "file", "kind", "path", *_LISTS, "sha256", "format", "precision", "error")
_WHOLE = ("size", "modified", "date", "width", "height")
_FIELDS = tuple(name for name in Record.__slots__ if name != "vector")

COLUMNS = ", ".join(f'"{field}"' for field in _FIELDS)
"""Of a record without its vector, in the order in which `from_row` takes them."""


def schema() -> list[str]:
    """What makes an empty collection."""

    def column(name: str) -> str:
        kind = "TEXT" if name in _TEXTS else "INTEGER" if name in _WHOLE else "REAL"
        return f'"{name}" {kind} NOT NULL{" PRIMARY KEY" if name == "id" else ""}'

    columns = ", ".join(map(column, _FIELDS))
    return [
        f"CREATE TABLE records ({columns}, slot INTEGER UNIQUE)",
        "CREATE INDEX records_file ON records (file)",
        "CREATE INDEX records_path ON records (path)",
        "CREATE TABLE description (json TEXT NOT NULL, generation INTEGER NOT NULL)",
    ]


UPSERT = (
    f"INSERT INTO records ({COLUMNS}, slot) VALUES ({', '.join('?' * (len(_FIELDS) + 1))}) "
    "ON CONFLICT (id) DO UPDATE SET "
    + ", ".join(f'"{name}" = excluded."{name}"' for name in (*_FIELDS, "slot") if name != "id")
)


def to_row(record: Record) -> list[Any]:
    """The values of `COLUMNS`."""
    return [
        json.dumps(getattr(record, name), ensure_ascii=False)
        if name in _LISTS
        else record.kind.value
        if name == "kind"
        else getattr(record, name)
        for name in _FIELDS
    ]


def from_row(values: Sequence[Any], vector: FloatArray | None) -> Record:
    """The record of a row."""
    fields = dict(zip(_FIELDS, values, strict=True))
    fields["kind"] = Kind(fields["kind"])
    for name in _LISTS:
        fields[name] = tuple(json.loads(fields[name])) if fields[name] != "[]" else ()
    return Record(**fields, vector=vector)


def to_sql(where: Filter | None) -> tuple[str, list[Any]]:
    """A condition, and the values of its question marks."""
    match where:
        case None:
            return "TRUE", []
        case OneOf(field, values):
            return f'"{field}" IN ({", ".join("?" * len(values))})', list(values)
        case Compare(field, operator, value):
            return f'"{field}" {operator} ?', [value]
        case Holds("folders", values):
            # In the order of paths, all that lies under a folder is one stretch.
            stretches = [
                (f"{value}{mark}/", f"{value}{mark}0") for value in values for mark in ("", "!")
            ]
            conditions = ["(path >= ? AND path < ?)"] * len(stretches)
            return f"({' OR '.join(conditions)})", [end for pair in stretches for end in pair]
        case Holds(field, values):
            marks = ", ".join("?" * len(values))
            return (
                f"EXISTS (SELECT 1 FROM json_each({field}) WHERE value IN ({marks}))",
                list(values),
            )
        case And(terms):
            return _joined(" AND ", terms)
        case Or(terms):
            return _joined(" OR ", terms)
        case Not(term):
            condition, inner = to_sql(term)
            return f"NOT ({condition})", inner


def _joined(word: str, terms: Sequence[Filter]) -> tuple[str, list[Any]]:
    parts = [to_sql(term) for term in terms]
    values = [value for _, some in parts for value in some]
    return f"({word.join(condition for condition, _ in parts)})", values
