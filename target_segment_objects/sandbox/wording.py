"""How results are said and values are shown: the same on the terminal and on the page."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Final

from target_segment_objects.limits import MAX_COLLECTIONS
from target_segment_objects.plurals import format_count
from target_segment_objects.sandbox.column_names import describe_name, table_name
from target_segment_objects.sandbox.session_record import LOADED
from target_segment_objects.sandbox.warehouse.losses import REDSHIFT_LOSS

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from target_segment_objects.sandbox.session_record import SessionRecord
    from target_segment_objects.sandbox.warehouse.losses import Loss

MAX_CELL_CHARACTERS: Final = 32
OUTCOME_LABELS: Final = {
    LOADED: "loaded",
    "error": "discarded by the sender",
    "expired": "expired",
    "open": "never finished",
}
"""What became of a session, by its outcome."""

STATE_LABELS: Final = {
    **OUTCOME_LABELS,
    "running": "open",
    "accepted": "accepted, not loaded yet",
    "loading": "loading",
    "failed": "could not be loaded",
}
"""What to say of a session of this run, by its state."""


def describe_result(losses: Sequence[Loss], sessions: Sequence[SessionRecord]) -> str:
    """Return in one sentence whether all accepted objects have been loaded unchanged."""
    objects = sum(session.objects for session in sessions)
    missing = sum(session.objects for session in sessions if session.outcome != LOADED)
    if not objects:
        return "The warehouse is empty: no objects were accepted."
    if missing:
        return f"{missing:,} of {format_count(objects, 'accepted object')} not loaded, see below."
    loaded = f"All accepted objects were loaded ({objects:,})"
    redshift = sum(loss.count for loss in losses if loss.kind == REDSHIFT_LOSS)
    changed = sum(loss.count for loss in losses) - redshift
    result = f"{loaded}, and no value was lost."
    if changed:
        result = f"{loaded}; {format_count(changed, 'value')} changed, see below."
    if redshift:
        result += f" {format_count(redshift, 'value')} would be cut off on Redshift, see below."
    return result


def list_special_names(columns: Mapping[str, Iterable[str]]) -> list[tuple[str, str]]:
    """Return each table, or `table.column`, that a warehouse renames, rejects or cuts, and why."""
    special = []
    for collection, names in columns.items():
        table = table_name(collection)
        special.append((table, describe_name(table)))
        special += [(f"{table}.{name}", describe_name(name)) for name in names]
    special = [(name, remark) for name, remark in special if remark]
    if len(columns) > MAX_COLLECTIONS:
        special.append(("all", f"more than {MAX_COLLECTIONS:,} collections: Segment selects fewer"))
    return special


def format_cell(value: object, limit: int = MAX_CELL_CHARACTERS) -> str:
    """Return a value as one short line without control characters; null as an empty string."""
    return escape_text(format_plain(value), limit)


def escape_text(text: str, limit: int = sys.maxsize) -> str:
    """Escape what is not printable, and cut off what is too long."""
    escaped = "".join(
        character if character.isprintable() else repr(character)[1:-1]
        for character in text[: limit + 1]
    )
    return escaped if len(escaped) <= limit else escaped[: limit - 1] + "…"


def format_plain(value: object) -> str:
    """Return the text of a value as it is; null as an empty string, bytes in hexadecimal."""
    if value is None:
        return ""
    if isinstance(value, bytes):
        return value.hex()
    return str(value).lower() if isinstance(value, bool) else str(value)
