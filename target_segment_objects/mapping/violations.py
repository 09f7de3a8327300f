"""Decide which violations of a schema make a record invalid. Pure.

A violation does harm if a value cannot be sent in its property's type without loss, or if a
required property is missing. Any other is a warning: what a bound or a pattern says is no reason to
stop a load. With `schema_violations: reject`, all of them make a record invalid, except those in a
value that is sent as JSON text.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal, TypeAlias

from target_segment_objects.exceptions import InvalidRecordError
from target_segment_objects.mapping.conversion import can_convert
from target_segment_objects.mapping.mapper import DeclaredObject
from target_segment_objects.mapping.naming import format_path

if TYPE_CHECKING:
    from collections.abc import Sequence

    from target_segment_objects.mapping.mapper import RecordMapper
    from target_segment_objects.mapping.naming import PropertyPath
    from target_segment_objects.mapping.properties.property_mapping import PropertyMapping
    from target_segment_objects.mapping.validation import RecordValidator, Violation

SchemaViolations: TypeAlias = Literal["warn", "reject"]
Declared: TypeAlias = "DeclaredObject | PropertyMapping | None"
"""What a schema declares at a place in a record; None if it declares nothing there."""

Record: TypeAlias = "dict[str, Any]"


class RecordCheck:
    """Checks the records of one stream against its schema."""

    def __init__(
        self,
        validator: RecordValidator,
        mapper: RecordMapper,
        key_properties: Sequence[str],
        mode: SchemaViolations,
    ) -> None:
        """Keep what knows the schema and the types.

        Args:
            validator: Finds the violations.
            mapper: Knows the type in which each property is sent.
            key_properties: The names of the properties that make the id.
            mode: What happens to a record with a harmless violation.
        """
        self._validator = validator
        self._mapper = mapper
        self._key_properties = frozenset(key_properties)
        self._find_label = validator.label_json_text if mode == "reject" else self._label_harmless

    def find_harmless(self, record: Record) -> dict[str, str]:
        """Return the harmless violations of a record: what the schema says, by property.

        A violation of the record itself, such as a property too many, is that of an empty name.

        Raises:
            InvalidRecordError: A violation does harm.
        """
        try:
            return self._validator.select_harmless(record, self._find_label)
        except InvalidRecordError as error:
            if error.field not in self._key_properties:  # else the id is the value at fault
                error.object_id = self._mapper.find_object_id(record)
            raise

    def _label_harmless(self, violation: Violation, record: Record) -> str | None:
        path, declared, value = _find_place(self._mapper.root, violation.path, record)
        if isinstance(declared, DeclaredObject) and violation.is_missing:
            return None
        return format_path(path) if _is_sendable(declared, value) else None


def _find_place(
    root: DeclaredObject, path: Sequence[str | int], record: Record
) -> tuple[PropertyPath, Declared, object]:
    """Return the property in which a violation is, what is declared there, and its value.

    Args:
        root: The record as the schema declares it.
        path: Where the violation is, from the record down.
        record: The record.
    """
    found: list[str] = []
    declared: Declared = root
    value: Any = record
    for step in path:
        if not (isinstance(declared, DeclaredObject) and isinstance(value, dict)):
            break
        found.append(str(step))
        declared, value = declared.children.get(found[-1]), value.get(step)
    return tuple(found), declared, value


def _is_sendable(declared: Declared, value: object) -> bool:
    """Return whether nothing of a value, or of what is in it, would be lost."""
    if declared is None or value is None:
        return True
    if not isinstance(declared, DeclaredObject):
        return can_convert(value, declared.type)
    return isinstance(value, dict) and all(
        _is_sendable(child, value.get(name)) for name, child in declared.children.items()
    )
