"""What a ledger knows, read without changing it."""

from __future__ import annotations

import functools
import json
from dataclasses import dataclass
from datetime import date, timedelta
from typing import TYPE_CHECKING, Any, Final

import msgspec

from target_segment_objects.ledger.digests import format_object_id

if TYPE_CHECKING:
    import sqlite3
    from collections.abc import Iterator, Mapping

EPOCH: Final = date(1970, 1, 1)
DAYS: Final = 7
"""How many days `Overview` looks ahead; the first is today."""

_COUNT: Final = f"""
    SELECT collection, count(*), {", ".join(f"sum(due = {day})" for day in range(DAYS))} FROM (
        SELECT collection,
            CASE
                WHEN EXISTS ( -- the row is gone, and its mark is accepted
                    SELECT 1 FROM missing
                    WHERE missing.collection = object.collection AND missing.id = object.id
                        AND missing.mark_digest = object.digest AND NOT missing.returned
                ) THEN NULL
                WHEN digest IS NULL OR sent_day > :today THEN 0
                WHEN :days = 0 THEN NULL
                -- The first day after `sent_day` that is congruent to `n`.
                ELSE max(0, sent_day + 1 + ((n - sent_day - 1) % :days + :days) % :days - :today)
            END AS due
        FROM object LIMIT -1 -- so that SQLite computes it once a row
    )
    GROUP BY collection
"""  # noqa: S608 - constants


@dataclass(frozen=True, slots=True)
class RunOverview:
    """A run.

    Attributes:
        n: Its number.
        started: ISO 8601, UTC.
        result: `complete`; `incomplete` if not everything was delivered; `not ended` if it was
            killed.
    """

    n: int
    started: str
    result: str


@dataclass(frozen=True, slots=True)
class CollectionOverview:
    """A collection.

    Attributes:
        name: Its name.
        objects: How many objects of it are known.
        last_run: When a run last read one of its streams.
        sent_again: For each day from today, how many of them a run sends even if unchanged.
        properties: The names and types of its properties, as they were first sent, by stream.
    """

    name: str
    objects: int
    last_run: str | None
    sent_again: tuple[int, ...]
    properties: Mapping[str, Mapping[str, str | None]]


@dataclass(frozen=True, slots=True)
class Overview:
    """What a ledger knows.

    Attributes:
        destination: What it is bound to: the base URL of the API, or a sandbox's warehouse.
        bytes: The size of the file.
        resend_after_days: As in the last run.
        last_run: The last run; None if there was none.
        days: The days of `sent_again`.
        collections: The collections, sorted by name.
    """

    destination: str
    bytes: int
    resend_after_days: int
    last_run: RunOverview | None
    days: tuple[date, ...]
    collections: tuple[CollectionOverview, ...]


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
class MissingReport:
    """The objects of a collection that are gone at the source.

    Attributes:
        missing: How many are not marked.
        marked: How many are marked as deleted.
        first: The ones that are missing the longest, as many as were asked for.
    """

    missing: int
    marked: int
    first: tuple[MissingObject, ...]


def read_overview(
    connection: sqlite3.Connection, collection: str | None, *, today: date
) -> Overview:
    """Read what a ledger knows of a collection, or of all; `today` is a day in UTC."""
    meta: dict[str, Any] = dict(connection.execute("SELECT key, value FROM meta"))
    pages, page_size = (
        connection.execute(f"PRAGMA {name}").fetchone()[0] for name in ("page_count", "page_size")
    )
    resend_after_days = meta.get("resend_after_days", 0)
    return Overview(
        destination=meta["destination"],
        bytes=pages * page_size,
        resend_after_days=resend_after_days,
        last_run=_read_last_run(connection),
        days=tuple(today + timedelta(days=n) for n in range(DAYS)),
        collections=tuple(
            found
            for found in _read_collections(connection, today, meta.get("resend_period", 0))
            if collection in {None, found.name}
        ),
    )


def read_missing(
    connection: sqlite3.Connection, collection: str, *, limit: int | None
) -> MissingReport:
    """Read which objects of a collection are gone at the source; `limit` bounds the list."""
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
    return MissingReport(missing, marked, first)


def export_objects(connection: sqlite3.Connection, collection: str | None) -> Iterator[bytes]:
    """Yield the JSON of what is known of each object, in the order of the collections and ids."""
    streams = dict(connection.execute("SELECT n, name FROM stream"))
    format_day = functools.lru_cache(lambda day: (EPOCH + timedelta(days=day)).isoformat())
    encode = msgspec.json.Encoder().encode
    rows = connection.execute(
        """
        SELECT collection.name, object.id, object.stream, hex(object.digest), object.sent_day
        FROM collection CROSS JOIN object ON object.collection = collection.n
        WHERE collection.name = ifnull(:collection, collection.name)
        """,
        {"collection": collection},
    )
    for name, object_id, stream, digest, sent_day in rows:
        yield encode(
            {
                "collection": name,
                "id": format_object_id(object_id),
                "stream": streams.get(stream),
                "digest": digest.lower() or None,
                "last_sent": format_day(sent_day),
            }
        )


def list_collections(connection: sqlite3.Connection) -> list[str]:
    """Return the names of the known collections, sorted."""
    query = "SELECT name FROM collection UNION SELECT collection FROM property ORDER BY 1"
    return [name for (name,) in connection.execute(query)]


def _read_last_run(connection: sqlite3.Connection) -> RunOverview | None:
    query = "SELECT n, started, ended, is_complete FROM run ORDER BY n DESC LIMIT 1"
    row = connection.execute(query).fetchone()
    if row is None:
        return None
    n, started, ended, is_complete = row
    result = "complete" if is_complete else "incomplete"
    return RunOverview(n, started, "not ended" if ended is None else result)


def _read_collections(
    connection: sqlite3.Connection, today: date, resend_period: int
) -> Iterator[CollectionOverview]:
    properties = _read_properties(connection)
    parameters = {"today": (today - EPOCH).days, "days": resend_period}
    counts = {n: (objects, due) for n, objects, *due in connection.execute(_COUNT, parameters)}
    rows = connection.execute(
        """
        SELECT collection.n, collection.name, max(run.started) FROM collection
        LEFT JOIN stream ON stream.collection = collection.n
        LEFT JOIN run ON run.n = stream.last_run
        GROUP BY collection.n ORDER BY collection.name
        """
    ).fetchall()
    for n, name, last_run in rows:
        objects, due = counts.get(n, (0, []))
        sent_again = tuple(count or 0 for count in due) or (0,) * DAYS
        yield CollectionOverview(name, objects, last_run, sent_again, properties.get(name, {}))


def _read_properties(connection: sqlite3.Connection) -> dict[str, dict[str, dict[str, str | None]]]:
    """Return collection to stream to name to type."""
    properties: dict[str, dict[str, dict[str, str | None]]] = {}
    query = "SELECT collection, stream, name, type FROM property ORDER BY collection, stream, n"
    for collection, stream, name, type_name in connection.execute(query):
        streams = properties.setdefault(collection, {})
        streams.setdefault(json.loads(stream), {})[name] = type_name
    return properties
