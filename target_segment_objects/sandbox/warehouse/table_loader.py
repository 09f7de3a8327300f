"""Merges objects into the warehouse's tables, within a transaction that the caller owns.

Objects are staged in their order, and written a chunk at a time: each column is converted as a
whole, and one statement merges the chunk into the table of its collection. A row keeps its old
value where its object does not have a property that others of the chunk have.

Memory is bounded for any objects: chunks by their objects, bytes and cells, tables by the number of
their columns.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

import pyarrow as pa

from target_segment_objects.reserved_names import SEGMENT_COLUMNS
from target_segment_objects.sandbox.column_names import table_name
from target_segment_objects.sandbox.errors import WarehouseError
from target_segment_objects.sandbox.warehouse.column_types import (
    ColumnType,
    convert_column,
    to_text,
)
from target_segment_objects.sandbox.warehouse.losses import LossKind
from target_segment_objects.sandbox.warehouse.lost_values import LostValueLog
from target_segment_objects.sandbox.warehouse.session_columns import ID_COLUMN, merge_columns

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    import duckdb

    from target_segment_objects.sandbox.objects import Object, Shape, Value
    from target_segment_objects.sandbox.warehouse.session_columns import Columns

MAX_STAGED_OBJECTS: Final = 20_000
MAX_STAGED_BYTES: Final = 8_000_000
MAX_STAGED_CELLS: Final = 240_000
"""Objects, bytes of their lines, and objects times the columns of a chunk that are staged at most.

A cell takes up to 500 bytes while it is written.
"""

_COLUMN_NAME: Final = re.compile(r"[a-z0-9_]+")

_MAX_ALTERED_COLUMNS: Final = 200_000
"""The columns to add times the columns of the table, above which the table is copied instead.

