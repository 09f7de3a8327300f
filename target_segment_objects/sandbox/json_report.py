"""The report on a warehouse as JSON, for programs. docs/sandbox.md describes it.

`FORMAT_VERSION` changes when a key is removed or changes its meaning. New keys do not change it.
"""

from __future__ import annotations

import json
from dataclasses import asdict
from typing import TYPE_CHECKING, Any, Final

from target_segment_objects.sandbox.column_names import table_name
from target_segment_objects.sandbox.warehouse.losses import LOSS_LABELS
from target_segment_objects.sandbox.wording import (
    count_result,
    describe_result,
    list_special_names,
)

if TYPE_CHECKING:
    from target_segment_objects.sandbox.session_record import SessionRecord
    from target_segment_objects.sandbox.warehouse.database import Warehouse

FORMAT_VERSION: Final = 1


def render_json(warehouse: Warehouse, *, rows: int) -> str:
    """Return the report, with some rows of each collection, as a JSON object in ASCII."""
    losses, sessions = warehouse.losses(), warehouse.sessions()
    counts = count_result(losses, sessions)
    document = {
        "format_version": FORMAT_VERSION,
        "result": describe_result(losses, sessions),
        "has_loss": counts.has_loss,
        "totals": {
            "objects_accepted": counts.accepted,
            "objects_not_loaded": counts.not_loaded,
            "values_changed": counts.changed,
            "values_cut_on_redshift": counts.cut_on_redshift,
        },
        "collections": [
            _describe_collection(warehouse, name, rows) for name in warehouse.collections()
        ],
        "losses": [
            {**asdict(loss), "meaning": LOSS_LABELS.get(loss.kind, loss.kind)} for loss in losses
        ],
        "names": [
            {"name": name, "remark": remark}
            for name, remark in list_special_names(warehouse.list_columns())
        ],
        "sessions": [_describe_session(session) for session in sessions],
    }
    # Times are text as DuckDB shows them; what else JSON does not have, too.
    return json.dumps(document, indent=2, default=str)


def _describe_collection(warehouse: Warehouse, name: str, rows: int) -> dict[str, Any]:
    return {
        "name": name,
        "table": table_name(name),
        "objects": warehouse.count(name),
        "columns": [
            {"name": column, "type": kind} for column, kind in warehouse.columns(name).items()
        ],
        "rows": warehouse.rows(name, limit=rows),
    }


def _describe_session(session: SessionRecord) -> dict[str, Any]:
    return {
        "sync_id": session.sync_id,
        "outcome": session.outcome,
        "collections": list(session.collections),
        "parts": session.parts,
        "objects": session.objects,
        "raw_bytes": session.raw_bytes,
        "gzip_bytes": session.gzip_bytes,
        "started": session.started.isoformat(),
        "ended": None if session.ended is None else session.ended.isoformat(),
        "error": session.error,
    }
