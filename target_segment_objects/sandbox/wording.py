"""How results are said and values are shown: the same on the terminal and on the page."""

from __future__ import annotations

import sys
from dataclasses import dataclass
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


@dataclass(frozen=True, slots=True)
class ResultCounts:
    """How many of the accepted objects, and of their values, are in the warehouse.

    Attributes:
        accepted: Objects that were accepted.
        not_loaded: Those of them that are missing.
        changed: Values that the warehouse changed.
        cut_on_redshift: Values that are unchanged here, and that Redshift would cut off.
    """

    accepted: int
    not_loaded: int
    changed: int
    cut_on_redshift: int

    @property
    def has_loss(self) -> bool:
        """Whether anything that was accepted is not in the warehouse as it was sent."""
        return self.not_loaded > 0 or self.changed > 0


def count_result(losses: Sequence[Loss], sessions: Sequence[SessionRecord]) -> ResultCounts:
    """Return how much of what was accepted has been loaded unchanged."""
    redshift = sum(loss.count for loss in losses if loss.kind == REDSHIFT_LOSS)
    return ResultCounts(
        accepted=sum(session.objects for session in sessions),
        not_loaded=sum(session.objects for session in sessions if session.outcome != LOADED),
        changed=sum(loss.count for loss in losses) - redshift,
        cut_on_redshift=redshift,
    )


def describe_result(
    losses: Sequence[Loss], sessions: Sequence[SessionRecord], *, details: str = "below"
) -> str:
    """Return in one sentence whether all accepted objects have been loaded unchanged.

    Args:
        losses: What the warehouse changed.
        sessions: All ended sessions.
        details: Where the details stand: "below" or "above".
    """
    counts = count_result(losses, sessions)
    if not counts.accepted:
        return "The warehouse is empty: no objects were accepted."
    if counts.not_loaded:
        objects = format_count(counts.accepted, "accepted object")
        return f"{counts.not_loaded:,} of {objects} not loaded, see {details}."
    loaded = f"All accepted objects were loaded ({counts.accepted:,})"
    result = f"{loaded}, and no value was lost."
    if counts.changed:
        result = f"{loaded}; {format_count(counts.changed, 'value')} changed, see {details}."
    if counts.cut_on_redshift:
        values = format_count(counts.cut_on_redshift, "value")
        result += f" {values} would be cut off on Redshift, see {details}."
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
    return shorten_text(escaped, limit)


def shorten_text(text: str, limit: int) -> str:
    """Truncate a text to a number of characters, with an ellipsis at its end."""
    return text if len(text) <= limit else text[: limit - 1] + "…"


def format_plain(value: object) -> str:
    """Return the text of a value as it is; null as an empty string, bytes in hexadecimal."""
    if value is None:
        return ""
    if isinstance(value, bytes):
        return value.hex()
    return str(value).lower() if isinstance(value, bool) else str(value)
