"""A value as the tap gave it → a value as Segment gets it, one converter for each kind. Pure.

A converter takes any value but None and returns what the JSON encoder writes as it should stand:
strings, booleans, integers, or `msgspec.Raw` where the digits themselves matter. It returns None
for NaN and the infinities, which JSON does not have, and raises `ValueError` with a reason for a
number that no reader of JSON could hold.

A value that is not of its property's kind (records are not validated, or a stream map made it) goes
out by its own type: that is nearer to what was meant than to lose it.
"""

from __future__ import annotations

import datetime
import math
import re
import sys
from decimal import Decimal
from typing import TYPE_CHECKING, Any, Final, TypeAlias

import msgspec

from target_segment_objects.mapping.schema import PropertyType

if TYPE_CHECKING:
    from collections.abc import Callable

Scalar: TypeAlias = "str | int | bool | msgspec.Raw | None"

_DATE_CHARACTERS: Final = 10  # 2024-01-31
_TIME_AFTER_SPACE: Final = re.compile(r"\d{4}-\d\d-\d\d \d\d:", re.ASCII)
_FLOAT_EXPONENT: Final = 308  # the largest 64-bit float is 1.8e308
_WRITTEN_IN_FULL: Final = 307  # an id's number with more digits than that is written with an E


class NonFinite(float):
    """NaN or an infinity as a tap wrote it, to be told from the floats that msgspec writes."""


def _other(value: object) -> str | None:
    return None if isinstance(value, NonFinite) else str(value)


ENCODER: Final = msgspec.json.Encoder(enc_hook=_other, decimal_format="number")
"""Writes compact JSON, decimals with the digits that they have, NaN as null."""

_SORTED_ENCODER: Final = msgspec.json.Encoder(
    enc_hook=_other, decimal_format="number", order="sorted"
)


def is_finite(value: float | Decimal) -> bool:
    """Return whether a number is neither NaN nor an infinity (`math` takes 1E400 for one)."""
    return value.is_finite() if isinstance(value, Decimal) else math.isfinite(value)


def has_non_finite(value: object) -> bool:
    """Return whether there is NaN or an infinity anywhere in a value."""
    if isinstance(value, dict):
        return any(map(has_non_finite, value.values()))
    if isinstance(value, (list, tuple)):
        return any(map(has_non_finite, value))
    return isinstance(value, (float, Decimal)) and not is_finite(value)


def to_json(value: object) -> str:
    """Return a value as compact JSON."""
    return ENCODER.encode(value).decode()


def to_canonical_json(value: object) -> bytes:
    """Return a value as compact JSON with its keys sorted: the same for the same value."""
    return _SORTED_ENCODER.encode(value)


def to_id_string(value: object) -> str:
    """Return a key's value as the text of an id.

    Strings stay as they are. Numbers are written in full and without zeros that say nothing, so
    that numbers which are equal are one id: `10` and `10.0` are `10`.
    """
    if isinstance(value, str):
        return value
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, float):
        value = Decimal(repr(value))
    if isinstance(value, (int, Decimal)):
        return _number_id(value)
    if isinstance(value, (dict, list)):
        return to_canonical_json(value).decode()
    return to_text(value) or ""


def _number_id(value: int | Decimal) -> str:
    if isinstance(value, int) and value.bit_length() <= _FLOAT_EXPONENT:
        return str(value)
    sign, digits, exponent = Decimal(value).as_tuple()
    if not any(digits) or not isinstance(exponent, int):
        return "0"
    significant = "".join(map(str, digits)).rstrip("0")
    exponent += len(digits) - len(significant)
    text = f"{'-' * sign}{significant}E{exponent}"
    decimal = Decimal(text)
    return f"{decimal:f}" if abs(decimal.adjusted()) <= _WRITTEN_IN_FULL else text


def to_text(value: object) -> str | None:
    """Write any value as text: strings as they are, the rest as JSON."""
    if isinstance(value, str):
        return value
    if isinstance(value, (float, Decimal)) and not is_finite(value):
        return None
    if isinstance(value, (datetime.date, datetime.time)):  # only stream maps make these
        return value.isoformat()
    if isinstance(value, (bool, int, float, Decimal, dict, list, tuple)):
        return to_json(value)
    return str(value)


def to_timestamp(value: object) -> Scalar:
    """Write a date or a date and time as it is, but for a space in place of the `T`."""
    if not isinstance(value, str):
        return to_text(value)
    if value[_DATE_CHARACTERS : _DATE_CHARACTERS + 1] == " " and _TIME_AFTER_SPACE.match(value):
        return f"{value[:_DATE_CHARACTERS]}T{value[_DATE_CHARACTERS + 1 :]}"
    return value


def to_integer(value: object) -> Scalar:
    """Write a whole number without a decimal point, at any size."""
    if isinstance(value, (float, Decimal)) and is_finite(value):
        decimal = Decimal(value)
        if _is_in_range(decimal) and decimal == decimal.to_integral_value():
            value = int(decimal)
    return _as_it_is(value)


def to_number(value: object) -> Scalar:
    """Write a number with a decimal point, with the digits that the tap wrote."""
    if isinstance(value, bool) or not isinstance(value, (int, float, Decimal)):
        return _as_it_is(value)
    plain = _as_it_is(value)
    if plain is None or isinstance(plain, msgspec.Raw):
        return plain
    return msgspec.Raw(b"%d.0" % value)


def _as_it_is(value: object) -> Scalar:
    """Write a value by its own type."""
    if isinstance(value, (bool, str)):
        return value
    if isinstance(value, int):
        if value.bit_length() >= sys.float_info.max_exp and not _is_in_range(Decimal(value)):
            raise ValueError(_TOO_LARGE)
        return value
    if isinstance(value, (float, Decimal)):
        return _with_point(value) if is_finite(value) else None
    return to_text(value)


def _with_point(value: float | Decimal) -> msgspec.Raw:
    decimal = value if isinstance(value, Decimal) else Decimal(repr(value))
    if not _is_in_range(decimal):
        raise ValueError(_TOO_LARGE)
    text = str(decimal)
    if "E-" in text and decimal.adjusted() >= -_WRITTEN_IN_FULL:
        text = f"{decimal:f}"  # Python would make 1E-7 of a tap's 0.0000001
    digits, exponent, power = text.partition("E")
    point = "" if "." in digits else ".0"
    return msgspec.Raw(f"{digits}{point}{exponent}{power}".encode())


def _is_in_range(decimal: Decimal) -> bool:
    """Return whether a number is, rounded, a 64-bit float."""
    exponent = decimal.adjusted()
    return exponent < _FLOAT_EXPONENT or (
        exponent == _FLOAT_EXPONENT and math.isfinite(float(decimal))
    )


_TOO_LARGE: Final = "a number beyond the range of a 64-bit float"

CONVERTERS: Final[dict[PropertyType, Callable[[Any], Scalar]]] = {
    PropertyType.STRING: to_text,
    PropertyType.TIMESTAMP: to_timestamp,
    PropertyType.INTEGER: to_integer,
    PropertyType.NUMBER: to_number,
    PropertyType.BOOLEAN: _as_it_is,
}
