"""Parquet rows become the JSON lines that a JSON encoder would write for their Python values."""

from __future__ import annotations

import io
import os
from datetime import date, datetime, time, timedelta, timezone
from decimal import Decimal
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from target_segment_objects.mapping.values import ENCODER
from target_segment_objects.singer.parquet_rows import count_decoded_rows, encode_rows, read_rows

IN_UTC = [
    datetime(2024, 1, 31, 10, 0, 0, tzinfo=timezone.utc),
    datetime(2024, 1, 31, 10, 0, 0, 120000, tzinfo=timezone.utc),
    datetime(1, 1, 1, tzinfo=timezone.utc),
    datetime(9999, 12, 31, 23, 59, 59, 999999, tzinfo=timezone.utc),
    None,
]
TIMES = [value and value.replace(tzinfo=None) for value in IN_UTC]


@pytest.mark.parametrize(
    ("values", "arrow_type"),
    [
        pytest.param(TIMES, pa.timestamp("us"), id="microseconds"),
        pytest.param(TIMES[:2], pa.timestamp("ms"), id="milliseconds"),
        pytest.param(TIMES[:1], pa.timestamp("s"), id="seconds"),
        pytest.param(IN_UTC, pa.timestamp("us", tz="UTC"), id="UTC"),
        pytest.param(IN_UTC[:2], pa.timestamp("us", tz="Europe/Berlin"), id="Berlin"),
        pytest.param([date(2024, 2, 29), date(1, 1, 1), None], pa.date32(), id="date32"),
        pytest.param([date(2024, 2, 29)], pa.date64(), id="date64"),
        pytest.param([time(10, 0), None], pa.time64("us"), id="time"),
        pytest.param([timedelta(seconds=1)], pa.duration("us"), id="duration"),
        pytest.param([Decimal("1.50"), None], pa.decimal128(9, 2), id="decimal"),
        pytest.param([1.5, float("nan"), None], pa.float64(), id="float"),
        pytest.param([b"x", None], pa.binary(), id="binary"),
        pytest.param([[TIMES[0]], None], pa.list_(pa.timestamp("us")), id="list"),
        pytest.param([{"a": 1}, None], pa.struct({"a": pa.int64()}), id="struct"),
        pytest.param([True, None], pa.bool_(), id="boolean"),
        pytest.param(['"é\n', None], pa.string(), id="string"),
    ],
)
def test_row_is_what_the_encoder_writes(values: list[Any], arrow_type: pa.DataType) -> None:
    """The same bytes, although Arrow formats the timestamps."""
    column = pa.array(values, type=arrow_type)
    for name in ("theColumn", 'the "column"'):
        rows = pa.RecordBatch.from_pydict({name: column})
        assert [*encode_rows(rows)] == [[ENCODER.encode(row) for row in rows.to_pylist()]]


def test_nanoseconds_are_kept() -> None:
    """Python's times cannot hold them."""
    rows = pa.RecordBatch.from_pydict({"at": pa.array([1], type=pa.timestamp("ns"))})
    assert [*encode_rows(rows)] == [[b'{"at":"1970-01-01 00:00:00.000000001"}']]


def test_last_of_two_columns_with_the_same_name_is_read() -> None:
    """A JSON object has a name once."""
    rows = pa.RecordBatch.from_arrays([pa.array([1]), pa.array([2])], names=["id", "id"])
    assert [*encode_rows(rows)] == [[b'{"id":2}']]


def test_rows_come_in_blocks() -> None:
    """The rows of all row groups come in order, at most 500 at a time."""
    file = io.BytesIO()
    pq.write_table(pa.table({"id": range(1201)}), file, row_group_size=700)
    blocks = [*read_rows(file)]
    assert max(map(len, blocks)) == 500
    assert [line for lines in blocks for line in lines] == [b'{"id":%d}' % n for n in range(1201)]


@pytest.mark.parametrize(
    ("texts", "expected"),
    [
        pytest.param([], range(10_000, 10_001), id="none"),
        pytest.param(["short"] * 20_000, range(10_000, 10_001), id="short"),
        pytest.param([os.urandom(50_000).hex() for _ in range(20)], range(70, 81), id="long"),
        pytest.param([os.urandom(5_000_000).hex()], range(1, 2), id="longest"),
    ],
)
def test_fewer_long_rows_are_decoded_at_a_time(texts: list[str], expected: range) -> None:
    """About 8 MB are decoded at a time, and at most 10,000 rows."""
    file = io.BytesIO()
    pq.write_table(pa.table({"text": pa.array(texts, type=pa.string())}), file)
    assert count_decoded_rows(pq.ParquetFile(file).metadata) in expected
