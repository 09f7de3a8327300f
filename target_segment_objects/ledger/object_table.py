"""The objects that Segment has: looked up, invalidated, and renewed from what was accepted.

The rule that makes skipping right: a digest in `object` is that of the last object that was sent
for the id, and Segment accepted it. So:

1. Before an object is sent, its id's digest is set to NULL, and its own is appended to `pending`.
   Both are committed before Start of its session.
2. Acceptance (202) only counts: sessions of a collection run one after the other, in the order of
   `pending`, so the accepted rows are the first ones. Losing the count only sends again.
3. `fold_pending` runs when no session is under way, and at the next start after a kill. The last
   row of an id decides: accepted, it gives its digest; else NULL stays.

In between, an object of this run is never known to be accepted, and is sent again.
"""

from __future__ import annotations

import json
from collections import Counter
from dataclasses import dataclass
from datetime import date
from typing import TYPE_CHECKING, Any, Final

from xxhash import xxh3_64_digest

from target_segment_objects.ledger import object_statements
from target_segment_objects.ledger.changed_objects import ObjectLookup
from target_segment_objects.ledger.changes import find_changed
from target_segment_objects.ledger.file_errors import report_damage
from target_segment_objects.ledger.resending import KEPT_DAYS, choose_period
from target_segment_objects.ledger.rewritten import MIN_CHANGED, max_known
from target_segment_objects.ledger.stream_memory import StreamMemory

if TYPE_CHECKING:
    import sqlite3
    from collections.abc import Callable, Iterable, Mapping, Sequence

    from target_segment_objects.delivery.interface import StreamInfo
    from target_segment_objects.ledger.changed_objects import ObjectRow
    from target_segment_objects.ledger.digests import ObjectId
    from target_segment_objects.ledger.file import LedgerFile

_EPOCH: Final = date(1970, 1, 1)


@dataclass(slots=True)
class _Collection:
    """A collection, and its rows of `pending`.

    Attributes:
        n: Its number in the file.
        lookup: Finds its objects.
        is_known: Whether `object` has rows of it.
        appended: Its number of pending rows.
        accepted: How many of them are accepted.
        sent: Objects that were accepted in this run.
        unchanged: Objects that were skipped in this run.
    """

    n: int
    lookup: ObjectLookup
    is_known: bool
    appended: int = 0
    accepted: int = 0
    sent: int = 0
    unchanged: int = 0


