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

from target_segment_objects.ledger.changed_objects import ObjectLookup, encode_ids, find_changed
from target_segment_objects.ledger.digests import DIGEST_BYTES
from target_segment_objects.ledger.file_errors import changed_key_error, report_damage
from target_segment_objects.ledger.resending import KEPT_DAYS, choose_period
from target_segment_objects.ledger.rewritten import find_rewritten
from target_segment_objects.ledger.unseen_objects import Bitmap

if TYPE_CHECKING:
    import sqlite3
    from collections.abc import Mapping, Sequence

    from target_segment_objects.delivery.interface import StreamInfo
    from target_segment_objects.ledger.changed_objects import ObjectRow
    from target_segment_objects.ledger.digests import ObjectId
    from target_segment_objects.ledger.file import LedgerFile

_EPOCH: Final = date(1970, 1, 1)


_DIGITS: Final = 12  # of a number that is passed in a string

_APPEND: Final = f"""
    INSERT INTO pending (collection, seq, id, stream, n, digest)
    SELECT
        :collection, :first_seq + key, value,
        CAST(substr(:streams, key * {_DIGITS} + 1, {_DIGITS}) AS INTEGER),
        CAST(substr(:numbers, key * {_DIGITS} + 1, {_DIGITS}) AS INTEGER),
        substr(:digests, key * {DIGEST_BYTES} + 1, {DIGEST_BYTES})
    FROM json_each(:ids)
"""  # noqa: S608 - a constant
"""All rows of a chunk in one statement: a quarter of the time of `executemany`."""

_INVALIDATE: Final = """
    UPDATE object SET digest = NULL
    WHERE collection = :collection AND id IN (SELECT value FROM json_each(:ids))
"""

_FOLD: Final = """
    INSERT INTO object (collection, id, stream, n, digest, sent_day)
    SELECT
        collection, id, stream, n,
        CASE
            WHEN seq <= (SELECT accepted FROM collection WHERE n = pending.collection) THEN digest
        END,
        :day
    FROM pending
    WHERE true -- so that ON is not read as a part of a join
    ORDER BY collection, id, seq -- the last row of an id comes last, and stays
    ON CONFLICT DO UPDATE SET
        stream = excluded.stream, digest = excluded.digest, sent_day = excluded.sent_day
"""


@dataclass(slots=True)
class _Collection:
    """A collection, and its rows of `pending`.

    Attributes:
        number: Its number in the file.
        lookup: Finds its objects.
        is_known: Whether `object` has rows of it.
        appended: Its number of pending rows.
        accepted: How many of them are accepted.
        sent: Objects that were accepted in this run.
        unchanged: Objects that were skipped in this run.
    """

    number: int
    lookup: ObjectLookup
    is_known: bool
    appended: int = 0
    accepted: int = 0
    sent: int = 0
    unchanged: int = 0


