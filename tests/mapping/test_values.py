"""Values of each type as they are sent, number by number and string by string."""

from __future__ import annotations

import datetime
import json
import sys
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from target_segment_objects.mapping.conversion import can_convert
from target_segment_objects.mapping.schema import PropertyType
from target_segment_objects.mapping.values import (
    CONVERTERS,
    ENCODER,
    NonFinite,
    has_non_finite,
    to_canonical_json,
    to_id_string,
)
from target_segment_objects.singer.reader import MessageReader

LARGEST_FLOAT = Decimal(sys.float_info.max)
DECIMALS = st.decimals(allow_nan=False, allow_infinity=False)


def convert_to_json(property_type: PropertyType, value: object) -> str:
    """Return the JSON that is sent for a value."""
    return ENCODER.encode(CONVERTERS[property_type](value)).decode()


def read_json(text: str) -> Any:  # noqa: ANN401 - JSON of any shape
    """Return a value as the target reads it."""
    return MessageReader().deserialize_json(f'{{"value":{text}}}'.encode())["value"]


@pytest.mark.parametrize(
    ("written", "expected"),
    [
        ("10", "10.0"),
        ("-0", "0.0"),
        ("12.340", "12.340"),
        ("0.00", "0.00"),
        ("-0.0", "-0.0"),
        ("1e5", "1.0E+5"),
        ("1.5e-7", "0.00000015"),
        ("0.0000001", "0.0000001"),
        ("0.0000000", "0.0000000"),
        ("1e-400", "1.0E-400"),
        ("99999999999999999999", "99999999999999999999.0"),
        (
            "0.1234567890123456789012345678901234567890",
            "0.1234567890123456789012345678901234567890",
        ),
        ("NaN", "null"),
        ("-Infinity", "null"),
        ("true", "1.0"),
        ('"12.50"', "12.50"),
        ('"a"', '"a"'),
        ("[1,2]", '"[1,2]"'),
    ],
)
def test_number_has_a_point_and_the_taps_digits(written: str, expected: str) -> None:
    """A value that cannot be a number is written by its own type."""
    assert convert_to_json(PropertyType.NUMBER, read_json(written)) == expected


@pytest.mark.parametrize(
    ("written", "expected"),
    [
        ("10", "10"),
        ("10.0", "10"),
        ("1e3", "1000"),
        ("-0.0", "0"),
        ("10.5", "10.5"),
        ("1" * 300, "1" * 300),
        ("NaN", "null"),
        ("false", "0"),
        ('"7"', "7"),
    ],
)
def test_integer_has_no_point(written: str, expected: str) -> None:
    """A whole number of any size; a value that cannot be one is written by its own type."""
    assert convert_to_json(PropertyType.INTEGER, read_json(written)) == expected


@given(DECIMALS | st.floats(allow_nan=False, allow_infinity=False).map(lambda f: Decimal(repr(f))))
@example(LARGEST_FLOAT)
def test_decimal_keeps_its_digits(value: Decimal) -> None:
    """A number is sent as the same digits with the same scale, and is a float to any reader."""
    try:
        text = convert_to_json(PropertyType.NUMBER, value)
    except ValueError:
        assert value.adjusted() >= 308
        return
    assert isinstance(json.loads(text), float)
    assert Decimal(text).compare(value) == 0
    # A zero is added only where the point needs one.
    assert Decimal(text.replace(".0E", "E").removesuffix(".0")).as_tuple() == value.as_tuple() or (
        Decimal(text).as_tuple() == value.as_tuple()
    )


@given(st.integers())
@example(2**64)
@example(-(2**63) - 1)
def test_integer_keeps_its_digits(value: int) -> None:
    """An integer is sent as its digits, and with `.0` where the property is a number."""
    assert convert_to_json(PropertyType.INTEGER, value) == str(value)
    assert convert_to_json(PropertyType.NUMBER, value) == f"{value}.0"


@pytest.mark.parametrize("property_type", [PropertyType.INTEGER, PropertyType.NUMBER])
@pytest.mark.parametrize("sign", [1, -1])
@pytest.mark.parametrize("number_type", [Decimal, int])
def test_numbers_fit_a_64_bit_float(
    property_type: PropertyType, sign: int, number_type: type
) -> None:
    """The largest 64-bit float is sent; the first number that rounds to infinity is not."""
    # https://en.wikipedia.org/wiki/IEEE_754: halfway to 2 ** 1024 rounds to it.
    beyond = 2**1024 - 2**970
    assert (
        Decimal(convert_to_json(property_type, number_type(sign * LARGEST_FLOAT)))
        == sign * LARGEST_FLOAT
    )
    with pytest.raises(ValueError, match="beyond the range of a 64-bit float"):
        convert_to_json(property_type, number_type(sign * beyond))


