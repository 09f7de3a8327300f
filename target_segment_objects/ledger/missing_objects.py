"""The objects that complete runs did not see again: counted, listed, and marked.

A row of `missing` is one of three:

- *missing*: `runs` complete runs in a row did not see the object; it is not marked (`marked_at` is
  NULL). It goes when a run sees the object.
- *marked*: Segment has been sent, or is about to be sent, the object's mark. `mark_digest` is that
  of the mark, so that `object.digest` says whether Segment has accepted it. If not, the next
  complete run sends the same mark again: a run that was killed is completed by the next one.
- *returned* (`returned` is 1): a run has seen the object after it was marked, and sends it with a
  null for the mark. It goes when Segment has accepted an object that is not the mark.

The user may have the ledger forget the objects. Then the last two stay, without their objects: else
a row that comes back would stay marked.

The rule for others: what is written here is durable before anything that depends on it is sent.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Final

from target_segment_objects.ledger.deletion_rules import count_missing_runs
from target_segment_objects.ledger.digests import to_object_id
from target_segment_objects.ledger.marks import Mark, build_mark, digest_mark
from target_segment_objects.ledger.unseen_objects import BEFORE_ALL_IDS, CHUNK, list_unseen

if TYPE_CHECKING:
    import sqlite3
    from collections.abc import Iterable, Iterator, Sequence

    from target_segment_objects.ledger.deletion_rules import DeletionOptions, RunReading
    from target_segment_objects.ledger.digests import ObjectId
    from target_segment_objects.ledger.file import LedgerFile
    from target_segment_objects.ledger.reading_table import CompleteStreams, ReadingTable
    from target_segment_objects.ledger.unseen_objects import Bitmap

_MAX_PARAMETERS: Final = 500  # of a statement; SQLite before 3.32 takes 999

_FIND_UNMARKED: Final = """
    SELECT object.stream, ifnull(missing.runs, 0), missing.since, ifnull(missing.counted_at, '')
    FROM object LEFT JOIN missing USING (collection, id)
    WHERE object.collection = ? AND object.id = ?
        AND (missing.marked_at IS NULL OR missing.returned)
"""

_COUNT_KNOWN: Final = """
    SELECT
        (SELECT count(*) FROM object WHERE collection = :collection)
        - (
            SELECT count(*) FROM missing
            JOIN object USING (collection, id) -- else it was forgotten
            WHERE collection = :collection AND marked_at IS NOT NULL AND NOT returned
        )
"""

_FIND: Final = """
    SELECT object.n FROM object JOIN collection ON collection.n = object.collection
    WHERE collection.name = ? AND object.id = ?
"""

_MARKED_COLLECTIONS: Final = """
    SELECT name, n FROM collection
    WHERE n IN (SELECT collection FROM missing WHERE marked_at IS NOT NULL)
"""

_SELECT_MARKED: Final = """
    SELECT id FROM missing WHERE collection = ? AND marked_at IS NOT NULL AND id IN
"""

_FIND_MARKED: Final = """
    SELECT stream FROM missing
    WHERE collection = ? AND id = ? AND marked_at IS NOT NULL AND NOT returned
"""

_MARK: Final = """
    UPDATE missing SET marked_at = ?, mark_digest = ?, returned = 0 WHERE collection = ? AND id = ?
"""

_RETURN: Final = "UPDATE missing SET returned = 1, runs = 0 WHERE collection = ? AND id = ?"

_COUNT: Final = """
    INSERT INTO missing (collection, id, stream, since, runs, counted_at) VALUES (?, ?, ?, ?, ?, ?)
    ON CONFLICT DO UPDATE SET
        stream = excluded.stream, since = excluded.since, runs = excluded.runs,
        counted_at = excluded.counted_at
"""

_DUE: Final = """
    SELECT id, object.n, missing.stream FROM missing JOIN object USING (collection, id)
    WHERE collection = ? AND runs >= ? AND (marked_at IS NULL OR returned)
"""

_UNSENT_MARKS: Final = """
    SELECT missing.id, object.n, missing.stream, missing.marked_at, missing.mark_digest
    FROM missing JOIN object USING (collection, id)
    WHERE missing.collection = ? AND missing.id > ? AND missing.marked_at IS NOT NULL
        AND NOT missing.returned AND object.digest IS NOT missing.mark_digest
    ORDER BY missing.id LIMIT ?
