"""A set of the numbers of objects, with a bit for each: 12.5 MB for 100 million."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final, TypeVar

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

_T = TypeVar("_T")

_NOT_FULL: Final = re.compile(rb"[^\xff]")


class Bitmap:
    """A set of integers from 0 up to a size."""

    def __init__(self, size: int) -> None:
        """Start empty.

        Args:
            size: What the numbers are below.
        """
        self.size = size
        self._bits = bytearray((size + 7) // 8)

    def add_all(self, numbers: Iterable[int]) -> None:
        """Add numbers; those that are too large are left out."""
        bits, size = self._bits, self.size
        for n in numbers:
            if n < size:
                bits[n >> 3] |= 1 << (n & 7)

    def select_unset(self, rows: Iterable[tuple[_T, int]]) -> list[_T]:
        """Return the first items of pairs whose numbers are not in the set, nor too large."""
        bits, size = self._bits, self.size
        return [item for item, n in rows if n < size and not bits[n >> 3] >> (n & 7) & 1]

    def count_unset(self) -> int:
        """Return how many numbers are not in the set."""
        return self.size - int.from_bytes(self._bits, "little").bit_count()

    def list_unset(self) -> Iterator[int]:
        """Yield the numbers that are not in the set."""
        for match in _NOT_FULL.finditer(self._bits):
            first, byte = 8 * match.start(), match[0][0]
            yield from (
                n for n in range(first, min(first + 8, self.size)) if not byte >> (n - first) & 1
            )

    def __contains__(self, n: int) -> bool:
        """Return whether a number is in the set; one that is too large is not."""
        return n < self.size and bool(self._bits[n >> 3] >> (n & 7) & 1)
