"""Which objects complete runs did not see again, and which of them are marked as deleted."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from target_segment_objects.ledger.digests import format_object_id

if TYPE_CHECKING:
    import sqlite3


@dataclass(frozen=True, slots=True)
class MissingObject:
    """An object that is gone at the source.

    Attributes:
        id: Its id.
        since: When a complete run first did not see it: ISO 8601, UTC.
        runs: How many complete runs in a row did not see it, until it was marked.
        marked_at: The time that was sent as `sdc_deleted_at`; None if it is not marked.
    """

    id: str
    since: str
    runs: int
    marked_at: str | None


@dataclass(frozen=True, slots=True)
class MissingObjects:
    """The objects of a collection that are gone at the source.

    Attributes:
        missing: How many are not marked.
        marked: How many are marked as deleted.
        first: The ones that are missing the longest, as many as were asked for.
    """

    missing: int
    marked: int
    first: tuple[MissingObject, ...]


def read_missing(
    connection: sqlite3.Connection, collection: str, *, limit: int | None
) -> MissingObjects:
    """Read which objects of a collection are gone at the source.

    Args:
        connection: Of an open ledger.
        collection: Its name.
        limit: How many objects to return at most; None for all.
    """
    query = """
        FROM missing JOIN collection ON collection.n = missing.collection
        WHERE collection.name = ? AND NOT returned
    """
    missing, marked = connection.execute(
        f"SELECT count(*) - count(marked_at), count(marked_at) {query}",
        (collection,),
    ).fetchone()
    rows = connection.execute(
        f"SELECT id, since, runs, marked_at {query} ORDER BY since, id LIMIT ?",
        (collection, -1 if limit is None else limit),
    )
    first = tuple(
        MissingObject(format_object_id(object_id), since, runs, marked_at)
        for object_id, since, runs, marked_at in rows
    )
    return MissingObjects(missing, marked, first)
