"""A column of the warehouse: the type that its first value determines, and conversion to it. Pure.

| first value                          | column type | later values that fit                     |
|--------------------------------------|-------------|-------------------------------------------|
| a string that is an ISO 8601 date    | `TIMESTAMP` | such strings                              |
| a number without `.`, `e`, `E`       | `BIGINT`    | 64-bit integers; floats without fraction  |
| any other number                     | `DOUBLE`    | numbers                                   |
| a boolean                            | `BOOLEAN`   | booleans                                  |
| any other string                     | `VARCHAR`   | anything, as its JSON text; 512 characters |

Timestamps are in UTC: a date is its midnight, a time without an offset is read as UTC. A value that
does not fit becomes null. One that fits partly is stored partly. Both count as a loss.
"""

from __future__ import annotations

import re
from datetime import datetime, timedelta
from decimal import Decimal, InvalidOperation
from enum import Enum
from math import isinf
from typing import TYPE_CHECKING, Final

from target_segment_objects.limits import WAREHOUSE_STRING_CHARACTERS
from target_segment_objects.sandbox.objects import FloatText, IntegerText, Value

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    StoredValue = str | int | float | bool | None
    """A value as the warehouse stores it; a timestamp is microseconds since 1970."""


class ColumnType(Enum):
    """The type of a column, by its name in DuckDB."""

    TIMESTAMP = "TIMESTAMP"
    INTEGER = "BIGINT"
    FLOAT = "DOUBLE"
    BOOLEAN = "BOOLEAN"
    STRING = "VARCHAR"


class LossKind(Enum):
    """What happened to a value that did not fit."""

    TYPE = "type"
    """The column has another type: stored as null."""

    RANGE = "range"
    """A number outside the column's range: stored as null."""

    FRACTION = "fraction"
    """A float in an integer column: stored without its fraction."""

    PRECISION = "precision"
    """A number or time with more digits than the column keeps: stored rounded or truncated."""

    CUT = "cut"
    """A long string: only its first characters are stored."""

    NUL = "nul"
    """A string with NUL characters, which Postgres and Redshift reject: stored without them."""

    SHADOWED = "shadowed"
    """A property that would be the column `id` but differs from the object's id: not stored."""


_EPOCH: Final = datetime(1970, 1, 1)  # noqa: DTZ001 - all times here are UTC
_MICROSECOND: Final = timedelta(microseconds=1)
_INT64: Final = range(-(2**63), 2**63)
_MAX_INTEGER_CHARACTERS: Final = len(str(_INT64.start))
_MAX_EXACT_CHARACTERS: Final = 15  # every double keeps 15 digits
_ISO_8601: Final = re.compile(
    r"(\d{4})-(\d\d)-(\d\d)"
    r"(?:[Tt ](\d\d):(\d\d)(?::(\d\d)(?:[.,](\d+))?)?"
    r" ?([Zz]|[+-]\d\d(?::?\d\d)?)?)?",
    re.ASCII,
)


def infer_type(value: Value) -> ColumnType:
    """Return the type of the column that a first value creates. The value is not null."""
    if isinstance(value, bool):
        return ColumnType.BOOLEAN
    if isinstance(value, IntegerText):
        return ColumnType.INTEGER
    if isinstance(value, FloatText):
        return ColumnType.FLOAT
    return ColumnType.STRING if _parse_timestamp(value) is None else ColumnType.TIMESTAMP


def convert_value(column_type: ColumnType, value: Value) -> tuple[StoredValue, LossKind | None]:
    """Convert a value to the type of a column.

    Args:
        column_type: The column's type.
        value: Any value, including null.

    Returns:
        The stored value, and the kind of loss if there is one.
    """
    return (None, None) if value is None else _CONVERTERS[column_type](value)


def to_text(value: Value) -> str:
    """Return a string unchanged, and any other value as JSON."""
    if value is None:
        return "null"
    if isinstance(value, bool):
        return "true" if value else "false"
    return str(value)


