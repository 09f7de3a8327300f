"""Validate and convert the values of a column.

What cannot be converted, or is not valid, is left to the slow path: the row is added to a set of
rows, and its value in the column that is returned has no meaning.
"""

from __future__ import annotations

from decimal import Decimal
from typing import TYPE_CHECKING, Any, Final, TypeAlias

import msgspec
from msgspec import UNSET, Raw, UnsetType

from target_segment_objects.mapping.fast_path.columns import select_present
from target_segment_objects.mapping.values import (
    ENCODING_ERRORS,
    encode_json_texts,
    to_timestamp,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from target_segment_objects.mapping.fast_path.columns import Column
    from target_segment_objects.mapping.fast_path.record_types import (
        JsonText,
        RecordFields,
        ValuesCheck,
    )

ColumnConversion: TypeAlias = "Callable[[Column, set[int]], Column]"
"""Returns the converted column, and adds the rows that are left to the slow path to the set."""

Conversion: TypeAlias = "Callable[[list[Column], set[int]], None]"
"""Converts columns in place, and adds the rows that are left to the slow path to the set."""

_MAX_NUMBER_BYTES: Final = 300  # a longer number may not fit a 64-bit float
_DIGITS: Final = b"0123456789"

_UNCHANGED_TYPES: Final = frozenset({str, type(None), UnsetType})
"""The types of values that are sent as they are: strings, and nothing."""

_decode: Final = msgspec.json.Decoder(float_hook=Decimal).decode


def compile_conversion(fields: RecordFields, *, send_nulls: bool) -> Conversion:
    """Compile what validates and converts the columns of a stream's records."""
    numbers = [
        (position, _compile_number_conversion(is_nullable=is_nullable, send_nulls=send_nulls))
        for position, is_nullable in fields.numbers
    ]

    def convert_columns(columns: list[Column], unsupported: set[int]) -> None:
        for position, are_valid in fields.checks:
            _check_values(columns[position], are_valid, unsupported)
        for position, convert_numbers in numbers:
            columns[position] = convert_numbers(columns[position], unsupported)
        for position in fields.timestamps:
            columns[position] = _convert_timestamps(columns[position])
        for text in fields.json_texts:
            columns[text.position] = _convert_to_json(columns[text.position], text, unsupported)

    return convert_columns


# Validation


def _check_values(column: Column, are_valid: ValuesCheck, unsupported: set[int]) -> None:
    """Check what no type expresses.

    Where null is not allowed, it stands for an object around the value.
    """
    try:
        if are_valid(_decode_values(select_present(column))):
            return
    except (ValueError, ArithmeticError):  # jsonschema-rs or Decimal cannot read a value
        pass
    for row, value in enumerate(column):
        if value is not None and value is not UNSET and not _is_valid(value, are_valid):
            unsupported.add(row)


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


# Conversion


def _compile_number_conversion(*, is_nullable: bool, send_nulls: bool) -> ColumnConversion:
    """Compile what returns numbers as they are sent: copied, with a point if they have none.

    Any other JSON is left to the slow path, and so is a number with an exponent, "-0", which would
    lose its sign, and a very long one.
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

    def convert_numbers(column: Column, unsupported: set[int]) -> Column:
        present, joined = _join_numbers(column)
        if present and not are_plain(present, joined):
            rows = {
                row
                for row, value in enumerate(column)
                if type(value) is Raw and not are_plain([value], bytes(value))
            }
            unsupported |= rows
            column = [None if row in rows else value for row, value in enumerate(column)]
            present, joined = _join_numbers(column)
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


def _join_numbers(column: Column) -> tuple[Column, bytes]:
    """Return the numbers of a column that are present, as they are and with commas between them."""
    try:
        return column, b",".join(column)
    except TypeError:  # some are absent, or belong to an object that is null
        present = [value for value in column if type(value) is Raw]
        return present, b",".join(present)


def _convert_timestamps(column: Column) -> Column:
    """Return dates and timestamps with a `T` between date and time."""
    try:
        is_plain = " " not in "".join(filter(None, column))
    except TypeError:  # some are absent
        is_plain = False
    if is_plain:
        return column
    return [
        to_timestamp(value) if type(value) is str and " " in value else value for value in column
    ]


def _convert_to_json(column: Column, text: JsonText, unsupported: set[int]) -> Column:
    """Return as JSON text what is not a string, and check that all are valid and short enough.

    A null may stand for an object around the value. The slow path decides where that matters.
    """
    if not text.is_nullable:
        unsupported.update(row for row, value in enumerate(column) if value is None)
    if text.are_valid is not None:
        _check_values(column, text.are_valid, unsupported)
    others = [value for value in column if type(value) not in _UNCHANGED_TYPES]
    try:
        texts = encode_json_texts(others)
    except ENCODING_ERRORS:  # nested too deeply
        unsupported.update(range(len(column)))
        return column
    if len(texts) == len(column):
        column = texts
    elif texts:
        rest = iter(texts)
        column = [value if type(value) in _UNCHANGED_TYPES else next(rest) for value in column]
    strings = column if column is texts else select_present(column)
    if max(map(len, strings), default=0) > text.max_characters:
        unsupported.update(
            row
            for row, value in enumerate(column)
            if type(value) is str and len(value) > text.max_characters
        )
    return column
