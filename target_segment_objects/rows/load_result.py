"""What became of the rows of a load."""

from __future__ import annotations

from collections.abc import Mapping  # noqa: TC003 - `help` shows it
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True, slots=True)
class RejectedRow:
    """A row that cannot be sent.

    Attributes:
        number: Which row of its collection it is; the first one that was loaded is 1.
        reason: Why, without the value.
        property: The property at fault, such as "address.street"; None if it is not a single one.
        object_id: The id that its object would have had; None if it has none.
        row: The row itself, as it was passed. It is not in the `repr`.
    """

    number: int
    reason: str
    property: str | None
    object_id: str | None
    row: Mapping[str, Any] = field(repr=False, compare=False)


@dataclass(frozen=True, slots=True)
class LoadResult:
    """What became of the rows of one collection.

    After a load without an error, `read` is the sum of `sent`, `unchanged` and the number of
    `rejects`. Before its end, it may be more: the rest is not yet accepted by Segment.

    Attributes:
        collection: The collection's name in Segment.
        read: Rows that were read.
        sent: Objects that Segment has accepted.
        unchanged: Objects that were not sent, because the ledger says that Segment has them.
        sync_ids: Segment's names for the finished bulk sessions, in order. Segment's support asks
            for them.
        rejects: The rows that cannot be sent, in order.
        warnings: What else should be known, such as a property that is sent under another name.
    """

    collection: str
    read: int
    sent: int
    unchanged: int
    sync_ids: tuple[str, ...]
    rejects: tuple[RejectedRow, ...]
    warnings: tuple[str, ...]
