"""What a run did: how much of each stream was read, what each collection got, and how it is shown.

A session is told of as soon as it is finished, in a line for people and as a METRIC for programs,
both with the ids that Segment's support will ask for: so they are in the log whatever becomes of
the run. The end of a run has a METRIC for each collection and one for the whole, and, for people, a
table on a terminal or a line each in a log.

The rule for others: whoever reads a record adds one to its stream's `read`, in whichever way it
goes on. What is sent is counted where Segment has answered, so nothing else has to be told.
"""

from __future__ import annotations

import os
import threading
from collections import defaultdict
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final

from singer_sdk.metrics import Metric, Point, Status, Tag
from singer_sdk.metrics import log as log_metric

if TYPE_CHECKING:
    import logging
    from collections.abc import Iterable, Mapping

    from rich.console import Console

    from target_segment_objects.delivery.uploader import SessionReport

_HEADINGS: Final = (
    "collection",
    "read",
    "sent",
    "rejected",
    "bytes",
    "gzipped",
    "sessions",
    "seconds",
    "objects/s",
)


_GAP: Final = "  "


@dataclass(slots=True)
class StreamStats:
    """What is counted of a stream.

    Attributes:
        read: Records of the tap.
        rejected: Records that could not be sent.
        warnings: What its mapping warned of.
    """

    read: int = 0
    rejected: int = 0
    warnings: list[str] = field(default_factory=list)


@dataclass(slots=True)
class CollectionStats:
    """What became of one collection, or of all together.

    Attributes:
        read: Records that were read for it: sent, rejected, or not delivered.
        sent: Objects that Segment has accepted.
        rejected: Records that could not be sent.
        raw_bytes: Size of the JSON lines of what was sent.
        gzip_bytes: Their size as they went over the network.
        sessions: Sessions that were finished.
        seconds: What these took, from Start until Finish was answered.
    """

    read: int = 0
    sent: int = 0
    rejected: int = 0
    raw_bytes: int = 0
    gzip_bytes: int = 0
    sessions: int = 0
    seconds: float = 0.0

    @property
    def rate(self) -> float:
        """Objects a second."""
        return self.sent / self.seconds if self.seconds else 0.0


class RunStats:
    """What a run has done so far. Any thread may look, and tell of a session.

    Attributes:
        streams: The counts of each stream; to ask for one is to begin it.
    """

    def __init__(self) -> None:
        """Begin with nothing."""
        self.streams: defaultdict[str, StreamStats] = defaultdict(StreamStats)
        self._collections: defaultdict[str, CollectionStats] = defaultdict(CollectionStats)
        self._lock = threading.Lock()

    @property
    def records_read(self) -> int:
        """Records that were read."""
        return sum(count.read for count in list(self.streams.values()))

    @property
    def objects_sent(self) -> int:
        """Objects that Segment has accepted."""
        with self._lock:
            return sum(total.sent for total in self._collections.values())

    @property
    def records_rejected(self) -> int:
        """Records that could not be sent."""
        return sum(count.rejected for count in list(self.streams.values()))

    def count_rejected(self, stream: str, collection: str) -> None:
        """Count a record that cannot be sent."""
        self.streams[stream].rejected += 1
        with self._lock:
            self._collections[collection].rejected += 1

    def add_session(self, report: SessionReport) -> None:
        """Count what a session has delivered."""
        with self._lock:
            total = self._collections[report.collection]
            total.sent += report.objects
            total.raw_bytes += report.raw_bytes
            total.gzip_bytes += report.gzip_bytes
            total.sessions += 1
            total.seconds += report.seconds

    def get_collections(self, outstanding: Mapping[str, int]) -> dict[str, CollectionStats]:
        """Return what became of each collection, in the order of their names.

        Args:
            outstanding: Collection to objects that were read and are not delivered.
        """
        with self._lock:
            for collection in outstanding:
                _ = self._collections[collection]
            for collection, total in self._collections.items():
                total.read = total.sent + total.rejected + outstanding.get(collection, 0)
            return dict(sorted(self._collections.items()))


