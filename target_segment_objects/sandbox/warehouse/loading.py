"""Merges objects into the warehouse's tables, within a transaction that the caller owns.

Objects are processed in their order, because the first value of a column determines its type. They
are staged by id and written in chunks. A row keeps its old value where its object does not have a
property that others of the chunk have.

Memory is bounded for any objects: chunks by their objects, bytes and cells, tables by the number of
their columns.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final

from target_segment_objects.sandbox.errors import RejectedRequestError
from target_segment_objects.sandbox.names import snake_case
from target_segment_objects.sandbox.objects import MAX_PROPERTIES
from target_segment_objects.sandbox.warehouse.columns import (
    ColumnType,
    LossKind,
    convert_value,
    infer_type,
    to_text,
)

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    import duckdb

    from target_segment_objects.sandbox.objects import Object, Value
    from target_segment_objects.sandbox.warehouse.columns import StoredValue

    Columns = Mapping[str, Mapping[str, ColumnType]]
    """Types of columns, by collection and column."""

MAX_STAGED_OBJECTS: Final = 10_000
MAX_STAGED_BYTES: Final = 16_000_000
MAX_STAGED_CELLS: Final = 200_000
"""Objects, bytes of their lines, and rows of a table times their columns that are staged at most.

A cell takes up to 500 bytes while it is written.
"""

MAX_SESSION_COLUMNS: Final = 4_800
"""Columns of all tables that a session writes to: a column takes some 40 KB until the commit."""

_MAX_ALTERED_COLUMNS: Final = 200_000
"""Sum over all columns added in a session of the columns of their tables.

