"""How the page writes sizes, durations and times."""

from __future__ import annotations

from datetime import datetime, timedelta, timezone

import pytest

from target_segment_objects.sandbox.page.rendering import (
    format_bytes,
    format_seconds,
    format_time,
    format_value,
)


@pytest.mark.parametrize(
    ("size", "expected"),
    [
        (0, "0 bytes"),
        (1, "1 byte"),
        (999, "999 bytes"),
        (1_000, "1 kB"),
        (9_597, "9.6 kB"),
        (169_901, "170 kB"),
        (999_999, "1 MB"),
        (512_000_000, "512 MB"),
        (1_500_000_000, "1.5 GB"),
        (12_345_000_000_000, "12,345 GB"),
    ],
)
def test_bytes(size: int, expected: str) -> None:
    """A size has three digits and the unit that fits."""
    assert format_bytes(size) == expected


@pytest.mark.parametrize(
    ("seconds", "expected"),
    [
        (0.0342, "34 ms"),
        (0.9996, "1.0 s"),
        (1.24, "1.2 s"),
        (9.97, "10 s"),
        (59.7, "1 min 0 s"),
        (123, "2 min 3 s"),
        (7_265, "2 h 1 min"),
    ],
)
def test_seconds(seconds: float, expected: str) -> None:
    """A duration has the units that fit."""
    assert format_seconds(seconds) == expected


def test_time() -> None:
    """A time is local, and has a date unless it is today."""
    now = datetime.now(timezone.utc)
    local = now.astimezone()
    assert format_time(now).endswith(local.strftime("%H:%M:%S"))
    old = now - timedelta(days=400)
    assert format_time(old) == old.astimezone().strftime("%Y-%m-%d %H:%M:%S")


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (True, "true"),
        (None, ""),
        ("a\nb\x00\u202e", "a\\nb\\x00\\u202e"),
        ("x" * 1000, "x" * 1000),
        ("x" * 1001, "x" * 999 + "…"),
    ],
)
def test_value(value: object, expected: str) -> None:
    """A value is one line: what cannot be seen is escaped, what is too long is cut off."""
    assert format_value(value) == expected
