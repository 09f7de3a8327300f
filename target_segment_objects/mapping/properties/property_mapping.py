"""How one property is sent."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from target_segment_objects.mapping import naming
from target_segment_objects.mapping.values import CONVERTERS
from target_segment_objects.reserved_names import DELETION_TIME

if TYPE_CHECKING:
    from collections.abc import Callable

    from target_segment_objects.mapping.naming import PropertyPath
    from target_segment_objects.mapping.schema import PropertyType
    from target_segment_objects.mapping.values import Scalar


@dataclass(frozen=True, slots=True)
class PropertyMapping:
    """How one property is sent.

    Attributes:
        path: The names from the record down to the property.
        name: The property's name in Segment.
        type: How its values are written.
        older_names: The names that it had before its type changed. A null is sent under these, too,
            so that an older value does not come back.
        convert: Converts a value that is not null.
    """

    path: PropertyPath
    name: str
    type: PropertyType
    older_names: tuple[str, ...] = ()
    convert: Callable[[Any], Scalar] = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        """Look the converter up once, not for each value."""
        object.__setattr__(self, "convert", CONVERTERS[self.type])

    @property
    def label(self) -> str:
        """The path as messages show it."""
        return naming.format_path(self.path)

    @property
    def always_sends_null(self) -> bool:
        """Whether a null is sent, too, where the user has nulls left out.

        A null says that a row that was deleted is back: left out, the row would stay deleted.
        """
        return self.name == DELETION_TIME