For every added column DuckDB keeps about 500 bytes of each column of the table until the commit:
2,000 columns that are added one by one take 1 GB.
"""


class TooManyChangesError(Exception):
    """Raised when tables get their columns in too many steps. Load again with `find_columns`."""


@dataclass(slots=True)
class _LossCount:
    """How often a loss occurred, and the first object that had it."""

    example_id: str
    count: int = 0


@dataclass(slots=True)
class _Table:
    """The table of a collection, and its staged rows.

    Attributes:
        column_types: Its columns except `id`, including those still to be created.
        created: How many of them exist in the table; `None` if there is no table yet.
        rows: Staged values by id and column.
        staged_columns: Columns that any staged row has.
    """

    column_types: dict[str, ColumnType] = field(default_factory=dict)
    created: int | None = None
    rows: dict[str, dict[str, StoredValue]] = field(default_factory=dict)
    staged_columns: set[str] = field(default_factory=set)


class ObjectLoader:
    """Loads the objects of one session."""

    def __init__(
        self, connection: duckdb.DuckDBPyConnection, columns: Columns | None = None
    ) -> None:
        """Create a loader.

        Args:
            connection: A connection with an open transaction.
            columns: All columns of the objects, to create them at once.
        """
        self._connection = connection
        self._known_columns = columns or {}
        self._tables: dict[str, _Table] = {}
        self._losses: dict[tuple[str, str, str], _LossCount] = {}
        self._altered_columns = 0

    def load_objects(self, objects: Iterable[Object]) -> None:
        """Merge the objects in their order, and record the losses.

        Raises:
            RejectedRequestError: They have too many properties.
            TooManyChangesError: The columns must be known before.
        """
        staged_objects = staged_bytes = 0
        for item in objects:
            table = self._stage_object(item)
            staged_objects += 1
            staged_bytes += item.size
            if (
                staged_objects == MAX_STAGED_OBJECTS
                or staged_bytes >= MAX_STAGED_BYTES
                or len(table.rows) * len(table.staged_columns) >= MAX_STAGED_CELLS
            ):
                self._write_staged()
                staged_objects = staged_bytes = 0
        self._write_staged()
        self._write_losses()

    def _stage_object(self, item: Object) -> _Table:
        table = self._tables.get(item.collection)
        if table is None:
            table = self._tables[item.collection] = self._read_table(item.collection)
        column_types, row = table.column_types, table.rows.setdefault(item.id, {})
        for name, value in item.properties:
            column = snake_case(name)
            if column == "id":
                self._check_id_property(item, value)
                continue
            column_type = column_types.get(column)
            if column_type is None:
                if value is None:
                    continue  # a null creates no column
                column_type = column_types[column] = infer_type(value)
                self._check_columns(item.collection)
            row[column], loss = convert_value(column_type, value)
            if loss is not None:
                self._count_loss(item, column, loss)
        table.staged_columns.update(row)
        return table

    def _check_columns(self, collection: str) -> None:
        if len(self._tables[collection].column_types) > MAX_PROPERTIES:
            reason = f"the collection {collection} has more than {MAX_PROPERTIES} properties"
            raise RejectedRequestError(reason)
        if sum(len(table.column_types) for table in self._tables.values()) > MAX_SESSION_COLUMNS:
            reason = (
                f"the collections of the session have more than {MAX_SESSION_COLUMNS} properties "
                "in all: send them in several sessions"
            )
            raise RejectedRequestError(reason)

    def _check_id_property(self, item: Object, value: Value) -> None:
        if value is not None and to_text(value) != item.id:
            self._count_loss(item, "id", LossKind.SHADOWED)

    def _count_loss(self, item: Object, column: str, kind: LossKind) -> None:
        loss = self._losses.setdefault((item.collection, column, kind.value), _LossCount(item.id))
        loss.count += 1

    def _read_table(self, collection: str) -> _Table:
        columns = self._connection.execute(
            "SELECT column_name, data_type FROM information_schema.columns"
            " WHERE table_catalog = current_database() AND table_schema = 'main'"
            " AND table_name = ? ORDER BY ordinal_position",
            [collection],
        ).fetchall()
        column_types = {name: ColumnType(kind) for name, kind in columns if name != "id"}
        table = _Table(column_types, created=len(column_types) if columns else None)
        for column, column_type in self._known_columns.get(collection, {}).items():
            column_types.setdefault(column, column_type)
        return table

    def _write_staged(self) -> None:
        for collection, table in self._tables.items():
            if table.rows:
                self._create_columns(collection, table)
                self._merge_rows(f'main."{collection}"', table)
                table.rows.clear()
                table.staged_columns.clear()

    def _create_columns(self, collection: str, table: _Table) -> None:
        columns = list(table.column_types.items())
        if table.created is None:
            self._create_table(collection, columns)
        elif table.created < len(columns):
            self._add_columns(collection, columns, table.created)
        table.created = len(columns)

    def _create_table(self, name: str, columns: list[tuple[str, ColumnType]]) -> None:
        declarations = ['"id" VARCHAR PRIMARY KEY']
        declarations += [f'"{column}" {column_type.value}' for column, column_type in columns]
        self._connection.execute(f'CREATE TABLE main."{name}" ({", ".join(declarations)})')

    def _add_columns(
        self, collection: str, columns: list[tuple[str, ColumnType]], created: int
    ) -> None:
        if self._known_columns:
            self._copy_table(collection, columns, created)
            return
        self._altered_columns += (len(columns) - created) * len(columns)
        if self._altered_columns > _MAX_ALTERED_COLUMNS:
            raise TooManyChangesError
        for column, column_type in columns[created:]:
            self._connection.execute(
                f'ALTER TABLE main."{collection}" ADD COLUMN "{column}" {column_type.value}'
            )

    def _copy_table(
        self, collection: str, columns: list[tuple[str, ColumnType]], created: int
    ) -> None:
        """Replace a table by a copy with all columns."""
        copy = f"{collection} copy"  # no collection has a space in its name
        self._create_table(copy, columns)
        names = ", ".join(f'"{name}"' for name in ("id", *(name for name, _ in columns[:created])))
        self._connection.execute(
            f'INSERT INTO main."{copy}" ({names}) SELECT {names} FROM main."{collection}"'  # noqa: S608 - letters, digits and _
        )
        self._connection.execute(f'DROP TABLE main."{collection}"')
        self._connection.execute(f'ALTER TABLE main."{copy}" RENAME TO "{collection}"')

    def _merge_rows(self, name: str, table: _Table) -> None:
        sql, parameters = _build_merge(name, table)
        self._connection.execute(sql, parameters)

    def _write_losses(self) -> None:
        for key, loss in self._losses.items():
            self._connection.execute(
                "INSERT INTO sandbox_metadata.losses VALUES (?, ?, ?, ?, ?)"
                " ON CONFLICT DO UPDATE SET count = count + excluded.count",
                [*key, loss.count, loss.example_id],
            )


def find_columns(objects: Iterable[Object]) -> Columns:
    """Return all columns that the objects create in an empty warehouse."""
    columns: dict[str, dict[str, ColumnType]] = {}
    for item in objects:
        column_types = columns.setdefault(item.collection, {})
        for name, value in item.properties:
            column = snake_case(name)
            if value is not None and column != "id" and column not in column_types:
                column_types[column] = infer_type(value)
    return columns


def _build_merge(name: str, table: _Table) -> tuple[str, list[list[Any]]]:
    """Return the SQL that merges the staged rows, and its parameters: a list for each column.

    A column that some rows do not have gets a second list, which says which rows have it.
    """
    rows = table.rows.values()
    staged = ["unnest(?::VARCHAR[]) AS key"]
    parameters: list[list[Any]] = [list(table.rows)]
    merged: dict[str, str] = {'"id"': "staged.key"}
    join = ""
    for number, (column, column_type) in enumerate(table.column_types.items()):
        if column not in table.staged_columns:
            continue
        staged.append(f"{_unnest_parameter(column_type)} AS v{number}")
        parameters.append([row.get(column) for row in rows])
        merged[f'"{column}"'] = f"v{number}"
        is_sent = [column in row for row in rows]
        if not all(is_sent):
            staged.append(f"unnest(?::BOOLEAN[]) AS h{number}")
            parameters.append(is_sent)
            merged[f'"{column}"'] = f'CASE WHEN h{number} THEN v{number} ELSE old."{column}" END'
            join = f' LEFT JOIN {name} AS old ON old."id" = staged.key'
    return _format_merge(name, staged, merged, join), parameters


def _format_merge(name: str, staged: list[str], merged: dict[str, str], join: str) -> str:
    changes = ", ".join(f"{column} = excluded.{column}" for column in merged if column != '"id"')
    action = f"UPDATE SET {changes}" if changes else "NOTHING"
    return (
        f"INSERT INTO {name} ({', '.join(merged)})"  # noqa: S608 - names are letters, digits and _
        f" SELECT {', '.join(merged.values())} FROM (SELECT {', '.join(staged)}) AS staged{join}"
        f' ON CONFLICT ("id") DO {action}'
    )


def _unnest_parameter(column_type: ColumnType) -> str:
    if column_type is ColumnType.TIMESTAMP:
        return "make_timestamp(unnest(?::BIGINT[]))"
    return f"unnest(?::{column_type.value}[])"
