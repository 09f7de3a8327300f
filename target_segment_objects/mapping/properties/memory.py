"""What was sent of a property, and what remembers it from run to run."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

if TYPE_CHECKING:
    from collections.abc import Sequence

    from target_segment_objects.mapping.naming import PropertyPath
    from target_segment_objects.mapping.schema import PropertyType


class SentProperty(msgspec.Struct, frozen=True):
    """A property under one of its names.

    Attributes:
        stream: The stream that has it.
        path: The names from the record down to the property.
        name: Its name in Segment.
        type: The type of its values; None if every value so far was null, so that a warehouse has
            no column.
    """

    stream: str
    path: PropertyPath
    name: str
    type: PropertyType | None


class PropertyMemory:
    """Remembers nothing: each run gives names and types anew. A ledger is a memory that lasts."""

    def read_properties(self, collection: str) -> Sequence[SentProperty]:  # noqa: ARG002 - a ledger reads it
        """Return a collection's properties of earlier runs, in the order of their names.

        If a path has several names, the last is the one that it is sent under.
        """
        return ()

    def save_property(self, collection: str, prop: SentProperty) -> None:
        """Save a property, or its type, before it is sent."""

    def describe_reset(self, collection: str) -> str:  # noqa: ARG002 - a ledger has one
        """Return how a user makes it forget the types of a collection; empty if it has none."""
        return ""
