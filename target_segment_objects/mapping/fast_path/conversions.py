"""Flatten, validate and convert the values of a record, in place.

A conversion returns whether it was possible. What was not is left to the slow path.
"""

from __future__ import annotations

import re
from decimal import Decimal
from operator import itemgetter
from typing import TYPE_CHECKING, Any, Final

import msgspec
from msgspec import UNSET, Raw
from msgspec.structs import astuple

from target_segment_objects.mapping.values import ENCODER, to_timestamp

if TYPE_CHECKING:
    from collections.abc import Callable

    from target_segment_objects.mapping.fast_path.record_types import (
        JsonText,
        NestedFields,
        RecordFields,
        ValueCheck,
    )

_PLAIN_INTEGER: Final = re.compile(rb"-?[0-9]{1,300}")  # more digits may not fit a 64-bit float
_PLAIN_DECIMAL: Final = re.compile(rb"-?[0-9]{1,300}\.[0-9]{1,300}")
_PLAIN_DECIMALS: Final = re.compile(rb"%b(?:,%b)*" % ((_PLAIN_DECIMAL.pattern,) * 2))
_PLAIN_DECIMALS_OR_NULLS: Final = re.compile(
    rb"(?:null|%b)(?:,(?:null|%b))*" % ((_PLAIN_DECIMAL.pattern,) * 2)
)
_TINY_DECIMAL: Final = re.compile(rb"-?0\.0{6}")
"""The canonical JSON of a record without keys writes such a number with an exponent."""

_decode_number = msgspec.json.Decoder(float_hook=Decimal).decode


def flatten_values(values: list[Any], nested: NestedFields) -> None:
    """Replace nested structs by their values; those of an absent one are absent."""
    for position, nulls, inner in nested:  # the last first, so that positions stay correct
        value = values[position]
        if value is None:
            values[position : position + 1] = nulls
        elif value is UNSET:
            values[position : position + 1] = [UNSET] * len(nulls)
        elif inner:
            flat = [*astuple(value)]
            flatten_values(flat, inner)
            values[position : position + 1] = flat
        else:
            values[position : position + 1] = astuple(value)


def compile_conversion(fields: RecordFields, *, send_nulls: bool) -> Callable[[list[Any]], bool]:
    """Compile what validates and converts the values of a stream's records."""
    checks, json_texts = fields.checks, fields.json_texts
    numbers, timestamps = fields.numbers, fields.timestamps
    pick_numbers: Callable[[Any], Any] = (
        itemgetter(*(position for position, _ in numbers)) if numbers else tuple
    )
    has_one_number = len(numbers) == 1
    nulls_pass = send_nulls and all(is_nullable for _, is_nullable in numbers)
    match_plain = (_PLAIN_DECIMALS_OR_NULLS if nulls_pass else _PLAIN_DECIMALS).fullmatch

    def convert_values(values: list[Any]) -> bool:
        if checks and not _are_valid(values, checks):
            return False
        if numbers:
            try:
                # One match for all numbers: rarely does one need more than to be copied.
                digits = pick_numbers(values) if has_one_number else b",".join(pick_numbers(values))
                has_plain = match_plain(digits)
            except TypeError:  # some are absent, or belong to an object that is null
                has_plain = None
            if not has_plain and not _convert_numbers(values, numbers):
                return False
        for position in timestamps:
            value = values[position]
            if value and " " in value:
                values[position] = to_timestamp(value)
        return not json_texts or _convert_json_texts(values, json_texts)

    return convert_values


def _are_valid(values: list[Any], checks: list[tuple[int, ValueCheck]]) -> bool:
    """Return whether values are valid by what no type expresses."""
    try:
        for position, is_valid in checks:
            value = values[position]
            if type(value) is Raw:
                value = _decode_number(value)
            # Where null is not allowed, it stands for an object around the value.
            if value is not None and value is not UNSET and not is_valid(value):
                return False
    except (ValueError, ArithmeticError):  # jsonschema-rs or Decimal cannot read the value
        return False
    return True


def _convert_numbers(values: list[Any], numbers: list[tuple[int, bool]]) -> bool:
    """Convert numbers one by one.

    A number is copied, with a point if it has none. One with an exponent, and "-0", is left to the
    slow path.
    """
    for position, is_nullable in numbers:
        value = values[position]
        if type(value) is not Raw:  # it, or an object around it, is null or absent
            continue
        raw = bytes(value)
        if _PLAIN_DECIMAL.fullmatch(raw):
            continue
        if raw == b"null" and is_nullable:
            values[position] = None
        elif _PLAIN_INTEGER.fullmatch(raw) and raw != b"-0":
            values[position] = Raw(raw + b".0")
        else:
            return False
    return True


def has_tiny_number(values: list[Any], numbers: list[tuple[int, bool]]) -> bool:
    """Return whether a number is so small that its canonical JSON has an exponent."""
    return any(
        type(value := values[position]) is Raw and _TINY_DECIMAL.match(value) is not None
        for position, _ in numbers
    )


def _convert_json_texts(values: list[Any], json_texts: list[JsonText]) -> bool:
    """Convert to JSON text what is not a string, and check that all are valid and short enough.

    A null may stand for an object around the value. The slow path decides where that matters.
    """
    try:
        for position, is_nullable, is_valid, max_characters in json_texts:
            value = values[position]
            if value is UNSET or (value is None and is_nullable):
                continue
            if value is None or not (is_valid is None or is_valid(value)):
                return False
            text = value if type(value) is str else ENCODER.encode(value).decode()
            if len(text) > max_characters:
                return False
            values[position] = text
    except ValueError:  # jsonschema-rs cannot read a value
        return False
    return True
