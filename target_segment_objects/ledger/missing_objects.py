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

import json
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any, Final

from target_segment_objects.ledger import missing_statements
from target_segment_objects.ledger.bitmap import Bitmap
from target_segment_objects.ledger.deletion_rules import (
    KEPT_VERSIONS,
    StreamHistory,
    Verdict,
    count_missing_runs,
    judge_run,
)
from target_segment_objects.ledger.digests import to_object_id
from target_segment_objects.ledger.marks import Mark, build_mark, digest_mark
from target_segment_objects.ledger.unseen_objects import list_unseen

if TYPE_CHECKING:
    import sqlite3
    from collections.abc import Iterable, Iterator, Sequence

    from target_segment_objects.ledger.deletion_rules import RunReading
    from target_segment_objects.ledger.digests import ObjectId
    from target_segment_objects.ledger.file import LedgerFile

_CHUNK: Final = 8192
_MAX_PARAMETERS: Final = 500  # of a statement; SQLite before 3.32 takes 999
_BEFORE_ALL_IDS: Final = -1  # integers come before strings, and none is negative


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


@dataclass(frozen=True, slots=True)
class _CompleteStreams:
    """The streams of a collection that this run has read completely.

    Attributes:
        n: The number of the collection.
        streams: The number of each stream, and whether its last run was one that judged it.
        empty: The numbers of those that had no record.
    """

    n: int
    streams: dict[int, bool] = field(default_factory=dict)
    empty: set[int] = field(default_factory=set)


