"""PostgreSQL with pgvector: a table a collection, in the database that the URL names.

The description of a collection is the table's comment. A search is a sequential scan, and so exact,
until `settle` builds an HNSW index. What the address has behind its question mark goes to libpq as
it is (`sslmode`, `host` for a socket, `options=-c maintenance_work_mem=4GB` for a faster build).
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any
from uuid import UUID

import numpy as np
import psycopg
from pgvector import HalfVector, Vector
from pgvector.psycopg import register_vector
from psycopg import errors, sql
from psycopg.conninfo import make_conninfo
from psycopg.rows import dict_row

from tritonclip.errors import InvalidArgument
from tritonclip.types import FloatArray
from tritonclip_search.errors import (
    CollectionNotFound,
    StoreDenied,
    StoreError,
    StoreUnavailable,
)
from tritonclip_search.filters import And, Compare, Filter, Holds, Not, OneOf, Or
from tritonclip_search.records import (
    FIELDS,
    Record,
    check_vectors,
    from_plain,
    to_plain,
    valid_ids,
)
from tritonclip_search.space import Description
from tritonclip_search.stores.store import EXACT_UNTIL, Method
from tritonclip_search.stores.url import StoreUrl

if TYPE_CHECKING:
    from tritonclip_search.stores.store import Store

_REMARK = "tritonclip "
_TYPES = {
    "id": "uuid PRIMARY KEY",
    "file": "uuid NOT NULL",
    **dict.fromkeys(("kind", "path"), "text NOT NULL"),
    "folders": "text[] NOT NULL",
    **dict.fromkeys(("size", "modified"), "bigint NOT NULL"),
    "sha256": "text NOT NULL",
    "date": "bigint NOT NULL",
    **dict.fromkeys(("width", "height"), "integer NOT NULL"),
    "format": "text NOT NULL",
    **dict.fromkeys(("start", "end"), "double precision NOT NULL"),
    "tags": "text[] NOT NULL",
    "tag_probabilities": "real[] NOT NULL",
    **dict.fromkeys(("precision", "error"), "text NOT NULL"),
}
_VECTORS: dict[str, tuple[str, Any]] = {
    "float32": ("vector", Vector),
    "float16": ("halfvec", HalfVector),
}
# libpq gives no code for what happens while connecting.
_REFUSED = re.compile(
    r"authentication failed|no password supplied|pg_hba\.conf|role .* does not exist"
)
_PAGE = 4096
"""Records that a scan holds at a time."""

# From 0.8 on an index is followed until enough records pass the filter.
_PGVECTOR = (0, 8)
# Vectors of up to so many bytes lie in the row, beside which text has room in a page of 8 KB. Out
# of line, PostgreSQL's default from 2 KB on, an exact scan of 512 numbers takes four times as long.
_IN_ROW = 6000
# Candidates while an index is built, and in a scan of it. Of a million clustered vectors pgvector's
# 64 leave a graph in which even 1000 candidates miss 7 % of the nearest ten; see docs/stores.md.
# It takes no more than 1000, and goes on beyond them.
_EF_CONSTRUCTION = 200
_EF_SEARCH, _MOST_EF_SEARCH = 400, 1000


def connect(url: StoreUrl) -> Store:
    """Connect to the database.

    Raises:
        InvalidArgument: an option that libpq does not know.
        StoreUnavailable: it cannot be reached.
        StoreDenied: it does not let us in.
    """
    return PostgresStore(url)


class PostgresStore:
    """See `Store`."""

    def __init__(self, url: StoreUrl) -> None:
        self.url = url
        self._connection: psycopg.Connection[dict[str, Any]] | None = None
        self._registered = False
        self._open()

    def names(self) -> list[str]:
        found = self._run(
            "SELECT relname AS name FROM pg_class WHERE relkind = 'r' AND pg_table_is_visible(oid)"
            " AND starts_with(obj_description(oid, 'pg_class'), %s) ORDER BY relname COLLATE \"C\"",
            [_REMARK],
        )
        return [row["name"] for row in found]

    def create(self, name: str, description: Description) -> None:
        kind, _ = _VECTORS[description.vectors]
        dim = description.space.dim
        plain = dim * (4 if description.vectors == "float32" else 2) <= _IN_ROW
        columns = [sql.SQL(f'"{field}" {type_}') for field, type_ in _TYPES.items()]
        columns.append(sql.SQL(f"vector {kind}({dim}) STORAGE {'PLAIN' if plain else 'EXTERNAL'}"))
        with self._failures(name), self._open().transaction():
            # CREATE ... IF NOT EXISTS fails where two do it at the same moment.
            self._lock("create")
            if self.describe(name) is not None:
                return
            self._install()
            table = sql.Identifier(name)
            self._run(sql.SQL("CREATE TABLE {} ({})").format(table, sql.SQL(", ").join(columns)))
            self._run(sql.SQL("CREATE INDEX ON {} (file)").format(table))
            remark = sql.Literal(_REMARK + description.to_json())
            self._run(sql.SQL("COMMENT ON TABLE {} IS {}").format(table, remark))

    def describe(self, name: str) -> Description | None:
        found = self._run(
            "SELECT obj_description(oid, 'pg_class') AS remark FROM pg_class"
            " WHERE relname = %s AND pg_table_is_visible(oid)",
            [name],
        )
        if not found:
            return None
        return Description.from_json((found[0]["remark"] or "").removeprefix(_REMARK), name)

    def upsert(self, name: str, records: Sequence[Record]) -> None:
        description = self._description(name)
        check_vectors(records, description.space.dim)
        _, vector_of = _VECTORS[description.vectors]
        columns = [sql.Identifier(field) for field in (*FIELDS, "vector")]
        statement = sql.SQL(
            "INSERT INTO {} ({}) VALUES ({}) ON CONFLICT (id) DO UPDATE SET {}"
        ).format(
            sql.Identifier(name),
            sql.SQL(", ").join(columns),
            sql.SQL(", ").join([sql.SQL("%b")] * len(columns)),
            sql.SQL(", ").join(sql.SQL("{0} = excluded.{0}").format(column) for column in columns),
        )
        rows = [
            [
                *({**to_plain(record), "id": UUID(record.id), "file": UUID(record.file)}.values()),
                None if record.vector is None else vector_of(record.vector),
            ]
            # In order, so that two who write the same records wait for each other, never both.
            for record in sorted(records, key=lambda record: record.id)
        ]
        with self._failures(name):
            connection = self._open()
            with connection.transaction(), connection.cursor() as cursor:
                cursor.executemany(statement, rows)

    def delete(self, name: str, ids: Sequence[str]) -> None:
        statement = sql.SQL("DELETE FROM {} WHERE id = ANY(%s::uuid[])")
        self._run(statement.format(sql.Identifier(name)), [list(ids)], name)

    def nearest(
        self, name: str, vector: FloatArray, *, top: int, where: Filter | None = None
    ) -> list[Record]:
        description = self._description(name)
        _, vector_of = _VECTORS[description.vectors]
        condition, values = _condition(where)
        statement = sql.SQL(
            "SELECT * FROM {} WHERE vector IS NOT NULL AND {} ORDER BY vector <#> %b LIMIT %s"
        ).format(sql.Identifier(name), condition)
        given = [*values, vector_of(vector), top]
        with self._failures(name), self._open().transaction():
            ef_search = min(max(_EF_SEARCH, top), _MOST_EF_SEARCH)
            self._run(f"SET LOCAL hnsw.ef_search = {ef_search}")
            self._run("SET LOCAL hnsw.iterative_scan = strict_order")
            found = self._run(statement, given)
            if len(found) < top and self._indices(name):
                # The index gives up after `hnsw.max_scan_tuples`, be there more that pass or not.
                self._run("SET LOCAL enable_indexscan = off")
                found = self._run(statement, given)
        return [_record(row) for row in found]

    def scan(
        self, name: str, *, where: Filter | None = None, vectors: bool = False
    ) -> Iterator[Record]:
        self._description(name)
        columns = sql.SQL(", ").join(
            sql.Identifier(field) for field in (*FIELDS, *(["vector"] if vectors else []))
        )
        condition, values = _condition(where)
        # Page by page instead of with a cursor, whose transaction all writes would be part of.
        statement = sql.SQL("SELECT {} FROM {} WHERE id > %s AND {} ORDER BY id LIMIT %s").format(
            columns, sql.Identifier(name), condition
        )
        last = UUID(int=0)
        while page := self._run(statement, [last, *values, _PAGE], name):
            yield from map(_record, page)
            last = page[-1]["id"]

    def count(self, name: str, *, where: Filter | None = None) -> int:
        condition, values = _condition(where)
        statement = sql.SQL("SELECT count(*) AS records FROM {} WHERE {}")
        found = self._run(statement.format(sql.Identifier(name), condition), values, name)
        return int(found[0]["records"])

    def settle(self, name: str) -> Method:
        kind, _ = _VECTORS[self._description(name).vectors]
        table = sql.Identifier(name)
        if self.count(name) > EXACT_UNTIL:
            with self._failures(name), self._open().transaction():
                self._lock(name)
                if not self._indices(name):
                    index = sql.SQL(
                        f"CREATE INDEX ON {{}} USING hnsw (vector {kind}_ip_ops)"
                        f" WITH (ef_construction = {_EF_CONSTRUCTION})"
                    )
                    self._run(index.format(table))
        self._run(sql.SQL("VACUUM (ANALYZE) {}").format(table))
        return self.method(name)

    def method(self, name: str) -> Method:
        self._description(name)
        for row in self._indices(name):
            options = f" ({', '.join(row['options'])})" if row["options"] else ""
            return Method(f"{row['kind'].upper()}{options}, ef_search={_EF_SEARCH}", False)
        return Method("exact scan", True)

    def drop(self, name: str) -> None:
        self._description(name)  # so that a table of somebody else's stays
        self._run(sql.SQL("DROP TABLE {}").format(sql.Identifier(name)), name=name)

    def close(self) -> None:
        if self._connection is not None:
            self._connection.close()
            self._connection = None

    @property
    def _connected(self) -> bool:
        return self._connection is not None and not self._connection.closed

    def _open(self) -> psycopg.Connection[dict[str, Any]]:
        """The connection; a new one where the server has closed it."""
        if self._connection is None or self._connection.closed:
            url = self.url
            given = {
                "host": url.host,
                "port": str(url.port or ""),
                "dbname": url.path.strip("/"),
                "user": url.user,
                "password": url.password,
                "connect_timeout": "10",
                **dict(url.options),
            }
            with self._failures():
                address = make_conninfo(**{name: value for name, value in given.items() if value})
                self._connection = psycopg.connect(address, autocommit=True, row_factory=dict_row)
                self._register()
        return self._connection

    def _register(self) -> None:
        """Let the connection know pgvector's types, if they are there yet."""
        assert self._connection is not None
        self._registered = False
        found = self._connection.execute(
            "SELECT extversion FROM pg_extension WHERE extname = 'vector'"
        ).fetchone()
        if found is None:
            return
        version = found["extversion"]
        if tuple(int(part) for part in version.split(".")[:2]) < _PGVECTOR:
            raise StoreError(
                f"{self.url} has pgvector {version}; 0.8 or later is needed. Install it on the "
                "server, then run ALTER EXTENSION vector UPDATE"
            )
        register_vector(self._connection)
        self._registered = True

    def _install(self) -> None:
        try:
            with self._open().transaction():
                self._open().execute("CREATE EXTENSION IF NOT EXISTS vector")
        except (errors.FeatureNotSupported, errors.UndefinedFile) as error:
            raise StoreError(
                f"PostgreSQL at {self.url} lacks the extension pgvector; install it on the server "
                "(e.g. apt install postgresql-18-pgvector, or the image pgvector/pgvector:pg18)"
            ) from error
        except errors.InsufficientPrivilege as error:
            raise StoreDenied(
                f"this user may not add pgvector to {self.url}; let an administrator run "
                "CREATE EXTENSION vector in that database"
            ) from error
        self._register()

    def _lock(self, what: str) -> None:
        """Wait for others who do `what`, until the transaction ends."""
        self._run("SELECT pg_advisory_xact_lock(hashtext(%s))", [f"tritonclip {what}"])

    def _indices(self, name: str) -> list[dict[str, Any]]:
        """Those of the vectors: ours, or one that the database's owner made."""
        return self._run(
            "SELECT amname AS kind, reloptions AS options FROM pg_index"
            " JOIN pg_class ON pg_class.oid = indexrelid JOIN pg_am ON pg_am.oid = relam"
            " WHERE indrelid = %s::regclass AND indisvalid AND amname IN ('hnsw', 'ivfflat')",
            [sql.Identifier(name).as_string()],
        )

    def _description(self, name: str) -> Description:
        description = self.describe(name)
        if description is None:
            raise CollectionNotFound(name, self.url)
        if not self._registered:  # another process has added pgvector since we connected
            with self._failures(name):
                self._register()
        return description

    def _run(
        self, statement: str | sql.Composed, values: Sequence[object] = (), name: str = ""
    ) -> list[dict[str, Any]]:
        with self._failures(name):
            # Not prepared: a plan outlives the table that it was made for, if another process
            # drops that and makes it anew.
            cursor = self._open().execute(statement, values, prepare=False)
            return cursor.fetchall() if cursor.description else []

    @contextmanager
    def _failures(self, name: str = "") -> Iterator[None]:
        """Failures of the library as ours."""
        try:
            yield
        except psycopg.Error as error:
            # `from None`: the library's own error may show the password in a traceback.
            text = self.url.redact(str(error).strip())
            match error:
                case errors.UndefinedTable() if name:
                    raise CollectionNotFound(name, self.url) from None
                case errors.InsufficientPrivilege() | errors.ReadOnlySqlTransaction():
                    raise StoreDenied(
                        f"{self.url} does not let this user do that: {text}"
                    ) from None
                case errors.DiskFull():
                    raise StoreError(
                        f"no space is left on the server of {self.url}; what was written before "
                        "is safe. Make room and run it again"
                    ) from None
                case psycopg.ProgrammingError() if "connection option" in text:
                    raise InvalidArgument(f"{self.url}: {text}") from None
                case psycopg.OperationalError() if _REFUSED.search(text):
                    raise StoreDenied(f"{self.url} does not let us in: {text}") from None
                case psycopg.OperationalError() if (
                    self._connection is None or self._connection.closed
                ):
                    raise StoreUnavailable(f"{self.url} cannot be reached: {text}") from None
            raise StoreError(f"{self.url} failed: {text}") from None


