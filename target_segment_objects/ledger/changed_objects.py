"""Which objects of a chunk differ from what Segment has: looked up, and compared.

Nothing here writes. The caller holds `LedgerFile.access`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, TypeAlias

import msgspec

if TYPE_CHECKING:
    import sqlite3
    from collections.abc import Collection, Mapping, Sequence

    from target_segment_objects.ledger.digests import ObjectId

ObjectRow: TypeAlias = "tuple[ObjectId, int, bytes | None]"
"""The id, the number and the digest of an object; None if an equal one has to be sent."""

_DIGEST_UNLESS_DUE: Final = """
    CASE
        WHEN sent_day > :today THEN NULL
        WHEN :days AND sent_day < :today - (:today - n % :days + :days) % :days THEN NULL
        ELSE digest
    END
"""
"""An object is due on each day that is congruent to `n` modulo the period of `resending`.

So an equal part of all objects is sent again each day, and none waits longer than so many days. It
is due, too, if its day is in the future: then a clock was wrong.
"""

_LOOK_UP_RANGE: Final = f"""
    SELECT id, n, {_DIGEST_UNLESS_DUE} FROM object
    WHERE collection = :collection AND id BETWEEN :first AND :last
    LIMIT :limit
"""  # noqa: S608 - a constant

_LOOK_UP_EACH: Final = f"""
    SELECT object.id, object.n, {_DIGEST_UNLESS_DUE}
    FROM json_each(:ids) AS wanted
    CROSS JOIN object ON object.collection = :collection AND object.id = wanted.value
"""  # noqa: S608 - a constant

_MAX_PROBE_WAIT: Final = 64  # chunks


class ObjectLookup:
    """Looks up the objects of one collection, chunk by chunk, in the cheaper of two ways.

    A tap that reads in the order of its key is served by one range of ids, in half the time. If the
    range has many more objects than the chunk, each is looked up by its id, and the next range is
    tried after twice as many chunks as before.

    Args:
        collection: The number of the collection.
        due: When objects are sent again: `days` and `today`, as the statements name them.
    """

    __slots__ = ("_next_probe", "_parameters", "_probe_wait")

    def __init__(self, collection: int, due: Mapping[str, int]) -> None:
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
        rows = connection.execute(_LOOK_UP_RANGE, {**self._parameters, **bounds}).fetchall()
        if len(rows) < limit:
            self._probe_wait = 1
            return rows
        self._next_probe = self._probe_wait
        self._probe_wait = min(2 * self._probe_wait, _MAX_PROBE_WAIT)
        return None

    def _find_each(self, connection: sqlite3.Connection, wanted: list[ObjectId]) -> list[ObjectRow]:
        parameters = {**self._parameters, "ids": encode_ids(wanted)}
        return connection.execute(_LOOK_UP_EACH, parameters).fetchall()


def find_changed(
    known: Mapping[ObjectId, bytes | None],
    ids: Sequence[ObjectId],
    digests: Sequence[bytes],
    *,
    has_repeats: bool,
) -> list[int]:
    """Return the positions of the objects that differ from what Segment has.

    Args:
        known: What Segment has: each id's digest, or None if that is not sure.
        ids: The ids of the objects, in the order in which they are sent.
        digests: Their digests.
        has_repeats: Whether an id occurs twice. What follows an object that is sent is sent, too,
            even if it equals what Segment has now.
    """
    objects = enumerate(zip(ids, digests, strict=True))
    changed = [position for position, (key, digest) in objects if known.get(key) != digest]
    if not has_repeats or not changed:
        return changed
    first_sent: dict[ObjectId, int] = {}
    for position in changed:
        first_sent.setdefault(ids[position], position)
    end = len(ids)
    return [position for position, key in enumerate(ids) if first_sent.get(key, end) <= position]


def encode_ids(ids: Sequence[ObjectId]) -> str:
    """Return ids as JSON."""
    return msgspec.json.encode(ids).decode()
