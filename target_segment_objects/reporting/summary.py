"""Counts what a run does, and reports it: sessions, METRIC lines and the summary at the end.

A finished session is logged at once, with a METRIC for programs. Both have the ids that Segment's
support asks for. At the end, there is a METRIC for each collection and one for the run, and a
summary: a table on a terminal, a line for each collection in a log.

Whoever reads a record increments `read` of its stream, on the fast path as on the slow one. Objects
are counted as sent when Segment has accepted their session.
"""

from __future__ import annotations

import os
import threading
from collections import defaultdict
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final

from singer_sdk.metrics import Metric, Point, Status, Tag
from singer_sdk.metrics import log as log_metric

from target_segment_objects.plurals import format_count

if TYPE_CHECKING:
    import logging
    from collections.abc import Iterable, Iterator, Mapping

    from rich.console import Console

    from target_segment_objects.delivery.uploader import SessionReport

_HEADINGS: Final = (
    "collection",
    "read",
    "sent",
    "unchanged",
    "rejected",
    "not delivered",
    "missing",
    "marked",
    "bytes",
    "gzipped",
    "sessions",
    "seconds",
    "objects/s",
)
_DROPPED_FIRST: Final = ("gzipped", "seconds", "sessions", "objects/s", "bytes", "rejected")
"""The columns that a narrow terminal does without, the least important first."""

_TOTAL: Final = "Total"
_COLUMN_GAP: Final = "  "


@dataclass(slots=True)
class StreamStats:
    """The counts of a stream.

    Attributes:
        read: Records read.
        slow: Those of them that took the slow path.
        rejected: Records that could not be sent.
        warnings: Warnings about the stream.
    """

    read: int = 0
    slow: int = 0
    rejected: int = 0
    warnings: list[str] = field(default_factory=list)


@dataclass(slots=True)
class CollectionStats:
    """The counts of a collection, or of all collections.

    Attributes:
        read: Records read for it: sent, unchanged, rejected, or not delivered.
        sent: Objects accepted by Segment.
        unchanged: Objects that were not sent, because Segment has them; None without a ledger.
        rejected: Records that could not be sent.
        undelivered: Objects that were read and are not delivered.
        missing: Objects that are gone at the source and not marked before; None if unknown.
        marked: Those of them that this run marks as deleted; None if it marks none.
        raw_bytes: Uncompressed size of the objects sent.
        gzip_bytes: Compressed size of the objects sent.
        sessions: Finished sessions.
        seconds: Total duration of the sessions, from Start to the response to Finish.
    """

    read: int = 0
    sent: int = 0
    unchanged: int | None = None
    rejected: int = 0
    undelivered: int = 0
    missing: int | None = None
    marked: int | None = None
    raw_bytes: int = 0
    gzip_bytes: int = 0
    sessions: int = 0
    seconds: float = 0.0

    @property
    def objects_per_second(self) -> float:
        """Objects sent per second of its sessions."""
        return self.sent / self.seconds if self.seconds else 0.0


