"""How runs have read their streams: the table `reading` of an open ledger, for one run.

The rule for others: a STATE may say what was read of a stream only after `record`.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final

from target_segment_objects.ledger.deletion_rules import (
    KEPT_VERSIONS,
    StreamHistory,
    judge_run,
)

if TYPE_CHECKING:
    import sqlite3
    from collections.abc import Iterable

    from target_segment_objects.ledger.deletion_rules import RunReading
    from target_segment_objects.ledger.file import LedgerFile

_SELECT_HISTORIES: Final = """
    SELECT stream, fingerprint, versions, was_partitioned, last_run = judged_run FROM reading
"""

_RECORD: Final = """
    INSERT INTO reading (stream, fingerprint, versions, was_partitioned, last_run, judged_run)
    VALUES (:stream, :fingerprint, :versions, :was_partitioned, :run, :judged_run)
    ON CONFLICT DO UPDATE SET
        fingerprint = :fingerprint, versions = :versions, was_partitioned = :was_partitioned,
        last_run = :run, judged_run = max(judged_run, :judged_run)
"""

_SELECT_STREAMS: Final = """
    SELECT stream.name, stream.n, collection.name, collection.n
    FROM stream JOIN collection ON collection.n = stream.collection
    WHERE stream.fingerprint <> x'' -- else it was forgotten, and has not come again
"""


@dataclass(frozen=True, slots=True)
class CompleteStreams:
    """The streams of a collection that this run has read completely.

    Attributes:
        collection: The number of the collection.
        streams: The number of each stream, and whether its last run was one that judged it.
        empty: The numbers of those that had no record.
    """

    collection: int
    streams: dict[int, bool] = field(default_factory=dict)
    empty: set[int] = field(default_factory=set)


class ReadingTable:
    """What earlier runs and this one have read of each stream; `start` loads the former."""

    def __init__(self, file: LedgerFile) -> None:
        self._file = file
        self._histories: dict[str, StreamHistory] = {}
        self._recorded: dict[str, StreamHistory] = {}  # of this run

    def start(self) -> None:
        """Read what earlier runs have left."""
        with self._file.access() as connection:
            self._histories = {
                stream: StreamHistory(
                    fingerprint, tuple(json.loads(versions)), bool(partitioned), bool(judged)
                )
                for stream, fingerprint, versions, partitioned, judged in connection.execute(
                    _SELECT_HISTORIES
                )
            }

    def record(
        self, stream: str, fingerprint: bytes, versions: Iterable[Any], *, is_partitioned: bool
    ) -> None:
        """Record durably that this run reads a stream, before a STATE can say so.

        Args:
            stream: Its name, after stream maps.
            fingerprint: Its fingerprint so far.
            versions: The versions that its messages have named so far.
            is_partitioned: Whether it was seen to be read in partitions.
        """
        history = self._histories.get(stream) or StreamHistory(b"")
        kept = tuple(dict.fromkeys((*history.versions, *versions)))[-KEPT_VERSIONS:]
        reading = StreamHistory(fingerprint, kept, is_partitioned or history.was_partitioned)
        if self._recorded.get(stream) == reading:
            return
        with self._file.access(write=True) as connection:
            self._write(connection, stream, reading, judged_run=0)
        self._file.commit()
        self._recorded[stream] = reading

    def record_judged(self, connection: sqlite3.Connection, stream: str) -> None:
        """Record that this run has read a stream completely."""
        self._write(connection, stream, self._recorded[stream], judged_run=self._file.run)

    def has_new_mapping(self, stream: str) -> bool:
        """Return whether a stream has another schema, key or settings than in its last run."""
        history, recorded = self._histories.get(stream), self._recorded.get(stream)
        return bool(history and recorded and history.fingerprint != recorded.fingerprint)

    def judge(
        self, connection: sqlite3.Connection, run: RunReading
    ) -> tuple[dict[str, str | None], dict[str, CompleteStreams]]:
        """Decide which streams this run has read completely.

        Returns:
            What `judge_run` returns, and the complete streams, by their collections.
        """
        rows = connection.execute(_SELECT_STREAMS).fetchall()
        members: dict[str, list[str]] = {}
        for name, _, collection, _ in rows:
            members.setdefault(collection, []).append(name)
        doubts = judge_run(run, self._histories, members)
        complete: dict[str, CompleteStreams] = {}
        for name, number, collection, collection_number in rows:
            if name in doubts and doubts[name] is None:
                streams = complete.setdefault(collection, CompleteStreams(collection_number))
                streams.streams[number] = self._histories[name].was_judged
                if not run.streams[name].records:
                    streams.empty.add(number)
        return doubts, complete

    def _write(
        self,
        connection: sqlite3.Connection,
        stream: str,
        reading: StreamHistory,
        *,
        judged_run: int,
    ) -> None:
        row = {
            "stream": stream,
            "fingerprint": reading.fingerprint,
            "versions": json.dumps(reading.versions),
            "was_partitioned": reading.was_partitioned,
            "run": self._file.run,
            "judged_run": judged_run,
        }
        connection.execute(_RECORD, row)