def _to_string(value: Value) -> tuple[StoredValue, LossKind | None]:
    text = value if type(value) is str else to_text(value)
    loss = None
    if "\0" in text:
        text, loss = text.replace("\0", ""), LossKind.NUL
    if len(text) > WAREHOUSE_STRING_CHARACTERS:
        return text[:WAREHOUSE_STRING_CHARACTERS], LossKind.CUT
    return text, loss


def _to_boolean(value: Value) -> tuple[StoredValue, LossKind | None]:
    return (value, None) if isinstance(value, bool) else (None, LossKind.TYPE)


def _to_integer(value: Value) -> tuple[StoredValue, LossKind | None]:
    if isinstance(value, IntegerText):
        # Longer ones are out of range, and `int` raises for thousands of digits.
        whole = int(value) if len(value) <= _MAX_INTEGER_CHARACTERS else _INT64.stop
        return (whole, None) if whole in _INT64 else (None, LossKind.RANGE)
    if isinstance(value, FloatText):
        return _truncate_float(value)
    return None, LossKind.TYPE


def _truncate_float(text: FloatText) -> tuple[StoredValue, LossKind | None]:
    number = float(text)
    if abs(number) > _INT64.stop:
        return None, LossKind.RANGE
    exact = _parse_decimal(text)
    whole = int(exact)
    if whole not in _INT64:
        return None, LossKind.RANGE
    return whole, None if whole == exact else LossKind.FRACTION


def _to_float(value: Value) -> tuple[StoredValue, LossKind | None]:
    if not isinstance(value, (IntegerText, FloatText)):
        return None, LossKind.TYPE
    number = float(value)
    if isinf(number):
        return None, LossKind.RANGE
    if len(value) <= _MAX_EXACT_CHARACTERS and "e" not in value and "E" not in value:
        return number, None
    exact = _parse_decimal(value)
    # No loss if the number sent is the double itself, or the shortest text of the double.
    is_exact = exact in {Decimal(number), Decimal(repr(number))}
    return number, None if is_exact else LossKind.PRECISION


def _parse_decimal(text: str) -> Decimal:
    """Parse a number in the range of a double; one too small for Decimal becomes a tiny one."""
    try:
        return Decimal(text)
    except InvalidOperation:
        return Decimal("1e-999999")


def _to_timestamp(value: Value) -> tuple[StoredValue, LossKind | None]:
    parsed = _parse_timestamp(value)
    if parsed is None:
        return None, LossKind.TYPE
    microseconds, is_exact = parsed
    return microseconds, None if is_exact else LossKind.PRECISION


def _parse_timestamp(value: Value) -> tuple[int, bool] | None:
    """Parse an ISO 8601 date or time to microseconds since 1970, and whether that is exact."""
    match = _ISO_8601.fullmatch(value) if type(value) is str else None
    if match is None:
        return None
    year, month, day, hour, minute, second, digits, offset = match.groups(default="")
    try:
        local = datetime(  # noqa: DTZ001 - the offset is subtracted below
            int(year),
            int(month),
            int(day),
            int(hour or 0),
            int(minute or 0),
            int(second or 0),
            int(digits[:6].ljust(6, "0")),
        )
        utc = local - _parse_offset(offset)
    except (ValueError, OverflowError):  # no such day, hour or offset; before year 1, after 9999
        return None
    return (utc - _EPOCH) // _MICROSECOND, not digits[6:].strip("0")


def _parse_offset(text: str) -> timedelta:
    """Parse `Z`, `+02`, `+0200`, `+02:00` or an empty string."""
    if text in {"", "Z", "z"}:
        return timedelta(0)
    hours, minutes = int(text[1:3]), int(text[3:].removeprefix(":") or 0)
    if hours > 23 or minutes > 59:  # noqa: PLR2004 - hours and minutes of a clock
        raise ValueError(text)
    return timedelta(hours=hours, minutes=minutes) * (-1 if text[0] == "-" else 1)


_CONVERTERS: Final[Mapping[ColumnType, Callable[[Value], tuple[StoredValue, LossKind | None]]]] = {
    ColumnType.TIMESTAMP: _to_timestamp,
    ColumnType.INTEGER: _to_integer,
    ColumnType.FLOAT: _to_float,
    ColumnType.BOOLEAN: _to_boolean,
    ColumnType.STRING: _to_string,
}
