"""The columns of the metadata that the SDK adds to records: from their messages and the clock.

With `add_record_metadata`, the SDK replaces what a record has under these names. Only the time of a
deletion is the record's own.
"""

from __future__ import annotations

from operator import attrgetter
from typing import TYPE_CHECKING, Any, Final

from msgspec import UNSET

from target_segment_objects import limits
from target_segment_objects.mapping.record_types import build_plain_type
from target_segment_objects.mapping.schema import PropertyType
from target_segment_objects.mapping.schema_simplification import UnsupportedSchemaError

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    import msgspec

    from target_segment_objects.mapping.columns import Column
    from target_segment_objects.mapping.properties.property_mapping import PropertyMapping

_DELETED_AT: Final = "_sdc_deleted_at"
_MESSAGE_MEMBERS: Final = {"_sdc_extracted_at": "time_extracted", "_sdc_table_version": "version"}
_TYPES: Final = {str: PropertyType.TIMESTAMP, int: PropertyType.INTEGER}

_MAX_LENGTH: Final = limits.WAREHOUSE_STRING_CHARACTERS
MESSAGE_FIELDS: Final[list[tuple[str, Any, None]]] = [
    ("time_extracted", build_plain_type(PropertyType.TIMESTAMP, _MAX_LENGTH) | None, None),
    ("version", build_plain_type(PropertyType.INTEGER, None) | None, None),
]
"""The members of a RECORD message that become metadata, with their types and defaults."""


class MetadataColumns:
    """Fills the columns of one stream's metadata.

    Args:
        make_metadata: Returns the metadata of a record that is read now, and whose message says
            nothing of it.
        properties: The property of each column.

    Raises:
        UnsupportedSchemaError: Metadata was first sent with another type.
    """

    def __init__(
        self,
        make_metadata: Callable[[], Mapping[str, Any]],
        properties: Sequence[PropertyMapping],
    ) -> None:
        self._make_metadata = make_metadata
        positions = {prop.path: position for position, prop in enumerate(properties)}
        metadata = make_metadata()
        for name, value in metadata.items():
            position = positions.get((name,))
            sent_type = None if position is None else properties[position].type
            if position is None or (value is not None and sent_type is not _TYPES.get(type(value))):
                msg = f"the metadata '{name}' is not sent with its own type"
                raise UnsupportedSchemaError(msg)
        self._positions = {name: positions[name,] for name in metadata}

    def fill_columns(self, columns: list[Column], messages: Sequence[msgspec.Struct]) -> None:
        """Replace the columns of metadata.

        Args:
            columns: The columns of at least one record.
            messages: The messages of the records; none for BATCH files.
        """
        for name, value in self._make_metadata().items():
            position = self._positions[name]
            if name == _DELETED_AT:
                columns[position] = [None if at is UNSET else at for at in columns[position]]
            elif messages and name in _MESSAGE_MEMBERS:
                columns[position] = [*map(attrgetter(_MESSAGE_MEMBERS[name]), messages)]
            else:
                columns[position] = [value] * len(columns[position])
