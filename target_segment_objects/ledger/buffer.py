"""What waits for the ledger: lines and STATEs, in the order in which they arrived.

It is full after some megabytes, so that the ledger is asked for many objects at once.
"""

from __future__ import annotations

import threading
from collections import Counter
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

_MAX_BYTES: Final = 8_000_000
_LINE_OVERHEAD_BYTES: Final = 700  # so that 8,000 lines of 300 bytes fill the buffer
_MAX_STATES: Final = 32  # some taps write one after each record, with bookmarks of all streams


@dataclass(frozen=True, slots=True, eq=False)
class BufferedStream:
    """An open stream.

    Attributes:
        number: Its number in the ledger.
        collection: The collection of its objects.
        digest_line: Returns the digest of an object's line.
        forward: Adds lines to delivery.
    """

    number: int
    collection: str
    digest_line: Callable[[bytes], bytes]
    forward: Callable[[Sequence[bytes]], None]


@dataclass(slots=True)
class Section:
    """Lines of one stream that arrived one after the other, and the STATEs after them."""

    stream: BufferedStream
    lines: list[bytes] = field(default_factory=list)
    states: list[Any] = field(default_factory=list)


class LedgerBuffer:
    """Collects sections until they are taken. Its lock is held for moments."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._sections: list[Section] = []
        self._open: BufferedStream | None = None  # of the last section, unless a STATE closed it
        self._lines: list[bytes] = []  # the last section's
        self._space = _MAX_BYTES
        self._state_count = 0
        self._taken: Counter[str] = Counter()  # lines that were taken, and not released

    def add_lines(self, stream: BufferedStream, lines: Sequence[bytes]) -> bool:
        """Add lines; return whether the buffer is full."""
        size = sum(map(len, lines)) + len(lines) * _LINE_OVERHEAD_BYTES
        with self._lock:
            if self._open is not stream:
                section = Section(stream)
                self._sections.append(section)
                self._open, self._lines = stream, section.lines
            self._lines += lines
            self._space -= size
            return self._space <= 0

    def add_state(self, state: Any) -> bool:  # noqa: ANN401 - STATE is any JSON
        """Add a STATE behind the lines; return whether there are lines."""
        with self._lock:
            if not self._sections:
                return False
            self._sections[-1].states = [state]  # a newer one says more
            self._open = None
            self._state_count += 1
            if self._state_count > _MAX_STATES:
                self._drop_states()
            return True

    def take(self) -> list[Section]:
        """Empty the buffer; return what was in it. Its lines count until they are released."""
        with self._lock:
            sections, self._sections = self._sections, []
            self._open, self._space, self._state_count = None, _MAX_BYTES, 0
            self._taken.update(_count_lines(sections))
            return sections

    def release(self, collection: str, count: int) -> None:
        """Count lines no more that were taken: delivery counts them, or they are skipped."""
        with self._lock:
            self._taken[collection] -= count

    def count_lines(self) -> Counter[str]:
        """Return the number of lines of each collection that were added and not released."""
        with self._lock:
            return self._taken + _count_lines(self._sections)

    def _drop_states(self) -> None:
        """Drop every other STATE; the next one says what it says, and more."""
        with_states = [section for section in self._sections if section.states]
        for section in with_states[-2::-2]:
            section.states = []
        self._state_count = len(with_states) - len(with_states[-2::-2])


def _count_lines(sections: Iterable[Section]) -> Counter[str]:
    """Return each collection's number of lines."""
    counts: Counter[str] = Counter()
    for section in sections:
        counts[section.stream.collection] += len(section.lines)
    return counts
