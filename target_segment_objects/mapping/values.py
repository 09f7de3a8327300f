"""Convert a value as the tap wrote it to the value that is sent. One converter per type. Pure.

A converter takes any value except None. It returns what the JSON encoder writes unchanged: a
string, a boolean, an integer, or `msgspec.Raw` where the digits matter. It returns None for NaN and
the infinities, which JSON does not have. It raises `ValueError`, with a reason, for a number that
does not fit a 64-bit float.

A value that does not have its property's type is converted, if `conversion` can do it without loss.
Else it is written by its own type. That happens only when records are not validated.
"""

from __future__ import annotations

import datetime
import math
import re
import sys
from decimal import Decimal
from typing import TYPE_CHECKING, Any, Final, TypeAlias

import msgspec

from target_segment_objects.mapping.conversion import LossyConversionError, convert_value
from target_segment_objects.mapping.schema import PropertyType

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

Scalar: TypeAlias = "str | int | bool | msgspec.Raw | None"

_DATE_LENGTH: Final = 10  # 2024-01-31
_SPACE_SEPARATED_TIMESTAMP: Final = re.compile(r"\d{4}-\d\d-\d\d \d\d:", re.ASCII)
_FLOAT64_EXPONENT: Final = 308  # the largest 64-bit float is 1.8e308
_MAX_PLAIN_EXPONENT: Final = 307  # a number with more digits is written with an exponent
_OUT_OF_RANGE: Final = "a number beyond the range of a 64-bit float"

MAX_UTF8_BYTES: Final = 4  # of one character
INT64_RANGE: Final = (-(2**63), 2**63 - 1)

ENCODING_ERRORS: Final = (ValueError, RecursionError)
"""What encoding a value can raise; a `UnicodeEncodeError` is a `ValueError`."""


DECODING_ERRORS: Final = (msgspec.DecodeError, UnicodeDecodeError, ArithmeticError, RecursionError)
"""What msgspec can raise where it decodes JSON, with `Decimal` for numbers with a fraction."""


class NonFinite(float):
    """NaN or an infinity that the tap wrote. msgspec writes other floats by itself."""


def _encode_unknown(value: object) -> str | None:
    return None if isinstance(value, NonFinite) else str(value)


ENCODER: Final = msgspec.json.Encoder(enc_hook=_encode_unknown, decimal_format="number")
"""Writes compact JSON: decimals with their own digits, NaN as null."""

_SORTED_ENCODER: Final = msgspec.json.Encoder(
    enc_hook=_encode_unknown, decimal_format="number", order="sorted"
)


def to_json(value: object) -> str:
    """Return a value as compact JSON."""
    return ENCODER.encode(value).decode()


def to_canonical_json(value: object) -> bytes:
    """Return a value as compact JSON with sorted keys: equal values give equal bytes."""
    return _SORTED_ENCODER.encode(value)


def encode_json_texts(values: Sequence[object]) -> list[str]:
    """Return each value as a string of compact JSON; faster than one by one."""
    return ENCODER.encode_lines(values).decode().split("\n")[:-1]


def can_encode(value: object) -> bool:
    """Return whether a value can be written as JSON."""
    try:
        ENCODER.encode(value)
    except ENCODING_ERRORS:
        return False
    return True


def explain_encoding_error(error: Exception) -> str:
    """Return the reason why a value cannot be written, without the value."""
    if isinstance(error, UnicodeEncodeError):
        return "an unpaired surrogate, which UTF-8 cannot encode"
    if isinstance(error, RecursionError):
        return "it is nested too deeply"
    return str(error)


def is_finite(value: float | Decimal) -> bool:
    """Return whether a number is neither NaN nor an infinity (`math` calls 1E400 infinite)."""
    if isinstance(value, int):  # one of 400 digits is too large for `math`
        return True
    return value.is_finite() if isinstance(value, Decimal) else math.isfinite(value)


def has_non_finite(value: object) -> bool:
    """Return whether a value is, or contains, NaN or an infinity."""
    pending = [value]
    while pending:  # not recursive: a value may be nested as deeply as can be read
        item = pending.pop()
        if isinstance(item, dict):
            pending += item.values()
        elif isinstance(item, (list, tuple)):
            pending += item
        elif isinstance(item, (float, Decimal)) and not is_finite(item):
            return True
    return False


