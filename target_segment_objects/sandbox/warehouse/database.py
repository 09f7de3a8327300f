"""The warehouse: a DuckDB file with a table for each collection, and metadata about the loads.

The collections' tables are in the schema `main`: `id` is the primary key, and every other column is
a property, as described in `column_types`. The schema `sandbox_metadata` has the tables `sessions`;
`losses`, with the number of losses by column and kind, and the id of one example; `lost_values`,
which the module of this name describes; and `parts`, which `history` describes.

The objects of one session are loaded in one transaction. The methods are thread-safe.

A file can be of someone else, and anyone can add tables and views to it. Only tables that a sandbox
can have created are read, and no view.
"""

from __future__ import annotations

import threading
from contextlib import contextmanager, suppress
from datetime import timezone
from typing import TYPE_CHECKING, Any, Final

import duckdb
import pyarrow as pa

from target_segment_objects.sandbox.column_names import collection_name, table_name
from target_segment_objects.sandbox.errors import WarehouseError
from target_segment_objects.sandbox.session_record import SessionRecord
from target_segment_objects.sandbox.warehouse import history
from target_segment_objects.sandbox.warehouse.database_file import (
    SESSION_COLUMNS,
    connect_to_file,
    ensure_metadata,
    translate_error,
    translated_errors,
)
from target_segment_objects.sandbox.warehouse.losses import Loss
from target_segment_objects.sandbox.warehouse.lost_values import find_lost_values
from target_segment_objects.sandbox.warehouse.read_only_query import run_query
from target_segment_objects.sandbox.warehouse.table_loader import (
    ObjectLoader,
    read_column_types,
    read_columns,
)

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence
    from pathlib import Path
    from types import TracebackType

    from typing_extensions import Self

    from target_segment_objects.sandbox.objects import Object
    from target_segment_objects.sandbox.warehouse.column_types import ColumnType
    from target_segment_objects.sandbox.warehouse.history import History
    from target_segment_objects.sandbox.warehouse.lost_values import LostValue
    from target_segment_objects.sandbox.warehouse.read_only_query import QueryResult
    from target_segment_objects.sandbox.warehouse.session_columns import Columns

_COLLECTION_TABLES: Final = """
SELECT table_name FROM information_schema.columns
WHERE table_catalog = current_database() AND table_schema = 'main'
AND column_name = 'id' AND data_type = 'VARCHAR'
AND regexp_full_match(table_name, '_?[a-z](?:[a-z_]*[a-z])?')
AND table_name IN (
    SELECT table_name FROM duckdb_tables()
    WHERE database_name = current_database() AND schema_name = 'main'
)
"""
"""The tables that are those of collections: not those that the user or someone else has added."""

_ROWS: Final = """
SELECT * FROM main."{table}" WHERE contains("id", ?)
ORDER BY CASE WHEN regexp_full_match("id", '-?[0-9]{{1,18}}') THEN TRY_CAST("id" AS BIGINT) END
NULLS LAST, "id" LIMIT ? OFFSET ?
"""

_STREAMED_ROWS: Final = 500

MEMORY_LIMIT_MB: Final = 256
"""Memory for DuckDB, which writes the rest of a large load to a temporary file."""

_KILOBYTES_PER_COLUMN: Final = 150  # measured; DuckDB allocates blocks for each

_MAX_INDEX_MB: Final = 16_384

_ARROW_TYPES: Final = {
    "BIGINT": pa.int64(),
    "TIMESTAMP": pa.timestamp("us"),
    "VARCHAR": pa.string(),
    "VARCHAR[]": pa.list_(pa.string()),
}
_SESSION_SCHEMA: Final = pa.schema(
    {name: _ARROW_TYPES[kind] for name, kind in SESSION_COLUMNS.items()}
)


