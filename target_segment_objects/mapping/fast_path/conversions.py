"""Validate and convert the values of a column.

What cannot be converted, or is not valid, is left to the slow path: the row is added to a set of
rows, and its value in the column that is returned has no meaning.
"""

from __future__ import annotations

import re
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
    from collections.abc import Callable
    from target_segment_objects.mapping.fast_path.columns import Column
    from target_segment_objects.mapping.fast_path.record_types import (
        JsonText,
        RecordFields,
        ValuesCheck,
    )

Conversion: TypeAlias = "Callable[[list[Column], set[int]], None]"
"""Converts columns in place, and adds the rows that are left to the slow path to the set."""

_PLAIN_INTEGER: Final = re.compile(rb"-?[0-9]{1,300}")  # more digits may not fit a 64-bit float
_PLAIN_DECIMAL: Final = re.compile(rb"-?[0-9]{1,300}\.[0-9]{1,300}")
_PLAIN_INTEGERS: Final = re.compile(rb"(?:0|-?[1-9][0-9]{0,299})(?:,(?:0|-?[1-9][0-9]{0,299}))*")
_PLAIN_DECIMALS: Final = re.compile(rb"%b(?:,%b)*" % ((_PLAIN_DECIMAL.pattern,) * 2))
_PLAIN_DECIMALS_OR_NULLS: Final = re.compile(
    rb"(?:null|%b)(?:,(?:null|%b))*" % ((_PLAIN_DECIMAL.pattern,) * 2)
)

_UNCHANGED_TYPES: Final = frozenset({str, type(None), UnsetType})
"""The types of values that are sent as they are: strings, and nothing."""

_decode: Final = msgspec.json.Decoder(float_hook=Decimal).decode


def compile_conversion(fields: RecordFields, *, send_nulls: bool) -> Conversion:
    """Compile what validates and converts the columns of a stream's records."""

    def convert_columns(columns: list[Column], unsupported: set[int]) -> None:
        for position, are_valid in fields.checks:
            _check_values(columns[position], are_valid, unsupported)
        for position, is_nullable in fields.numbers:
            columns[position] = _convert_numbers(
                columns[position], unsupported, is_nullable=is_nullable, send_nulls=send_nulls
            )
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


def _convert_numbers(
    column: Column, unsupported: set[int], *, is_nullable: bool, send_nulls: bool
) -> Column:
    """Return numbers as they are sent: copied, with a point if they have none.

    One with an exponent, and "-0", is left to the slow path.
    """
    plain = _PLAIN_DECIMALS_OR_NULLS if is_nullable and send_nulls else _PLAIN_DECIMALS
    # One match for all numbers: rarely does one need more than to be copied.
    try:
        joined = b",".join(column)
        if _PLAIN_INTEGERS.fullmatch(joined):
            return [*map(Raw, (joined.replace(b",", b".0,") + b".0").split(b","))]
    except TypeError:  # some are absent, or belong to an object that is null
        joined = b",".join([value for value in column if type(value) is Raw])
    if not joined or plain.fullmatch(joined):
        return column
    converted = []
    for row, value in enumerate(column):
        number = _convert_number(value, is_nullable=is_nullable)
        if number is NotImplemented:
            unsupported.add(row)
        converted.append(number)
    return converted


def _convert_number(value: Any, *, is_nullable: bool) -> Any:  # noqa: ANN401 - Raw, None, UNSET
    """Return a number as it is sent; NotImplemented for one that is left to the slow path."""
    if type(value) is not Raw:  # it, or an object around it, is null or absent
        return value
    raw = bytes(value)
    if _PLAIN_DECIMAL.fullmatch(raw):
        return value
    if raw == b"null" and is_nullable:
        return None
    if _PLAIN_INTEGER.fullmatch(raw) and raw != b"-0":
        return Raw(raw + b".0")
    return NotImplemented


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
    if others:
        try:
            texts = iter(encode_json_texts(others))
        except ENCODING_ERRORS:  # nested too deeply
            unsupported.update(range(len(column)))
            return column
        column = [value if type(value) in _UNCHANGED_TYPES else next(texts) for value in column]
    if max(map(len, select_present(column)), default=0) > text.max_characters:
        unsupported.update(
            row
            for row, value in enumerate(column)
            if type(value) is str and len(value) > text.max_characters
        )
    return column
