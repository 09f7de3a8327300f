"""Decide which violations of a schema make a record invalid. Pure.

A violation does harm if a value cannot be sent in its property's type without loss, or if a
required property is missing. Any other is a warning: what a bound or a pattern says is no reason to
stop a load. With `schema_violations: reject`, all of them make a record invalid, except those in a
value that is sent as JSON text.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal, Protocol, TypeAlias

from target_segment_objects.mapping.conversion import can_convert
from target_segment_objects.mapping.naming import format_path
from target_segment_objects.mapping.property_tree import DeclaredObject

if TYPE_CHECKING:
    from collections.abc import Sequence

    from target_segment_objects.mapping.naming import PropertyPath
    from target_segment_objects.mapping.properties.property_mapping import PropertyMapping
    from target_segment_objects.mapping.validation import RecordValidator, Violation

SchemaViolations: TypeAlias = Literal["warn", "reject"]
Declared: TypeAlias = "DeclaredObject | PropertyMapping | None"
"""What a schema declares at a place in a record; None if it declares nothing there."""

Record: TypeAlias = "dict[str, Any]"


class ValidityCheck(Protocol):
    """Decides which records of a stream are invalid: by its schema, or by what rows have."""

    def find_suspects(self, records: Sequence[Record]) -> list[int]:
        """Return the positions of records that may have a violation; the others have none."""

    def find_harmless(self, record: Record, tree: DeclaredObject) -> dict[str, str]:
        """Return the harmless violations of a record, by property; raise at one that does harm."""


class RecordCheck:
    """Checks the records of one stream against its schema.

    Args:
        validator: Finds the violations.
        mode: What happens to a record with a harmless violation.
    """

    def __init__(self, validator: RecordValidator, mode: SchemaViolations) -> None:
        self._validator = validator
        self._find_label = self._label_json_text if mode == "reject" else _label_harmless

    def find_suspects(self, records: Sequence[Record]) -> list[int]:
        """Return the positions of records that may have a violation; the others have none."""
        return self._validator.find_suspects(records)

    def find_harmless(self, record: Record, tree: DeclaredObject) -> dict[str, str]:
        """Return the harmless violations of a record: what the schema says, by property.

        A violation of the record itself, such as a property too many, is that of an empty name.

        Args:
            record: The record.
            tree: The record with its declared properties, as they are sent.

        Raises:
            InvalidRecordError: A violation does harm.
        """
        harmless: dict[str, str] = {}
        for violation in self._validator.find_violations(record):
            label = self._find_label(violation, record, tree)
            if label is None:
                raise self._validator.build_error(violation)
            harmless.setdefault(label, violation.reason)
        return harmless

    def _label_json_text(
        self, violation: Violation, record: Record, tree: DeclaredObject
    ) -> str | None:
        """Return the property that is sent as JSON text and has a violation; None if none has."""
        path, declared, value = _find_place(tree, violation.path, record)
        if isinstance(declared, DeclaredObject):
            return None
        is_inside = len(violation.path) > len(path)
        is_json_text = is_inside or self._validator.is_json_text(path, value)
        return format_path(path) if is_json_text else None


def _label_harmless(violation: Violation, record: Record, tree: DeclaredObject) -> str | None:
    """Return the property of a violation by which nothing is lost; None if something is."""
    path, declared, value = _find_place(tree, violation.path, record)
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