class MissingObjects:
    """The tables `missing` and `reading` of an open ledger, for one run."""

    def __init__(
        self,
        file: LedgerFile,
        *,
        first_new_number: int,
        after_runs: int,
        hours_between_runs: float,
    ) -> None:
        """Read what earlier runs have left.

        Args:
            file: The ledger; its pending rows are folded.
            first_new_number: What the numbers of all known objects are below.
            after_runs: The setting `deleted_after_runs`.
            hours_between_runs: The setting `deleted_hours_between_runs`.

        Raises:
            LedgerError: The file cannot be read or written.
        """
        self._file = file
        self._after_runs = after_runs
        self._between_runs = timedelta(hours=hours_between_runs)
        self._seen = Bitmap(first_new_number)
        self._rejected: dict[str, set[ObjectId]] = {}  # by collection; of those that have marks
        self._written: dict[str, tuple[bytes, tuple[Any, ...], bool]] = {}
        self._complete: dict[str, _CompleteStreams] = {}  # after `count`, by collection
        self.forget_returned()
        with file.access() as connection:
            marked = connection.execute(missing_statements.MARKED_COLLECTIONS)
            self._marked_collections: dict[str, int] = dict(marked)
            self._histories = _read_histories(connection)

    # While the input is read

    def record_reading(
        self, stream: str, fingerprint: bytes, versions: Iterable[Any], *, is_partitioned: bool
    ) -> None:
        """Record durably that this run reads a stream, before a STATE can say so.

        Args:
            stream: Its name, after stream maps.
            fingerprint: Its fingerprint so far.
            versions: The versions that its messages have named so far.
            is_partitioned: Whether it was seen to be read in partitions.
        """
        history = self._histories.get(stream)
        known = () if history is None else history.versions
        kept = tuple(dict.fromkeys((*known, *versions)))[-KEPT_VERSIONS:]
        was_partitioned = is_partitioned or (history is not None and history.was_partitioned)
        if self._written.get(stream) == (fingerprint, kept, was_partitioned):
            return
        self._write_reading(stream, (fingerprint, kept, was_partitioned), judged_run=0)
        self._file.commit()

    def has_new_mapping(self, stream: str) -> bool:
        """Return whether a stream has another schema, key or settings than in its last run."""
        history, written = self._histories.get(stream), self._written.get(stream)
        return history is not None and written is not None and history.fingerprint != written[0]

    def add_seen(self, numbers: Iterable[int]) -> None:
        """Note objects that the input has; new ones do not count."""
        self._seen.add_all(numbers)

    def add_seen_id(self, collection: str, object_id: str) -> None:
        """Note an object that the input has, but that is not sent."""
        found = to_object_id(object_id)
        if collection in self._marked_collections:
            self._rejected.setdefault(collection, set()).add(found)
        with self._file.access() as connection:
            row = connection.execute(missing_statements.FIND, (collection, found)).fetchone()
        if row is not None:
            self._seen.add_all(row)

    def take_returned(self, collection: str, ids: Sequence[ObjectId]) -> set[ObjectId]:
        """Return which objects are marked, and record that they are about to be sent again."""
        n = self._marked_collections.get(collection)
        if n is None:
            return set()
        returned: set[ObjectId] = set()
        with self._file.access(write=True) as connection:
            for start in range(0, len(ids), _MAX_PARAMETERS):
                some = ids[start : start + _MAX_PARAMETERS]
                query = f"{missing_statements.SELECT_MARKED} ({','.join('?' * len(some))})"
                returned.update(row[0] for row in connection.execute(query, (n, *some)))
            connection.executemany(
                missing_statements.RETURN, [(n, object_id) for object_id in returned]
            )
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
    ) -> tuple[dict[str, Verdict], dict[str, MissingCounts]]:
        """Count what a run did not see, durably.

        Args:
            run: How it has read its input.
            now: Its time.

        Returns:
            Whether each stream was read completely, and what is missing of each collection of
            such streams.

        Raises:
            LedgerError: The file cannot be read or written.
        """
        with self._file.access(write=True) as connection:
            verdicts = self._judge(connection, run)
            counts = {
                name: self._count_collection(connection, collection, now)
                for name, collection in sorted(self._complete.items())
            }
            self._forget_seen(connection)
            for name, verdict in verdicts.items():
                if verdict.is_complete:
                    self._write_reading(name, self._written[name], judged_run=self._file.run)
        self._file.commit()
        return verdicts, counts

    def record_marks(self, collection: str, now: str) -> None:
        """Record durably which objects are to be marked, before any of them is sent.

        Args:
            collection: A collection that `count` has returned.
            now: The time to send.
        """
        complete = self._complete[collection]
        with self._file.access(write=True) as connection:
            rows = connection.execute(
                missing_statements.DUE, (complete.n, self._after_runs)
            ).fetchall()
            connection.executemany(
                missing_statements.MARK,
                [
                    (now, digest_mark(collection, object_id, now), complete.n, object_id)
                    for object_id, n, stream in rows
                    if stream in complete.streams and n not in self._seen
                ],
            )
        self._file.commit()

    def list_marks(self, collection: str) -> Iterator[list[Mark]]:
        """Yield the objects of a collection whose marks Segment has not accepted, in chunks."""
        complete = self._complete[collection]
        last: ObjectId = _BEFORE_ALL_IDS
        while True:
            with self._file.access() as connection:
                rows = connection.execute(
                    missing_statements.UNSENT_MARKS, (complete.n, last, _CHUNK)
                ).fetchall()
            if not rows:
                return
            last = rows[-1][0]
            yield [
                Mark(object_id, stream, build_mark(collection, object_id, marked_at), digest)
                for object_id, n, stream, marked_at, digest in rows
                if stream in complete.streams and n not in self._seen
            ]

    def forget_returned(self) -> None:
        """Forget marked objects that have returned, as far as Segment has accepted them."""
        with self._file.access(write=True) as connection:
            connection.execute(missing_statements.FORGET_ACCEPTED_RETURNS)
        self._file.commit()

    def _judge(self, connection: sqlite3.Connection, run: RunReading) -> dict[str, Verdict]:
        """Decide which streams are complete, and keep the numbers of those that are."""
        rows = connection.execute(missing_statements.STREAMS).fetchall()
        members: dict[str, list[str]] = {}
        for name, _, collection, _ in rows:
            members.setdefault(collection, []).append(name)
        verdicts = judge_run(run, self._histories, members)
        for name, n, collection, collection_n in rows:
            if name in verdicts and verdicts[name].is_complete:
                complete = self._complete.setdefault(collection, _CompleteStreams(collection_n))
                complete.streams[n] = self._histories[name].was_judged
                if not run.streams[name].records:
                    complete.empty.add(n)
        return verdicts

    def _count_collection(
        self, connection: sqlite3.Connection, collection: _CompleteStreams, now: str
    ) -> MissingCounts:
        counts = MissingCounts()
        latest = (datetime.fromisoformat(now) - self._between_runs).isoformat()
        (counts.known,) = connection.execute(
            missing_statements.COUNT_KNOWN, {"collection": collection.n}
        ).fetchone()
        for ids in list_unseen(connection, collection.n, self._seen, known=counts.known):
            counted = []
            for object_id in ids:
                key = (collection.n, object_id)
                found = connection.execute(missing_statements.FIND_UNMARKED, key).fetchone()
                if found is None or found[0] not in collection.streams:
                    continue
                stream, runs, since, counted_at = found
                was_judged = collection.streams[stream]
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
                counts.due_of_empty += is_due and stream in collection.empty
            connection.executemany(missing_statements.COUNT, counted)
        return counts

    def _forget_seen(self, connection: sqlite3.Connection) -> None:
        """Forget missing objects that the run has seen, unless Segment may have their mark."""
        seen = [
            (collection, object_id)
            for collection, object_id, n in connection.execute(
                missing_statements.NOT_MARKED_AT_SEGMENT
            )
            if n in self._seen
        ]
        connection.executemany("DELETE FROM missing WHERE collection = ? AND id = ?", seen)

    def _write_reading(
        self, stream: str, reading: tuple[bytes, tuple[Any, ...], bool], *, judged_run: int
    ) -> None:
        fingerprint, versions, was_partitioned = reading
        row = {
            "stream": stream,
            "fingerprint": fingerprint,
            "versions": json.dumps(versions),
            "was_partitioned": was_partitioned,
            "run": self._file.run,
            "judged_run": judged_run,
        }
        with self._file.access(write=True) as connection:
            connection.execute(missing_statements.RECORD_READING, row)
        self._written[stream] = reading


def _clear_marks(
    connection: sqlite3.Connection, collection: str, n: int, ids: Iterable[ObjectId]
) -> list[Mark]:
    """Record that marked objects of a collection are back, and return what clears their marks."""
    cleared = []
    for object_id in ids:
        row = connection.execute(missing_statements.FIND_MARKED, (n, object_id)).fetchone()
        if row is not None:
            connection.execute(missing_statements.RETURN, (n, object_id))
            line = build_mark(collection, object_id, None)
            cleared.append(Mark(object_id, row[0], line, digest_mark(collection, object_id, None)))
    return cleared


def _read_histories(connection: sqlite3.Connection) -> dict[str, StreamHistory]:
    query = """
        SELECT stream, fingerprint, versions, was_partitioned, last_run = judged_run FROM reading
    """
    return {
        stream: StreamHistory(
            fingerprint, tuple(json.loads(versions)), bool(was_partitioned), bool(was_judged)
        )
        for stream, fingerprint, versions, was_partitioned, was_judged in connection.execute(query)
    }
