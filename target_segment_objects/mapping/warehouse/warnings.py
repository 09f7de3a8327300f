"""Say what warehouses do with the names of a stream's properties and of its collection. Pure.

Each function returns a message without the stream, or an empty string if there is nothing to say.
A message names at most five properties for each reason.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from target_segment_objects import limits
from target_segment_objects.mapping.warehouse.names import (
    begins_with_digit,
    has_equal_prefixes,
    to_table_name,
)
from target_segment_objects.reserved_names import (
    REDSHIFT_RESERVED_WORDS,
    SEGMENT_COLUMNS,
    SNOWFLAKE_RESERVED_WORDS,
    SYSTEM_COLUMNS,
)

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator, Sequence

_MAX_SHOWN_NAMES: Final = 5
_NAME_LIMITS: Final = (
    ("Postgres", limits.POSTGRES_NAME_BYTES),
    ("Redshift", limits.REDSHIFT_NAME_BYTES),
)


def describe_property_names(names: Collection[str]) -> str:
    """Say which properties are lost or renamed, and where a sync may fail.

    Args:
        names: The names that are sent. `id` is not described: only the mapping knows whether it
            is the object's id.
    """
    reasons = [*_describe_lost(names), *_describe_renamed(names), *_describe_long(names)]
    if not reasons:
        return ""
    return (
        f"warehouses do not take all names of its properties. {' '.join(reasons)} "
        "Rename the properties with stream_maps to avoid that."
    )


def describe_property_count(count: int) -> str:
    """Say that a collection has too many properties."""
    if count > limits.MAX_COLLECTION_PROPERTIES:
        return (
            f"it has more than {limits.MAX_COLLECTION_PROPERTIES:,} properties, the most that "
            "Segment can select for a warehouse."
        )
    if count > limits.MAX_TABLE_COLUMNS:
        return (
            f"it has more than {limits.MAX_TABLE_COLUMNS:,} properties. A table in Postgres or "
            "Redshift cannot have more columns."
        )
    return ""


def describe_collection_name(collection: str) -> str:
    """Say what warehouses do with the name of a collection."""
    reasons = []
    if collection in REDSHIFT_RESERVED_WORDS:
        reasons.append(f"Redshift stores it as the table {to_table_name(collection)}.")
    if collection in SNOWFLAKE_RESERVED_WORDS:
        reasons.append("A sync to Snowflake may fail.")
    if reasons:
        reason = f"the name of its collection, {collection}, is a reserved word."
        return f"{reason} {' '.join(reasons)} Choose another in collection_map to avoid that."
    if len(collection) > limits.POSTGRES_NAME_BYTES:
        return (
            f"the name of its collection, {collection}, has more than "
            f"{limits.POSTGRES_NAME_BYTES} bytes. Postgres truncates it. Choose a shorter one in "
            "collection_map to avoid that."
        )
    return ""


def describe_collection_count(count: int) -> str:
    """Say that a run has too many collections."""
    if count <= limits.MAX_COLLECTIONS:
        return ""
    return (
        f"the run has more than {limits.MAX_COLLECTIONS:,} collections, the most of a source that "
        "Segment can select for a warehouse."
    )


def _describe_lost(names: Collection[str]) -> Iterator[str]:
    """Yield the reasons why a property may be missing in a warehouse."""
    if own := [name for name in names if name in SEGMENT_COLUMNS and name != "id"]:
        yield (
            f"Segment has columns of its own named {_list_names(own)}: it discards the properties, "
            "or adds a leading underscore (its documentation says both)."
        )
    if system := [name for name in names if name in SYSTEM_COLUMNS]:
        yield f"Postgres and Redshift reject the names of system columns: {_list_names(system)}."


def _describe_renamed(names: Collection[str]) -> Iterator[str]:
    """Yield the reasons why a column has another name."""
    if digits := [f"_{name}" for name in names if begins_with_digit(name)]:
        yield f"A name that begins with a digit gets a leading underscore: {_list_names(digits)}."
    if reserved := [f"_{name}" for name in names if name in REDSHIFT_RESERVED_WORDS]:
        yield f"On Redshift, a reserved word gets a leading underscore: {_list_names(reserved)}."
    if ansi := [name for name in names if name in SNOWFLAKE_RESERVED_WORDS]:
        yield f"A sync to Snowflake may fail at ANSI's reserved words: {_list_names(ansi)}."


def _describe_long(names: Collection[str]) -> Iterator[str]:
    """Yield what a warehouse does with long names."""
    for warehouse, size in _NAME_LIMITS:
        if long := [name for name in names if len(name) > size]:
            merged = ", some to the same one" if has_equal_prefixes(names, size) else ""
            shown = _list_names([f"{name[:size]}…" for name in long])
            yield f"{warehouse} truncates names to {size} bytes{merged}: {shown}."
    if any(len(name) > limits.POSTGRES_NAME_BYTES for name in names):
        yield "With flattening_enabled, flattening_max_key_length shortens such names."


def _list_names(names: Sequence[str]) -> str:
    shown = ", ".join(dict.fromkeys(names[:_MAX_SHOWN_NAMES]))
    hidden = len(names) - _MAX_SHOWN_NAMES
    return f"{shown} and {hidden:,} more" if hidden > 0 else shown
