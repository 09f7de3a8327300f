"""The limit of rejected records: numbers, percentages, and when they apply."""

from __future__ import annotations

import pytest

from target_segment_objects.singer.reject_limit import RejectLimit


@pytest.mark.parametrize("setting", [2, "2", "2\n"], ids=["number", "string", "line break"])
def test_number(setting: int | str) -> None:
    """A number is the maximum, however many records were read."""
    limit = RejectLimit(setting)
    assert not limit.is_exceeded(2, 2)
    assert limit.is_exceeded(3, 3)
    assert limit.is_exceeded(3, 10**9)


def test_percentage() -> None:
    """A percentage is the maximum share of the records that were read."""
    limit = RejectLimit("0.5%")
    assert not limit.is_exceeded(5, 1000)
    assert limit.is_exceeded(6, 1000)
    assert not limit.is_exceeded(50, 10_000)
    assert limit.is_exceeded(51, 10_000)


def test_percentage_of_few_records() -> None:
    """Before the 1,000th record, a percentage applies only at the end."""
    limit = RejectLimit("50%")
    assert not limit.is_exceeded(999, 999)
    assert limit.is_exceeded(999, 999, at_end=True)
    assert limit.is_exceeded(501, 1000)
    assert not limit.is_exceeded(1, 2, at_end=True)


def test_zero_and_all() -> None:
    """0 and 0% allow no rejected record, 100% allows all."""
    assert RejectLimit(0).is_exceeded(1, 1)
    assert RejectLimit("0%").is_exceeded(1, 5000)
    assert not RejectLimit("100%").is_exceeded(5000, 5000, at_end=True)
