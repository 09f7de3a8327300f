"""What Python values become, and what the first value of a property decides."""

from __future__ import annotations

import datetime
import enum
import json
import logging
import math
import numbers
import uuid
from collections import OrderedDict, UserDict
from decimal import Decimal
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from target_segment_objects import load
from target_segment_objects.reporting.stats import RunStats
from target_segment_objects.rows.row_stream import RowStream
from target_segment_objects.run.context import RunContext
from target_segment_objects.run.output import RunOutput
from target_segment_objects.settings import Settings
from tests.support.two_decoders import RecordingClient

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from target_segment_objects.rows.load_result import RejectedRow
    from target_segment_objects.run.output import RejectedRecord
    from target_segment_objects.sandbox.server import Sandbox

UTC = datetime.timezone.utc


class Colour(enum.Enum):
    """An enumeration of strings."""

    RED = "red"


class Level(enum.IntEnum):
    """An enumeration of integers."""

    HIGH = 3


class Text(str):
    """A string of another type."""

    __slots__ = ()


class Number:
    """An integer of another package."""

    def __int__(self) -> int:
        """Return its value."""
        return 7


numbers.Integral.register(Number)


class Scalar:
    """A scalar of NumPy: an array without dimensions, which has one item."""

    dtype = "?"
    shape = ()

    def __init__(self, value: object) -> None:
        self._value = value

    def item(self) -> object:
        """Return it as a value of Python."""
        return self._value


class NotATime(datetime.datetime):
    """A time that is none, as pandas has it: it differs from itself."""

    def __eq__(self, other: object) -> bool:
        """Return False."""
        return False

    __hash__ = datetime.datetime.__hash__


class _Output(RunOutput):
    """Goes on after a row that cannot be sent."""

    def reject_record(self, rejected: RejectedRecord) -> None:
        """Do nothing: the stream keeps it."""


def map_rows(
    *groups: Sequence[Mapping[str, Any]], key: str = "id"
) -> tuple[list[dict[str, Any]], list[RejectedRow]]:
    """Return the objects of rows, and those that cannot be sent."""
    client = RecordingClient()
    settings = Settings(write_key="k")
    context = RunContext(
        settings, _Output(client), RunStats(), on_failure=lambda: None, logger=logging.getLogger()
    )
    stream = RowStream(context, "users", (key,), None, [])
    for group in groups:
        stream.add_rows(group)
    context.deliver_rest(ended_well=True)
    context.close()
    lines = b"".join(client.files).splitlines()
    return [json.loads(line, parse_float=Decimal) for line in lines], stream.rejects


def map_value(value: object) -> dict[str, Any]:
    """Return the properties of a row with one value."""
    ((mapped,), _) = map_rows([{"id": 1, "value": value}])
    properties: dict[str, Any] = mapped["properties"]
    return {name: value for name, value in properties.items() if name != "id"}


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ("2024-01-31", "2024-01-31"),
        (Text("text"), "text"),
        (7, 7),
        (Number(), 7),
        (True, True),
        (1.5, Decimal("1.5")),
        (0.1 + 0.2, Decimal("0.30000000000000004")),
        (10.0, Decimal("10.0")),
        (Decimal("1.10"), Decimal("1.10")),
        (Decimal(3), Decimal("3.0")),
        (datetime.datetime(2024, 1, 31, 8, tzinfo=UTC), "2024-01-31T08:00:00+00:00"),
        (datetime.datetime(2024, 1, 31, 8), "2024-01-31T08:00:00"),  # noqa: DTZ001 - as users have
        (datetime.date(2024, 1, 31), "2024-01-31"),
        (datetime.time(8, 30), "08:30:00"),
        (uuid.UUID(int=1), "00000000-0000-0000-0000-000000000001"),
        (Colour.RED, "red"),
        (Level.HIGH, 3),
        (Scalar(value=True), True),
        (Scalar(None), None),
        ([1, 2.5, None, Colour.RED], '[1,2.5,null,"red"]'),
        ((datetime.date(2024, 1, 31), {"a": Decimal("1.10")}), '["2024-01-31",{"a":1.10}]'),
        (None, None),
        (math.nan, None),
        (-math.inf, None),
        (Decimal("NaN"), None),
        (NotATime(2024, 1, 31), None),
    ],
)
def test_a_value_is_sent_by_its_type(value: object, expected: object) -> None:
    """Digits are kept, and a string that looks like something else is a string."""
    mapped = map_value(value)["value"]
    assert mapped == expected
    assert type(mapped) is type(expected)
    if isinstance(expected, Decimal):
        assert str(mapped) == str(expected)


