"""Which objects of a collection a run did not see, from the bits of those that it saw."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final, TypeVar

if TYPE_CHECKING:
    import sqlite3
    from collections.abc import Iterable, Iterator

    from target_segment_objects.ledger.digests import ObjectId

_T = TypeVar("_T")

CHUNK: Final = 8192
BEFORE_ALL_IDS: Final = -1  # integers come before strings, and none is negative

_NOT_FULL: Final = re.compile(rb"[^\xff]")

_SELECT_NUMBERED: Final = """
    SELECT id FROM object
    WHERE collection = ? AND id > ? AND n IN (SELECT n FROM temp.unseen) ORDER BY id LIMIT ?
"""
_SELECT_ALL: Final = """
    SELECT id, n FROM object WHERE collection = ? AND id > ? ORDER BY id LIMIT ?
"""


class Bitmap:
    """A set of integers from 0 up to a size, with a bit for each: 12.5 MB for 100 million.

    Attributes:
        size: What the numbers are below.
    """

    def __init__(self, size: int) -> None:
        self.size = size
        self._bits = bytearray((size + 7) // 8)

    def add_all(self, numbers: Iterable[int]) -> None:
        """Add numbers; those that are too large are left out."""
        bits, size = self._bits, self.size
        for number in numbers:
            if number < size:
                bits[number >> 3] |= 1 << (number & 7)

    def select_unset(self, rows: Iterable[tuple[_T, int]]) -> list[_T]:
        """Return the first items of pairs whose numbers are not in the set, nor too large."""
        bits, size = self._bits, self.size
        return [
            item
            for item, number in rows
            if number < size and not bits[number >> 3] >> (number & 7) & 1
        ]

    def count_unset(self) -> int:
        """Return how many numbers are not in the set."""
        return self.size - int.from_bytes(self._bits, "little").bit_count()

    def list_unset(self) -> Iterator[int]:
        """Yield the numbers that are not in the set."""
        for match in _NOT_FULL.finditer(self._bits):
            first, byte = 8 * match.start(), match[0][0]
            numbers = range(first, min(first + 8, self.size))
            yield from (number for number in numbers if not byte >> (number - first) & 1)

    def __contains__(self, number: int) -> bool:
        """Return whether a number is in the set; one that is too large is not."""
        return number < self.size and bool(self._bits[number >> 3] >> (number & 7) & 1)


def list_unseen(
    connection: sqlite3.Connection, collection: int, seen: Bitmap, *, known: int
) -> Iterator[list[ObjectId]]:
    """Yield the ids of known objects that a run did not see, in chunks.

    Args:
        connection: Of the ledger. Between two chunks, it may be used.
        collection: The number of the collection.
        seen: The numbers of the objects that were seen.
        known: The number of its objects.
    """
    # Nearly always, they are few: then SQLite picks them by their numbers, in 0.15 µs for each
    # object of the collection. If other streams have many objects that this run did not read, all
    # objects of the collection are read and held against the bits, which takes 0.55 µs.
    if seen.count_unset() > known:
        yield from _read_all(connection, collection, seen)
        return
    connection.execute("CREATE TEMP TABLE IF NOT EXISTS unseen (n INTEGER PRIMARY KEY)")
    connection.execute("DELETE FROM temp.unseen")
    numbers = ((number,) for number in seen.list_unset())
    connection.executemany("INSERT INTO temp.unseen VALUES (?)", numbers)
    last: ObjectId = BEFORE_ALL_IDS
    while rows := connection.execute(_SELECT_NUMBERED, (collection, last, CHUNK)).fetchall():
        yield [object_id for (object_id,) in rows]
        last = rows[-1][0]


def _read_all(
    connection: sqlite3.Connection, collection: int, seen: Bitmap
) -> Iterator[list[ObjectId]]:
    last: ObjectId = BEFORE_ALL_IDS
    while rows := connection.execute(_SELECT_ALL, (collection, last, CHUNK)).fetchall():
        yield seen.select_unset(rows)
        last = rows[-1][0]
