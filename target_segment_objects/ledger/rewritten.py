"""What to say when nearly all known objects of a stream have changed in a run.

Then a property often describes the reading and not the row, and the ledger saves nothing.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from target_segment_objects.reserved_names import DELETION_TIME

if TYPE_CHECKING:
    from collections.abc import Collection

    from target_segment_objects.delivery.interface import StreamInfo

MIN_CHANGED: Final = 100
"""Small tables often change as a whole."""

_NEARLY_ALL: Final = 0.9
_METADATA_PREFIX: Final = "sdc_"  # as it is sent; taps write `_sdc_`


def max_known(changed: int) -> int:
    """Return how many objects may be known, so that those that have changed are nearly all."""
    return int(changed / _NEARLY_ALL)


def describe_rewritten(
    stream: StreamInfo,
    changed: int,
    known: int,
    *,
    ignored: Collection[str],
    has_new_mapping: bool,
) -> str:
    """Return the warning about a stream, with what may be the cause.

    Args:
        stream: The stream.
        changed: How many of its objects have changed.
        known: How many are known.
        ignored: The names, as they are sent, of properties that do not count.
        has_new_mapping: Whether its schema or its settings have changed since the last run.
    """
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