"""

_NOT_MARKED_AT_SEGMENT: Final = """
    SELECT collection, id, object.n FROM missing JOIN object USING (collection, id)
    WHERE missing.marked_at IS NULL
        OR (NOT missing.returned AND object.digest <> missing.mark_digest)
"""
"""What is not marked, or was about to be when its run was killed: its digest is still the old one.

A digest is NULL, and not another one, from before the mark is sent until it is accepted.
"""

_FORGET_ACCEPTED_RETURNS: Final = """
    DELETE FROM missing WHERE returned AND EXISTS (
        SELECT 1 FROM object
        WHERE object.collection = missing.collection AND object.id = missing.id
            AND object.digest <> missing.mark_digest
    )
"""


@dataclass(slots=True)
class MissingCounts:
    """What is missing of a collection.

    Attributes:
        missing: Objects that this run did not see, and that are not marked.
        due: Those of them that enough runs in a row did not see.
        due_of_empty: Those of the due ones whose streams had no record in this run.
        known: Objects that are not marked, those that are missing included.
    """

    missing: int = 0
    due: int = 0
    due_of_empty: int = 0
    known: int = 0


class MissingObjectTable:
    """The table `missing` of an open ledger, for one run; `start` reads it.

    Attributes:
        readings: How the runs have read their streams.

    Args:
        file: The ledger; its pending rows are folded.
        readings: How the runs have read their streams.
        seen: The numbers of the known objects that the input has; `ObjectTable` adds to them.
        options: The user's settings.
    """

    def __init__(
        self,
        file: LedgerFile,
        readings: ReadingTable,
        seen: Bitmap,
        options: DeletionOptions,
    ) -> None:
        self.readings = readings
        self._file = file
        self._seen = seen
        self._after_runs = options.after_runs
        self._between_runs = timedelta(hours=options.hours_between_runs)
        self._marked_collections: dict[str, int] = {}
        self._rejected: dict[str, set[ObjectId]] = {}  # by collection; of those that have marks
        self._complete: dict[str, CompleteStreams] = {}  # after `count`, by collection

    def start(self) -> None:
        """Read which collections have marks, and forget what needs none any more."""
        self.forget_returned()
        with self._file.access() as connection:
            marked = connection.execute(_MARKED_COLLECTIONS)
            self._marked_collections = dict(marked)

    # While the input is read

    def add_rejected(self, collection: str, object_id: str) -> None:
        """Note an object that the input has, but that is not sent."""
        key = to_object_id(object_id)
        if collection in self._marked_collections:
            self._rejected.setdefault(collection, set()).add(key)
        with self._file.access() as connection:
            row = connection.execute(_FIND, (collection, key)).fetchone()
        if row is not None:
            self._seen.add_all(row)

    def take_returned(self, collection: str, ids: Sequence[ObjectId]) -> set[ObjectId]:
        """Return which objects are marked, and record that they are about to be sent again."""
        number = self._marked_collections.get(collection)
        if number is None:
            return set()
        returned: set[ObjectId] = set()
        with self._file.access(write=True) as connection:
            for start in range(0, len(ids), _MAX_PARAMETERS):
                some = ids[start : start + _MAX_PARAMETERS]
                query = f"{_SELECT_MARKED} ({','.join('?' * len(some))})"
                returned.update(row[0] for row in connection.execute(query, (number, *some)))
            connection.executemany(_RETURN, [(number, object_id) for object_id in returned])
        return returned

    # At the end of the input

    def take_rejected(self) -> dict[str, list[Mark]]:
        """Return what clears the marks of objects that are back, but whose records are rejected.

        They are recorded as about to be sent. By then, all others must have been passed on: one of
        them may be the same object.
        """
        with self._file.access(write=True) as connection:
            cleared = {
                name: _clear_marks(connection, name, self._marked_collections[name], ids)
                for name, ids in self._rejected.items()
            }
        self._rejected.clear()
        return {collection: marks for collection, marks in cleared.items() if marks}

    def count(
        self, run: RunReading, now: str
    ) -> tuple[dict[str, str | None], dict[str, MissingCounts]]:
        """Count durably what a run did not see; `now` is its time.

        Returns:
            Whether each stream was read completely, and what is missing of each collection of
            such streams.
        """
        with self._file.access(write=True) as connection:
            doubts, self._complete = self.readings.judge(connection, run)
            counts = {
                name: self._count_collection(connection, streams, now)
                for name, streams in sorted(self._complete.items())
            }
            self._forget_seen(connection)
            for name, doubt in doubts.items():
                if doubt is None:
                    self.readings.record_judged(connection, name)
        self._file.commit()
        return doubts, counts

    def record_marks(self, collection: str, now: str) -> None:
        """Record durably which objects are to be marked, before any of them is sent."""
        number = self._complete[collection].collection
        with self._file.access(write=True) as connection:
            rows = connection.execute(_DUE, (number, self._after_runs)).fetchall()
            connection.executemany(
                _MARK,
                [
                    (now, digest_mark(collection, object_id, now), number, object_id)
                    for object_id, object_number, stream in rows
                    if self._is_gone(collection, object_number, stream)
                ],
            )
        self._file.commit()

    def list_marks(self, collection: str) -> Iterator[list[Mark]]:
        """Yield the objects of a collection whose marks Segment has not accepted, in chunks."""
        number = self._complete[collection].collection
        last: ObjectId = BEFORE_ALL_IDS
        while True:
            with self._file.access() as connection:
                rows = connection.execute(_UNSENT_MARKS, (number, last, CHUNK)).fetchall()
            if not rows:
                return
            last = rows[-1][0]
            yield [
                Mark(object_id, stream, build_mark(collection, object_id, marked_at), digest)
                for object_id, object_number, stream, marked_at, digest in rows
                if self._is_gone(collection, object_number, stream)
            ]

    def _is_gone(self, collection: str, object_number: int, stream: int) -> bool:
        return stream in self._complete[collection].streams and object_number not in self._seen

    def forget_returned(self) -> None:
        """Forget marked objects that have returned, as far as Segment has accepted them."""
        with self._file.access(write=True) as connection:
            connection.execute(_FORGET_ACCEPTED_RETURNS)
        self._file.commit()

    def _count_collection(
        self, connection: sqlite3.Connection, complete: CompleteStreams, now: str
    ) -> MissingCounts:
        counts = MissingCounts()
        number = complete.collection
        latest = (datetime.fromisoformat(now) - self._between_runs).isoformat()
        (counts.known,) = connection.execute(_COUNT_KNOWN, {"collection": number}).fetchone()
        for ids in list_unseen(connection, number, self._seen, known=counts.known):
            counted = []
            for object_id in ids:
                key = (number, object_id)
                row = connection.execute(_FIND_UNMARKED, key).fetchone()
                if row is None or row[0] not in complete.streams:
                    continue
                stream, runs, since, counted_at = row
                was_judged = complete.streams[stream]
                total = count_missing_runs(
                    runs, was_judged=was_judged, is_retry=counted_at > latest
                )
                if not runs or not was_judged:
                    since = now
                if total != runs or not was_judged or counted_at > now:  # a clock was wrong
                    counted_at = now
                counted.append((*key, stream, since, total, counted_at))
                counts.missing += 1
                is_due = total >= self._after_runs
                counts.due += is_due
                counts.due_of_empty += is_due and stream in complete.empty
            connection.executemany(_COUNT, counted)
        return counts

    def _forget_seen(self, connection: sqlite3.Connection) -> None:
        """Forget missing objects that the run has seen, unless Segment may have their mark."""
        rows = connection.execute(_NOT_MARKED_AT_SEGMENT)
        seen = [(collection, key) for collection, key, number in rows if number in self._seen]
        connection.executemany("DELETE FROM missing WHERE collection = ? AND id = ?", seen)


def _clear_marks(
    connection: sqlite3.Connection, collection: str, number: int, ids: Iterable[ObjectId]
) -> list[Mark]:
    """Record that marked objects of a collection are back, and return what clears their marks."""
    cleared = []
    for object_id in ids:
        row = connection.execute(_FIND_MARKED, (number, object_id)).fetchone()
        if row is not None:
            connection.execute(_RETURN, (number, object_id))
            line = build_mark(collection, object_id, None)
            cleared.append(Mark(object_id, row[0], line, digest_mark(collection, object_id, None)))
    return cleared
