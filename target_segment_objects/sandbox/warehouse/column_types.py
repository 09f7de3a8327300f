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

Values are converted a column at a time. Where all of them are plain, Arrow does it; else they are
converted one by one, with the same result.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import datetime, timedelta
from decimal import Decimal, InvalidOperation
from enum import Enum
from math import isinf
from typing import TYPE_CHECKING, Final

import pyarrow as pa
import pyarrow.compute as pc

from target_segment_objects.limits import REDSHIFT_STRING_BYTES, WAREHOUSE_STRING_CHARACTERS
from target_segment_objects.sandbox.objects import FloatText, IntegerText, Value
from target_segment_objects.sandbox.warehouse.losses import LossKind

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    Converted = tuple[str | int | float | bool | None, LossKind | None]
    """A value as the warehouse stores it, and what it has lost. A timestamp is microseconds since
    1970."""


class ColumnType(Enum):
    """The type of a column, by its name in DuckDB."""

    TIMESTAMP = "TIMESTAMP"
    INTEGER = "BIGINT"
    FLOAT = "DOUBLE"
    BOOLEAN = "BOOLEAN"
    STRING = "VARCHAR"


_EPOCH: Final = datetime(1970, 1, 1)  # noqa: DTZ001 - all times here are UTC
_MICROSECOND: Final = timedelta(microseconds=1)
_FIRST_MICROSECOND: Final = (datetime.min - _EPOCH) // _MICROSECOND  # noqa: DTZ901 - as above
_LAST_MICROSECOND: Final = (datetime.max - _EPOCH) // _MICROSECOND  # noqa: DTZ901 - as above
_INT64: Final = range(-(2**63), 2**63)
_MAX_EXACT_CHARACTERS: Final = 15  # every double keeps 15 digits
_ISO_8601: Final = re.compile(
    r"(\d{4})-(\d\d)-(\d\d)"
    r"(?:[T ](\d\d):?(\d\d)(?::?(\d\d)(?:[.,](\d+))?)?"
    r"(Z|[+-]\d\d(?::?\d\d)?)?)?",
    re.ASCII,
)
"""What Segment's library `isodate` takes for a date, in its strict form."""


def infer_type(value: Value) -> ColumnType:
    """Return the type of the column that a first value creates. The value is not null."""
    if isinstance(value, bool):
        return ColumnType.BOOLEAN
    if isinstance(value, (int, IntegerText)):
        return ColumnType.INTEGER
    if isinstance(value, FloatText):
        return ColumnType.FLOAT
    return ColumnType.STRING if _parse_timestamp(value) is None else ColumnType.TIMESTAMP


def convert_column(
    column_type: ColumnType, values: Sequence[Value]
) -> tuple[pa.Array, Mapping[int, LossKind]]:
    """Convert any values to the type of a column; losses are by the position of the value."""
    conversion = _CONVERSIONS[column_type]
    plain = conversion.convert_plain(values)
    if plain is not None:
        return plain, {}
    converted = [convert_value(column_type, value) for value in values]
    losses = {position: loss for position, (_, loss) in enumerate(converted) if loss is not None}
    stored = [value for value, _ in converted]
    if column_type is ColumnType.TIMESTAMP:
        return pa.array(stored, pa.int64()).cast(conversion.arrow_type), losses
    return pa.array(stored, conversion.arrow_type), losses


def convert_value(column_type: ColumnType, value: Value) -> Converted:
    """Convert any value to the type of a column."""
    return (None, None) if value is None else _CONVERSIONS[column_type].convert(value)


def to_text(value: Value) -> str:
    """Return a string unchanged, and any other value as JSON."""
    if value is None:
        return "null"
    if isinstance(value, bool):
        return "true" if value else "false"
    return str(value)


def _to_string(value: Value) -> Converted:
    text = value if type(value) is str else to_text(value)
    loss = None
    if "\0" in text:
        text, loss = text.replace("\0", ""), LossKind.NUL
    if len(text) > WAREHOUSE_STRING_CHARACTERS:
        return text[:WAREHOUSE_STRING_CHARACTERS], LossKind.CUT
    if loss is None and len(text.encode()) > REDSHIFT_STRING_BYTES:
        return text, LossKind.BYTES
    return text, loss


def _to_boolean(value: Value) -> Converted:
    return (value, None) if isinstance(value, bool) else (None, LossKind.TYPE)


def _to_integer(value: Value) -> Converted:
    if type(value) is int:
        return (value, None) if value in _INT64 else (None, LossKind.RANGE)
    if isinstance(value, IntegerText):
        return None, LossKind.RANGE
    if isinstance(value, FloatText):
        return _truncate_float(value)
    return None, LossKind.TYPE


def _truncate_float(text: FloatText) -> Converted:
    number = float(text)
    if abs(number) > _INT64.stop:
        return None, LossKind.RANGE
    exact = _parse_decimal(text)
    whole = int(exact)
    if whole not in _INT64:
        return None, LossKind.RANGE
    return whole, None if whole == exact else LossKind.FRACTION


