"""Streams of which nearly all known objects have changed in a run, and what to say of them.

There, a property often describes the reading and not the row, and the ledger saves nothing.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from target_segment_objects.reserved_names import DELETION_TIME

if TYPE_CHECKING:
    import sqlite3
    from collections.abc import Collection, Mapping

    from target_segment_objects.delivery.interface import StreamInfo

_MIN_CHANGED: Final = 100  # small tables often change as a whole
_NEARLY_ALL: Final = 0.9
_METADATA_PREFIX: Final = "sdc_"  # as it is sent; taps write `_sdc_`


_COUNT_KNOWN: Final = """
    SELECT count(*) FROM (
        SELECT 1 FROM object
        WHERE collection = (SELECT collection FROM stream WHERE n = :stream) AND stream = :stream
        LIMIT :limit
    )
"""


def find_rewritten(
    connection: sqlite3.Connection, changed: Mapping[int, int]
) -> list[tuple[int, int, int]]:
    """Return the streams of which nearly all known objects have changed.

    Args:
        connection: Of the ledger, before what was sent is folded.
        changed: How many known objects have changed, by the number of their stream.

    Returns:
        For each, its number, and how many objects have changed and are known.
    """
    rewritten = []
    for stream, count in sorted(changed.items()):
        if count < _MIN_CHANGED:
            continue
        limit = int(count / _NEARLY_ALL) + 1  # not all of them have to be counted
        row = {"stream": stream, "limit": limit}
        (known,) = connection.execute(_COUNT_KNOWN, row).fetchone()
        if known < limit:
            rewritten.append((stream, count, known))
    return rewritten


def describe_rewritten(
    stream: StreamInfo,
    changed: int,
    known: int,
    *,
    ignored: Collection[str],
    has_new_mapping: bool,
) -> str:
    """Return the warning about a stream, with what may be the cause."""
    metadata = [
        name
        for name, _ in stream.properties
        if name.startswith(_METADATA_PREFIX) and name not in ignored and name != DELETION_TIME
    ]
    if has_new_mapping:
        cause = (
            "Its schema, its key or the settings of its mapping have changed since the last run, "
            "which may be the cause. Then the next run sends less."
        )
    elif metadata:
        cause = (
            f"If the rows are the same at the source, it is perhaps {', '.join(metadata)}. Name a "
            "property that changes without its row in ledger_ignored_properties."
        )
    else:
        cause = (
            "If the rows are the same at the source, a setting has changed, or a property changes "
            "without its row: name it in ledger_ignored_properties."
        )
    return (
        f"Stream '{stream.name}': {changed:,} of {known:,} objects that the ledger knows have "
        f"changed. {cause}"
    )