def log_session(report: SessionReport, logger: logging.Logger, meter: logging.Logger) -> None:
    """Tell people and programs of a finished session."""
    logger.info(
        "Session %s is finished: collection %s, %d objects, %d bytes (%d gzipped), %d part(s), "
        "%.2f s.",
        report.sync_id,
        report.collection,
        report.objects,
        report.raw_bytes,
        report.gzip_bytes,
        len(report.part_ids),
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
    _measure(meter, "timer", Metric.BATCH_PROCESSING_TIME, report.seconds, tags)


def emit_metrics(
    stats: RunStats,
    outstanding: Mapping[str, int],
    *,
    seconds: float,
    is_complete: bool,
    logger: logging.Logger,
    meter: logging.Logger,
) -> None:
    """Tell programs what a run did, and people in a line.

    Args:
        stats: What was counted.
        outstanding: Collection to objects that were read and are not delivered.
        seconds: What the run took.
        is_complete: Whether all was delivered.
        logger: Takes a line on the whole.
        meter: Takes a METRIC for each collection and for the whole.
    """
    totals = stats.get_collections(outstanding)
    for collection, total in totals.items():
        tags = {"collection": collection, **_figures(total)}
        _measure(meter, "counter", Metric.BATCH_COUNT, total.sessions, tags)
    whole = _sum(totals.values())
    tags = _figures(whole) | {
        "records": stats.records_read,
        Tag.STATUS: Status.SUCCEEDED if is_complete else Status.FAILED,
    }
    _measure(meter, "timer", Metric.JOB_DURATION, seconds, tags)
    logger.info(
        "%s records read, %s objects sent in %s session(s), %s rejected, %s not delivered: "
        "%s bytes (%s gzipped) in %.1f s.",
        *(
            f"{one:,}"
            for one in (stats.records_read, whole.sent, whole.sessions, stats.records_rejected)
        ),
        *(f"{one:,}" for one in (sum(outstanding.values()), whole.raw_bytes, whole.gzip_bytes)),
        seconds,
    )


def log_collections(totals: Mapping[str, CollectionStats], logger: logging.Logger) -> None:
    """Tell a log what became of each collection."""
    for collection, total in totals.items():
        logger.info(
            "Collection %s: %s read, %s sent, %s rejected, %s bytes (%s gzipped), %s session(s), "
            "%.2f s, %s objects/s.",
            collection,
            *(f"{one:,}" for one in (total.read, total.sent, total.rejected)),
            *(f"{one:,}" for one in (total.raw_bytes, total.gzip_bytes, total.sessions)),
            total.seconds,
            f"{total.rate:,.0f}",
        )


def print_summary(
    totals: Mapping[str, CollectionStats], console: Console, *, seconds: float
) -> None:
    """Show on a terminal what became of each collection.

    Where a line would be too long, the name has a line of its own.

    Args:
        totals: Collection to its total.
        console: The terminal.
        seconds: What the run took: less than its sessions, which run side by side.
    """
    if not totals:
        return
    whole = _sum(totals.values())
    whole.seconds = seconds
    rows = [_HEADINGS, *(_row(*one) for one in totals.items())]
    if len(totals) > 1:
        rows.append(_row("together", whole))
    name_width, *widths = (max(map(len, column)) for column in zip(*rows, strict=True))
    is_wide = name_width + sum(widths) + len(_GAP) * len(widths) <= console.width
    for row in rows:
        name, *figures = row
        cells = (f"{figure:>{width}}" for figure, width in zip(figures, widths, strict=True))
        between = f"{'':{name_width - len(name)}}{_GAP}" if is_wide else "\n"
        style = "bold" if name in {_HEADINGS[0], "together"} else None
        console.print(f"{name}{between}{_GAP.join(cells)}", style=style, soft_wrap=True)


def _row(name: str, total: CollectionStats) -> tuple[str, ...]:
    from rich.filesize import decimal  # noqa: PLC0415 - only on a terminal

    return (
        name,
        *(f"{one:,}" for one in (total.read, total.sent, total.rejected)),
        decimal(total.raw_bytes),
        decimal(total.gzip_bytes),
        f"{total.sessions:,}",
        f"{total.seconds:,.2f}",
        f"{total.rate:,.0f}",
    )


def _sum(totals: Iterable[CollectionStats]) -> CollectionStats:
    whole = CollectionStats()
    for total in totals:
        for name in CollectionStats.__dataclass_fields__:
            setattr(whole, name, getattr(whole, name) + getattr(total, name))
    return whole


def _figures(total: CollectionStats) -> dict[str, Any]:
    return {
        "objects_read": total.read,
        "objects_sent": total.sent,
        "objects_rejected": total.rejected,
        "raw_bytes": total.raw_bytes,
        "gzip_bytes": total.gzip_bytes,
        "sessions": total.sessions,
        "session_seconds": round(total.seconds, 3),
    }


def _measure(
    meter: logging.Logger, kind: str, metric: Metric, value: float, tags: dict[str, Any]
) -> None:
    log_metric(meter, Point(kind, metric, round(value, 3), {**tags, Tag.PID: os.getpid()}))