def _to_float(value: Value) -> Converted:
    if type(value) is int:
        return _to_exact_float(value)
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


def _to_exact_float(value: int) -> Converted:
    try:
        number = float(value)
    except OverflowError:
        return None, LossKind.RANGE
    # No loss if the number sent is the double itself, or the shortest text of the double.
    is_exact = value == number or value == Decimal(repr(number))
    return number, None if is_exact else LossKind.PRECISION


def _parse_decimal(text: str) -> Decimal:
    """Parse a number in the range of a double; one too small for Decimal becomes a tiny one."""
    try:
        return Decimal(text)
    except InvalidOperation:
        return Decimal("1e-999999")


def _to_timestamp(value: Value) -> Converted:
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
    if text in {"", "Z"}:
        return timedelta(0)
    hours, minutes = int(text[1:3]), int(text[3:].removeprefix(":") or 0)
    if hours > 23 or minutes > 59:  # noqa: PLR2004 - hours and minutes of a clock
        raise ValueError(text)
    return timedelta(hours=hours, minutes=minutes) * (-1 if text[0] == "-" else 1)


# The fast path: all values of a column at once; None where one of them needs a closer look.

_NULL: Final = type(None)
_DATE_CHARACTERS: Final = len("2024-01-31")
_HAS_MINUTES: Final = "____-__-_____:%"  # Arrow takes an hour without minutes


def _convert_plain_strings(values: Sequence[Value]) -> pa.Array | None:
    if not {*map(type, values)} <= {str, _NULL}:
        return None
    array = pa.array(values, pa.string())
    most_bytes = pc.max(pc.binary_length(array)).as_py() or 0
    if most_bytes > REDSHIFT_STRING_BYTES or pc.any(pc.match_substring(array, "\0")).as_py():
        return None
    return array


def _convert_plain_booleans(values: Sequence[Value]) -> pa.Array | None:
    return pa.array(values, pa.bool_()) if {*map(type, values)} <= {bool, _NULL} else None


def _convert_plain_integers(values: Sequence[Value]) -> pa.Array | None:
    if not {*map(type, values)} <= {int, _NULL}:
        return None
    try:
        return pa.array(values, pa.int64())
    except OverflowError:
        return None


def _convert_plain_floats(values: Sequence[Value]) -> pa.Array | None:
    """Convert decimals of few digits, which a double always keeps."""
    if not {*map(type, values)} <= {FloatText, _NULL}:
        return None
    texts = [value for value in values if isinstance(value, FloatText)]
    if not texts or max(map(len, texts)) > _MAX_EXACT_CHARACTERS:
        return None
    joined = "".join(texts)
    if "e" in joined or "E" in joined:
        return None
    return pa.array([None if value is None else float(value) for value in values], pa.float64())


def _convert_plain_timestamps(values: Sequence[Value]) -> pa.Array | None:
    """Convert timestamps which either all have an offset from UTC, or all have none."""
    if not {*map(type, values)} <= {str, _NULL}:
        return None
    array = pa.array(values, pa.string())
    is_date = pc.equal(pc.utf8_length(array), _DATE_CHARACTERS)
    if pc.all(pc.or_(is_date, pc.match_like(array, _HAS_MINUTES))).as_py() is False:
        return None
    for timestamp_type in (pa.timestamp("us"), pa.timestamp("us", "UTC")):
        try:
            converted = array.cast(timestamp_type)
        except pa.ArrowInvalid:
            continue
        microseconds = converted.cast(pa.int64())
        extremes = pc.min_max(microseconds).as_py()
        if extremes["min"] is None or (
            extremes["min"] >= _FIRST_MICROSECOND and extremes["max"] <= _LAST_MICROSECOND
        ):
            return microseconds.cast(pa.timestamp("us"))
    return None


@dataclass(frozen=True, slots=True)
class _Conversion:
    """How values become those of a column: one by one, or all at once where they are plain."""

    arrow_type: pa.DataType
    convert: Callable[[Value], Converted]
    convert_plain: Callable[[Sequence[Value]], pa.Array | None]


_CONVERSIONS: Final[Mapping[ColumnType, _Conversion]] = {
    ColumnType.TIMESTAMP: _Conversion(pa.timestamp("us"), _to_timestamp, _convert_plain_timestamps),
    ColumnType.INTEGER: _Conversion(pa.int64(), _to_integer, _convert_plain_integers),
    ColumnType.FLOAT: _Conversion(pa.float64(), _to_float, _convert_plain_floats),
    ColumnType.BOOLEAN: _Conversion(pa.bool_(), _to_boolean, _convert_plain_booleans),
    ColumnType.STRING: _Conversion(pa.string(), _to_string, _convert_plain_strings),
}
