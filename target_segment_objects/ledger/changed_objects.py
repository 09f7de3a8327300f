"""The rows of the objects of a collection in the ledger, looked up in the cheaper of two ways.

Nothing here writes. The caller holds `LedgerFile.access`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, TypeAlias

from target_segment_objects.ledger import object_statements

if TYPE_CHECKING:
    import sqlite3
    from collections.abc import Collection, Mapping

    from target_segment_objects.ledger.digests import ObjectId

ObjectRow: TypeAlias = "tuple[ObjectId, int, bytes | None]"
"""The id, the number and the digest of an object; None if an equal one has to be sent."""

_MAX_PROBE_WAIT: Final = 64  # chunks


class ObjectLookup:
    """Looks up the objects of one collection, chunk by chunk.

    A tap that reads in the order of its key is served by one range of ids, in half the time. If the
    range has many more objects than the chunk, each is looked up by its id, and the next range is
    tried after twice as many chunks as before.
    """

    __slots__ = ("_next_probe", "_parameters", "_probe_wait")

    def __init__(self, collection: int, due: Mapping[str, int]) -> None:
        """Begin with a look-up by range.

        Args:
            collection: The number of the collection.
            due: When objects are sent again: `days` and `today`, as the statements name them.
        """
        self._parameters = {**due, "collection": collection}
        self._probe_wait = 1  # chunks after the next range that is too wide
        self._next_probe = 0  # chunks until the next range is tried

    def find_rows(
        self, connection: sqlite3.Connection, ids: Collection[ObjectId]
    ) -> list[ObjectRow]:
        """Return the rows of objects, and possibly of others between them.

        They are asked for in order: each page is read once.
        """
        try:
            wanted = sorted(ids)  # of one type nearly always
        except TypeError:
            wanted = sorted(ids, key=lambda value: (isinstance(value, str), value))
        if self._next_probe == 0:
            rows = self._find_range(connection, wanted)
            if rows is not None:
                return rows
        else:
            self._next_probe -= 1
        return self._find_each(connection, wanted)

    def _find_range(
        self, connection: sqlite3.Connection, wanted: list[ObjectId]
    ) -> list[ObjectRow] | None:
        """Return all rows from the first id to the last; None if they are many more."""
        limit = 2 * len(wanted)
        bounds = {"first": wanted[0], "last": wanted[-1], "limit": limit}
        rows = connection.execute(
            object_statements.LOOK_UP_RANGE, {**self._parameters, **bounds}
        ).fetchall()
        if len(rows) < limit:
            self._probe_wait = 1
            return rows
        self._next_probe = self._probe_wait
        self._probe_wait = min(2 * self._probe_wait, _MAX_PROBE_WAIT)
        return None

    def _find_each(self, connection: sqlite3.Connection, wanted: list[ObjectId]) -> list[ObjectRow]:
        """Return the rows of the ids."""
        given = {**self._parameters, "ids": object_statements.encode_ids(wanted)}
        return connection.execute(object_statements.LOOK_UP_EACH, given).fetchall()
