"""Objects that mark others as deleted, as they are sent."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import msgspec
from xxhash import xxh3_64_digest

from target_segment_objects.ledger.digests import format_object_id
from target_segment_objects.reserved_names import DELETION_TIME

if TYPE_CHECKING:
    from target_segment_objects.ledger.digests import ObjectId


@dataclass(frozen=True, slots=True)
class Mark:
    """An object that marks another one as deleted, or clears its mark.

    Attributes:
        id: The id of both.
        stream: The number of its stream.
        line: Its JSON.
        digest: The digest of the line.
    """

    id: ObjectId
    stream: int
    line: bytes
    digest: bytes


def build_mark(collection: str, object_id: ObjectId, marked_at: str | None) -> bytes:
    """Return the JSON of the object that marks another one as deleted; None clears its mark."""
    mark = {
        "id": format_object_id(object_id),
        "collection": collection,
        "properties": {DELETION_TIME: marked_at},
    }
    return msgspec.json.encode(mark)


def digest_mark(collection: str, object_id: ObjectId, marked_at: str | None) -> bytes:
    """Return the digest of an object's mark."""
    return xxh3_64_digest(build_mark(collection, object_id, marked_at))


def clear_mark(line: bytes) -> bytes:
    """Return an object's JSON with a null for the mark, unless it has a value of its own."""
    decoded = msgspec.json.decode(line, type=dict[str, msgspec.Raw])
    properties = msgspec.json.decode(decoded["properties"], type=dict[str, msgspec.Raw])
    properties.setdefault(DELETION_TIME, msgspec.Raw(b"null"))
    decoded["properties"] = msgspec.Raw(msgspec.json.encode(properties))
    return msgspec.json.encode(decoded)
