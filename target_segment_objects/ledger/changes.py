"""Which objects of a chunk have to be sent: the decision alone."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from target_segment_objects.ledger.digests import ObjectId


def find_changed(
    known: Mapping[ObjectId, bytes | None],
    ids: Sequence[ObjectId],
    digests: Sequence[bytes],
    *,
    has_repeats: bool,
) -> list[int]:
    """Return the positions of the objects that differ from what Segment has.

    Args:
        known: What Segment has: each id's digest, or None if that is not sure.
        ids: The ids of the objects, in the order in which they are sent.
        digests: Their digests.
        has_repeats: Whether an id occurs twice. What follows an object that is sent is sent, too,
            even if it equals what Segment has now.
    """
    given = enumerate(zip(ids, digests, strict=True))
    changed = [at for at, (object_id, digest) in given if known.get(object_id) != digest]
    if not has_repeats or not changed:
        return changed
    first_sent: dict[ObjectId, int] = {}
    for at in changed:
        first_sent.setdefault(ids[at], at)
    end = len(ids)
    return [at for at, object_id in enumerate(ids) if first_sent.get(object_id, end) <= at]