@pytest.mark.parametrize("dict_type", [dict, OrderedDict, UserDict])
def test_a_dict_becomes_one_property_for_each_member(dict_type: type) -> None:
    """At any depth; an empty one is nothing, and one of nulls is a null."""
    value = dict_type(a=1, b=dict_type(c="x", d=dict_type()), e=[dict_type()])
    assert map_value(value) == {"value_a": 1, "value_b_c": "x", "value_e": "[{}]"}
    assert map_value(dict_type()) == {}
    assert map_value(dict_type(a=dict_type(b=None))) == {"value": None}


@pytest.mark.parametrize(
    ("value", "field", "reason"),
    [
        (b"secret", "value", "a value of type bytes"),
        ({1, 2}, "value", "a value of type set"),
        ({"a": [object()]}, "value.a", "a value of type object"),
        ({5: "x"}, "value.5", "a name of type int"),
        ({"--": 5}, "value.--", "no letter or digit"),
    ],
)
def test_what_has_no_type_in_segment_is_invalid(value: object, field: str, reason: str) -> None:
    """Its row is rejected, with the property, the id and the type, but not the value."""
    (first, last), (reject,) = map_rows([{"id": 1}, {"id": 2, "value": value}, {"id": 3}])
    assert (first["id"], last["id"]) == ("1", "3")
    assert (reject.number, reject.property, reject.object_id) == (2, field, "2")
    assert reason in reject.reason
    assert reject.row["value"] is value
    assert "secret" not in repr(reject)


def test_dicts_are_flattened_down_to_100_levels() -> None:
    """One more level makes the row invalid, and no other."""
    value: object = 1
    for _ in range(100):
        value = {"a": value}
    rows = [{"id": 1, "b": value}, {"id": 2, "c": {"b": value}}]
    (mapped,), (reject,) = map_rows(rows)
    assert mapped["properties"]["_".join(["b", *"a" * 100])] == 1
    assert (reject.number, reject.reason) == (2, "it is nested too deeply")


def test_a_value_without_an_end_is_invalid() -> None:
    """A list that contains itself is nested too deeply."""
    endless: list[object] = []
    endless.append(endless)
    _, (reject,) = map_rows([{"id": 2, "value": endless}])
    assert reject.reason == "it is nested too deeply"


@pytest.mark.parametrize(
    ("first", "later", "expected"),
    [
        (1, "7", 7),
        (1, 7.0, 7),
        (1, True, 1),
        (0.5, 7, Decimal("7.0")),
        (True, 0, False),
        ("a", 7, "7"),
        ("a", 7.5, "7.5"),
        ("a", [1], "[1]"),
        ([1], "a", "a"),
        ("a", {"b": 1}, '{"b":1}'),
        ("a", datetime.date(2024, 1, 31), "2024-01-31"),
        (datetime.date(2024, 1, 31), "2024-02-29 08:00:00", "2024-02-29T08:00:00"),
        (1, math.nan, None),
    ],
)
def test_a_later_value_is_converted_if_nothing_is_lost(
    first: object, later: object, expected: object
) -> None:
    """It has the type of the first value, whether the rows are read together or not."""
    for groups in ([[first, later]], [[first], [later]]):
        objects, rejects = map_rows(
            *(
                [{"id": number, "value": value} for number, value in enumerate(group)]
                for group in groups
            )
        )
        assert not rejects
        sent = objects[-1]["properties"]["value"]
        assert sent == expected
        assert type(sent) is type(expected)