class RunStats:
    """The counts of a run. Any thread may read them and add a session.

    Attributes:
        streams: The counts of each stream. A stream is added when it is first asked for.
        uses_ledger: Whether a ledger may leave objects out.
    """

    def __init__(self) -> None:
        """Start with zero."""
        self.streams: defaultdict[str, StreamStats] = defaultdict(StreamStats)
        self.uses_ledger = False
        self._collections: defaultdict[str, CollectionStats] = defaultdict(CollectionStats)
        self._lock = threading.Lock()

    @property
    def records_read(self) -> int:
        """Records read."""
        return sum(stream.read for stream in list(self.streams.values()))

    @property
    def records_slow(self) -> int:
        """Records that took the slow path."""
        return sum(stream.slow for stream in list(self.streams.values()))

    @property
    def records_rejected(self) -> int:
        """Records that could not be sent."""
        return sum(stream.rejected for stream in list(self.streams.values()))

    @property
    def objects_sent(self) -> int:
        """Objects accepted by Segment."""
        with self._lock:
            return sum(collection.sent for collection in self._collections.values())

    def count_rejected(self, stream: str, collection: str) -> None:
        """Count a record that cannot be sent."""
        self.streams[stream].rejected += 1
        with self._lock:
            self._collections[collection].rejected += 1

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

        Args:
            outstanding: For each collection, the objects that were read and are not delivered.
        """
        with self._lock:
            for collection in outstanding:
                _ = self._collections[collection]
            for collection, stats in self._collections.items():
                stats.undelivered = outstanding.get(collection, 0)
                unchanged = stats.unchanged or 0
                added = stats.sent + unchanged + stats.rejected + stats.undelivered
                stats.read = added - (stats.marked or 0)  # a mark is sent, but was not read
                if self.uses_ledger:
                    stats.unchanged = unchanged
            return dict(sorted(self._collections.items()))


def log_session(
    report: SessionReport, logger: logging.Logger, metrics_logger: logging.Logger
) -> None:
    """Log a finished session, in words and as a METRIC."""
    logger.info(
        "Session %s finished: collection %s, %s, %s (%s gzipped), %s, %.2f s.",
        report.sync_id,
        report.collection,
        format_count(report.objects, "object"),
        format_count(report.raw_bytes, "byte"),
        f"{report.gzip_bytes:,}",
        format_count(len(report.part_ids), "part"),
        report.seconds,
    )
    tags = {
        "collection": report.collection,
        "sync_id": report.sync_id,
        "part_ids": report.part_ids,
        "objects": report.objects,
        "raw_bytes": report.raw_bytes,
        "gzip_bytes": report.gzip_bytes,
        Tag.STATUS: Status.SUCCEEDED,
    }
    _emit_metric(metrics_logger, "timer", Metric.BATCH_PROCESSING_TIME, report.seconds, tags)


def emit_metrics(
    stats: RunStats,
    outstanding: Mapping[str, int],
    *,
    seconds: float,
    is_complete: bool,
    metrics_logger: logging.Logger,
) -> None:
    """Emit a METRIC for each collection and one for the run.

    Args:
        stats: The counts of the run.
        outstanding: For each collection, the objects that were read and are not delivered.
        seconds: Duration of the run.
        is_complete: Whether everything was delivered.
        metrics_logger: Logs the METRIC lines.
    """
    collections = stats.get_collections(outstanding)
    for name, collection in collections.items():
        tags = {"collection": name, **_build_tags(collection)}
        _emit_metric(metrics_logger, "counter", Metric.BATCH_COUNT, collection.sessions, tags)
    tags = _build_tags(_add_up(collections.values())) | {
        "records": stats.records_read,
        "records_slow_path": stats.records_slow,
        Tag.STATUS: Status.SUCCEEDED if is_complete else Status.FAILED,
    }
    _emit_metric(metrics_logger, "timer", Metric.JOB_DURATION, seconds, tags)


def log_totals(
    stats: RunStats, outstanding: Mapping[str, int], *, seconds: float, logger: logging.Logger
) -> None:
    """Log the counts of the whole run in one line.

    Args:
        stats: The counts of the run.
        outstanding: For each collection, the objects that were read and are not delivered.
        seconds: Duration of the run.
        logger: Logs the line.
    """
    total = _add_up(stats.get_collections(outstanding).values())
    logger.info(
        "%s read, %s sent in %s%s, %s rejected, %s not delivered%s: %s (%s gzipped) in %.1f s.",
        format_count(stats.records_read, "record"),
        format_count(total.sent, "object"),
        format_count(total.sessions, "session"),
        _format_unchanged(total),
        f"{stats.records_rejected:,}",
        f"{total.undelivered:,}",
        _format_missing(total),
        format_count(total.raw_bytes, "byte"),
        f"{total.gzip_bytes:,}",
        seconds,
    )


def log_collections(collections: Mapping[str, CollectionStats], logger: logging.Logger) -> None:
    """Log the counts of each collection in a line."""
    for name, stats in collections.items():
        logger.info(
            "Collection %s: %s read, %s sent%s, %s rejected, %s not delivered%s, %s (%s gzipped), "
            "%s, %.2f s, %s objects/s.",
            name,
            f"{stats.read:,}",
            f"{stats.sent:,}",
            _format_unchanged(stats),
            f"{stats.rejected:,}",
            f"{stats.undelivered:,}",
            _format_missing(stats),
            format_count(stats.raw_bytes, "byte"),
            f"{stats.gzip_bytes:,}",
            format_count(stats.sessions, "session"),
            stats.seconds,
            f"{stats.objects_per_second:,.0f}",
        )


def print_summary(
    collections: Mapping[str, CollectionStats], console: Console, *, seconds: float
) -> None:
    """Print a table with a row for each collection, and their total.

    A narrow terminal gets fewer columns. If a name is too long even so, the names have lines of
    their own.

    Args:
        collections: The counts of each collection.
        console: The terminal.
        seconds: Duration of the run, for the total. Sessions overlap, so it may be less than their
            sum.
    """
    if not collections:
        return
    total = _add_up(collections.values())
    total.seconds = seconds
    rows = [_HEADINGS, *(_build_row(name, stats) for name, stats in collections.items())]
    if len(collections) > 1:
        rows.append(_build_row(_TOTAL, total))
    for name, line in _align_columns(rows, console.width):
        style = "bold" if name in {_HEADINGS[0], _TOTAL} else None
        console.print(line, style=style, soft_wrap=True)


def _align_columns(rows: list[tuple[str, ...]], width: int) -> Iterator[tuple[str, str]]:
    """Yield the name and the line of each row, as wide as the terminal at most."""
    names, *columns = zip(*rows, strict=True)
    columns = [column for column in columns if any(column[1:])]
    name_width = max(map(len, names)) + len(_COLUMN_GAP)
    fitting = _drop_columns(columns, width - name_width)
    is_wide = _measure_width(fitting) <= width - name_width
    if not is_wide:
        fitting = _drop_columns(columns, width)
    widths = [max(map(len, column)) for column in fitting]
    for name, *cells in zip(names, *fitting, strict=True):
        line = _COLUMN_GAP.join(f"{cell:>{size}}" for cell, size in zip(cells, widths, strict=True))
        if is_wide:
            yield name, f"{name:{name_width}}{line}"
        else:
            short = name if len(name) <= width else f"{name[: width - 1]}…"
            yield name, f"{short}\n{line}"


def _drop_columns(columns: Iterable[tuple[str, ...]], width: int) -> list[tuple[str, ...]]:
    """Return the columns without the least important ones, as many as are too many."""
    kept = {column[0]: column for column in columns}
    for heading in _DROPPED_FIRST:
        if _measure_width(kept.values()) > width:
            del kept[heading]
    return list(kept.values())


def _measure_width(columns: Iterable[tuple[str, ...]]) -> int:
    widths = [max(map(len, column)) for column in columns]
    return sum(widths) + len(_COLUMN_GAP) * (len(widths) - 1)


def _build_row(name: str, stats: CollectionStats) -> tuple[str, ...]:
    from rich.filesize import decimal  # noqa: PLC0415 - slow to import, for a terminal only

    return (
        name,
        f"{stats.read:,}",
        f"{stats.sent:,}",
        _format_optional(stats.unchanged),
        f"{stats.rejected:,}",
        f"{stats.undelivered:,}",
        _format_optional(stats.missing),
        _format_optional(stats.marked),
        decimal(stats.raw_bytes),
        decimal(stats.gzip_bytes),
        f"{stats.sessions:,}",
        f"{stats.seconds:,.2f}",
        f"{stats.objects_per_second:,.0f}",
    )


def _format_unchanged(stats: CollectionStats) -> str:
    return "" if stats.unchanged is None else f", {stats.unchanged:,} unchanged"


def _format_missing(stats: CollectionStats) -> str:
    missing = "" if stats.missing is None else f", {stats.missing:,} missing at the source"
    return missing if stats.marked is None else f"{missing}, {stats.marked:,} marked as deleted"


def _format_optional(count: int | None) -> str:
    return "" if count is None else f"{count:,}"


def _add_up(collections: Iterable[CollectionStats]) -> CollectionStats:
    total = CollectionStats()
    for stats in collections:
        for name in CollectionStats.__dataclass_fields__:
            count = getattr(stats, name)
            if count is not None:
                setattr(total, name, (getattr(total, name) or 0) + count)
    return total


def _build_tags(stats: CollectionStats) -> dict[str, Any]:
    tags = {
        "objects_read": stats.read,
        "objects_sent": stats.sent,
        "objects_unchanged": stats.unchanged,
        "objects_rejected": stats.rejected,
        "objects_undelivered": stats.undelivered,
        "objects_missing": stats.missing,
        "objects_marked": stats.marked,
        "raw_bytes": stats.raw_bytes,
        "gzip_bytes": stats.gzip_bytes,
        "sessions": stats.sessions,
        "session_seconds": round(stats.seconds, 3),
    }
    return {name: count for name, count in tags.items() if count is not None}


def _emit_metric(
    metrics_logger: logging.Logger,
    kind: str,
    metric: Metric,
    value: float,
    tags: dict[str, Any],
) -> None:
    point = Point(kind, metric, round(value, 3), {**tags, Tag.PID: os.getpid()})
    log_metric(metrics_logger, point)