For every added column DuckDB keeps about 500 bytes of each column of the table until the commit:
2,000 columns that are added one by one take 1 GB.
"""


@dataclass(slots=True)
class _LossCount:
    """How often a loss occurred, and the first object that had it."""

    example_id: str
    count: int = 0


@dataclass(slots=True)
class _Chunk:
    """The staged objects of a collection, in their order.

    Attributes:
        ids: Their ids.
        shapes: The names of their properties.
        rows: Their values.
        columns: The columns that any of them has, in the order of appearance.
        known_shapes: The shapes whose columns are in `columns`.
    """

    ids: list[str] = field(default_factory=list)
    shapes: list[Shape] = field(default_factory=list)
    rows: list[tuple[Value, ...]] = field(default_factory=list)
    columns: dict[str, None] = field(default_factory=dict)
    known_shapes: set[Shape] = field(default_factory=set)

    def add_object(self, item: Object) -> None:
        self.ids.append(item.id)
        self.shapes.append(item.shape)
        self.rows.append(item.values)
        if item.shape not in self.known_shapes:
            self.known_shapes.add(item.shape)
            self.columns.update(dict.fromkeys(item.shape.columns))


@dataclass(frozen=True, slots=True)
class _StagedColumn:
    """The values of one column in a chunk.

    Attributes:
        positions: The positions of the objects that have it; None if all have it.
        values: Their values.
    """

    positions: list[int] | None
    values: Sequence[Value]

    def list_ids(self, ids: list[str]) -> list[str]:
        """Return the ids of the objects that have it, of all ids of the chunk."""
        return ids if self.positions is None else [ids[position] for position in self.positions]


class ObjectLoader:
    """Loads the objects of one session.

    Args:
        connection: A connection with an open transaction.
        columns: The columns of the objects.
    """

    def __init__(self, connection: duckdb.DuckDBPyConnection, columns: Columns) -> None:
        self._connection = connection
        self._session_columns = columns
        self._types: dict[str, dict[str, ColumnType]] = {}
        self._chunks: dict[str, _Chunk] = {}
        self._losses: dict[tuple[str, str, str], _LossCount] = {}
        self._lost_values = LostValueLog(connection)

    def load_objects(self, objects: Iterable[Object]) -> None:
        """Merge the objects in their order, and record the losses."""
        staged_objects = staged_bytes = 0
        for item in objects:
            chunk = self._chunks.get(item.collection)
            if chunk is None:
                chunk = self._open_chunk(item.collection)
            chunk.add_object(item)
            staged_objects += 1
            staged_bytes += item.size
            if (
                staged_objects >= MAX_STAGED_OBJECTS
                or staged_bytes >= MAX_STAGED_BYTES
                or len(chunk.ids) * len(chunk.columns) >= MAX_STAGED_CELLS
            ):
                self._write_chunks()
                staged_objects = staged_bytes = 0
        self._write_chunks()
        self._write_losses()

    def _open_chunk(self, collection: str) -> _Chunk:
        if collection not in self._types:
            self._types[collection] = self._prepare_table(collection)
        chunk = self._chunks[collection] = _Chunk()
        return chunk

    def _write_chunks(self) -> None:
        for collection, chunk in self._chunks.items():
            self._write_chunk(collection, chunk)
        self._chunks.clear()

    def _write_chunk(self, collection: str, chunk: _Chunk) -> None:
        columns = _split_columns(chunk)
        for name in SEGMENT_COLUMNS.intersection(columns):
            self._count_discarded(collection, chunk.ids, name, columns.pop(name))
        last_positions = {object_id: position for position, object_id in enumerate(chunk.ids)}
        is_unique = len(last_positions) == len(chunk.ids)
        latest_rows = pa.array(list(last_positions.values()), pa.int64())
        staged: dict[str, pa.Array] = {"key": pa.array(list(last_positions), pa.string())}
        merged: dict[str, str] = {}
        types = self._types[collection]
        for number, (name, column) in enumerate(columns.items()):
            if name not in types:
                continue  # only nulls: they create no column
            values, losses = convert_column(types[name], column.values)
            self._note_losses((collection, name), chunk.ids, column, losses)
            merged[name] = f"v{number}"
            if column.positions is None:
                staged[f"v{number}"] = values if is_unique else values.take(latest_rows)
                continue
            latest = {chunk.ids[position]: index for index, position in enumerate(column.positions)}
            indices = pa.array([latest.get(key) for key in last_positions], pa.int64())
            staged[f"v{number}"] = values.take(indices)
            if len(latest) < len(last_positions):
                staged[f"h{number}"] = indices.is_valid()
                merged[name] = f'CASE WHEN h{number} THEN v{number} ELSE old."{name}" END'
        self._merge_chunk(f'main."{table_name(collection)}"', pa.table(staged), merged)

    def _merge_chunk(self, table: str, staged: pa.Table, merged: dict[str, str]) -> None:
        # Registered as batches that are dropped once they are read: a table would stay in memory
        # until the commit, even after `unregister`.
        batches = staged.to_batches()
        reader = pa.RecordBatchReader.from_batches(
            staged.schema, (batches.pop(0) for _ in range(len(batches)))
        )
        self._connection.register("staged_objects", reader)
        self._connection.execute(_format_merge(table, merged))
        self._connection.unregister("staged_objects")

    # Losses

    def _count_discarded(
        self, collection: str, ids: list[str], name: str, column: _StagedColumn
    ) -> None:
        """Count the values of a property that has no column of its own, unless they are the id."""
        kind = LossKind.SHADOWED if name == ID_COLUMN else LossKind.DISCARDED
        owners = column.list_ids(ids)
        losses = {
            index: kind
            for index, (object_id, value) in enumerate(zip(owners, column.values, strict=True))
            if value is not None and to_text(value) != object_id
        }
        self._note_losses((collection, name), ids, column, losses)

    def _note_losses(
        self,
        key: tuple[str, str],
        ids: list[str],
        column: _StagedColumn,
        losses: Mapping[int, LossKind],
    ) -> None:
        """Count the losses among the values of a column, and note what the values were.

        Args:
            key: The collection and the column.
            ids: All ids of the chunk.
            column: The values.
            losses: What happened to a value, by its index.
        """
        if not losses and not self._lost_values.has_column(key):  # nearly always
            return
        owners = column.list_ids(ids)
        for index, kind in losses.items():
            self._losses.setdefault((*key, kind.value), _LossCount(owners[index])).count += 1
        self._lost_values.note_column(key, owners, column.values, losses)

    def _write_losses(self) -> None:
        for key, loss in self._losses.items():
            self._connection.execute(
                "INSERT INTO sandbox_metadata.losses VALUES (?, ?, ?, ?, ?)"
                " ON CONFLICT DO UPDATE SET count = count + excluded.count",
                [*key, loss.count, loss.example_id],
            )
        self._lost_values.write()

    # Tables

    def _prepare_table(self, collection: str) -> dict[str, ColumnType]:
        """Create the table of a collection or its missing columns; return all columns but `id`."""
        existing = read_column_types(self._connection, collection)
        wanted = self._session_columns.get(collection, {})
        table = table_name(collection)
        if existing is None:
            self._create_table(table, wanted)
            return dict(wanted)
        types = dict(merge_columns([{collection: existing}, {collection: wanted}])[collection])
        added = [name for name in types if name not in existing]
        if len(added) * len(types) > _MAX_ALTERED_COLUMNS:
            self._copy_table(table, existing, types)
        else:
            for name in added:
                self._connection.execute(
                    f'ALTER TABLE main."{table}" ADD COLUMN "{name}" {types[name].value}'
                )
        return types

    def _create_table(self, name: str, columns: Mapping[str, ColumnType]) -> None:
        declarations = [f'"{ID_COLUMN}" VARCHAR PRIMARY KEY']
        declarations += [f'"{column}" {kind.value}' for column, kind in columns.items()]
        self._connection.execute(f'CREATE TABLE main."{name}" ({", ".join(declarations)})')

    def _copy_table(
        self, table: str, existing: Iterable[str], types: dict[str, ColumnType]
    ) -> None:
        """Replace a table by a copy with all columns."""
        copy = f"{table} copy"  # no collection has a space in its name
        self._create_table(copy, types)
        names = ", ".join(f'"{name}"' for name in (ID_COLUMN, *existing))
        self._connection.execute(
            f'INSERT INTO main."{copy}" ({names}) SELECT {names} FROM main."{table}"'  # noqa: S608 - letters, digits and _
        )
        self._connection.execute(f'DROP TABLE main."{table}"')
        self._connection.execute(f'ALTER TABLE main."{copy}" RENAME TO "{table}"')


def read_columns(connection: duckdb.DuckDBPyConnection, collection: str) -> dict[str, str]:
    """Return the columns of a collection's table and their types, in the order of creation."""
    columns = connection.execute(
        "SELECT column_name, data_type FROM information_schema.columns"
        " WHERE table_catalog = current_database() AND table_schema = 'main'"
        " AND table_name = ? ORDER BY ordinal_position",
        [table_name(collection)],
    )
    return dict(columns.fetchall())


