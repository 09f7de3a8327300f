"""The user's choices for the mapping."""

from __future__ import annotations

from typing import Literal

import msgspec


class MappingOptions(msgspec.Struct, frozen=True):
    """The user's choices for the mapping.

    Attributes:
        null_properties: Whether nulls are sent or left out. That of a deletion time is always sent.
        oversized_values: What happens to a string of 32 KB or more.
        max_depth: How many levels of objects are flattened; None for all.
        max_name_length: The most characters of a property's name; None for no limit.
        sorts_properties: Whether properties are sent sorted by their paths, not in the order of
            the schema.
    """

    null_properties: Literal["send", "omit"] = "send"
    oversized_values: Literal["reject", "truncate"] = "reject"
    max_depth: int | None = None
    max_name_length: int | None = None
    sorts_properties: bool = False
