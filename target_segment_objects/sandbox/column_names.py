"""The names of a warehouse's tables and columns, as Segment's pages describe them. Pure.

They are in Segment's snake case. A leading digit and a reserved word get a leading underscore, as
on Redshift. A property has no column of its own where Segment has one of that name.

In ASCII text, a word is a run of capitals and digits followed by a run of small letters and digits.
Every other character separates words, also one outside ASCII. Words are lowercased and joined by
one underscore.
"""

from __future__ import annotations

from enum import IntEnum
from functools import lru_cache
from string import ascii_lowercase, ascii_uppercase, digits

from target_segment_objects import reserved_names
from target_segment_objects.limits import POSTGRES_NAME_BYTES, REDSHIFT_NAME_BYTES


class _Position(IntEnum):
    """Where the last character stood; ordered as a word passes through them."""

    SEPARATOR = 0
    CAPITALS = 1
    SMALL_LETTERS = 2


@lru_cache(maxsize=4096)
def snake_case(name: str) -> str:
    """Convert the name of a property.

    Examples from the tests of Segment's go-snakecase:

    >>> snake_case("sampleText")
    'sample_text'
    >>> snake_case("CStringRef")
    'cstring_ref'
    >>> snake_case("FOO:BAR$BAZ")
    'foo_bar_baz'
    >>> snake_case("THE5r")
    'the5r'
    >>> snake_case("edf_6N")
    'edf_6n'
    >>> snake_case("Enabled 2FA")
    'enabled_2fa'
    >>> snake_case("___$$Base64Encode")
    'base64_encode'
    >>> snake_case("lk0B@bFmjrLQ_Z6YL")
    'lk0_b_b_fmjr_lq_z6yl'

    Characters outside ASCII, and a name without any word:

    >>> snake_case("caféBar")
    'caf_bar'
    >>> snake_case("_日本_")
    ''
    """
    words: list[str] = []
    last = _Position.SEPARATOR
    for character in name:
        if character in ascii_uppercase:
            starts_word, last = last is not _Position.CAPITALS, _Position.CAPITALS
        elif character in digits:
            starts_word, last = last is _Position.SEPARATOR, max(last, _Position.CAPITALS)
        elif character in ascii_lowercase:
            starts_word, last = last is _Position.SEPARATOR, _Position.SMALL_LETTERS
        else:
            last = _Position.SEPARATOR
            continue
        if starts_word:
            words.append("")
        words[-1] += character.lower()
    return "_".join(words)


def column_name(name: str) -> str:
    """Return the column of a property. One in `SEGMENT_COLUMNS` is not the property's own.

    >>> column_name("First Name"), column_name("2fa"), column_name("Group")
    ('first_name', '_2fa', '_group')
    >>> column_name("receivedAt")
    'received_at'
    """
    return table_name(snake_case(name))


def table_name(collection: str) -> str:
    """Return the table of a collection.

    >>> table_name("orders"), table_name("order")
    ('orders', '_order')
    """
    is_reserved = collection in reserved_names.REDSHIFT_RESERVED_WORDS
    return f"_{collection}" if is_reserved or collection[:1] in set(digits) else collection


def collection_name(table: str) -> str:
    """Return the collection of a table. No collection begins with an underscore.

    >>> collection_name("_order")
    'order'
    """
    return table.removeprefix("_")


def describe_name(name: str) -> str:
    """Return what is special about the name of a table or column; empty if nothing is.

    >>> describe_name("orders")
    ''
    >>> describe_name("_2fa")
    'sent as 2fa: a name cannot begin with a digit'
    """
    sent = name.removeprefix("_")
    remarks = []
    if name != sent:
        is_number = sent[:1] in set(digits)
        reason = "a name cannot begin with a digit" if is_number else "a reserved word of Redshift"
        remarks.append(f"sent as {sent}: {reason}")
    if sent in reserved_names.SNOWFLAKE_RESERVED_WORDS:
        remarks.append("a reserved word of Snowflake: a sync may fail")
    if name in reserved_names.SYSTEM_COLUMNS:
        remarks.append("a system column of Postgres and Redshift: a sync fails")
    for warehouse, size in (("Postgres", POSTGRES_NAME_BYTES), ("Redshift", REDSHIFT_NAME_BYTES)):
        if len(name) > size:
            remarks.append(f"more than {size} bytes: {warehouse} truncates the name")
    return "; ".join(remarks)