def test_number_of_thousands_of_digits_is_refused() -> None:
    """It does not fit a float. Python's own limit on digits does not show."""
    with pytest.raises(ValueError, match="beyond the range"):
        convert_to_json(PropertyType.INTEGER, read_json("1" * 5000))


@pytest.mark.parametrize(
    ("written", "expected"),
    [
        ('"a"', '"a"'),
        ("1", '"1"'),
        ("1.50", '"1.50"'),
        ("true", '"true"'),
        ("1e999", '"1E+999"'),
        ('{"b": [1.10, null], "a": "é"}', r'"{\"b\":[1.10,null],\"a\":\"é\"}"'),
        ("[NaN]", '"[null]"'),
        ("NaN", "null"),
    ],
)
def test_string_is_unchanged_or_json_text(written: str, expected: str) -> None:
    """A string is sent unchanged, anything else as compact JSON in a string."""
    assert convert_to_json(PropertyType.STRING, read_json(written)) == expected


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ("2024-01-31T10:00:00Z", "2024-01-31T10:00:00Z"),
        ("2024-01-31 10:00:00.1+02:00", "2024-01-31T10:00:00.1+02:00"),
        ("2024-01-31", "2024-01-31"),
        ("2024-01-31 ", "2024-01-31 "),
        ("2024-01-31 or so", "2024-01-31 or so"),
        ("a sentence with a space", "a sentence with a space"),
        pytest.param("", "", id="empty"),
        pytest.param(datetime.date(2024, 1, 31), "2024-01-31", id="date"),
        pytest.param(
            datetime.datetime(2024, 1, 31, 10, tzinfo=datetime.timezone.utc),
            "2024-01-31T10:00:00+00:00",
            id="datetime",
        ),
    ],
)
def test_timestamp_has_a_t(value: object, expected: str) -> None:
    """A timestamp is unchanged, except that a space becomes the T."""
    assert convert_to_json(PropertyType.TIMESTAMP, value) == json.dumps(expected)


@given(st.text())
def test_strings_are_unchanged(value: str) -> None:
    """Every character is kept, also NUL, if the property's type cannot hold the string."""
    for property_type in PropertyType:
        is_string = property_type is PropertyType.STRING
        if is_string or not can_convert(value, property_type):
            assert json.loads(convert_to_json(property_type, value)) == value


@given(DECIMALS, st.integers(0, 5), st.integers(-3, 3))
@example(Decimal("1E+400"), 2, 0)
@example(Decimal("1E-400"), 2, 0)
@example(Decimal("-0.0"), 0, 0)
def test_equal_numbers_have_one_id(value: Decimal, zeros: int, shift: int) -> None:
    """Redundant zeros do not change an id; another number does."""
    sign, digits, exponent = value.as_tuple()
    assert isinstance(exponent, int)
    longer = Decimal((sign, (*digits, *[0] * zeros), exponent - zeros))
    assert to_id_string(longer) == to_id_string(value)
    other = Decimal((sign, digits, exponent + shift))
    assert (to_id_string(other) == to_id_string(value)) == (shift == 0 or not any(digits))


@given(st.integers() | st.just(10**5000))
def test_integer_has_the_id_of_its_decimal(value: int) -> None:
    """`10` and `10.0` are one key."""
    assert to_id_string(value) == to_id_string(Decimal(value))


def test_canonical_json_has_sorted_keys() -> None:
    """At every depth, so that the order of a record's keys does not change its id."""
    assert (
        to_canonical_json({"b": [{"d": 1, "c": 2.5}], "a": None})
        == b'{"a":null,"b":[{"c":2.5,"d":1}]}'
    )


@pytest.mark.parametrize("value", [NonFinite("nan"), float("inf"), Decimal("NaN")], ids=repr)
def test_non_finite_numbers_are_found_at_any_depth(value: object) -> None:
    """In an object and in an array; no other value counts as one."""
    assert has_non_finite({"a": [1, {"b": value}]})
    assert not has_non_finite({"a": [1, "NaN", Decimal("1E+999"), None, True]})
