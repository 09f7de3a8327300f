"""The report of a dry run as JSON, for programs. docs/dry-run.md describes it.

`FORMAT_VERSION` changes when a key is removed or changes its meaning. New keys do not change it.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any, Final

from target_segment_objects.cli.dry_run_report import ApiCalls, list_properties
from target_segment_objects.reporting.stats import CollectionStats

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from target_segment_objects.cli.dry_run_report import DryRunReport
    from target_segment_objects.reporting.stats import RunStats

FORMAT_VERSION: Final = 1


def render_json(
    report: DryRunReport,
    stats: RunStats,
    collections: Mapping[str, CollectionStats],
    *,
    exit_code: int,
    problems: Sequence[str],
) -> str:
    """Return the report as a JSON object in ASCII, in which nothing needs to be escaped again."""
    total = CollectionStats.add_up(collections.values())
    document = {
        "format_version": FORMAT_VERSION,
        "exit_code": exit_code,
        "errors": list(problems),
        "totals": {
            "records_read": stats.records_read,
            "records_rejected": stats.records_rejected,
            "records_violating": stats.records_violating,
            "objects": total.sent,
            "objects_unchanged": total.unchanged,
            "sessions": total.sessions,
            "raw_bytes": total.raw_bytes,
            "gzip_bytes": total.gzip_bytes,
            "api_calls": _describe_calls(total.sessions, report.parts.total()),
        },
        "collections": [
            _describe_collection(name, total, report) for name, total in collections.items()
        ],
        "streams": [_describe_stream(name, report, stats) for name in report.streams],
    }
    return json.dumps(document, indent=2)


def _describe_collection(name: str, total: CollectionStats, report: DryRunReport) -> dict[str, Any]:
    plans = report.streams.items()
    return {
        "name": name,
        "streams": [stream for stream, plan in plans if plan.collection == name],
        "objects": total.sent,
        "objects_unchanged": total.unchanged,
        "objects_missing": total.missing,
        "objects_marked": total.marked,
        "sessions": total.sessions,
        "raw_bytes": total.raw_bytes,
        "gzip_bytes": total.gzip_bytes,
        "api_calls": _describe_calls(total.sessions, report.parts[name]),
    }


def _describe_stream(name: str, report: DryRunReport, stats: RunStats) -> dict[str, Any]:
    plan = report.streams[name]
    return {
        "name": name,
        "source": plan.source,
        "collection": plan.collection,
        "records_read": stats.streams[plan.source].read,
        "records_rejected": stats.streams[name].rejected,
        "records_violating": stats.streams[name].violating,
        "key_properties": list(plan.key_properties),
        "properties": [
            {
                "name": mapped.name,
                "column": mapped.column,
                "path": None if mapped.path is None else list(mapped.path),
                "type": mapped.type,
                "has_value": mapped.has_value,
            }
            for mapped in list_properties(plan, report)
        ],
        "violations": [
            {"property": label or None, "records": count}
            for label, count in stats.streams[name].violations.items()
        ],
        "warnings": list(stats.streams[name].warnings),
        "rejects": [
            {"reason": reason, "records": count}
            for reason, count in plan.reject_reasons.most_common()
        ],
    }


def _describe_calls(sessions: int, parts: int) -> dict[str, int]:
    calls = ApiCalls.count(sessions, parts)
    return {
        "start": calls.start,
        "upload": calls.upload,
        "finish": calls.finish,
        "total": calls.total,
    }
