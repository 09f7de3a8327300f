"""The counts of a run: what was read, sent and rejected, by stream and by collection.

Objects are counted as sent when Segment has accepted their session.
"""

from __future__ import annotations

import itertools
import threading
from collections import defaultdict
from typing import TYPE_CHECKING

import msgspec

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from typing_extensions import Self

    from target_segment_objects.delivery.uploader import SessionReport


class StreamStats(msgspec.Struct):
    """The counts of a stream.

    Attributes:
        read: Records read.
        untyped: Those of them that were decoded untyped.
        rejected: Records that could not be sent.
        violating: Records that are sent although they do not match their schema.
        violations: Those of them with a violation at a property, by property.
        warnings: Warnings about the stream.
    """

    read: int = 0
    untyped: int = 0
    rejected: int = 0
    violating: int = 0
    violations: dict[str, int] = {}
    warnings: list[str] = []


class CollectionStats(msgspec.Struct):
    """The counts of a collection, or of all collections.

    Attributes:
        read: Records read for it: sent, unchanged, rejected, or not delivered.
        sent: Objects accepted by Segment.
        unchanged: Objects that were not sent, because Segment has them; None without a ledger.
        rejected: Records that could not be sent.
        violating: Records that are sent although they do not match their schema.
        undelivered: Objects that were read and are not delivered.
        missing: Objects that are gone at the source and not marked before; None if unknown.
        marked: Those of them that this run marks as deleted; None if it marks none.
        cleared: Marks that this run clears of rows whose records it rejects.
        raw_bytes: Uncompressed size of the objects sent.
        gzip_bytes: Compressed size of the objects sent.
        sessions: Finished sessions.
        seconds: Total duration of the sessions, from Start to the response to Finish.
    """

    read: int = 0
    sent: int = 0
    unchanged: int | None = None
    rejected: int = 0
    violating: int = 0
    undelivered: int = 0
    missing: int | None = None
    marked: int | None = None
    cleared: int = 0
    raw_bytes: int = 0
    gzip_bytes: int = 0
    sessions: int = 0
    seconds: float = 0.0

    @property
    def objects_per_second(self) -> float:
        """Objects sent per second of its sessions."""
        return self.sent / self.seconds if self.seconds else 0.0

    @classmethod
    def add_up(cls, collections: Iterable[Self]) -> Self:
        """Return the counts of all collections together."""
        total = cls()
        for stats in collections:
            for name in cls.__struct_fields__:
                count = getattr(stats, name)
                if count is not None:
                    setattr(total, name, (getattr(total, name) or 0) + count)
        return total


class RunStats:
    """The counts of a run. Any thread may read them and add a session.

    Attributes:
        streams: The counts of each stream. A stream is added when it is first asked for.
        records_read: Records read so far.
        records_rejected: Records that could not be sent.
        uses_ledger: Whether a ledger may leave objects out.
    """

    def __init__(self) -> None:
        self.streams: defaultdict[str, StreamStats] = defaultdict(StreamStats)
        self.records_read = 0
        self.records_rejected = 0
        self.uses_ledger = False
        self._collections: defaultdict[str, CollectionStats] = defaultdict(CollectionStats)
        self._lock = threading.Lock()

    @property
    def records_untyped(self) -> int:
        """Records that were decoded untyped."""
        return sum(stream.untyped for stream in list(self.streams.values()))

    @property
    def records_violating(self) -> int:
        """Records that are sent although they do not match their schema."""
        return sum(stream.violating for stream in list(self.streams.values()))

    @property
    def objects_sent(self) -> int:
        """Objects accepted by Segment."""
        with self._lock:
            return sum(collection.sent for collection in self._collections.values())

    def count_read(self, stream: str, count: int) -> None:
        """Count records of a stream that were read."""
        self.streams[stream].read += count
        self.records_read += count

    def count_rejected(self, stream: str, collection: str) -> None:
        """Count a record that cannot be sent."""
        self.streams[stream].rejected += 1
        self.records_rejected += 1
        with self._lock:
            self._collections[collection].rejected += 1

    def count_violations(
        self, stream: str, collection: str, violations: Sequence[Iterable[str]]
    ) -> None:
        """Count records that are sent although they do not match their schema.

        Args:
            stream: Their stream.
            collection: The collection of their objects.
            violations: For each record, the properties that do not match.
        """
        if not violations:
            return
        stats = self.streams[stream]
        stats.violating += len(violations)
        for name in itertools.chain.from_iterable(violations):
            stats.violations[name] = stats.violations.get(name, 0) + 1
        with self._lock:
            self._collections[collection].violating += len(violations)

    def count_unchanged(self, collection: str, count: int) -> None:
        """Count objects that were not sent, because Segment has them."""
        with self._lock:
            stats = self._collections[collection]
            stats.unchanged = (stats.unchanged or 0) + count

    def count_missing(self, collection: str, missing: int, marked: int | None) -> None:
        """Count objects that are gone at the source, and those that this run marks as deleted."""
        with self._lock:
            stats = self._collections[collection]
            stats.missing, stats.marked = missing, marked

    def count_cleared(self, collection: str, count: int) -> None:
        """Count marks that are cleared of rows whose records are rejected."""
        with self._lock:
            self._collections[collection].cleared += count

    def add_session(self, report: SessionReport) -> None:
        """Count what a session has delivered."""
        with self._lock:
            stats = self._collections[report.collection]
            stats.sent += report.objects
            stats.raw_bytes += report.raw_bytes
            stats.gzip_bytes += report.gzip_bytes
            stats.sessions += 1
            stats.seconds += report.seconds

    def get_collections(self, outstanding: Mapping[str, int]) -> dict[str, CollectionStats]:
        """Return the counts of each collection, sorted by name.

        The scheduler knows what is `outstanding`: objects that were read and are not delivered.
        """
        with self._lock:
            for collection in outstanding:
                _ = self._collections[collection]
            for collection, stats in self._collections.items():
                stats.undelivered = outstanding.get(collection, 0)
                unchanged = stats.unchanged or 0
                added = stats.sent + unchanged + stats.rejected + stats.undelivered
                # A mark, and what clears one, is sent, but was not read.
                stats.read = added - (stats.marked or 0) - stats.cleared
                if self.uses_ledger:
                    stats.unchanged = unchanged
            return dict(sorted(self._collections.items()))