class ObjectTable:
    """The tables of objects in an open ledger, for one run; `start` reads them.

    It is the journal of delivery: see `delivery.interface.Journal`.

    Attributes:
        seen: The numbers of the known objects that the input has, if they are noted.

    Args:
        file: The open file.
        resend_after_days: Days after which an unchanged object is sent again; 0 for never.
        today: The day of the run (UTC).
        notes_seen: Whether to note which known objects the input has.
    """

    def __init__(
        self, file: LedgerFile, *, resend_after_days: int, today: date, notes_seen: bool = False
    ) -> None:
        self.seen = Bitmap(0)
        self._file = file
        self._resend_after_days = resend_after_days
        self._due = {"days": resend_after_days, "today": (today - _EPOCH).days}
        self._notes_seen = notes_seen
        self._collections: dict[str, _Collection] = {}
        self._next_number = 1
        self._rewritten: Counter[int] = Counter()  # known objects, by the number of their stream

    def start(self) -> None:
        """Fold what a killed run has left, and begin a run."""
        with self._file.access() as connection, report_damage(self._file.path):
            (has_pending,) = connection.execute("SELECT EXISTS (SELECT 1 FROM pending)").fetchone()
            if has_pending:
                query = "SELECT day FROM run ORDER BY n DESC LIMIT 1"
                self._fold(connection, *connection.execute(query).fetchone())
            meta = dict(connection.execute("SELECT key, value FROM meta"))
            self._next_number = int(meta["next_n"])
        with self._file.access(write=True) as connection:
            self._due["days"] = self._choose_period(connection, meta)
            resending = {
                "resend_after_days": self._resend_after_days,
                "resend_period": self._due["days"],
            }
            connection.executemany("INSERT OR REPLACE INTO meta VALUES (?, ?)", resending.items())
        self._file.start_run(self._due["today"])
        if self._notes_seen:
            self.seen = Bitmap(self._next_number)

    @property
    def is_settled(self) -> bool:
        """Whether all pending rows are accepted."""
        return all(each.appended == each.accepted for each in self._collections.values())

    @property
    def pending_count(self) -> int:
        """The number of pending rows."""
        return sum(each.appended for each in self._collections.values())

    def register_stream(self, stream: StreamInfo) -> int:
        """Record a stream and its collection, and return the stream's number.

        Raises:
            LedgerError: Its key properties have changed, or the file cannot be written.
        """
        with self._file.access(write=True) as connection:
            known = _read_key(connection, stream)
            if known not in {None, stream.key_properties}:
                raise changed_key_error(self._file.path, stream, known)
            collection = self._register_collection(connection, stream.collection)
            row = {
                "name": stream.name,
                "collection": collection.number,
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
        state = self._collections[collection]
        distinct = dict.fromkeys(ids)
        with self._file.access() as connection:
            rows = state.lookup.find_rows(connection, distinct) if state.is_known else []
            if self._notes_seen:
                self.seen.add_all([number for key, number, _ in rows if key in distinct])
            known = {key: digest for key, _, digest in rows}
            changed = find_changed(known, ids, digests, has_repeats=len(distinct) < len(ids))
            if changed:
                sent = [ids[position] for position in changed]
                streams = [streams[position] for position in changed]
                numbers = self._number_objects(sent, rows)
                encoded = encode_ids(sent)
                with self._file.access(write=True):
                    connection.execute(
                        _APPEND,
                        {
                            "collection": state.number,
                            "first_seq": state.appended + 1,
                            "ids": encoded,
                            "streams": _pack_numbers(streams),
                            "numbers": _pack_numbers(numbers),
                            "digests": b"".join([digests[position] for position in changed]),
                        },
                    )
                    if rows:
                        self._rewritten.update(
                            stream
                            for stream, key in zip(streams, sent, strict=True)
                            if known.get(key) is not None
                        )
                        connection.execute(
                            _INVALIDATE,
                            {"collection": state.number, "ids": encoded},
                        )
                state.appended += len(changed)
            state.unchanged += len(ids) - len(changed)
        return changed

    def commit(self) -> None:
        """Make durable what was recorded; called before Start of each session."""
        self._file.commit()

    def mark_accepted(self, collection: str, count: int) -> None:
        """Record that Segment has accepted the next objects of a collection."""
        with self._file.access(write=True) as connection:
            state = self._collections[collection]
            state.accepted += count
            state.sent += count
            connection.execute(
                "UPDATE collection SET accepted = ? WHERE n = ?", (state.accepted, state.number)
            )

    def fold_pending(self) -> None:
        """Renew what Segment has from what it has accepted; no session may be under way."""
        with self._file.access() as connection:
            self._fold(connection, self._due["today"])
        for state in self._collections.values():
            state.is_known = state.is_known or state.appended > 0
            state.appended = state.accepted = 0

    def find_rewritten(self) -> list[tuple[int, int, int]]:
        """Return what `rewritten.find_rewritten` finds; before `end`."""
        with self._file.access() as connection:
            return find_rewritten(connection, self._rewritten)

    def end(self, *, is_complete: bool) -> None:
        """Fold what is left, and record the end of the run; no session may be under way."""
        self.fold_pending()
        counts = {
            name: {"sent": state.sent, "unchanged": state.unchanged}
            for name, state in self._collections.items()
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
            connection.execute(_FOLD, {"day": day})
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
            (number,) = connection.execute(query, (name,)).fetchone()
            query = "SELECT EXISTS (SELECT 1 FROM object WHERE collection = ?)"
            (is_known,) = connection.execute(query, (number,)).fetchone()
            self._collections[name] = _Collection(
                number, ObjectLookup(number, self._due), is_known=bool(is_known)
            )
        return self._collections[name]

    def _number_objects(self, ids: Sequence[ObjectId], rows: Sequence[ObjectRow]) -> list[int]:
        """Return the number of each object; those that are not in the file get the next ones."""
        numbers = dict.fromkeys(ids, 0)
        for key, number, _ in rows:
            if key in numbers:
                numbers[key] = number
        for key, number in numbers.items():
            if number == 0:
                numbers[key] = self._next_number
                self._next_number += 1
        return [numbers[key] for key in ids]


def _read_key(connection: sqlite3.Connection, stream: StreamInfo) -> tuple[str, ...] | None:
    """Return the key of a stream's last run into its collection; None accepts any key."""
    query = """
        SELECT key_properties FROM stream JOIN collection ON collection.n = stream.collection
        WHERE stream.name = ? AND collection.name = ?
    """
    row = connection.execute(query, (stream.name, stream.collection)).fetchone()
    names = None if row is None else json.loads(row[0])
    return None if names is None else tuple(names)


def _pack_numbers(numbers: Sequence[int]) -> bytes:
    """Return numbers as digits of a fixed width. In bytes, SQLite finds a place at once."""
    return (f"%0{_DIGITS}d" * len(numbers) % tuple(numbers)).encode()