def _condition(where: Filter | None) -> tuple[sql.Composable, list[Any]]:
    """A condition, and the values of its placeholders."""
    match where:
        case None:
            return sql.SQL("TRUE"), []
        case OneOf("id" | "file" as field, values):
            return _compared(field, "= ANY(%s::uuid[])"), [valid_ids(values)]
        case OneOf(field, values):
            return _compared(field, "= ANY(%s)"), [list(values)]
        case Compare(field, operator, value):
            return _compared(field, f"{operator} %s"), [value]
        case Holds(field, values):
            return _compared(field, "&& %s::text[]"), [list(values)]
        case And(terms):
            return _joined(" AND ", terms)
        case Or(terms):
            return _joined(" OR ", terms)
        case Not(term):
            condition, inner = _condition(term)
            return sql.SQL("NOT ({})").format(condition), inner


def _compared(field: str, comparison: str) -> sql.Composable:
    return sql.SQL("{} " + comparison).format(sql.Identifier(field))


def _joined(word: str, terms: Sequence[Filter]) -> tuple[sql.Composable, list[Any]]:
    conditions, values = zip(*map(_condition, terms), strict=True)
    return sql.SQL("({})").format(sql.SQL(word).join(conditions)), [
        v for some in values for v in some
    ]


def _record(row: dict[str, Any]) -> Record:
    vector = row.get("vector")
    row["id"], row["file"] = str(row["id"]), str(row["file"])
    return from_plain(row, None if vector is None else vector.to_numpy().astype(np.float32))