def to_id_string(value: object) -> str:
    """Return a key's value as it stands in an object id.

    Strings are unchanged. Numbers are written in full and without redundant zeros, so that equal
    numbers give one id: `10` and `10.0` are both `10`.
    """
    if isinstance(value, str):
        return value
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, float):
        value = Decimal(repr(value))
    if isinstance(value, (int, Decimal)):
        return _format_id_number(value)
    if isinstance(value, (dict, list)):
        return to_canonical_json(value).decode()
    return to_text(value) or ""


def _format_id_number(value: int | Decimal) -> str:
    if isinstance(value, int) and value.bit_length() <= _FLOAT64_EXPONENT:
        return str(value)
    sign, digits, exponent = Decimal(value).as_tuple()
    if not any(digits) or not isinstance(exponent, int):
        return "0"
    significant = "".join(map(str, digits)).rstrip("0")
    exponent += len(digits) - len(significant)
    scientific = f"{'-' * sign}{significant}E{exponent}"
    number = Decimal(scientific)
    return f"{number:f}" if abs(number.adjusted()) <= _MAX_PLAIN_EXPONENT else scientific


def to_text(value: object) -> str | None:
    """Return any value as a string: a string unchanged, anything else as JSON."""
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
    """Return a date or a timestamp unchanged, except that a space becomes the `T`."""
    if not isinstance(value, str):
        return to_text(value)
    if value[_DATE_LENGTH : _DATE_LENGTH + 1] == " " and _SPACE_SEPARATED_TIMESTAMP.match(value):
        return f"{value[:_DATE_LENGTH]}T{value[_DATE_LENGTH + 1 :]}"
    return value


def to_integer(value: object) -> Scalar:
    """Return a whole number without a decimal point, whatever its size."""
    if type(value) is not int:
        value = _convert_if_exact(value, PropertyType.INTEGER)
    if isinstance(value, (float, Decimal)) and is_finite(value):
        decimal = Decimal(value)
        if _fits_float64(decimal) and decimal == decimal.to_integral_value():
            value = int(decimal)
    return _passthrough(value)


def to_number(value: object) -> Scalar:
    """Return a number with a decimal point and the digits that the tap wrote."""
    value = _convert_if_exact(value, PropertyType.NUMBER)
    if isinstance(value, bool) or not isinstance(value, (int, float, Decimal)):
        return _passthrough(value)
    number = _passthrough(value)
    if number is None or isinstance(number, msgspec.Raw):
        return number
    return msgspec.Raw(b"%d.0" % value)


def to_boolean(value: object) -> Scalar:
    """Return true or false."""
    return _passthrough(_convert_if_exact(value, PropertyType.BOOLEAN))


def _convert_if_exact(value: object, to: PropertyType) -> object:
    try:
        return convert_value(value, to)
    except LossyConversionError:
        return value


def _passthrough(value: object) -> Scalar:
    """Return a value as its own type is written."""
    if isinstance(value, (bool, str)):
        return value
    if isinstance(value, int):
        if value.bit_length() >= sys.float_info.max_exp and not _fits_float64(Decimal(value)):
            raise ValueError(_OUT_OF_RANGE)
        return value
    if isinstance(value, (float, Decimal)):
        return _format_with_point(value) if is_finite(value) else None
    return to_text(value)


def _format_with_point(value: float | Decimal) -> msgspec.Raw:
    decimal = value if isinstance(value, Decimal) else Decimal(repr(value))
    if not _fits_float64(decimal):
        raise ValueError(_OUT_OF_RANGE)
    text = str(decimal)
    if "E-" in text and decimal.adjusted() >= -_MAX_PLAIN_EXPONENT:
        text = f"{decimal:f}"  # Python writes a tap's 0.0000001 as 1E-7
    digits, exponent, power = text.partition("E")
    point = "" if "." in digits else ".0"
    return msgspec.Raw(f"{digits}{point}{exponent}{power}".encode())


def _fits_float64(decimal: Decimal) -> bool:
    """Return whether a number, rounded, is a finite 64-bit float."""
    exponent = decimal.adjusted()
    return exponent < _FLOAT64_EXPONENT or (
        exponent == _FLOAT64_EXPONENT and math.isfinite(float(decimal))
    )


CONVERTERS: Final[dict[PropertyType, Callable[[Any], Scalar]]] = {
    PropertyType.STRING: to_text,
    PropertyType.TIMESTAMP: to_timestamp,
    PropertyType.INTEGER: to_integer,
    PropertyType.NUMBER: to_number,
    PropertyType.BOOLEAN: to_boolean,
}