@pytest.mark.parametrize(
    ("first", "later", "reason"),
    [
        (1, 1.5, "this value is a number with a fraction, and the first one was an integer"),
        (1, "007", "this value is a string, and the first one was an integer"),
        (0.5, "x", "this value is a string, and the first one was a number"),
        (True, 2, "this value is an integer, and the first one was a boolean"),
        (1, [1], "this value is a list, and the first one was an integer"),
        (1, {"a": 1}, "this value is a dict, and the first one was an integer"),
        ({"a": 1}, "x", "this value is a string, and the first one was a dict"),
        (
            datetime.date(2024, 1, 31),
            "soon",
            "this value is a string, and the first one was a date or a time",
        ),
    ],
)
def test_a_later_value_that_would_be_lost_is_invalid(
    first: object, later: object, reason: str
) -> None:
    """Its row is rejected, and the next one is loaded."""
    values = (None, first, later, first)
    rows = [{"id": number, "value": value} for number, value in enumerate(values)]
    for groups in ([rows], [[row] for row in rows]):
        objects, (reject,) = map_rows(*groups)
        assert [mapped["id"] for mapped in objects] == ["0", "1", "3"]
        assert (reject.number, reject.property, reject.reason) == (3, "value", reason)


def test_a_value_inside_a_dict_decides_its_type_too() -> None:
    """The reject names the path."""
    rows = [{"id": 1, "a": {"b": {"c": 1}}}, {"id": 2, "a": {"b": {"c": "x"}}}]
    _, (reject,) = map_rows(rows)
    assert reject.property == "a.b.c"


def test_a_schema_decides_instead_of_the_first_values(sandbox: Sandbox) -> None:
    """An integer comes first in a column of numbers, and an undeclared value is a string."""
    schema = {
        "properties": {
            "id": {"type": "integer"},
            "price": {"type": "number"},
            "tags": {"type": "object"},
            "at": {"type": "string", "format": "date-time"},
        }
    }
    rows = [
        {"id": 1, "price": 10, "tags": {"a": 1}, "other": 5},
        {"id": 2, "price": 10.5, "at": datetime.datetime(2024, 1, 31, tzinfo=UTC)},
        {"id": 3, "price": "x"},
        {"id": 4, "price": b"x"},
    ]
    result = load(
        "products",
        rows,
        key="id",
        write_key="k",
        api_url=sandbox.url,
        schema=schema,
        invalid_records="return",
    )
    first, second = sandbox.warehouse.rows("products")
    assert (first["price"], first["tags"], first["other"]) == (10.0, '{"a":1}', "5")
    assert (second["price"], second["at"].isoformat()) == (10.5, "2024-01-31T00:00:00")
    invalid, unsupported = result.rejects
    assert (invalid.number, invalid.property, invalid.object_id) == (3, "price", "3")
    assert invalid.reason == 'the schema requires type "number"'
    assert (unsupported.number, unsupported.property) == (4, "price")


SCALARS = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(),
    st.floats(),
    st.decimals(),
    st.text(max_size=5),
    st.dates(),
    st.datetimes(),
    st.times(),
    st.uuids(),
    st.binary(max_size=2),
)
NAMES = st.sampled_from(["a", "b", "c"])
VALUES = st.recursive(
    SCALARS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(NAMES, inner, max_size=3),
    max_leaves=6,
)


@given(st.lists(st.dictionaries(NAMES, VALUES, max_size=3), max_size=6))
def test_any_rows_are_sent_or_rejected(rows: list[dict[str, Any]]) -> None:
    """Each of them, in order; and it does not matter which of them are read together."""
    rows = [{"id": number, **row} for number, row in enumerate(rows, 1)]
    results = [map_rows(rows), map_rows(*([row] for row in rows))]
    for objects, rejects in results:
        sent = [int(mapped["id"]) for mapped in objects]
        assert sent == sorted(sent)
        assert sorted([*sent, *(reject.number for reject in rejects)]) == [
            row["id"] for row in rows
        ]
    together, alone = (
        [
            {name: value for name, value in mapped["properties"].items() if value is not None}
            for mapped in objects
        ]
        for objects, _ in results
    )
    assert together == alone
