"""A column of the warehouse: the type that its first value gives it, and what fits in. Pure.

| first value                          | column      | what fits later                           |
|--------------------------------------|-------------|-------------------------------------------|
| a string that is an ISO 8601 date    | `TIMESTAMP` | such strings                              |
| a number without `.`, `e`, `E`       | `BIGINT`    | 64-bit integers; floats without fraction  |
| any other number                     | `DOUBLE`    | numbers                                   |
| a boolean                            | `BOOLEAN`   | booleans                                  |
| any other string                     | `VARCHAR`   | anything, as its JSON text; 512 characters |

Timestamps are in UTC: a date is its midnight, a time without an offset is read as UTC. What does
not fit becomes null, and what fits in part is stored in part; both are a loss.
"""

from __future__ import annotations

import re
from datetime import datetime, timedelta
from decimal import Decimal, InvalidOperation
from enum import Enum
from math import isinf
from typing import TYPE_CHECKING, Final

from target_segment_objects.limits import WAREHOUSE_STRING_CHARACTERS
from target_segment_objects.sandbox.objects import Float, Integer, Value

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    Stored = str | int | float | bool | None
    """What goes into the warehouse; a timestamp is microseconds since 1970."""


class ColumnType(Enum):
    """A column's type, as DuckDB names it."""

    TIMESTAMP = "TIMESTAMP"
    INTEGER = "BIGINT"
    FLOAT = "DOUBLE"
    BOOLEAN = "BOOLEAN"
    STRING = "VARCHAR"


class LossKind(Enum):
    """What became of a value that did not fit."""

    TYPE = "type"
    """The column is of another type: null."""

    RANGE = "range"
    """A number beyond the column's range: null."""

    FRACTION = "fraction"
    """A float in an integer column: what is left of the point."""

    PRECISION = "precision"
    """A number or a time with more digits than the column keeps: the nearest, the earlier."""

    CUT = "cut"
    """A long string: its first characters."""

    SHADOWED = "shadowed"
    """A property that would be the column `id`, and is not the object's id: not stored."""


_EPOCH: Final = datetime(1970, 1, 1)  # noqa: DTZ001 - everything here is UTC by definition
_MICROSECOND: Final = timedelta(microseconds=1)
_INTEGERS: Final = range(-(2**63), 2**63)
_INTEGER_CHARACTERS: Final = len(str(_INTEGERS.start))
_EXACT_CHARACTERS: Final = 16  # a point and the 15 digits that every double keeps
_ISO: Final = re.compile(
    r"(\d{4})-(\d\d)-(\d\d)"
    r"(?:[Tt ](\d\d):(\d\d)(?::(\d\d)(?:[.,](\d+))?)?"
    r" ?([Zz]|[+-]\d\d(?::?\d\d)?)?)?",
    re.ASCII,
)


def kind_of(value: Value) -> ColumnType:
    """Tell the type of the column that a first value, not null, creates."""
    if isinstance(value, bool):
        return ColumnType.BOOLEAN
    if isinstance(value, Integer):
        return ColumnType.INTEGER
    if isinstance(value, Float):
        return ColumnType.FLOAT
    return ColumnType.STRING if _microseconds(value) is None else ColumnType.TIMESTAMP


def fit(kind: ColumnType, value: Value) -> tuple[Stored, LossKind | None]:
    """Tell what a column stores of a value.

    Args:
        kind: The column's type.
        value: Any value, null too.

    Returns:
        What it stores, and what is lost by that.
    """
    return (None, None) if value is None else _FITS[kind](value)


def text_of(value: Value) -> str:
    """Give a value as its JSON text; a string as it is."""
    if value is None:
        return "null"
    if isinstance(value, bool):
        return "true" if value else "false"
    return str(value)


def _string(value: Value) -> tuple[Stored, LossKind | None]:
    text = value if type(value) is str else text_of(value)
    if len(text) > WAREHOUSE_STRING_CHARACTERS:
        return text[:WAREHOUSE_STRING_CHARACTERS], LossKind.CUT
    return text, None


def _boolean(value: Value) -> tuple[Stored, LossKind | None]:
    return (value, None) if isinstance(value, bool) else (None, LossKind.TYPE)


def _integer(value: Value) -> tuple[Stored, LossKind | None]:
    if isinstance(value, Integer):
        # Longer texts are not even read: Python refuses those of thousands of digits.
        whole = int(value) if len(value) <= _INTEGER_CHARACTERS else _INTEGERS.stop
        return (whole, None) if whole in _INTEGERS else (None, LossKind.RANGE)
    if isinstance(value, Float):
        return _truncated(value)
    return None, LossKind.TYPE


def _truncated(text: Float) -> tuple[Stored, LossKind | None]:
    number = float(text)
    if abs(number) > _INTEGERS.stop:
        return None, LossKind.RANGE
    exact = _decimal(text)
    whole = int(exact)
    if whole not in _INTEGERS:
        return None, LossKind.RANGE
    return whole, None if whole == exact else LossKind.FRACTION


def _float(value: Value) -> tuple[Stored, LossKind | None]:
    if not isinstance(value, (Integer, Float)):
        return None, LossKind.TYPE
    number = float(value)
    if isinf(number):
        return None, LossKind.RANGE
    if len(value) <= _EXACT_CHARACTERS and "e" not in value and "E" not in value:
        return number, None
    # The shortest text that gives this double; another number than the one sent is a loss.
    return number, None if Decimal(repr(number)) == _decimal(value) else LossKind.PRECISION


def _decimal(text: str) -> Decimal:
    """Read a number that is not larger than a double; one too small for a decimal is tiny."""
    try:
        return Decimal(text)
    except InvalidOperation:
        return Decimal("1e-999999")


def _timestamp(value: Value) -> tuple[Stored, LossKind | None]:
    found = _microseconds(value)
    if found is None:
        return None, LossKind.TYPE
    microseconds, exact = found
    return microseconds, None if exact else LossKind.PRECISION


def _microseconds(value: Value) -> tuple[int, bool] | None:
    """Read an ISO 8601 date or time: microseconds since 1970, and whether they say it all."""
    match = _ISO.fullmatch(value) if type(value) is str else None
    if match is None:
        return None
    year, month, day, hour, minute, second, digits, offset = match.groups(default="")
    try:
        there = datetime(  # noqa: DTZ001 - the offset is taken off below
            int(year),
            int(month),
            int(day),
            int(hour or 0),
            int(minute or 0),
            int(second or 0),
            int(digits[:6].ljust(6, "0")),
        )
        utc = there - _offset(offset)
    except (ValueError, OverflowError):  # no such day, hour or offset; before year 1, after 9999
        return None
    return (utc - _EPOCH) // _MICROSECOND, not digits[6:].strip("0")


def _offset(text: str) -> timedelta:
    """Read `Z`, `+02`, `+0200`, `+02:00` or nothing."""
    if text in {"", "Z", "z"}:
        return timedelta(0)
    hours, minutes = int(text[1:3]), int(text[3:].removeprefix(":") or 0)
    if hours > 23 or minutes > 59:  # noqa: PLR2004 - the clock
        raise ValueError(text)
    return timedelta(hours=hours, minutes=minutes) * (-1 if text[0] == "-" else 1)


_FITS: Final[Mapping[ColumnType, Callable[[Value], tuple[Stored, LossKind | None]]]] = {
    ColumnType.TIMESTAMP: _timestamp,
    ColumnType.INTEGER: _integer,
    ColumnType.FLOAT: _float,
    ColumnType.BOOLEAN: _boolean,
    ColumnType.STRING: _string,
}
