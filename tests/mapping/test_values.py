"""Values of each kind as they are sent, number by number and text by text."""

from __future__ import annotations

import datetime
import json
import sys
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

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


def sent(kind: PropertyType, value: object) -> str:
    """Return the JSON that is sent for a value."""
    return ENCODER.encode(CONVERTERS[kind](value)).decode()


def read(text: str) -> Any:  # noqa: ANN401 - JSON of any shape
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
        ("true", "true"),
        ('"a"', '"a"'),
        ("[1,2]", '"[1,2]"'),
    ],
)
def test_number(written: str, expected: str) -> None:
    """A number has a point and the tap's digits; what is none goes out by its own type."""
    assert sent(PropertyType.NUMBER, read(written)) == expected


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
        ("false", "false"),
    ],
)
def test_integer(written: str, expected: str) -> None:
    """A whole number has no point, at any size; what is none goes out by its own type."""
    assert sent(PropertyType.INTEGER, read(written)) == expected


@given(DECIMALS | st.floats(allow_nan=False, allow_infinity=False).map(lambda f: Decimal(repr(f))))
@example(LARGEST_FLOAT)
def test_a_decimal_keeps_its_digits(value: Decimal) -> None:
    """A number is sent as the same digits with the same scale, and is a float to any reader."""
    try:
        text = sent(PropertyType.NUMBER, value)
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
def test_an_integer_keeps_its_digits(value: int) -> None:
    """An integer is sent as its digits, and with `.0` where the property is a number."""
    assert sent(PropertyType.INTEGER, value) == str(value)
    assert sent(PropertyType.NUMBER, value) == f"{value}.0"


@pytest.mark.parametrize("kind", [PropertyType.INTEGER, PropertyType.NUMBER])
@pytest.mark.parametrize("sign", [1, -1])
@pytest.mark.parametrize("of", [Decimal, int])
def test_the_range_of_a_float(kind: PropertyType, sign: int, of: type) -> None:
    """The largest 64-bit float is sent; the next number that rounds to infinity is not."""
    # https://en.wikipedia.org/wiki/IEEE_754: halfway to 2 ** 1024 rounds to it.
    beyond = 2**1024 - 2**970
    assert Decimal(sent(kind, of(sign * LARGEST_FLOAT))) == sign * LARGEST_FLOAT
    with pytest.raises(ValueError, match="beyond the range of a 64-bit float"):
        sent(kind, of(sign * beyond))


def test_a_number_of_thousands_of_digits_is_refused() -> None:
    """It is out of a float's range, and Python's own limit on digits does not show."""
    with pytest.raises(ValueError, match="beyond the range"):
        sent(PropertyType.INTEGER, read("1" * 5000))


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
def test_text(written: str, expected: str) -> None:
    """Strings go out as they are, everything else as its compact JSON in a string."""
    assert sent(PropertyType.STRING, read(written)) == expected


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ("2024-01-31T10:00:00Z", "2024-01-31T10:00:00Z"),
        ("2024-01-31 10:00:00.1+02:00", "2024-01-31T10:00:00.1+02:00"),
        ("2024-01-31", "2024-01-31"),
        ("2024-01-31 ", "2024-01-31 "),
        ("2024-01-31 or so", "2024-01-31 or so"),
        ("a sentence with a space", "a sentence with a space"),
        ("", ""),
        (datetime.date(2024, 1, 31), "2024-01-31"),
        (
            datetime.datetime(2024, 1, 31, 10, tzinfo=datetime.timezone.utc),
            "2024-01-31T10:00:00+00:00",
        ),
    ],
)
def test_time(value: object, expected: str) -> None:
    """A time goes out as it is, but for a space in place of the T."""
    assert sent(PropertyType.TIMESTAMP, value) == json.dumps(expected)


@given(st.text())
def test_strings_stay_as_they_are(value: str) -> None:
    """Every character arrives, NUL too, whatever kind the property is of."""
    for kind in PropertyType:
        if kind is not PropertyType.TIMESTAMP:
            assert json.loads(sent(kind, value)) == value


@given(DECIMALS, st.integers(0, 5), st.integers(-3, 3))
@example(Decimal("1E+400"), 2, 0)
@example(Decimal("1E-400"), 2, 0)
@example(Decimal("-0.0"), 0, 0)
def test_equal_numbers_are_one_id(value: Decimal, zeros: int, shift: int) -> None:
    """Zeros that say nothing do not change an id; another number does."""
    sign, digits, exponent = value.as_tuple()
    assert isinstance(exponent, int)
    longer = Decimal((sign, (*digits, *[0] * zeros), exponent - zeros))
    assert to_id_string(longer) == to_id_string(value)
    other = Decimal((sign, digits, exponent + shift))
    assert (to_id_string(other) == to_id_string(value)) == (shift == 0 or not any(digits))


@given(st.integers() | st.just(10**5000))
def test_an_integer_is_the_id_of_its_number(value: int) -> None:
    """`10` and `10.0` are one key."""
    assert to_id_string(value) == to_id_string(Decimal(value))


def test_canonical_json_has_its_keys_sorted() -> None:
    """At every depth; so that the order in a record makes no other id."""
    assert (
        to_canonical_json({"b": [{"d": 1, "c": 2.5}], "a": None})
        == b'{"a":null,"b":[{"c":2.5,"d":1}]}'
    )


@pytest.mark.parametrize("value", [NonFinite("nan"), float("inf"), Decimal("NaN")])
def test_non_finite_numbers_are_found_anywhere(value: object) -> None:
    """In an object, in an array, by itself; and nothing else is taken for one."""
    assert has_non_finite({"a": [1, {"b": value}]})
    assert not has_non_finite({"a": [1, "NaN", Decimal("1E+999"), None, True]})