class ObjectTable:
    """The tables of objects in an open ledger, for one run."""

    def __init__(self, file: LedgerFile, *, resend_after_days: int, today: date) -> None:
        """Take an open file; `start` reads it.

        Args:
            file: The file.
            resend_after_days: Days after which an unchanged object is sent again; 0 for never.
            today: The day of the run (UTC).
        """
        self._file = file
        self._resend_after_days = resend_after_days
        self._due = {"days": resend_after_days, "today": (today - _EPOCH).days}
        self._collections: dict[str, _Collection] = {}
        self._next_n = 1
        self._on_found: Callable[[Iterable[int]], None] | None = None
        self._changed: Counter[int] = Counter()  # known objects, by the number of their stream

    def start(self) -> None:
        """Fold what a killed run has left, and begin a run.

        Raises:
            LedgerError: The file cannot be read or written.
        """
        with self._file.access() as connection, report_damage(self._file.path):
            (has_pending,) = connection.execute("SELECT EXISTS (SELECT 1 FROM pending)").fetchone()
            if has_pending:
                query = "SELECT day FROM run ORDER BY n DESC LIMIT 1"
                self._fold(connection, *connection.execute(query).fetchone())
            meta = dict(connection.execute("SELECT key, value FROM meta"))
            self._next_n = int(meta["next_n"])
        with self._file.access(write=True) as connection:
            self._due["days"] = self._choose_period(connection, meta)
            resending = {
                "resend_after_days": self._resend_after_days,
                "resend_period": self._due["days"],
            }
            connection.executemany("INSERT OR REPLACE INTO meta VALUES (?, ?)", resending.items())
        self._file.start_run(self._due["today"])

    @property
    def next_number(self) -> int:
        """The number of the next object that is not known."""
        return self._next_n

    def watch_found(self, on_found: Callable[[Iterable[int]], None]) -> None:
        """Call a function with the numbers of the known objects of each chunk."""
        self._on_found = on_found

    @property
    def is_settled(self) -> bool:
        """Whether all pending rows are accepted."""
        return all(found.appended == found.accepted for found in self._collections.values())

    @property
    def pending_count(self) -> int:
        """The number of pending rows."""
        return sum(found.appended for found in self._collections.values())

    def register_stream(self, stream: StreamInfo) -> int:
        """Record a stream and its collection, and return the stream's number.

        Raises:
            LedgerError: Its key properties have changed, or the file cannot be written.
        """
        StreamMemory(self._file).check_key(stream)
        with self._file.access(write=True) as connection:
            collection = self._register_collection(connection, stream.collection)
            row = {
                "name": stream.name,
                "collection": collection.n,
                "key_properties": json.dumps(stream.key_properties),
                "fingerprint": xxh3_64_digest(json.dumps(stream.properties).encode()),
                "run": self._file.run,
            }
            connection.execute(
                """
                INSERT INTO stream (name, collection, key_properties, fingerprint, last_run)
                VALUES (:name, :collection, :key_properties, :fingerprint, :run)
                ON CONFLICT DO UPDATE SET
                    collection = :collection, key_properties = :key_properties,
                    fingerprint = :fingerprint, last_run = :run
                """,
                row,
            )
            query = "SELECT n FROM stream WHERE name = ?"
            return int(connection.execute(query, (stream.name,)).fetchone()[0])

    def record_chunk(
        self,
        collection: str,
        ids: Sequence[ObjectId],
        digests: Sequence[bytes],
        streams: Sequence[int],
    ) -> list[int]:
        """Decide which objects have to be sent, and record them as about to be sent.

        The record is not durable before `commit`; nothing may be sent before.

        Args:
            collection: The collection of the objects.
            ids: Their ids, in the order in which they arrived.
            digests: Their digests.
            streams: The numbers of their streams.

        Returns:
            The positions of those to send, in the same order.
        """
        found = self._collections[collection]
        distinct = dict.fromkeys(ids)
        with self._file.access() as connection:
            rows = found.lookup.find_rows(connection, distinct) if found.is_known else []
            if self._on_found is not None:
                self._on_found([n for object_id, n, _ in rows if object_id in distinct])
            known = {object_id: digest for object_id, _, digest in rows}
            changed = find_changed(known, ids, digests, has_repeats=len(distinct) < len(ids))
            if changed:
                sent = [ids[at] for at in changed]
                with self._file.access(write=True):
                    connection.execute(
                        object_statements.APPEND,
                        {
                            "collection": found.n,
                            "first_seq": found.appended + 1,
                            "ids": object_statements.encode_ids(sent),
                            "streams": object_statements.pack_numbers(
                                [streams[at] for at in changed]
                            ),
                            "numbers": object_statements.pack_numbers(
                                self._number_objects(sent, rows)
                            ),
                            "digests": b"".join([digests[at] for at in changed]),
                        },
                    )
                    if rows:
                        self._changed.update(
                            streams[at] for at in changed if known.get(ids[at]) is not None
                        )
                        given = {"collection": found.n, "ids": object_statements.encode_ids(sent)}
                        connection.execute(object_statements.INVALIDATE, given)
                found.appended += len(changed)
            found.unchanged += len(ids) - len(changed)
        return changed

    def commit(self) -> None:
        """Make durable what was recorded; called before Start of each session."""
        self._file.commit()

    def mark_accepted(self, collection: str, count: int) -> None:
        """Record that Segment has accepted the next objects of a collection."""
        with self._file.access(write=True) as connection:
            found = self._collections[collection]
            found.accepted += count
            found.sent += count
            connection.execute(
                "UPDATE collection SET accepted = ? WHERE n = ?", (found.accepted, found.n)
            )

    def fold_pending(self) -> None:
        """Renew what Segment has from what it has accepted; no session may be under way."""
        with self._file.access() as connection:
            self._fold(connection, self._due["today"])
        for found in self._collections.values():
            found.is_known = found.is_known or found.appended > 0
            found.appended = found.accepted = 0

    def find_rewritten(self) -> list[tuple[int, int, int]]:
        """Return the streams of which nearly all known objects have changed; before `end`.

        Returns:
            For each, its number, and how many objects have changed and are known.

        Raises:
            LedgerError: The file cannot be read.
        """
        query = """
            SELECT count(*) FROM (
                SELECT 1 FROM object
                WHERE collection = (SELECT collection FROM stream WHERE n = :stream)
                    AND stream = :stream
                LIMIT :limit
            )
        """
        found = []
        with self._file.access() as connection:
            for stream, changed in sorted(self._changed.items()):
                if changed < MIN_CHANGED:
                    continue
                limit = max_known(changed) + 1  # not all of them have to be counted
                row = {"stream": stream, "limit": limit}
                (known,) = connection.execute(query, row).fetchone()
                if known < limit:
                    found.append((stream, changed, known))
        return found

    def end(self, *, is_complete: bool) -> None:
        """Fold what is left, and record the end of the run; no session may be under way.

        Args:
            is_complete: Whether everything that was read was delivered.
        """
        self.fold_pending()
        counts = {
            name: {"sent": found.sent, "unchanged": found.unchanged}
            for name, found in self._collections.items()
        }
        self._file.end_run(is_complete=is_complete, counts=json.dumps(counts))

    def close(self) -> None:
        """Unlock the file. May be called more than once."""
        self._file.close()

    def _choose_period(self, connection: sqlite3.Connection, meta: Mapping[str, Any]) -> int:
        """Return the days after which an unchanged object is sent again."""
        today = self._due["today"]
        query = "SELECT DISTINCT day FROM run WHERE day < ? ORDER BY day DESC LIMIT ?"
        days = [day for (day,) in connection.execute(query, (today, KEPT_DAYS - 1))]
        has_same_setting = meta.get("resend_after_days") == self._resend_after_days
        return choose_period(
            self._resend_after_days,
            [*reversed(days), today],
            previous=meta.get("resend_period") if has_same_setting else None,
        )

    def _fold(self, connection: sqlite3.Connection, day: int) -> None:
        """Move the pending rows to `object` in one transaction, and return their space."""
        with self._file.access(write=True):
            connection.execute(object_statements.FOLD, {"day": day})
            connection.execute(
                """
                UPDATE meta SET value = max(value, (SELECT ifnull(max(n), 0) + 1 FROM pending))
                WHERE key = 'next_n'
                """
            )
            connection.execute("DELETE FROM pending")
            connection.execute("UPDATE collection SET accepted = 0")
        self._file.commit()
        with self._file.access():
            connection.executescript("PRAGMA incremental_vacuum")

    def _register_collection(self, connection: sqlite3.Connection, name: str) -> _Collection:
        if name not in self._collections:
            connection.execute("INSERT OR IGNORE INTO collection (name) VALUES (?)", (name,))
            query = "SELECT n FROM collection WHERE name = ?"
            (n,) = connection.execute(query, (name,)).fetchone()
            query = "SELECT EXISTS (SELECT 1 FROM object WHERE collection = ?)"
            (is_known,) = connection.execute(query, (n,)).fetchone()
            self._collections[name] = _Collection(
                n, ObjectLookup(n, self._due), is_known=bool(is_known)
            )
        return self._collections[name]

    def _number_objects(self, ids: Sequence[ObjectId], rows: Sequence[ObjectRow]) -> list[int]:
        """Return the number of each object; those that are not in the file get the next ones."""
        wanted = dict.fromkeys(ids, 0)
        for object_id, n, _ in rows:
            if object_id in wanted:
                wanted[object_id] = n
        for object_id, n in wanted.items():
            if n == 0:
                wanted[object_id] = self._next_n
                self._next_n += 1
        return [wanted[object_id] for object_id in ids]
