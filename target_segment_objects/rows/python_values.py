"""Convert Python values to those of a decoded record, and tell their types. Pure.

A decoded record has None, strings, booleans, integers, decimals, dicts and lists, so that is what a
value becomes. Its type is that of the Python value: a string that looks like a date is a string.
"""

from __future__ import annotations

import datetime
import enum
import numbers
import uuid
from collections.abc import Callable, Mapping
from decimal import Decimal
from typing import Any, Final, TypeAlias

from target_segment_objects.mapping.values import NonFinite

OBJECT: Final = "object"
"""The type of a dict, whose members are properties of their own."""

ARRAY: Final = "array"
TIMESTAMP: Final = "timestamp"

PLAIN_TYPES: Final[dict[type, str]] = {str: "string", int: "integer", bool: "boolean"}
"""The types of values that stay as they are."""

_Converter: TypeAlias = "Callable[[Any], Any]"


class UnsupportedValueError(Exception):
    """A value cannot be sent.

    Attributes:
        reason: Why, without the value.
    """

    def __init__(self, reason: str) -> None:
        self.reason = reason
        super().__init__(reason)


def convert_value(value: object) -> tuple[str | None, Any]:
    """Return the type of a value, and the value as in a decoded record.

    The type is that of a JSON schema, or a timestamp; None if the value is sent as null, as NaN is.
    A dict is returned as it is.

    Raises:
        UnsupportedValueError: The value has a type that cannot be sent.
    """
    json_type, convert = _CONVERTERS.get(type(value)) or _find_converter(value)
    if convert is not None:
        value = convert(value)
        if value is None or type(value) is NonFinite:
            json_type = None
    return json_type, value


def convert_item(value: object) -> Any:  # noqa: ANN401 - of any type
    """Return a value inside of what is sent as JSON text.

    Raises:
        UnsupportedValueError: The value, or one in it, has a type that cannot be sent.
    """
    json_type, converted = convert_value(value)
    if json_type != OBJECT:
        return converted
    return {check_name(name): convert_item(member) for name, member in converted.items()}


def check_name(name: object) -> str:
    """Return the name of a property.

    Raises:
        UnsupportedValueError: It is not a string.
    """
    if isinstance(name, str):
        return str.__str__(name)
    msg = f"a name of type {type(name).__name__}; the names of properties are strings"
    raise UnsupportedValueError(msg)


def _convert_list(items: list[object] | tuple[object, ...]) -> list[Any]:
    return [convert_item(item) for item in items]


def _convert_float(number: float) -> Decimal | NonFinite:
    """Return a number with the digits that Python shows."""
    text = float.__repr__(number)
    return Decimal(text) if text[-1].isdigit() else NonFinite(number)


def _convert_decimal(number: Decimal) -> Decimal | NonFinite:
    return number if number.is_finite() else NonFinite("nan")


def _convert_date(value: datetime.date | datetime.time) -> str | None:
    """Return a date or a time as ISO 8601; None for the "not a time" of pandas."""
    return value.isoformat() if value == value else None  # noqa: PLR0124 - only that differs


_CONVERTERS: Final[dict[type, tuple[str | None, _Converter | None]]] = {
    **{plain: (json_type, None) for plain, json_type in PLAIN_TYPES.items()},
    type(None): (None, None),
    float: ("number", _convert_float),
    Decimal: ("number", _convert_decimal),
    datetime.datetime: (TIMESTAMP, _convert_date),
    datetime.date: (TIMESTAMP, _convert_date),
    datetime.time: ("string", _convert_date),
    uuid.UUID: ("string", str),
    dict: (OBJECT, None),
    list: (ARRAY, _convert_list),
    tuple: (ARRAY, _convert_list),
}

_SUBCLASS_CONVERTERS: Final[tuple[tuple[type, tuple[str, _Converter | None]], ...]] = (
    (str, ("string", str.__str__)),
    (numbers.Integral, ("integer", int)),
    (Decimal, ("number", lambda number: _convert_decimal(Decimal(number)))),
    (numbers.Real, ("number", lambda number: _convert_float(float(number)))),
    (datetime.date, (TIMESTAMP, _convert_date)),
    (datetime.time, ("string", _convert_date)),
    (uuid.UUID, ("string", str)),
    (Mapping, (OBJECT, None)),
    (list, (ARRAY, _convert_list)),
    (tuple, (ARRAY, _convert_list)),
)
"""For subclasses, and for numbers of other packages."""


def _find_converter(value: Any) -> tuple[str | None, _Converter | None]:  # noqa: ANN401 - any type
    inner = value
    if isinstance(value, enum.Enum):
        inner = value.value
    elif hasattr(value, "dtype") and getattr(value, "shape", None) == ():  # a scalar of NumPy
        inner = value.item()
    if inner is not value:
        json_type, converted = convert_value(inner)
        return json_type, lambda _: converted
    for base, known in _SUBCLASS_CONVERTERS:
        if isinstance(value, base):
            return known
    msg = (
        f"a value of type {type(value).__name__}, which cannot be sent. Convert it to a string, a "
        "number, a date, a list or a dict"
    )
    raise UnsupportedValueError(msg)
