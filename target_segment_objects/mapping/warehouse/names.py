"""The names of columns and tables in a warehouse, where they differ from what is sent. Pure.

Segment documents most rules on its page on Redshift:

1. A name that begins with a digit gets a leading underscore.
2. So does one of Redshift's reserved words.
3. A property with the name of a column of Segment's own is discarded ("Warehouse Schemas"). The
   page on Redshift says that it gets a leading underscore.

>>> to_column_name("2fa"), to_column_name("group"), to_column_name("uuid_ts")
('_2fa', '_group', None)

What is sent never depends on these rules. The names here are in snake case, so they are ASCII.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from target_segment_objects.reserved_names import REDSHIFT_RESERVED_WORDS, SEGMENT_COLUMNS

if TYPE_CHECKING:
    from collections.abc import Iterable


def to_column_name(name: str) -> str | None:
    """Return the column of a property; None if Segment discards the property.

    The column `id` holds the object's id, whatever the property `id` is.
    """
    return None if name in SEGMENT_COLUMNS else to_table_name(name)


def to_table_name(collection: str) -> str:
    """Return the table of a collection."""
    return f"_{collection}" if needs_underscore(collection) else collection


def needs_underscore(name: str) -> bool:
    """Return whether a name is stored with a leading underscore."""
    return begins_with_digit(name) or name in REDSHIFT_RESERVED_WORDS


def begins_with_digit(name: str) -> bool:
    """Return whether the first character of a name is a digit."""
    return name[:1].isdigit()


def has_equal_prefixes(names: Iterable[str], size: int) -> bool:
    """Return whether several different names are equal in their first bytes."""
    names = set(names)
    return len({name[:size] for name in names}) < len(names)
