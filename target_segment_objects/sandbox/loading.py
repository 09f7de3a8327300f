"""Merges objects into the warehouse's tables, within a transaction that the caller owns.

Objects are processed in their order, because the first value of a column determines its type. They
are staged by id and written in chunks, limited by number and bytes, to bound memory. A row keeps
its old value where its object does not have a property that others of the chunk have.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final

from target_segment_objects.sandbox.columns import (
    ColumnType,
    LossKind,
    convert_value,
    infer_type,
    to_text,
)
from target_segment_objects.sandbox.names import snake_case

if TYPE_CHECKING:
    from collections.abc import Iterable

    import duckdb

    from target_segment_objects.sandbox.columns import StoredValue
    from target_segment_objects.sandbox.objects import Object, Value

MAX_STAGED_OBJECTS: Final = 10_000
MAX_STAGED_BYTES: Final = 16_000_000
"""Number of objects, and bytes of their lines, after which staged rows are written."""


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
    """

    column_types: dict[str, ColumnType] = field(default_factory=dict)
    created: int | None = None
    rows: dict[str, dict[str, StoredValue]] = field(default_factory=dict)


class ObjectLoader:
    """Loads the objects of one session."""

    def __init__(self, connection: duckdb.DuckDBPyConnection) -> None:
        """Create a loader.

        Args:
            connection: A connection with an open transaction.
        """
        self._connection = connection
        self._tables: dict[str, _Table] = {}
        self._losses: dict[tuple[str, str, str], _LossCount] = {}

    def load_objects(self, objects: Iterable[Object]) -> None:
        """Merge the objects in their order, and record the losses."""
        staged_objects = staged_bytes = 0
        for item in objects:
            self._stage_object(item)
            staged_objects += 1
            staged_bytes += item.size
            if staged_objects == MAX_STAGED_OBJECTS or staged_bytes >= MAX_STAGED_BYTES:
                self._write_staged()
                staged_objects = staged_bytes = 0
        self._write_staged()
        self._write_losses()

    def _stage_object(self, item: Object) -> None:
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
            row[column], loss = convert_value(column_type, value)
            if loss is not None:
                self._count_loss(item, column, loss)

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
        if not columns:
            return _Table()
        column_types = {name: ColumnType(kind) for name, kind in columns if name != "id"}
        return _Table(column_types, created=len(column_types))

    def _write_staged(self) -> None:
        for collection, table in self._tables.items():
            if table.rows:
                self._create_columns(f'main."{collection}"', table)
                self._merge_rows(f'main."{collection}"', table)
                table.rows.clear()

    def _create_columns(self, name: str, table: _Table) -> None:
        if table.created is None:
            self._connection.execute(f'CREATE TABLE {name} ("id" VARCHAR PRIMARY KEY)')
        for column, column_type in list(table.column_types.items())[table.created or 0 :]:
            self._connection.execute(
                f'ALTER TABLE {name} ADD COLUMN "{column}" {column_type.value}'
            )
        table.created = len(table.column_types)

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


def _build_merge(name: str, table: _Table) -> tuple[str, list[list[Any]]]:
    """Return the SQL that merges the staged rows, and its parameters: a list for each column.

    A column that some rows do not have gets a second list, which says which rows have it.
    """
    rows = table.rows.values()
    sent = {column for row in rows for column in row}
    staged = ["unnest(?::VARCHAR[]) AS key"]
    parameters: list[list[Any]] = [list(table.rows)]
    merged: dict[str, str] = {'"id"': "staged.key"}
    join = ""
    for number, (column, column_type) in enumerate(table.column_types.items()):
        if column not in sent:
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
