"""The warehouse: a DuckDB file with a table per collection, and what there is to say about it.

The tables of the collections are in the schema `main`: `id` is the key, and every other column is a
property, as `columns` describes. The schema `sandbox_books` keeps the books: `sessions`, and in
`losses` every loss, counted, with one example and never a value.

What one session brings is one transaction. The methods may be called from any thread: they wait for
each other.
"""

from __future__ import annotations

import threading
from contextlib import contextmanager
from dataclasses import astuple, dataclass
from typing import TYPE_CHECKING, Any, Final

import duckdb

from target_segment_objects.sandbox import WarehouseError
from target_segment_objects.sandbox.loading import Loading

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from datetime import datetime
    from pathlib import Path
    from types import TracebackType

    from typing_extensions import Self

    from target_segment_objects.sandbox.objects import Object

_BOOKS: Final = """
CREATE SCHEMA sandbox_books;
CREATE TABLE sandbox_books.sessions (
    sync_id VARCHAR PRIMARY KEY,
    outcome VARCHAR NOT NULL,
    collections VARCHAR[] NOT NULL,
    parts BIGINT NOT NULL,
    objects BIGINT NOT NULL,
    raw_bytes BIGINT NOT NULL,
    gzip_bytes BIGINT NOT NULL,
    started TIMESTAMP NOT NULL,
    ended TIMESTAMP NOT NULL,
    error VARCHAR NOT NULL
);
CREATE TABLE sandbox_books.losses (
    collection VARCHAR NOT NULL,
    column_name VARCHAR NOT NULL,
    kind VARCHAR NOT NULL,
    count BIGINT NOT NULL,
    example_id VARCHAR NOT NULL,
    PRIMARY KEY (collection, column_name, kind)
);
"""


@dataclass(frozen=True, slots=True)
class SessionRow:
    """What became of a session.

    Attributes:
        sync_id: Its name.
        outcome: `loaded`; `error`, when it was finished with one; `expired`; or `open`, when the
            sandbox ended before it.
        collections: Names of the collections that it had objects of, sorted.
        parts: How many files it uploaded.
        objects: How many objects were in them.
        raw_bytes: Their size, uncompressed.
        gzip_bytes: Their size, compressed.
        started: When it was started, in UTC without saying so.
        ended: When that became of it, in UTC without saying so.
        error: What it was finished with; blank when all went well.
    """

    sync_id: str
    outcome: str
    collections: tuple[str, ...]
    parts: int
    objects: int
    raw_bytes: int
    gzip_bytes: int
    started: datetime
    ended: datetime
    error: str


@dataclass(frozen=True, slots=True)
class Loss:
    """Values that a column could not keep as they were.

    Attributes:
        collection: The collection.
        column: The column.
        kind: A value of `columns.LossKind`.
        count: How many values.
        example_id: The id of the first object with such a value.
    """

    collection: str
    column: str
    kind: str
    count: int
    example_id: str


