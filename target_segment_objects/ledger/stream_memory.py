"""What the ledger remembers of streams: their key properties, and how properties were sent.

What is saved is in the open transaction, which is committed before the next session starts. So it
is durable before an object with the property is sent.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING

from target_segment_objects.ledger import file_errors

if TYPE_CHECKING:
    from target_segment_objects.delivery.interface import StreamInfo
    from target_segment_objects.ledger.file import LedgerFile


@dataclass(frozen=True, slots=True)
class StoredProperty:
    """A property under one of its names.

    Attributes:
        stream: The stream that has it.
        path: The names from the record down to the property.
        name: Its name in Segment.
        type: The type that it was first sent with; None if every value was null.
    """

    stream: str
    path: tuple[str, ...]
    name: str
    type: str | None


class StreamMemory:
    """The memory of streams in an open ledger. A stream has one for each of its collections.

    The type of a column is that of its first value, from whichever stream of the collection.
    """

    def __init__(self, file: LedgerFile) -> None:
        """Take an open file."""
        self._file = file

    def read_properties(self, collection: str) -> list[StoredProperty]:
        """Return the properties of a collection in the order in which they got their names.

        Raises:
            LedgerError: The file cannot be read.
        """
        query = "SELECT stream, path, name, type FROM property WHERE collection = ? ORDER BY n"
        with self._file.access() as connection:
            rows = connection.execute(query, (collection,)).fetchall()
        return [
            StoredProperty(json.loads(stream), tuple(json.loads(path)), name, kind)
            for stream, path, name, kind in rows
        ]

    def save_property(
        self,
        stream: str,
        collection: str,
        path: tuple[str, ...],
        *,
        name: str,
        type_name: str | None,
    ) -> None:
        """Save a property, or its type.

        Raises:
            LedgerError: The file cannot be written.
        """
        with self._file.access(write=True) as connection:
            connection.execute(
                """
                INSERT INTO property (stream, collection, path, name, type) VALUES (?, ?, ?, ?, ?)
                ON CONFLICT DO UPDATE SET type = excluded.type
                """,
                (json.dumps(stream), collection, json.dumps(path), name, type_name),
            )

    def check_key(self, stream: StreamInfo) -> None:
        """Check that a stream has the key properties of its last run into this collection.

        Raises:
            LedgerError: They have changed, so that every object would get another id.
        """
        query = """
            SELECT key_properties FROM stream JOIN collection ON collection.n = stream.collection
            WHERE stream.name = ? AND collection.name = ?
        """
        with self._file.access() as connection:
            row = connection.execute(query, (stream.name, stream.collection)).fetchone()
        known = None if row is None else json.loads(row[0])
        if known is not None and known != list(stream.key_properties):
            raise file_errors.changed_key_error(self._file.path, stream, known)
