"""What people say about pictures: a CSV file with a line for each and a column for each rule.

    path,group,weapon,face
    a.jpg,studio,1,0
    b.jpg,street,0,

1 or yes where the rule is about the picture, 0 or no where it is not, empty where nobody has
looked. Paths are relative to the file. `group` is optional, see `evaluation`.
"""

from __future__ import annotations

import csv
import difflib
import hashlib
import io
import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from tritonclip.types import FloatArray
from tritonclip_search.errors import InvalidLabels
from tritonclip_search.policy.picture import Picture

_SAID = {"1": 1.0, "yes": 1.0, "true": 1.0, "0": 0.0, "no": 0.0, "false": 0.0, "": np.nan}


@dataclass(frozen=True, eq=False)
class Labels:
    """What a file says, with the vectors of its pictures once they are known."""

    file: Path
    sha256: str
    paths: tuple[str, ...]
    """As records have them."""
    groups: tuple[str, ...]
    """Empty texts where there is no such column."""
    said: Mapping[str, NDArray[np.float64]]
    """By rule, for each picture: 1, 0, or NaN where nothing is said."""

    def with_vectors(self, pictures: Iterable[Picture]) -> tuple[Labels, FloatArray]:
        """Those of which there is a picture, and its vectors [pictures, dim] in the same order.

        Raises:
            InvalidLabels: there is a picture of none of them.
        """
        wanted = {path: place for place, path in enumerate(self.paths)}
        found = {
            wanted[picture.path]: picture.vector for picture in pictures if picture.path in wanted
        }
        if not found:
            raise InvalidLabels(
                f"{self.file}: none of its {len(self.paths)} pictures is there; paths are relative "
                f"to the file, e.g. {self.paths[0]}"
            )
        kept = sorted(found)
        return self._at(kept), np.stack([found[place] for place in kept])

    def _at(self, kept: Sequence[int]) -> Labels:
        return Labels(
            self.file,
            self.sha256,
            tuple(self.paths[place] for place in kept),
            tuple(self.groups[place] for place in kept),
            {rule: said[kept] for rule, said in self.said.items()},
        )


def read(file: Path, rules: Sequence[str]) -> Labels:
    """The labels in a CSV file.

    Args:
        file: UTF-8, with a header.
        rules: what its columns may be called.

    Raises:
        InvalidLabels: it is not there, a column belongs to no rule, or a line cannot be read.
    """
    try:
        encoded = file.read_bytes()
        text = encoded.decode("utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise InvalidLabels(f"the labels {file} cannot be read: {error}") from error
    rows = csv.DictReader(io.StringIO(text), skipinitialspace=True)
    columns = [column.strip() for column in rows.fieldnames or ()]
    rows.fieldnames = columns
    _check_columns(file, columns, rules)
    named = [column for column in columns if column in rules]
    paths: dict[str, int] = {}
    groups: list[str] = []
    said: dict[str, list[float]] = {rule: [] for rule in named}
    for row in rows:
        path = _absolute(file, (row["path"] or "").strip())
        if path in paths:
            raise InvalidLabels(
                f"{file}:{rows.line_num}: {row['path']} is there twice, first in line {paths[path]}"
            )
        paths[path] = rows.line_num
        groups.append((row.get("group") or "").strip())
        for rule in named:
            value = (row[rule] or "").strip().lower()
            if value not in _SAID:
                raise InvalidLabels(
                    f"{file}:{rows.line_num}: {rule} is {row[rule]!r}; write 1, 0, or nothing"
                )
            said[rule].append(_SAID[value])
    if not paths:
        raise InvalidLabels(f"{file} has a header and no lines")
    return Labels(
        file,
        hashlib.sha256(encoded).hexdigest(),
        tuple(paths),
        tuple(groups),
        {rule: np.array(values) for rule, values in said.items()},
    )


def _check_columns(file: Path, columns: Sequence[str], rules: Sequence[str]) -> None:
    if "path" not in columns:
        raise InvalidLabels(
            f"{file} has no column 'path'; it begins with a line such as path,{','.join(rules)}"
        )
    known = ("path", "group", *rules)
    for column in columns:
        if column not in known:
            near = difflib.get_close_matches(column, known, 1, 0.5)
            hint = f"did you mean {near[0]!r}?" if near else f"there are {', '.join(rules)}"
            raise InvalidLabels(f"{file}: the column {column!r} is of no rule; {hint}")
    if not set(columns) & set(rules):
        raise InvalidLabels(f"{file} has no column of a rule; there are {', '.join(rules)}")


def _absolute(file: Path, path: str) -> str:
    if "://" in path:
        return path
    return os.path.abspath(file.parent / path)  # noqa: PTH100  # as records: links are not followed
