"""Convert the values of a column to the type of its property, and check them.

What is done for a whole column takes a fraction of the time of doing it value by value. A value
that needs more than that is odd: its row is added to a set, and its value in the column that is
returned has no meaning. The caller converts it by itself, with `values`. What is compiled is shared
by all streams.
"""

from __future__ import annotations

import functools
from decimal import Decimal
from types import NoneType
from typing import TYPE_CHECKING, Any, Final, TypeAlias

import msgspec
from msgspec import UNSET, Raw, UnsetType

from target_segment_objects import limits
from target_segment_objects.mapping.columns import select_present
from target_segment_objects.mapping.json_lines import decode_json
from target_segment_objects.mapping.schema import PropertyType
from target_segment_objects.mapping.values import (
    ENCODER,
    ENCODING_ERRORS,
    INT64_RANGE,
    MAX_UTF8_BYTES,
    encode_json_texts,
    has_non_finite,
    to_timestamp,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from target_segment_objects.mapping.columns import Column
    from target_segment_objects.mapping.record_types import ValuesCheck

ColumnConversion: TypeAlias = "Callable[[Column, set[int]], Column]"
"""Returns the converted column, and adds the rows of odd values to the set."""

_MAX_NUMBER_BYTES: Final = 300  # a longer number may not fit a 64-bit float
_DIGITS: Final = b"0123456789"
_NUMBER_STARTS: Final = b"-0123456789"

_ABSENT: Final[frozenset[type]] = frozenset({NoneType, UnsetType})
_BOOLEANS: Final[frozenset[type]] = _ABSENT | {bool}
_INTEGERS: Final[frozenset[type]] = _ABSENT | {int}
_NUMBERS: Final[frozenset[type]] = _ABSENT | {int, Decimal}
_STRINGS: Final[frozenset[type]] = _ABSENT | {str}
_TEXTS: Final[frozenset[type]] = _STRINGS | {dict, list, int, bool, Decimal, float}

_decode: Final = msgspec.json.Decoder(float_hook=Decimal).decode


# Validation of what no msgspec type expresses


def check_values(column: Column, are_valid: ValuesCheck, invalid: set[int]) -> None:
    """Add the rows of invalid values to a set.

    Where null is not allowed, it stands for an object around the value.
    """
    try:
        if are_valid(_decode_values(select_present(column))):
            return
    except (ValueError, ArithmeticError):  # jsonschema-rs or Decimal cannot read a value
        pass
    for row, value in enumerate(column):
        if value is not None and value is not UNSET and not _is_valid(value, are_valid):
            invalid.add(row)


def _is_valid(value: object, are_valid: ValuesCheck) -> bool:
    try:
        return are_valid(_decode_values([value]))
    except (ValueError, ArithmeticError):
        return False


def _decode_values(values: list[Any]) -> list[Any]:
    """Return values as they are validated: numbers decoded, those that are null left out."""
    if not values or type(values[0]) is not Raw:
        return values
    return [number for number in _decode(b"[%b]" % b",".join(values)) if number is not None]


def decode_value(value: Any) -> Any:  # noqa: ANN401 - of any type
    """Return a value of a column as it is in a decoded record."""
    return decode_json(bytes(value)) if type(value) is Raw else value


def is_number(value: object) -> bool:
    """Return whether a value of a column of numbers is one."""
    return type(value) is Raw and bytes(value)[:1] in _NUMBER_STARTS


# Conversion


@functools.cache
def compile_conversion(
    property_type: PropertyType, *, send_nulls: bool, max_length: int | None
) -> ColumnConversion:
    """Return what converts a column of decoded values of any type.

    Args:
        property_type: The type of the property.
        send_nulls: Whether nulls are sent.
        max_length: The most characters of a string that is not odd; None for the API's limit alone.
    """
    if property_type is PropertyType.NUMBER:
        convert = compile_number_conversion(is_nullable=False, send_nulls=send_nulls)
        return lambda column, odd: convert(_encode_numbers(column, odd), odd)
    if property_type is PropertyType.INTEGER:
        return _convert_integers
    if property_type is PropertyType.BOOLEAN:
        return lambda column, odd: _set_aside(column, _BOOLEANS, odd)
    check_lengths = compile_length_check(max_length)
    if property_type is PropertyType.TIMESTAMP:
        return lambda column, odd: convert_timestamps(
            check_lengths(_set_aside(column, _STRINGS, odd), odd), odd
        )
    convert_texts = compile_text_conversion(max_length)
    return lambda column, odd: convert_texts(_set_aside(column, _TEXTS, odd), odd)


@functools.cache
def compile_length_check(max_length: int | None) -> ColumnConversion:
    """Return what finds the strings of a column that are too long.

    Args:
        max_length: The most characters of a string that is not odd; None for the API's limit alone.
    """
    longest = max_length or limits.VALUE_BYTES_LIMIT // MAX_UTF8_BYTES - 1

    def check_lengths(column: Column, odd: set[int]) -> Column:
        if max(map(len, filter(None, column)), default=0) <= longest:
            return column
        odd.update(
            row
            for row, value in enumerate(column)
            if type(value) is str
            and len(value) > longest
            and (max_length is not None or _is_too_large(value))
        )
        return column

    return check_lengths


def _keep_column(column: Column, _: set[int]) -> Column:
    return column


def is_oversized(value: object) -> bool:
    """Return whether a value is a string that Segment does not accept."""
    return type(value) is str and _is_too_large(value)


def _is_too_large(text: str) -> bool:
    """Return whether a string has as many bytes as no value may have, or cannot be encoded."""
    try:
        size = len(text) if text.isascii() else len(text.encode())
    except UnicodeEncodeError:
        return True
    return size >= limits.VALUE_BYTES_LIMIT


@functools.cache
def compile_number_conversion(*, is_nullable: bool, send_nulls: bool) -> ColumnConversion:
    """Return what converts numbers that were not decoded: copied, with a point if they have none.

    Any other JSON is odd, and so is a number with an exponent, "-0", which would lose its sign, and
    a very long one.

    Args:
        is_nullable: Whether a null that was not decoded is allowed.
        send_nulls: Whether nulls are sent.
    """
    plain_characters = b"-.,nul" if is_nullable else b"-.,"  # besides digits, of valid JSON
    null = Raw(b"null") if send_nulls else None

    def are_plain(values: Sequence[Raw], joined: bytes) -> bool:
        return (
            not joined.translate(None, _DIGITS).translate(None, plain_characters)
            and max(map(len, values)) <= _MAX_NUMBER_BYTES
            and b"-0," not in joined
            and not joined.endswith(b"-0")
        )

    def convert_numbers(column: Column, odd: set[int]) -> Column:
        present, joined = join_numbers(column)
        if present and not are_plain(present, joined):
            rows = {
                row
                for row, value in enumerate(column)
                if type(value) is Raw and not are_plain([value], bytes(value))
            }
            odd |= rows
            column = [None if row in rows else value for row, value in enumerate(column)]
            present, joined = join_numbers(column)
        points, nulls = joined.count(b"."), joined.count(b"null")
        if points + (nulls if send_nulls else 0) == len(present):
            return column
        if points or nulls:
            numbers = [
                value if b"." in digits else null if digits == b"null" else Raw(digits + b".0")
                for value, digits in zip(present, joined.split(b","), strict=True)
            ]
        else:
            numbers = [*map(Raw, (joined.replace(b",", b".0,") + b".0").split(b","))]
        if present is column:
            return numbers
        rest = iter(numbers)
        return [next(rest) if type(value) is Raw else value for value in column]

    return convert_numbers


def join_numbers(column: Column) -> tuple[Column, bytes]:
    """Return the numbers of a column that were not decoded, and their JSON with commas between."""
    try:
        return column, b",".join(column)
    except TypeError:  # some are absent, or belong to an object that is null
        present = [value for value in column if type(value) is Raw]
        return present, b",".join(present)


def _encode_numbers(column: Column, odd: set[int]) -> Column:
    """Return decoded numbers as their JSON."""
    column = _set_aside(column, _NUMBERS, odd)
    present = select_present(column)
    try:
        numbers = [*map(Raw, ENCODER.encode(present)[1:-1].split(b","))] if present else []
    except ENCODING_ERRORS:  # a decimal of a stream map that is not finite
        odd.update(row for row, value in enumerate(column) if type(value) not in _ABSENT)
        return [UNSET] * len(column)
    if len(numbers) == len(column):
        return numbers
    rest = iter(numbers)
    return [value if type(value) in _ABSENT else next(rest) for value in column]


def _convert_integers(column: Column, odd: set[int]) -> Column:
    column = _set_aside(column, _INTEGERS, odd)
    lowest, highest = INT64_RANGE
    integers = select_present(column)
    if integers and not (lowest <= min(integers) and max(integers) <= highest):
        odd.update(
            row
            for row, value in enumerate(column)
            if type(value) is int and not lowest <= value <= highest
        )
    return column


def convert_timestamps(column: Column, _: set[int]) -> Column:
    """Return dates and timestamps, all of them strings, with a `T` between date and time."""
    try:
        is_plain = " " not in "".join(filter(None, column))
    except TypeError:  # some are absent
        is_plain = False
    if is_plain:
        return column
    return [
        to_timestamp(value) if type(value) is str and " " in value else value for value in column
    ]


@functools.cache
def compile_text_conversion(
    max_length: int | None, *, is_finite: bool = False, is_limited: bool = True
) -> ColumnConversion:
    """Return what writes as JSON text what is not a string.

    Args:
        max_length: The most characters of a string that is not odd; None for the API's limit alone.
        is_finite: Whether no value has NaN or an infinity in it.
        is_limited: Whether the length of a string matters here.
    """
    check_lengths = compile_length_check(max_length) if is_limited else _keep_column

    def convert_texts(column: Column, odd: set[int]) -> Column:
        if _STRINGS.issuperset(map(type, column)):
            return check_lengths(column, odd)
        others = [value for value in column if type(value) not in _STRINGS]
        try:
            texts = encode_json_texts(others)
        except ENCODING_ERRORS:  # nested too deeply, or not to be encoded
            return check_lengths(_set_aside(column, _STRINGS, odd), odd)
        converted: Column = texts
        if len(texts) < len(column):
            rest = iter(texts)
            converted = [value if type(value) in _STRINGS else next(rest) for value in column]
        if not is_finite and any("null" in text for text in texts):
            odd.update(
                row
                for row, value in enumerate(column)
                if type(value) not in _STRINGS and has_non_finite(value)
            )
        return check_lengths(converted, odd)

    return convert_texts


def _set_aside(column: Column, types: frozenset[type], odd: set[int]) -> Column:
    """Return a column in which what has another type than these is absent, and odd."""
    if types.issuperset(map(type, column)):
        return column
    odd.update(row for row, value in enumerate(column) if type(value) not in types)
    return [value if type(value) in types else UNSET for value in column]
