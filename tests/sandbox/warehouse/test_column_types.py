"""Converting a column as a whole: the same values and losses as one by one."""

from __future__ import annotations

from datetime import datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from target_segment_objects.sandbox.objects import FloatText, IntegerText, Value
from target_segment_objects.sandbox.warehouse.column_types import (
    ColumnType,
    convert_column,
    convert_value,
)

TIMES = st.sampled_from(
    [
        *("2024-01-31", "2024-02-30", "0001-01-01", "9999-12-31", "2024-01-31 10:20"),
        *("2024-01-31T10", "2024-01-31T10Z", "2024-01-31T10+02", "2024-01-31T10+02:00"),
        *("2024-01-31T10:20:30Z", "2024-01-31T10:20:30.123456+02:00", "2024-01-31T10:20:30+0200"),
        *("2024-01-31T10:20:30.1234567Z", "2024-01-31T10:20:30", "2024-01-31T10:20:30 Z", ""),
        *("2024-01-31t10:20:30z", "2024-01-31T10:20:30z", "2024-01-31T1020", "2024-01-31T102030Z"),
        *("0001-01-01T00:00:00+01:00", "2024-01-31T24:00", "2024-01-31T10:20:60", "1677-01-01"),
    ]
)
STRINGS = st.one_of(st.text(max_size=5), st.sampled_from(["x" * 512, "é" * 512, "x" * 513, "\0"]))
INTEGERS = st.one_of(st.integers(), st.sampled_from([2**63 - 1, 2**63, -(2**63), 2**53 + 1]))
FLOATS = st.one_of(
    st.floats(allow_nan=False, allow_infinity=False).map(repr),
    st.sampled_from(["1.50", "1e3", "1E400", "0.123456789012345678", "-0.0", "123456789012.345"]),
).map(FloatText)
STRATEGIES = {
    "strings": STRINGS,
    "times": TIMES,
    "integers": INTEGERS,
    "floats": FLOATS,
    "booleans": st.booleans(),
    "all": st.one_of(
        STRINGS, TIMES, INTEGERS, FLOATS, st.booleans(), st.just(IntegerText("9" * 5000))
    ),
}
EPOCH = datetime(1970, 1, 1)  # noqa: DTZ001 - as the warehouse stores it


@pytest.mark.parametrize("kind", STRATEGIES)
@pytest.mark.parametrize("column_type", ColumnType, ids=lambda each: each.name.lower())
@given(data=st.data())
def test_column_is_converted_as_its_values(
    column_type: ColumnType, kind: str, data: st.DataObject
) -> None:
    """Whatever the values are, Arrow's way is only taken where it has the same result."""
    values: list[Value] = data.draw(st.lists(st.none() | STRATEGIES[kind], max_size=4))
    array, losses = convert_column(column_type, values)
    stored = array.to_pylist()
    if column_type is ColumnType.TIMESTAMP:
        stored = [
            None if time is None else (time - EPOCH) // timedelta(microseconds=1) for time in stored
        ]
    expected = [convert_value(column_type, value) for value in values]
    assert stored == [value for value, _ in expected]
    assert losses == {index: loss for index, (_, loss) in enumerate(expected) if loss is not None}
