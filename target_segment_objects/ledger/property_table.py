"""How properties were sent: the table `property` of an open ledger.

What is saved is in the open transaction, which is committed before the next session starts. So it
is durable before an object with the property is sent.
"""

from __future__ import annotations

import json
import shlex
from typing import TYPE_CHECKING

from target_segment_objects.mapping.properties.memory import PropertyMemory, SentProperty
from target_segment_objects.mapping.schema import PropertyType

if TYPE_CHECKING:
    from target_segment_objects.ledger.file import LedgerFile


class PropertyTable(PropertyMemory):
    """The memory of properties that lasts for all runs with a ledger.

    A stream has properties for each of its collections. The type of a column is that of its first
    value, from whichever stream of the collection.
    """

    def __init__(self, file: LedgerFile) -> None:
        self._file = file

    def read_properties(self, collection: str) -> list[SentProperty]:
        """Return the properties of a collection in the order in which they got their names."""
        query = "SELECT stream, path, name, type FROM property WHERE collection = ? ORDER BY n"
        with self._file.access() as connection:
            rows = connection.execute(query, (collection,)).fetchall()
        return [
            SentProperty(
                json.loads(stream),
                tuple(json.loads(path)),
                name,
                None if type_name is None else PropertyType(type_name),
            )
            for stream, path, name, type_name in rows
        ]

    def save_property(self, collection: str, prop: SentProperty) -> None:
        """Save a property, or its type."""
        row = (
            json.dumps(prop.stream),
            collection,
            json.dumps(prop.path),
            prop.name,
            None if prop.type is None else prop.type.value,
        )
        with self._file.access(write=True) as connection:
            connection.execute(
                """
                INSERT INTO property (stream, collection, path, name, type) VALUES (?, ?, ?, ?, ?)
                ON CONFLICT DO UPDATE SET type = excluded.type
                """,
                row,
            )

    def describe_reset(self, collection: str) -> str:
        """Return the command that has the ledger forget the types of a collection."""
        path = shlex.quote(str(self._file.path))
        return (
            "If the column itself was changed or dropped, run `segment-objects-ledger forget "
            f"{path} {collection} --only types`."
        )
