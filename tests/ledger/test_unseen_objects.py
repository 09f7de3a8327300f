"""The set of numbers, and the objects that a run did not see, in both ways to list them."""

from __future__ import annotations

import sqlite3
from contextlib import closing

import pytest
from hypothesis import given
from hypothesis import strategies as st

from target_segment_objects.ledger import file_format
from target_segment_objects.ledger.unseen_objects import Bitmap, list_unseen


@given(size=st.integers(0, 70), numbers=st.sets(st.integers(0, 80)))
def test_bitmap_is_a_set(size: int, numbers: set[int]) -> None:
    """It has the numbers that were added, except those that are too large."""
    bitmap = Bitmap(size)
    bitmap.add_all(numbers)
    unset = [n for n in range(size) if n not in numbers]
    assert [n for n in range(90) if n in bitmap] == sorted(n for n in numbers if n < size)
    assert list(bitmap.list_unset()) == unset
    assert bitmap.count_unset() == len(unset)
    assert bitmap.select_unset((n, n) for n in range(90)) == unset


@pytest.mark.parametrize("others", [0, 100], ids=["few unseen", "many unseen"])
@given(seen=st.sets(st.integers(1, 20)))
def test_unseen_objects(others: int, seen: set[int]) -> None:
    """Those of the collection are listed, in order: integers first, and no object that is new."""
    with closing(sqlite3.connect(":memory:")) as connection:
        connection.executescript(file_format.TABLES)
        ids = [n if n % 2 else f"id {n}" for n in range(1, 21)]
        rows = [(1, object_id, n) for n, object_id in enumerate(ids, start=1)]
        rows += [(2, n, n) for n in range(21, 21 + others)] + [(1, "new", 500)]
        connection.executemany("INSERT INTO object VALUES (?, ?, 1, ?, NULL, 0)", rows)
        bitmap = Bitmap(21 + others)
        bitmap.add_all({0, *seen})
        chunks = list_unseen(connection, 1, bitmap, known=len(ids))
        unseen = [object_id for chunk in chunks for object_id in chunk]
    expected = [object_id for n, object_id in enumerate(ids, start=1) if n not in seen]
    assert unseen == sorted(expected, key=lambda value: (isinstance(value, str), value))
