"""Objects are found whichever of the two ways looks them up."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from itertools import pairwise
from typing import TYPE_CHECKING

import pytest

from target_segment_objects.ledger.changed_objects import ObjectLookup
from target_segment_objects.ledger.file_format import TABLES

if TYPE_CHECKING:
    from collections.abc import Iterator

IDS: list[int | str] = [*range(0, 2_000, 2), *(f"id-{number:04}" for number in range(1_000))]
NEVER_DUE = {"days": 0, "today": 0}


@pytest.fixture
def connection() -> Iterator[sqlite3.Connection]:
    """Open a ledger whose first collection has the objects of `IDS`; the second has one of them."""
    with closing(sqlite3.connect(":memory:")) as opened:
        opened.executescript(TABLES)
        rows = [(1, object_id, n) for n, object_id in enumerate(IDS)]
        opened.executemany(
            "INSERT INTO object VALUES (?, ?, 1, ?, 'digest', 0)", [*rows, (2, IDS[0], 9_999)]
        )
        yield opened


@pytest.mark.parametrize(
    "wanted",
    [
        pytest.param(IDS[100:200], id="in order"),
        pytest.param(IDS[200:100:-1], id="in reverse"),
        pytest.param(IDS[::100], id="far apart"),
        pytest.param([*IDS[10:20], *IDS[-20:-10]], id="numbers and strings"),
        pytest.param([1, 3, 5, "none", *IDS[:10]], id="some unknown"),
    ],
)
def test_known_objects_are_found(connection: sqlite3.Connection, wanted: list[int | str]) -> None:
    """Each known object with its number, none of another collection; the same in each chunk."""
    lookup = ObjectLookup(1, NEVER_DUE)
    expected = {(object_id, n) for n, object_id in enumerate(IDS) if object_id in wanted}
    for _ in range(5):
        rows = lookup.find_rows(connection, wanted)
        assert {row[:2] for row in rows if row[0] in wanted} == expected


def test_a_range_is_tried_less_often_while_it_is_too_wide(connection: sqlite3.Connection) -> None:
    """After 1, 2, 4, … chunks, at most 64; one that is narrow enough starts over."""
    statements: list[str] = []
    connection.set_trace_callback(statements.append)
    lookup = ObjectLookup(1, NEVER_DUE)

    def count_chunks_between_ranges(chunks: int) -> list[int]:
        tried = []
        for chunk in range(chunks):
            statements.clear()
            lookup.find_rows(connection, IDS[::100])
            if any("BETWEEN" in statement for statement in statements):
                tried.append(chunk)
        return [later - earlier - 1 for earlier, later in pairwise(tried)]

    assert count_chunks_between_ranges(265) == [1, 2, 4, 8, 16, 32, 64, 64, 64]
    for _ in range(70):
        lookup.find_rows(connection, IDS[:10])
    assert count_chunks_between_ranges(9) == [1, 2]