class Warehouse:
    """An open warehouse. A context manager that closes it, and tells what is wrong with the file.

    `open` makes one.
    """

    def __init__(self, path: Path, connection: duckdb.DuckDBPyConnection) -> None:
        self._path = path
        self._connection = connection
        self._index_mb = 0  # on top of the limit
        self._lock = threading.Lock()

    @classmethod
    def open(cls, path: Path, *, read_only: bool = False) -> Self:
        """Open the file of a warehouse. It is created if it is missing, unless it is only read.

        Raises:
            WarehouseInUseError: Another process has opened it.
            WarehouseError: The file is missing, or is not a warehouse of a sandbox.
        """
        if read_only and not path.exists():
            message = f"Warehouse not found: {path}"
            raise WarehouseError(message)
        connection = connect_to_file(path, read_only=read_only)
        try:
            with translated_errors(path):
                _prepare_connection(connection, path, read_only=read_only)
        except BaseException:
            connection.close()
            raise
        return cls(path, connection)

    def close(self) -> None:
        """Close the file after the running call, if there is one."""
        with self._lock:
            self._connection.close()

    def __enter__(self) -> Self:
        """Return the open warehouse."""
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Close the warehouse.

        Raises:
            WarehouseError: DuckDB could not read the file.
        """
        self.close()
        if isinstance(error, duckdb.Error):
            raise translate_error(self._path, error) from error

    @contextmanager
    def snapshot(self) -> Iterator[Self]:
        """Open the content as it is now, for reading. It does not wait for a running load."""
        with self._connection.cursor() as connection:
            connection.begin()
            yield type(self)(self._path, connection)

    def run_query(self, sql: str, *, max_rows: int) -> QueryResult:
        """Run a query that a user wrote. It does not wait for a running load.

        Raises:
            RefusedQueryError: It is not run, or fails.
        """
        with self._connection.cursor() as connection:
            return run_query(connection, sql, max_rows=max_rows)

    def load_session(
        self,
        session: SessionRecord,
        objects: Iterable[Object],
        columns: Columns,
        kept_files: Sequence[Path] = (),
    ) -> None:
        """Merge objects in their order and record the session, in one transaction.

        The compressed files, if any, are kept as the history of the objects.
        """
        column_count = sum(map(len, columns.values()))
        limit = MEMORY_LIMIT_MB + self._index_mb + column_count * _KILOBYTES_PER_COLUMN // 1000
        with self._lock:
            self._connection.execute(f"SET memory_limit = '{limit}MB'")
        with self._transaction() as connection:
            ObjectLoader(connection, columns).load_objects(objects)
            _insert_sessions(connection, [session])
            if kept_files:
                history.keep_parts(connection, session.sync_id, kept_files)

    def allow_more_memory(self) -> bool:
        """Double the memory for the indexes, which grow with the objects; False at its limit."""
        if self._index_mb >= _MAX_INDEX_MB:
            return False
        self._index_mb = max(MEMORY_LIMIT_MB, 2 * self._index_mb)
        return True

    def record_sessions(self, sessions: Iterable[SessionRecord]) -> None:
        """Record sessions whose objects are not loaded, in one transaction."""
        with self._transaction() as connection:
            _insert_sessions(connection, sessions)

    def has_session(self, sync_id: str) -> bool:
        """Return whether a session is recorded."""
        sql = "SELECT 1 FROM sandbox_metadata.sessions WHERE sync_id = ?"
        return bool(self._fetch_rows(sql, sync_id))

    def column_types(self, collection: str) -> dict[str, ColumnType]:
        """Return the columns of a collection but `id`; none if there is no such collection."""
        with self._lock:
            return read_column_types(self._connection, collection) or {}

    def collections(self) -> list[str]:
        """Return the names of the collections, sorted by their tables."""
        tables = self._fetch_rows(f"{_COLLECTION_TABLES} ORDER BY 1")
        return [collection_name(row["table_name"]) for row in tables]

    def columns(self, collection: str) -> dict[str, str]:
        """Return the columns of a collection and their types, in the order of creation."""
        with self._lock:
            return read_columns(self._connection, collection)

    def list_columns(self) -> dict[str, list[str]]:
        """Return the names of the columns of each collection."""
        columns: dict[str, list[str]] = {}
        for row in self._fetch_rows(
            "SELECT table_name, column_name FROM information_schema.columns"  # noqa: S608 - ours
            " WHERE table_catalog = current_database() AND table_schema = 'main'"
            f" AND table_name IN ({_COLLECTION_TABLES}) ORDER BY table_name, ordinal_position"
        ):
            columns.setdefault(collection_name(row["table_name"]), []).append(row["column_name"])
        return columns

    def rows(
        self, collection: str, *, limit: int | None = None, offset: int = 0, search: str = ""
    ) -> list[dict[str, Any]]:
        """Return rows whose ids contain a text, ordered by id. Times are UTC, without a zone.

        Ids that are integers are ordered as numbers, before all others.
        """
        table = self._require_collection(collection)
        return self._fetch_rows(_ROWS.format(table=table), search, limit, offset)

    def stream_rows(
        self, collection: str, *, limit: int | None = None, offset: int = 0, search: str = ""
    ) -> Iterator[tuple[Any, ...]]:
        """Yield what `rows` returns, without keeping it in memory: only the values.

        To be closed, also before its end.
        """
        table = self._require_collection(collection)
        with self._connection.cursor() as connection:
            result = connection.execute(_ROWS.format(table=table), [search, limit, offset])
            while rows := result.fetchmany(_STREAMED_ROWS):
                yield from rows

    def find_row(self, collection: str, object_id: str) -> dict[str, Any] | None:
        """Return the row of an object, if there is one."""
        table = self._require_collection(collection)
        rows = self._fetch_rows(f'SELECT * FROM main."{table}" WHERE "id" = ?', object_id)  # noqa: S608 - an existing table
        return rows[0] if rows else None

    def count(self, collection: str, *, search: str = "") -> int:
        """Return the number of rows of a collection, or of those whose ids contain a text."""
        table = self._require_collection(collection)
        sql = f'SELECT count(*) AS n FROM main."{table}" WHERE contains("id", ?)'  # noqa: S608 - an existing table
        [row] = self._fetch_rows(sql, search)
        return int(row["n"])

    def losses(self) -> list[Loss]:
        """Return all losses, ordered by collection, column and kind."""
        return [
            Loss(*row.values())
            for row in self._fetch_rows(
                "SELECT collection, column_name, kind, count, example_id"
                " FROM sandbox_metadata.losses ORDER BY ALL"
            )
        ]

    def sessions(self) -> list[SessionRecord]:
        """Return all ended sessions, in the order of their ends."""
        rows = self._fetch_rows("SELECT * FROM sandbox_metadata.sessions ORDER BY ended, started")
        for row in rows:
            row["collections"] = tuple(row["collections"])
            for name in ("started", "ended"):
                row[name] = row[name].replace(tzinfo=timezone.utc)
        return [SessionRecord(**row) for row in rows]

    def find_history(self, collection: str, object_id: str) -> History:
        """Return which sessions brought which properties of an object."""
        with self._lock:
            return history.find_history(self._connection, collection, object_id)

    def lost_values(self, collection: str, ids: Sequence[str]) -> list[LostValue]:
        """Return the values of some objects that are not stored as they were sent."""
        with self._lock:
            return find_lost_values(self._connection, collection, ids)

    def _require_collection(self, collection: str) -> str:
        """Return the table of a collection."""
        if collection not in self.collections():
            message = f"The warehouse has no collection {collection}"
            raise WarehouseError(message)
        return table_name(collection)

    def _fetch_rows(self, sql: str, *parameters: object) -> list[dict[str, Any]]:
        with self._lock:
            result = self._connection.execute(sql, parameters)
            names = [column[0] for column in result.description or ()]
            return [dict(zip(names, row, strict=True)) for row in result.fetchall()]

    @contextmanager
    def _transaction(self) -> Iterator[duckdb.DuckDBPyConnection]:
        with self._lock:
            self._connection.begin()
            try:
                yield self._connection
                self._connection.commit()
            except BaseException:
                # A commit that failed has ended the transaction: the rollback then fails, too, and
                # would hide the reason.
                with suppress(duckdb.Error):
                    self._connection.rollback()
                raise


def _prepare_connection(
    connection: duckdb.DuckDBPyConnection, path: Path, *, read_only: bool
) -> None:
    # DuckDB shows one on standard output where it takes the process for an interactive one.
    connection.execute("SET enable_progress_bar = false")
    # The sender needs the other cores. With two threads, DuckDB 2.0.1 once reported a corrupted
    # string segment in the middle of a load.
    connection.execute("SET threads = 1")
    connection.execute(f"SET memory_limit = '{MEMORY_LIMIT_MB}MB'")
    ensure_metadata(connection, path, read_only=read_only)
    if not read_only:  # a load changes the limit of memory
        settings = "SELECT 1 FROM duckdb_settings() WHERE name = 'allowed_configs'"
        if not connection.execute(settings).fetchall():  # an older DuckDB
            return
        connection.execute("SET allowed_configs = ['memory_limit']")
    connection.execute("SET lock_configuration = true")


def _insert_sessions(
    connection: duckdb.DuckDBPyConnection, sessions: Iterable[SessionRecord]
) -> None:
    """Insert sessions, all at once: DuckDB takes milliseconds for each statement."""
    rows = [
        {name: getattr(session, name) for name in _SESSION_SCHEMA.names} for session in sessions
    ]
    connection.register("ended_sessions", pa.Table.from_pylist(rows, _SESSION_SCHEMA))
    connection.execute(
        "INSERT INTO sandbox_metadata.sessions FROM ended_sessions ON CONFLICT DO NOTHING"
    )
    connection.unregister("ended_sessions")
