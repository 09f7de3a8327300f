"""Parsing a line: the fast path returns what the slow path returns, or nothing."""

from __future__ import annotations

import functools
import json
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from target_segment_objects.sandbox.errors import RejectedRequestError
from target_segment_objects.sandbox.objects import Object, parse_object, parse_strictly

if TYPE_CHECKING:
    from collections.abc import Callable

NAMES = st.sampled_from(["a", "b", "A", "a b", "é", "_", '"', "x:y", '":', "\\"])
VALUES = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(),
    st.floats(),
    st.text(alphabet='ab":\\ \t\n\u00e9\ud800{},'),
    st.sampled_from([[], {}, {"a": 1}]),
)
PAIRS = st.lists(st.tuples(NAMES, VALUES), max_size=4)
SEPARATORS = st.sampled_from([(",", ":"), (", ", ": "), (" ,\t", " :\r")])


def encode_pairs(
    pairs: list[tuple[str, Any]], separators: tuple[str, str], *, ensure_ascii: bool
) -> str:
    """Return a JSON object, which may have a key twice."""
    comma, colon = separators
    dump = functools.partial(json.dumps, ensure_ascii=ensure_ascii)
    members = (dump(key) + colon + dump(value) for key, value in pairs)
    return "{" + comma.join(members) + "}"


@st.composite
def lines(draw: st.DrawFn) -> bytes:
    """Lines that are legal objects, or nearly."""
    separators, ensure_ascii = draw(SEPARATORS), draw(st.booleans())
    properties = encode_pairs(draw(PAIRS), separators, ensure_ascii=ensure_ascii)
    members = [
        ("id", draw(st.one_of(st.text(max_size=3), st.integers()))),
        ("collection", draw(st.sampled_from(["users", "a_b", "A", "_a", "", 1]))),
        ("properties", None),
    ]
    extra = draw(st.lists(st.sampled_from([*members, ("other", 1)]), max_size=1))
    chosen = draw(st.permutations([*members, *extra]))
    text = encode_pairs(chosen, separators, ensure_ascii=ensure_ascii)
    return text.replace("null", properties).encode(errors="surrogatepass")


def parse_or_reason(parse: Callable[[bytes], Object], line: bytes) -> object:
    """Return what a line is parsed to, or why it is rejected."""
    try:
        parsed = parse(line)
    except RejectedRequestError as error:
        return error.reason
    properties = [(name, type(value), value) for name, value in parsed.properties]
    return parsed.id, parsed.collection, properties, parsed.shape.columns, parsed.size


@given(lines())
@example(b'{"id":"1","collection":"users","properties":{"a":1,"a":2}}')
@example(b'{"id" :"1","collection":"users","properties":{"a":"\\":","a":2}}')
@example(b'{"id":"1","collection":"users","properties":{"a":1},"properties":{"b":1}}')
@example(b'{"id":"1","collection":"users","properties":{"a":"\\\\","b":"\\""}}')
@example(b'{"id":"1","collection":"users","properties":{"a":-0,"b":-0.0,"c":1e5,"d":1E-400}}')
def test_fast_path_parses_as_the_slow_path(line: bytes) -> None:
    """Both return the same object, with the same types of values, or the same reason."""
    assert parse_or_reason(parse_object, line) == parse_or_reason(parse_strictly, line)


@pytest.mark.parametrize("digits", [18, 19, 20, 4300, 4301, 5000])
def test_long_integers(digits: int) -> None:
    """Integers of any length are parsed alike: as an integer, or as text where Python refuses."""
    line = b'{"id":"1","collection":"users","properties":{"a":%b}}' % (b"9" * digits)
    assert parse_or_reason(parse_object, line) == parse_or_reason(parse_strictly, line)


def test_values_are_not_in_the_repr() -> None:
    """The properties of an object are personal data."""
    item = parse_object(b'{"id":"1","collection":"users","properties":{"a":"secret"}}')
    assert repr(item) == "Object('1', 'users')"
