"""The RECORD lines of a block, grouped by stream, so that each stream's can be loaded together.

Streams of different collections do not depend on each other, so their records may change places.
Those of streams that share a collection keep their order.
"""

from __future__ import annotations

import bisect
from typing import TYPE_CHECKING, Protocol

import msgspec

from target_segment_objects.exceptions import SegmentObjectsError

if TYPE_CHECKING:
    from collections.abc import Callable


class LineLoader(Protocol):
    """Loads the RECORD lines of one stream."""

    @property
    def collection(self) -> str:
        """The collection of the stream."""

    def load_lines(self, lines: list[bytes], load_slowly: Callable[[int], None]) -> None:
        """Load lines in their order; those at some positions by calling `load_slowly`."""


class LineGroup(msgspec.Struct, eq=False):
    """Lines of one stream, in the order of the input.

    Attributes:
        loader: Loads them.
        lines: The lines.
        slow_number: The line number of the last line that was loaded slowly; 0 before.
    """

    loader: LineLoader
    lines: list[bytes] = []
    slow_number: int = 0
    _run_starts: list[int] = []  # positions of lines after a gap
    _run_numbers: list[int] = []  # their line numbers

    def start_run(self, number: int) -> list[bytes]:
        """Note the line number of the next line, and return the lines, to add it to them."""
        self._run_starts.append(len(self.lines))
        self._run_numbers.append(number)
        return self.lines

    def find_line_number(self, position: int) -> int:
        """Return the line number of the line at a position."""
        run = bisect.bisect_right(self._run_starts, position) - 1
        return self._run_numbers[run] + position - self._run_starts[run]

    def load(self, load_slowly: Callable[[bytes, int], object]) -> None:
        """Load the lines; for the argument, see `LineGroups.load`."""

        def load_line(position: int) -> None:
            self.slow_number = self.find_line_number(position)
            load_slowly(self.lines[position], self.slow_number)

        self.loader.load_lines(self.lines, load_line)

    def count_before(self, number: int) -> int:
        """Return how many of the lines are before a line number."""
        return bisect.bisect_left(range(len(self.lines)), number, key=self.find_line_number)


class LineGroups:
    """Groups of lines that wait to be loaded, at most one for each collection."""

    def __init__(self) -> None:
        """Start without a group."""
        self._groups: dict[bytes, LineGroup] = {}
        self._collections: set[str] = set()

    @property
    def has_lines(self) -> bool:
        """Whether lines wait."""
        return bool(self._groups)

    def has_collection(self, collection: str) -> bool:
        """Return whether lines of a collection wait."""
        return collection in self._collections

    def get(self, prefix: bytes) -> LineGroup | None:
        """Return the group of the lines that begin with a record prefix."""
        return self._groups.get(prefix)

    def add(self, prefix: bytes, loader: LineLoader) -> LineGroup:
        """Add the group of the lines that begin with a record prefix."""
        group = self._groups[prefix] = LineGroup(loader)
        self._collections.add(loader.collection)
        return group

    def load(self, load_slowly: Callable[[bytes, int], object]) -> int:
        """Load all groups, remove them, and return their number of lines.

        Args:
            load_slowly: Loads a line that its loader leaves; takes the line and its number.

        Raises:
            SegmentObjectsError: A line failed. All lines before it in the input were loaded.
        """
        groups = [*self._groups.values()]
        self._groups, self._collections = {}, set()
        failure: SegmentObjectsError | None = None
        failed_number = 0
        for group in groups:
            if failure is not None:
                del group.lines[group.count_before(failed_number) :]
            try:
                group.load(load_slowly)
            except SegmentObjectsError as error:  # if it is the second one, its line is earlier
                failure, failed_number = error, group.slow_number
        if failure is not None:
            raise failure
        return sum(len(group.lines) for group in groups)
