"""What the text report of a dry run begins and ends with: all streams at a glance, and the totals.

The last line counts the warnings.
"""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Final

from target_segment_objects.cli.dry_run_report import ApiCalls
from target_segment_objects.plurals import format_count
from target_segment_objects.reporting.log_handlers import escape_unprintable
from target_segment_objects.reporting.stats import CollectionStats
from target_segment_objects.reporting.tables import COLUMN_GAP, fit_table, measure_columns

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from target_segment_objects.cli.dry_run_report import DryRunReport
    from target_segment_objects.reporting.stats import RunStats

_HEADINGS: Final = ("stream", "records", "rejected", "violations", "warnings", "calls")
_DROPPED_FIRST: Final = ("calls", "violations")


def render_overview(
    report: DryRunReport,
    stats: RunStats,
    collections: Mapping[str, CollectionStats],
    *,
    width: int | None,
) -> Iterator[str]:
    """Yield the counts of the run, and a line for each stream.

    Args:
        report: What a run would do.
        stats: The counts of the dry run.
        collections: Those of each collection.
        width: That of the terminal; None for lines of any length.
    """
    calls = count_calls(report, collections)
    warnings = sum(len(stats.streams[stream].warnings) for stream in report.streams)
    yield (
        f"{format_count(len(report.streams), 'stream')}: "
        f"{format_count(stats.records_read, 'record')}, {stats.records_rejected:,} rejected, "
        f"{format_count(warnings, 'warning')}, {format_count(calls.total, 'API call')}"
    )
    if report.streams:
        yield ""
        yield from _render_streams(
            report, stats, collections, sys.maxsize if width is None else width
        )


def render_totals(
    report: DryRunReport,
    stats: RunStats,
    collections: Mapping[str, CollectionStats],
    *,
    input_warnings: int,
) -> Iterator[str]:
    """Yield the calls, what a ledger saves, the totals, and the number of warnings.

    Args:
        report: What a run would do.
        stats: The counts of the dry run.
        collections: Those of each collection.
        input_warnings: Warnings about the input as a whole, which are in the log alone.
    """
    total = CollectionStats.add_up(collections.values())
    calls = count_calls(report, collections)
    yield (
        f"API calls of a run: {calls.total:,} ({calls.start:,} Start, {calls.upload:,} Upload, "
        f"{calls.finish:,} Finish)"
    )
    if stats.uses_ledger:
        known = total.unchanged or 0
        yield (
            f"With the ledger: {total.sent:,} of {format_count(total.sent + known, 'object')} "
            f"would be sent, in {format_count(calls.total, 'call')}."
        )
        yield from _render_missing(collections)
    yield (
        f"{format_count(stats.records_read, 'record')} of "
        f"{format_count(len(report.streams), 'stream')}; "
        f"{format_count(total.sent, 'object')} for {format_count(len(collections), 'collection')}; "
        f"{format_count(total.sessions, 'session')}, "
        f"{format_count(total.raw_bytes, 'byte')} ({total.gzip_bytes:,} gzipped)."
    )
    warnings = sum(len(stats.streams[stream].warnings) for stream in report.streams)
    yield (
        f"Dry run: nothing was sent. {format_count(stats.records_rejected, 'record')} rejected, "
        f"{format_count(warnings + input_warnings, 'warning')}."
    )


def count_calls(report: DryRunReport, collections: Mapping[str, CollectionStats]) -> ApiCalls:
    """Return the calls that a run would make."""
    sessions = sum(total.sessions for total in collections.values())
    return ApiCalls.count(sessions, report.parts.total())


def _render_streams(
    report: DryRunReport,
    stats: RunStats,
    collections: Mapping[str, CollectionStats],
    width: int,
) -> Iterator[str]:
    """Yield a table with a row for each stream. A terminal that is too narrow gets less of it."""
    figures = [_HEADINGS[1:], *_count_streams(report, stats, collections)]
    width_of_figures = measure_columns([*zip(*figures, strict=True)])
    streams = [escape_unprintable(stream) for stream in report.streams]
    names = [
        name if name == plan.collection else f"{name} → {plan.collection}"
        for name, plan in zip(streams, report.streams.values(), strict=True)
    ]
    if max(map(len, names)) + len(COLUMN_GAP) + width_of_figures > width:
        names = streams
    rows = [(name, *row) for name, row in zip([_HEADINGS[0], *names], figures, strict=True)]
    yield from fit_table(rows, width, dropped_first=_DROPPED_FIRST)


def _count_streams(
    report: DryRunReport, stats: RunStats, collections: Mapping[str, CollectionStats]
) -> Iterator[Sequence[str]]:
    """Yield the figures of each stream. The calls are those of its collection, given once."""
    has_violations = stats.records_violating > 0
    counted: set[str] = set()
    for name, plan in report.streams.items():
        stream = stats.streams[name]
        total = collections.get(plan.collection, CollectionStats())
        calls = ApiCalls.count(total.sessions, report.parts[plan.collection]).total
        yield (
            f"{stats.streams[plan.source].read:,}",
            f"{stream.rejected:,}",
            f"{stream.violating:,}" if has_violations else "",
            f"{len(stream.warnings):,}",
            "" if plan.collection in counted else f"{calls:,}",
        )
        counted.add(plan.collection)


def _render_missing(collections: Mapping[str, CollectionStats]) -> Iterator[str]:
    """Yield what is gone at the source, of each collection that could be checked."""
    for name, total in collections.items():
        if total.missing is not None:
            missing = format_count(total.missing, "object")
            marked = "" if total.marked is None else f"; {total.marked:,} would be marked"
            yield f"Collection {name}: {missing} missing at the source{marked}."
