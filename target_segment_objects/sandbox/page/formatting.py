"""How the page writes numbers, times and values."""

from __future__ import annotations

from datetime import datetime, timezone
from typing import Final

from target_segment_objects.sandbox.warehouse.wording import format_cell, format_count

_MAX_VALUE_CHARACTERS: Final = 1_000
_MAX_CELL_CHARACTERS: Final = 64
_MINUTE: Final = 60
_THOUSAND: Final = 1000


def format_bytes(size: int) -> str:
    """Return a size in the unit that gives a short number; 1 kB is 1,000 bytes."""
    if size < _THOUSAND:
        return format_count(size, "byte")
    number, units = size / _THOUSAND, ["MB", "GB"]
    unit = "kB"
    while round(number) >= _THOUSAND and units:
        number, unit = number / _THOUSAND, units.pop(0)
    return f"{number:,.0f} {unit}" if number >= 100 else f"{number:.3g} {unit}"  # noqa: PLR2004 - three digits


def format_seconds(seconds: float) -> str:
    """Return a duration: `34 ms`, `1.2 s` or `2 min 3 s`."""
    if round(seconds * _THOUSAND) < _THOUSAND:
        return f"{seconds * _THOUSAND:.0f} ms"
    if round(seconds, 1) < 10:  # noqa: PLR2004 - two digits are enough
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), _MINUTE)
    if not minutes:
        return f"{rest} s"
    hours, minutes = divmod(minutes, _MINUTE)
    return f"{hours} h {minutes} min" if hours else f"{minutes} min {rest} s"


def format_time(time: datetime) -> str:
    """Return a time of this machine's zone: with the date, unless it is today."""
    local = time.astimezone()
    today = datetime.now(timezone.utc).astimezone().date()
    return local.strftime("%H:%M:%S" if local.date() == today else "%Y-%m-%d %H:%M:%S")


def format_value(value: object) -> str:
    """Return a value as a line without control characters."""
    return format_cell(value, _MAX_VALUE_CHARACTERS)


def format_table_cell(value: object) -> str:
    """Return a value as a short line, for a table of rows."""
    return format_cell(value, _MAX_CELL_CHARACTERS)
