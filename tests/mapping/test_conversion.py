"""A value gets its property's type exactly if nothing is lost."""

from __future__ import annotations

import datetime
import math
from decimal import Decimal

import pytest

from target_segment_objects.mapping.conversion import can_convert
from target_segment_objects.mapping.schema import PropertyType
from target_segment_objects.mapping.values import CONVERTERS, to_json

INTEGER, NUMBER, BOOLEAN = PropertyType.INTEGER, PropertyType.NUMBER, PropertyType.BOOLEAN
STRING, TIMESTAMP = PropertyType.STRING, PropertyType.TIMESTAMP


@pytest.mark.parametrize(
    ("value", "to", "expected"),
    [
        (235667, STRING, '"235667"'),
        (Decimal("1.50"), STRING, '"1.50"'),
        (True, STRING, '"true"'),
        ([1, "a"], STRING, r'"[1,\"a\"]"'),
        ({"a": 1}, STRING, r'"{\"a\":1}"'),
        ("1", INTEGER, "1"),
        ("-17", INTEGER, "-17"),
        ("1.0", INTEGER, "1"),
        ("1e3", INTEGER, "1000"),
        ("1" * 40, INTEGER, "1" * 40),
        (1.0, INTEGER, "1"),
        (True, INTEGER, "1"),
        ("12.50", NUMBER, "12.50"),
        ("10", NUMBER, "10.0"),
        ("0.1" + "0" * 30, NUMBER, "0.1" + "0" * 30),
        (False, NUMBER, "0.0"),
        ("true", BOOLEAN, "true"),
        ("False", BOOLEAN, "false"),
        (1, BOOLEAN, "true"),
        (0, BOOLEAN, "false"),
        (Decimal("1.0"), BOOLEAN, "true"),
        ("0", BOOLEAN, "false"),
        ("no date", TIMESTAMP, '"no date"'),
        (datetime.date(2024, 1, 31), TIMESTAMP, '"2024-01-31"'),
    ],
)
def test_value_without_loss_is_converted(value: object, to: PropertyType, expected: str) -> None:
    """The value that is sent is of the property's type, with the digits of the tap."""
    assert can_convert(value, to)
    assert to_json(CONVERTERS[to](value)) == expected


@pytest.mark.parametrize(
    ("value", "to"),
    [
        ("", INTEGER),
        ("1.5", INTEGER),
        ("007", INTEGER),
        ("+1", INTEGER),
        (" 1", INTEGER),
        ("1\n", INTEGER),
        ("٣", INTEGER),
        ("0x1", INTEGER),
        ("NaN", INTEGER),
        (1.5, INTEGER),
        (math.nan, INTEGER),
        (Decimal("1E-999999"), INTEGER),
        ([1], INTEGER),
        ({"a": 1}, INTEGER),
        ("", NUMBER),
        ("1,5", NUMBER),
        ("1.", NUMBER),
        (".5", NUMBER),
        ("-", NUMBER),
        ("Infinity", NUMBER),
        ("1_000", NUMBER),
        ("abc", NUMBER),
        ([], NUMBER),
        ({}, NUMBER),
        (datetime.date(2024, 1, 31), NUMBER),
        ("", BOOLEAN),
        ("yes", BOOLEAN),
        ("t", BOOLEAN),
        ("2", BOOLEAN),
        (2, BOOLEAN),
        (0.5, BOOLEAN),
        (math.nan, BOOLEAN),
        ([], BOOLEAN),
        ({}, BOOLEAN),
        (1700000000, TIMESTAMP),
        (1.5, TIMESTAMP),
        (True, TIMESTAMP),
        ([], TIMESTAMP),
        ({}, TIMESTAMP),
    ],
)
def test_value_that_would_lose_is_not_converted(value: object, to: PropertyType) -> None:
    """A zero, a sign, a space, a fraction, or the meaning would be lost."""
    assert not can_convert(value, to)