class Warehouse:
    """An open warehouse; closes as a context manager."""

    def __init__(self, connection: duckdb.DuckDBPyConnection) -> None:
        """Use a connection that `open` made."""
        self._connection = connection
        self._lock = threading.Lock()

    @classmethod
    def open(cls, path: Path, *, read_only: bool = False) -> Self:
        """Open a warehouse's file.

        Args:
            path: The file; made when it is missing, unless it is only read.
            read_only: Whether to leave it as it is.

        Raises:
            WarehouseError: There is no such file, it is no sandbox's warehouse, or another process
                has it open.
        """
        if read_only and not path.exists():
            message = f"There is no warehouse {path}"
            raise WarehouseError(message)
        try:
            connection = duckdb.connect(str(path), read_only=read_only)
        except duckdb.Error as error:
            raise WarehouseError(_why(path, error)) from error
        try:
            _prepare(connection, path, read_only=read_only)
        except BaseException:
            connection.close()
            raise
        return cls(connection)

    def close(self) -> None:
        """Close the file, once whoever uses it is done."""
        with self._lock:
            self._connection.close()

    def __enter__(self) -> Self:
        """Give the open warehouse."""
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Close it."""
        self.close()

    def load(self, session: SessionRow, objects: Iterable[Object]) -> None:
        """Merge objects in their order and note the session; all of it or nothing."""
        with self._transaction() as connection:
            Loading(connection).run(objects)
            _note(connection, session)

    def note(self, session: SessionRow) -> None:
        """Note a session that brings nothing."""
        with self._transaction() as connection:
            _note(connection, session)

    def collections(self) -> list[str]:
        """Give the names of the collections, sorted."""
        return [
            row["table_name"]
            for row in self._query(
                "SELECT table_name FROM information_schema.tables"
                " WHERE table_catalog = current_database() AND table_schema = 'main' ORDER BY 1"
            )
        ]

    def columns(self, collection: str) -> dict[str, str]:
        """Give a collection's columns with their types, in the order of their creation."""
        return {
            row["column_name"]: row["data_type"]
            for row in self._query(
                "SELECT column_name, data_type FROM information_schema.columns"
                " WHERE table_catalog = current_database() AND table_schema = 'main'"
                " AND table_name = ? ORDER BY ordinal_position",
                collection,
            )
        }

    def rows(self, collection: str, *, limit: int | None = None) -> list[dict[str, Any]]:
        """Give a collection's rows by column, ordered by id; times are in UTC without saying so."""
        return self._query(
            f'SELECT * FROM main."{self._known(collection)}" ORDER BY "id" LIMIT ?',  # noqa: S608 - a known table
            limit,
        )

    def count(self, collection: str) -> int:
        """Count a collection's rows."""
        [row] = self._query(f'SELECT count(*) AS n FROM main."{self._known(collection)}"')  # noqa: S608 - a known table
        return int(row["n"])

    def losses(self) -> list[Loss]:
        """Give all losses, ordered by collection, column and kind."""
        return [
            Loss(*row.values())
            for row in self._query(
                "SELECT collection, column_name, kind, count, example_id FROM sandbox_books.losses"
                " ORDER BY ALL"
            )
        ]

    def sessions(self) -> list[SessionRow]:
        """Give all sessions that are over, in the order of their ends."""
        return [
            SessionRow(**{**row, "collections": tuple(row["collections"])})
            for row in self._query("SELECT * FROM sandbox_books.sessions ORDER BY ended, started")
        ]

    def _known(self, collection: str) -> str:
        if collection not in self.collections():
            message = f"The warehouse has no collection {collection}"
            raise WarehouseError(message)
        return collection

    def _query(self, sql: str, *parameters: object) -> list[dict[str, Any]]:
        with self._lock:
            found = self._connection.execute(sql, parameters)
            names = [column[0] for column in found.description or ()]
            return [dict(zip(names, row, strict=True)) for row in found.fetchall()]

    @contextmanager
    def _transaction(self) -> Iterator[duckdb.DuckDBPyConnection]:
        with self._lock:
            self._connection.begin()
            try:
                yield self._connection
                self._connection.commit()
            except BaseException:
                self._connection.rollback()
                raise


def _prepare(connection: duckdb.DuckDBPyConnection, path: Path, *, read_only: bool) -> None:
    """Make the books in a new file; a file with something else in it is left alone."""
    schemas = {
        schema
        for (schema,) in connection.execute(
            "SELECT table_schema FROM information_schema.tables"
            " WHERE table_catalog = current_database()"
        ).fetchall()
    }
    if "sandbox_books" in schemas:
        return
    if schemas or read_only:
        message = f"{path} is a DuckDB file, but not a sandbox's warehouse"
        raise WarehouseError(message)
    connection.execute(_BOOKS)


def _note(connection: duckdb.DuckDBPyConnection, session: SessionRow) -> None:
    """Note a session; one that was loaded while the sandbox was being stopped stays so."""
    connection.execute(
        "INSERT INTO sandbox_books.sessions VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)"
        " ON CONFLICT DO NOTHING",
        [list(value) if isinstance(value, tuple) else value for value in astuple(session)],
    )


def _why(path: Path, error: duckdb.Error) -> str:
    """Say in one line why DuckDB did not open a file."""
    said = str(error).strip().splitlines()[0]
    if "lock" in said:
        return f"The warehouse {path} is in use by another process"
    if "not a valid DuckDB" in said:
        return f"{path} is not a DuckDB file"
    return f"Cannot open the warehouse {path}: {said}"
