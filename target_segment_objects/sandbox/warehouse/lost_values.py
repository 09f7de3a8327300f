"""The values that a warehouse changed, as they were sent, so that a row can say what it has lost.

A value is kept until its object gets another one. There is a limit for each column and one for all:
the table `losses` counts every loss, and this is for people who look at rows.
"""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import pyarrow as pa

from target_segment_objects.sandbox.warehouse.column_types import to_text
from target_segment_objects.sandbox.warehouse.losses import LossKind

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    import duckdb

    from target_segment_objects.sandbox.objects import Value

MAX_COLUMN_VALUES: Final = 1_000
MAX_LOST_VALUES: Final = 10_000
"""Values that are kept: of one column, and of all."""

_MAX_CHARACTERS: Final = 1_000
_COLUMNS: Final = ("collection", "column_name", "object_id", "kind", "value")
_SCHEMA: Final = pa.schema(dict.fromkeys(_COLUMNS, pa.string()))


@dataclass(frozen=True, slots=True)
class LostValue:
    """A value that is not stored as it was sent.

    Attributes:
        column: The column, which has none of it if the property is discarded.
        object_id: The object.
        kind: What happened to it.
        value: Its text, or the beginning of that.
    """

    column: str
    object_id: str
    kind: str
    value: str


class LostValueLog:
    """Notes lost values during the load of a session.

    Args:
        connection: A connection with an open transaction.
    """

    def __init__(self, connection: duckdb.DuckDBPyConnection) -> None:
        self._connection = connection
        self._kept: defaultdict[tuple[str, str], dict[str, tuple[str, str]]] = defaultdict(dict)
        self._removed: set[tuple[str, str, str]] = set()
        self._added: set[tuple[str, str, str]] = set()
        rows = connection.execute("FROM sandbox_metadata.lost_values").fetchall()
        for collection, column, object_id, kind, value in rows:
            self._kept[collection, column][object_id] = (kind, value)
        self._count = len(rows)

    def has_column(self, key: tuple[str, str]) -> bool:
        """Return whether a lost value of a column is kept."""
        return key in self._kept

    def note_column(
        self,
        key: tuple[str, str],
        ids: Sequence[str],
        values: Sequence[Value],
        losses: Mapping[int, LossKind],
    ) -> None:
        """Note the lost values among those of a column, and forget those that they replace.

        Args:
            key: The collection and the column.
            ids: The ids of the objects, one for each value.
            values: The values in their order; of several of an object, the last one counts.
            losses: What happened to a value, by its index.
        """
        kept = self._kept[key]
        latest = {object_id: index for index, object_id in enumerate(ids)}
        for object_id in kept.keys() & latest.keys():
            del kept[object_id]
            self._count -= 1
            self._removed.add((*key, object_id))
        for index, kind in losses.items():
            is_stored = kind is LossKind.BYTES  # only Redshift cuts it off
            if is_stored or latest[ids[index]] != index:
                continue
            if len(kept) >= MAX_COLUMN_VALUES or self._count >= MAX_LOST_VALUES:
                return
            kept[ids[index]] = (kind.value, to_text(values[index])[:_MAX_CHARACTERS])
            self._count += 1
            self._added.add((*key, ids[index]))

    def write(self) -> None:
        """Write what was noted."""
        kept = {
            (*key, object_id): lost
            for key in {item[:2] for item in self._added | self._removed}
            for object_id, lost in self._kept[key].items()
        }
        self._execute(
            "DELETE FROM sandbox_metadata.lost_values AS old USING noted_values AS new"
            " WHERE old.collection = new.collection AND old.column_name = new.column_name"
            " AND old.object_id = new.object_id",
            [(*key, "", "") for key in self._removed - kept.keys()],
        )
        self._execute(
            "INSERT INTO sandbox_metadata.lost_values FROM noted_values"
            " ON CONFLICT DO UPDATE SET kind = excluded.kind, value = excluded.value",
            [(*key, *kept[key]) for key in self._added & kept.keys()],
        )

    def _execute(self, sql: str, rows: list[tuple[str, ...]]) -> None:
        if not rows:
            return
        names = _SCHEMA.names
        table = pa.Table.from_pylist([dict(zip(names, row, strict=True)) for row in rows], _SCHEMA)
        self._connection.register("noted_values", table)
        self._connection.execute(sql)
        self._connection.unregister("noted_values")


def find_lost_values(
    connection: duckdb.DuckDBPyConnection, collection: str, ids: Sequence[str]
) -> list[LostValue]:
    """Return the lost values of some objects."""
    rows = connection.execute(
        "SELECT column_name, object_id, kind, value FROM sandbox_metadata.lost_values"
        " WHERE collection = ? AND list_contains(?::VARCHAR[], object_id) ORDER BY ALL",
        [collection, list(ids)],
    ).fetchall()
    return [LostValue(*row) for row in rows]