def read_column_types(
    connection: duckdb.DuckDBPyConnection, collection: str
) -> dict[str, ColumnType] | None:
    """Return the columns of a collection's table but `id`; None if there is no table.

    Raises:
        WarehouseError: It is not a table that a sandbox has created.
    """
    columns = read_columns(connection, collection)
    if not columns:
        return None
    types = {kind.value: kind for kind in ColumnType}
    if any(kind not in types or not _COLUMN_NAME.fullmatch(name) for name, kind in columns.items()):
        message = (
            f"The table {table_name(collection)} is not one that a sandbox has created. Remove it, "
            "or choose another warehouse"
        )
        raise WarehouseError(message)
    return {name: types[kind] for name, kind in columns.items() if name != ID_COLUMN}


def _split_columns(chunk: _Chunk) -> dict[str, _StagedColumn]:
    """Return the values of a chunk by column."""
    if len(chunk.known_shapes) == 1:
        by_column = zip(*chunk.rows, strict=True)
        return {
            name: _StagedColumn(None, column)
            for name, column in zip(chunk.columns, by_column, strict=True)
        }
    indices = {
        shape: {column: index for index, column in enumerate(shape.columns)}
        for shape in chunk.known_shapes
    }
    columns = {}
    for name in chunk.columns:
        positions: list[int] = []
        values: list[Value] = []
        for position, shape in enumerate(chunk.shapes):
            index = indices[shape].get(name)
            if index is not None:
                positions.append(position)
                values.append(chunk.rows[position][index])
        columns[name] = _StagedColumn(positions, values)
    return columns


def _format_merge(table: str, merged: dict[str, str]) -> str:
    """Return the SQL that merges the staged rows.

    Args:
        table: The table, quoted.
        merged: The SQL expression of each column but `id`.
    """
    is_partial = any(not expression.startswith("v") for expression in merged.values())
    join = f' LEFT JOIN {table} AS old ON old."{ID_COLUMN}" = key' if is_partial else ""
    names = ", ".join(f'"{name}"' for name in (ID_COLUMN, *merged))
    changes = ", ".join(f'"{name}" = excluded."{name}"' for name in merged)
    return (
        f"INSERT INTO {table} ({names})"  # noqa: S608 - names are letters, digits and _
        f" SELECT {', '.join(('key', *merged.values()))} FROM staged_objects{join}"
        f' ON CONFLICT ("{ID_COLUMN}") DO {f"UPDATE SET {changes}" if changes else "NOTHING"}'
    )
