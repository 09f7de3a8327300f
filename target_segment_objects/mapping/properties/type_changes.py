"""The rules for a type that changes: what fits, and what is said of what does not. Pure."""

from __future__ import annotations

import re
from decimal import Decimal
from typing import TYPE_CHECKING, Final, Literal, NamedTuple, TypeAlias

from target_segment_objects.mapping.naming import format_path
from target_segment_objects.mapping.schema import PropertyType
from target_segment_objects.mapping.values import is_finite, to_integer

if TYPE_CHECKING:
    from collections.abc import Sequence

    from target_segment_objects.mapping.naming import PropertyPath

TypeChanges: TypeAlias = Literal["fail", "warn", "new_property"]

OBJECT: Final = "object"
"""What messages call the type of an object that is flattened."""

_SUFFIXES: Final = {PropertyType.NUMBER: "float"}  # else the type's own name: `created_timestamp`
_TIMESTAMP: Final = re.compile(r"\d{4}-\d\d-\d\d(?:[Tt ]\d\d:?\d\d.*)?", re.ASCII)
_MAX_LISTED: Final = 5  # changes in one message


class TypeChange(NamedTuple):
    """A type that does not fit what was sent.

    Attributes:
        path: The names from the record down to the property.
        first: The type that was sent.
        new: The new one.
        new_name: The name of the other property that values of the new type would be sent as.
    """

    path: PropertyPath
    first: str
    new: str
    new_name: str

    def __str__(self) -> str:
        """Describe the change."""
        return (
            f"the type of the property '{format_path(self.path)}' has changed from {self.first} to "
            f"{self.new}"
        )


def holds_type(first: PropertyType, new: PropertyType) -> bool:
    """Return whether a column of the first type holds every value of the new type."""
    return first in {new, PropertyType.STRING} or (
        first is PropertyType.NUMBER and new is PropertyType.INTEGER
    )


def has_type(value: object, expected: PropertyType) -> bool:
    """Return whether a value is written as one of a type."""
    if value is None or expected is PropertyType.STRING:
        return True
    if expected is PropertyType.BOOLEAN:
        return isinstance(value, bool)
    if expected is PropertyType.TIMESTAMP:
        return isinstance(value, str) and is_timestamp(value)
    if isinstance(value, bool) or not isinstance(value, (int, float, Decimal)):
        return False
    if expected is PropertyType.INTEGER and is_finite(value):
        return isinstance(to_integer(value), int)
    return True


def is_timestamp(text: str) -> bool:
    """Return whether a string is written as a date, or as a date and time."""
    return bool(_TIMESTAMP.fullmatch(text))


def build_new_name(name: str, new_type: PropertyType) -> str:
    """Return the name of the property that values of another type are sent as."""
    return f"{name}_{_SUFFIXES.get(new_type, new_type.value)}"


def explain_failure(stream: str, changes: Sequence[TypeChange], advice: str) -> str:
    """Return why a stream stops, and what the user can do."""
    listed = [str(change) for change in changes[:_MAX_LISTED]]
    if len(changes) > _MAX_LISTED:
        listed.append(f"and {len(changes) - _MAX_LISTED} more")
    message = (
        f"Stream '{stream}': {'; '.join(listed)}. A warehouse's column keeps its first type, so "
        "values would be lost. Set type_changes to new_property to send such values as another "
        f"property ({changes[0].new_name}), or to warn to send them nevertheless. Or convert them "
        "in stream_maps."
    )
    return f"{message} {advice}" if advice else message
