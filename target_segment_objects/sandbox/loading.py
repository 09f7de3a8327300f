"""Objects on their way into the warehouse's tables, in one transaction that the caller owns.

Objects are taken in their order, because the first value of a column gives its type. They are
staged by id and written some at a time, so that neither many small nor a few large ones fill the
memory. Where a staged object lacks a property that others of its kind have, its row keeps the old
value.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final

from target_segment_objects.sandbox.columns import ColumnType, LossKind, fit, kind_of, text_of
from target_segment_objects.sandbox.names import snake_case

if TYPE_CHECKING:
    from collections.abc import Iterable

    import duckdb

    from target_segment_objects.sandbox.columns import Stored
    from target_segment_objects.sandbox.objects import Object, Value

STAGED_OBJECTS: Final = 10_000
STAGED_BYTES: Final = 16_000_000
"""How many objects, or bytes of their lines, are staged before they are written."""


@dataclass(slots=True)
class _Count:
    """How often something was lost, and the first object of which."""

    example_id: str
    count: int = 0


@dataclass(slots=True)
class _Table:
    """A collection's table, and what is staged for it.

    Attributes:
        kinds: Its columns but `id`, those to be created too.
        created: How many of them the table has; `None` while there is no table.
        rows: What is staged, by id and column.
    """

    kinds: dict[str, ColumnType] = field(default_factory=dict)
    created: int | None = None
    rows: dict[str, dict[str, Stored]] = field(default_factory=dict)


class Loading:
    """One run of objects into the warehouse."""

    def __init__(self, connection: duckdb.DuckDBPyConnection) -> None:
        """Prepare a run.

        Args:
            connection: A connection in whose transaction all is done.
        """
        self._connection = connection
        self._tables: dict[str, _Table] = {}
        self._losses: dict[tuple[str, str, str], _Count] = {}

    def run(self, objects: Iterable[Object]) -> None:
        """Merge the objects, in their order, and count what is lost by it."""
        staged_objects = staged_bytes = 0
        for one in objects:
            self._stage(one)
            staged_objects += 1
            staged_bytes += one.size
            if staged_objects == STAGED_OBJECTS or staged_bytes >= STAGED_BYTES:
                self._write()
                staged_objects = staged_bytes = 0
        self._write()
        self._count_losses()

    def _stage(self, one: Object) -> None:
        table = self._tables.get(one.collection)
        if table is None:
            table = self._tables[one.collection] = self._read_table(one.collection)
        kinds, row = table.kinds, table.rows.setdefault(one.id, {})
        for name, value in one.properties:
            column = snake_case(name)
            if column == "id":
                self._shadow(one, value)
                continue
            kind = kinds.get(column)
            if kind is None:
                if value is None:
                    continue  # no column yet, and none for this
                kind = kinds[column] = kind_of(value)
            row[column], loss = fit(kind, value)
            if loss is not None:
                self._lose(one, column, loss)

    def _shadow(self, one: Object, value: Value) -> None:
        if value is not None and text_of(value) != one.id:
            self._lose(one, "id", LossKind.SHADOWED)

    def _lose(self, one: Object, column: str, loss: LossKind) -> None:
        lost = self._losses.setdefault((one.collection, column, loss.value), _Count(one.id))
        lost.count += 1

    def _read_table(self, collection: str) -> _Table:
        columns = self._connection.execute(
            "SELECT column_name, data_type FROM information_schema.columns"
            " WHERE table_catalog = current_database() AND table_schema = 'main'"
            " AND table_name = ? ORDER BY ordinal_position",
            [collection],
        ).fetchall()
        if not columns:
            return _Table()
        kinds = {name: ColumnType(kind) for name, kind in columns if name != "id"}
        return _Table(kinds, created=len(kinds))

    def _write(self) -> None:
        for collection, table in self._tables.items():
            if table.rows:
                self._create(f'main."{collection}"', table)
                self._merge(f'main."{collection}"', table)
                table.rows.clear()

    def _create(self, name: str, table: _Table) -> None:
        if table.created is None:
            self._connection.execute(f'CREATE TABLE {name} ("id" VARCHAR PRIMARY KEY)')
        for column, kind in list(table.kinds.items())[table.created or 0 :]:
            self._connection.execute(f'ALTER TABLE {name} ADD COLUMN "{column}" {kind.value}')
        table.created = len(table.kinds)

    def _merge(self, name: str, table: _Table) -> None:
        sql, parameters = _merging(name, table)
        self._connection.execute(sql, parameters)

    def _count_losses(self) -> None:
        for key, lost in self._losses.items():
            self._connection.execute(
                "INSERT INTO sandbox_books.losses VALUES (?, ?, ?, ?, ?)"
                " ON CONFLICT DO UPDATE SET count = count + excluded.count",
                [*key, lost.count, lost.example_id],
            )


def _merging(name: str, table: _Table) -> tuple[str, list[list[Any]]]:
    """Make the statement that merges the staged rows, and its parameters: a list per column.

    A column that some rows lack brings a second list, which says where it is there.
    """
    rows = table.rows.values()
    sent = {column for row in rows for column in row}
    staged = ["unnest(?::VARCHAR[]) AS key"]
    parameters: list[list[Any]] = [list(table.rows)]
    merged: dict[str, str] = {'"id"': "staged.key"}
    join = ""
    for number, (column, kind) in enumerate(table.kinds.items()):
        if column not in sent:
            continue
        staged.append(f"{_unnested(kind)} AS v{number}")
        parameters.append([row.get(column) for row in rows])
        merged[f'"{column}"'] = f"v{number}"
        there = [column in row for row in rows]
        if not all(there):
            staged.append(f"unnest(?::BOOLEAN[]) AS h{number}")
            parameters.append(there)
            merged[f'"{column}"'] = f'CASE WHEN h{number} THEN v{number} ELSE old."{column}" END'
            join = f' LEFT JOIN {name} AS old ON old."id" = staged.key'
    changes = ", ".join(f"{column} = excluded.{column}" for column in merged if column != '"id"')
    sql = (
        f"INSERT INTO {name} ({', '.join(merged)})"  # noqa: S608 - names are letters, digits and _
        f" SELECT {', '.join(merged.values())} FROM (SELECT {', '.join(staged)}) AS staged{join}"
        ' ON CONFLICT ("id") DO '
    )
    sql += f"UPDATE SET {changes}" if changes else "NOTHING"
    return sql, parameters


def _unnested(kind: ColumnType) -> str:
    if kind is ColumnType.TIMESTAMP:
        return "make_timestamp(unnest(?::BIGINT[]))"
    return f"unnest(?::{kind.value}[])"
