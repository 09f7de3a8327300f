"""Reports what a run does: sessions, METRIC lines and the summary at the end.

A finished session is logged at once, with a METRIC for programs. Both have the ids that Segment's
support asks for. At the end, there is a METRIC for each stream and collection and one for the run,
and a summary: a table on a terminal, a line for each collection in a log.
"""

from __future__ import annotations

import enum
import os
from typing import TYPE_CHECKING, Any, Final, cast

from singer_sdk.metrics import Metric, Point, Status, Tag
from singer_sdk.metrics import log as log_metric

from target_segment_objects.plurals import format_count
from target_segment_objects.reporting.stats import CollectionStats
from target_segment_objects.reporting.tables import fit_table

if TYPE_CHECKING:
    import logging
    from collections.abc import Mapping

    from rich.console import Console

    from target_segment_objects.delivery.uploader import SessionReport
    from target_segment_objects.reporting.stats import RunStats


class _OwnMetric(enum.Enum):
    """What the SDK's metrics do not have."""

    RECORDS_UNTYPED = "records_untyped"


_HEADINGS: Final = (
    "collection",
    "read",
    "sent",
    "unchanged",
    "rejected",
    "violations",
    "not delivered",
    "missing",
    "marked",
    "bytes",
    "gzipped",
    "sessions",
    "seconds",
    "objects/s",
)
_DROPPED_FIRST: Final = (
    "gzipped",
    "seconds",
    "sessions",
    "objects/s",
    "bytes",
    "violations",
    "rejected",
)
"""The columns that a narrow terminal does without, the least important first."""

_TOTAL: Final = "Total"


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
    collections: Mapping[str, CollectionStats],
    *,
    seconds: float,
    is_complete: bool,
    metrics_logger: logging.Logger,
) -> None:
    """Emit a METRIC for each stream, one for each collection, and one for the run."""
    for name, stream in sorted(stats.streams.items()):
        if stream.read:
            tags = {"stream": name, "records": stream.read}
            _emit_metric(
                metrics_logger, "counter", _OwnMetric.RECORDS_UNTYPED, stream.untyped, tags
            )
    for name, collection in collections.items():
        tags = {"collection": name, **_build_tags(collection)}
        _emit_metric(metrics_logger, "counter", Metric.BATCH_COUNT, collection.sessions, tags)
    tags = _build_tags(CollectionStats.add_up(collections.values())) | {
        "records": stats.records_read,
        _OwnMetric.RECORDS_UNTYPED.value: stats.records_untyped,
        Tag.STATUS: Status.SUCCEEDED if is_complete else Status.FAILED,
    }
    _emit_metric(metrics_logger, "timer", Metric.JOB_DURATION, seconds, tags)


def describe_totals(
    stats: RunStats, collections: Mapping[str, CollectionStats], *, seconds: float
) -> str:
    """Return the counts of the whole run in one sentence."""
    total = CollectionStats.add_up(collections.values())
    return (
        f"{format_count(stats.records_read, 'record')} read, "
        f"{format_count(total.sent, 'object')} sent in {format_count(total.sessions, 'session')}"
        f"{_format_unchanged(total)}, "
        f"{stats.records_rejected:,} rejected{_format_violating(total)}, "
        f"{total.undelivered:,} not delivered{_format_missing(total)}: "
        f"{format_count(total.raw_bytes, 'byte')} ({total.gzip_bytes:,} gzipped) "
        f"in {seconds:.1f} s."
    )


def log_collections(collections: Mapping[str, CollectionStats], logger: logging.Logger) -> None:
    """Log the counts of each collection in a line."""
    for name, stats in collections.items():
        logger.info(
            "Collection %s: %s read, %s sent%s, %s rejected%s, %s not delivered%s, %s (%s "
            "gzipped), %s, %.2f s, %s objects/s.",
            name,
            f"{stats.read:,}",
            f"{stats.sent:,}",
            _format_unchanged(stats),
            f"{stats.rejected:,}",
            _format_violating(stats),
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
    their own. The total has the duration of the run, which may be less than that of its sessions
    together: they overlap.
    """
    if not collections:
        return
    total = CollectionStats.add_up(collections.values())
    total.seconds = seconds
    rows = [_HEADINGS, *(_build_row(name, stats) for name, stats in collections.items())]
    if len(collections) > 1:
        rows.append(_build_row(_TOTAL, total))
    lines = fit_table(rows, console.width, dropped_first=_DROPPED_FIRST)
    for (name, *_), line in zip(rows, lines, strict=True):
        style = "bold" if name in {_HEADINGS[0], _TOTAL} else None
        console.print(line, style=style, soft_wrap=True)


def print_totals(
    stats: RunStats,
    collections: Mapping[str, CollectionStats],
    console: Console,
    *,
    seconds: float,
) -> None:
    """Print the counts of the whole run, in red if not all records were delivered."""
    is_incomplete = stats.records_rejected or any(
        collection.undelivered for collection in collections.values()
    )
    sentence = describe_totals(stats, collections, seconds=seconds)
    console.print(sentence, style="bold red" if is_incomplete else "bold", markup=False)


def _build_row(name: str, stats: CollectionStats) -> tuple[str, ...]:
    from rich.filesize import decimal  # noqa: PLC0415 - slow to import, for a terminal only

    return (
        name,
        f"{stats.read:,}",
        f"{stats.sent:,}",
        _format_optional(stats.unchanged),
        f"{stats.rejected:,}",
        _format_optional(stats.violating or None),
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


def _format_violating(stats: CollectionStats) -> str:
    return f", {stats.violating:,} with schema violations" if stats.violating else ""


def _format_missing(stats: CollectionStats) -> str:
    missing = "" if stats.missing is None else f", {stats.missing:,} missing at the source"
    return missing if stats.marked is None else f"{missing}, {stats.marked:,} marked as deleted"


def _format_optional(count: int | None) -> str:
    return "" if count is None else f"{count:,}"


def _build_tags(stats: CollectionStats) -> dict[str, Any]:
    tags = {
        "objects_read": stats.read,
        "objects_sent": stats.sent,
        "objects_unchanged": stats.unchanged,
        "objects_rejected": stats.rejected,
        "objects_violating": stats.violating,
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
    metric: Metric | _OwnMetric,
    value: float,
    tags: dict[str, Any],
) -> None:
    point = Point(kind, cast("Metric", metric), round(value, 3), {**tags, Tag.PID: os.getpid()})
    log_metric(metrics_logger, point)
