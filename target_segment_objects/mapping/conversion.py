"""Convert a value to the type of its property, if nothing is lost. Pure.

Taps write `"1"` for an integer and 0 for a boolean. Such a value has one meaning in the property's
type, and going back gives the same value. What has none, or several, is not converted: `"007"` is
not 7, `""` is no number, and a number may be seconds or milliseconds, but is not a date.
"""

from __future__ import annotations

import datetime
import re
from decimal import Decimal
from typing import TYPE_CHECKING, Any, Final

from target_segment_objects.mapping.schema import PropertyType

if TYPE_CHECKING:
    from collections.abc import Callable

_JSON_NUMBER: Final = re.compile(
    r"-?(?:0|[1-9][0-9]*)(?:\.[0-9]+)?(?:[eE][+-]?[0-9]{1,4})?",
    re.ASCII,
)
"""A number as JSON writes it. Another text would lose a sign, a zero or a space as a number."""

_BOOLEANS: Final = {"true": True, "false": False}


class LossyConversionError(Exception):
    """A value cannot be of a type without loss."""


def convert_value(value: object, to: PropertyType) -> Any:  # noqa: ANN401 - of any type
    """Return a value, which is not None, as one of a type.

    Any value can be a string. It is returned unchanged, because `values` writes it as one.

    Raises:
        LossyConversionError: Something would be lost.
    """
    return _CONVERSIONS[to](value)


def can_convert(value: object, to: PropertyType) -> bool:
    """Return whether a value, which is not None, can be of a type without loss."""
    try:
        convert_value(value, to)
    except LossyConversionError:
        return False
    return True


def _keep_value(value: object) -> object:
    return value


def _to_timestamp(value: object) -> object:
    if isinstance(value, (str, datetime.date, datetime.time)):
        return value
    raise LossyConversionError


def _to_number(value: object) -> int | float | Decimal:
    if isinstance(value, bool):
        return int(value)
    if isinstance(value, (int, float, Decimal)):
        return value
    if isinstance(value, str) and _JSON_NUMBER.fullmatch(value):
        return Decimal(value)  # with its digits
    raise LossyConversionError


def _to_integer(value: object) -> int | float | Decimal:
    number = _to_number(value)
    if isinstance(number, int) or is_whole(number):
        return number
    raise LossyConversionError


def is_whole(number: float | Decimal) -> bool:
    """Return whether a number has no fraction; NaN and the infinities are not whole."""
    if isinstance(number, float):
        return number.is_integer()
    return number.is_finite() and number == number.to_integral_value()


def _to_boolean(value: object) -> bool:
    if isinstance(value, str) and value.lower() in _BOOLEANS:
        return _BOOLEANS[value.lower()]
    number = _to_number(value)
    if number in {0, 1}:
        return number == 1
    raise LossyConversionError


_CONVERSIONS: Final[dict[PropertyType, Callable[[Any], object]]] = {
    PropertyType.STRING: _keep_value,
    PropertyType.TIMESTAMP: _to_timestamp,
    PropertyType.INTEGER: _to_integer,
    PropertyType.NUMBER: _to_number,
    PropertyType.BOOLEAN: _to_boolean,
}
