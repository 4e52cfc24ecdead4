"""Parquet files with pictures, or with their paths, as sources."""

from __future__ import annotations

import posixpath
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from tritonclip_search.errors import SourceError
from tritonclip_search.sources.item import Item
from tritonclip_search.sources.local import MEMBER

if TYPE_CHECKING:
    import pyarrow as pa

PATHS = ("path", "file", "filename", "file_name", "filepath", "file_path", "image_path", "url")
"""Names of columns that are taken for paths or URLs of pictures, where no column has the pictures
themselves."""

# Rows that are read at a time: of pictures of 100 KB, some 25 MB.
_ROWS = 256


@dataclass(frozen=True)
class Column:
    """Where a file has its pictures."""

    name: str
    field: str = ""
    """Of a struct, as `datasets` writes them: `bytes`."""
    is_path: bool = False

    def value(self, cell: Any) -> Any:
        """The picture, or path, in a cell; None for nothing."""
        return cell.get(self.field) if self.field and cell is not None else cell


def row_ranges(item: Item, size: int) -> list[tuple[int, int] | None]:
    """Its row groups in runs of at least `size` rows; all of them where it cannot be read.

    (That it cannot is told by who reads the rows.)
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        with item.open() as opened:
            footer = pq.ParquetFile(opened).metadata
    except (OSError, pa.ArrowException):
        return [None]
    ranges: list[tuple[int, int] | None] = []
    first = rows = 0
    for group in range(footer.num_row_groups):
        rows += footer.row_group(group).num_rows
        if rows >= size or group == footer.num_row_groups - 1:
            ranges.append((first, group + 1))
            first, rows = group + 1, 0
    return ranges or [None]


class Table:
    """A file that is open.

    Attributes:
        column: where it has the pictures, or their paths.
    """

    def __init__(self, opened: Any, path: str, column: str | None, key: str | None) -> None:
        """Read its footer.

        Args:
            opened: the file.
            path: its path, for names and errors.
            column: the one with pictures or paths; None where it is plain which that is.
            key: the one with names; None for `FILE!/ROW`, and the paths where there are such.

        Raises:
            SourceError: there is no such column, or it is not plain which it is.
            ArrowException: the file is damaged.
            OSError: it cannot be read.
        """
        import pyarrow.parquet as pq

        self._file = pq.ParquetFile(opened)
        self._path = path
        self._key = key
        self.column = column_of(self._file.schema_arrow, path, column)
        if key is not None and key not in (names := self._file.schema_arrow.names):
            raise SourceError(f"{path} has no column {key!r}; there are: {', '.join(names)}")

    def rows(self, groups: tuple[int, int] | None) -> Iterator[tuple[str, Any]]:
        """Name and picture, or path, of each row of some row groups; None where it has none.

        Raises:
            ArrowException: the file is damaged.
            OSError: it cannot be read.
        """
        footer = self._file.metadata
        first, end = groups or (0, footer.num_row_groups)
        number = sum(footer.row_group(group).num_rows for group in range(first))
        columns = [self.column.name, *([] if self._key is None else [self._key])]
        batches = self._file.iter_batches(_ROWS, row_groups=range(first, end), columns=columns)
        for batch in batches:
            for row in batch.to_pylist():
                value = self.column.value(row[self.column.name])
                if self.column.is_path and value is not None:
                    value = beside(self._path, value)
                yield self._name(row, number, value), value
                number += 1

    def _name(self, row: dict[str, Any], number: int, value: Any) -> str:
        if self._key is not None:
            return str(row[self._key])
        return value if isinstance(value, str) else f"{self._path}{MEMBER}{number}"


def column_of(schema: pa.Schema, path: str, wanted: str | None) -> Column:
    """The column with pictures, or with paths.

    Raises:
        SourceError: there is none, or several.
    """
    import pyarrow.types as kinds

    def is_binary(kind: Any) -> bool:
        return bool(kinds.is_binary(kind) or kinds.is_large_binary(kind))

    def as_column(field: Any) -> Column | None:
        if is_binary(field.type):
            return Column(field.name)
        if kinds.is_struct(field.type):
            inner = field.type.get_field_index("bytes")
            if inner >= 0 and is_binary(field.type.field(inner).type):
                return Column(field.name, "bytes")
        is_text = kinds.is_string(field.type) or kinds.is_large_string(field.type)
        return Column(field.name, is_path=True) if is_text else None

    columns = {field.name: as_column(field) for field in schema}
    if wanted is not None:
        found = columns.get(wanted)
        if found is None:
            raise SourceError(
                f"{path} has no column {wanted!r} of pictures or paths; its columns are: "
                f"{', '.join(schema.names)}"
            )
        return found
    pictures = [c for c in columns.values() if c is not None and not c.is_path]
    paths = [c for c in columns.values() if c is not None and c.name.lower() in PATHS]
    if len(chosen := pictures or paths) == 1:
        return chosen[0]
    why = "several columns that may be the pictures" if chosen else "no column of pictures or paths"
    raise SourceError(f"{path} has {why}; name it, of: {', '.join(schema.names)}")


def beside(path: str, named: str) -> str:
    """What `named` in the file `path` leads to: it may be relative to the file's folder."""
    if "://" in named or named.startswith("/"):
        return named
    scheme, separator, rest = path.rpartition("://")
    return scheme + separator + posixpath.normpath(f"{posixpath.dirname(rest)}/{named}")
