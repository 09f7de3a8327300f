"""The RECORD lines that were read at the same time, grouped by stream.

The records of a group are mapped together. Streams of different collections do not depend on each
other, so their records may change places; streams that share a collection are never in one block.
A STATE, an ACTIVATE_VERSION, or a SCHEMA that changes nothing does not end a block: it is held
until the lines before it are delivered.
"""

from __future__ import annotations

import bisect
import itertools
from collections import Counter
from functools import cached_property
from typing import TYPE_CHECKING, Any, NamedTuple

import msgspec
from msgspec import UNSET

from target_segment_objects.mapping.json_lines import decode_json

if TYPE_CHECKING:
    from collections.abc import Mapping


class LineGroup(msgspec.Struct, eq=False):
    """The RECORD lines of one stream, in the order of the input.

    Attributes:
        stream: The stream's name, as the tap has it.
        lines: The lines.
    """

    stream: str
    lines: list[bytes] = []
    _span_starts: list[int] = []  # positions of lines after a gap
    _span_numbers: list[int] = []  # their line numbers

    def start_span(self, number: int) -> list[bytes]:
        """Note the line number of the next line, and return the lines, to add it to them."""
        self._span_starts.append(len(self.lines))
        self._span_numbers.append(number)
        return self.lines

    def list_spans(self) -> list[tuple[int, int]]:
        """Return the lines without a gap between them: the number of the first, and how many."""
        ends = [*self._span_starts[1:], len(self.lines)]
        return [
            (number, end - start)
            for number, start, end in zip(self._span_numbers, self._span_starts, ends, strict=True)
        ]

    def find_line_number(self, position: int) -> int:
        """Return the line number of the line at a position."""
        span = bisect.bisect_right(self._span_starts, position) - 1
        return self._span_numbers[span] + position - self._span_starts[span]

    def count_before(self, number: int) -> int:
        """Return how many of the lines are before a line number."""
        return bisect.bisect_left(range(len(self.lines)), number, key=self.find_line_number)


class HeldMessage(NamedTuple):
    """A message that is handled when the lines before it are delivered.

    Attributes:
        number: Its line number.
        header: Its header: that of a STATE, of an ACTIVATE_VERSION, or of a SCHEMA that changes
            nothing.
        ends: Each group that got lines since the last such message, with the number of its lines
            before this one.
    """

    number: int
    header: MessageHeader
    ends: list[tuple[LineGroup, int]]


class MessageHeader(msgspec.Struct):
    """What is read of a message before its record is decoded.

    Attributes:
        type: The type of the message.
        stream: The name of its stream.
        version: The version of its table, in some taps.
        rejected: Why and when a record was rejected, in a dead-letter file.
        value: The JSON of a STATE's value.
    """

    type: Any = None
    stream: Any = None
    version: Any = UNSET
    rejected: Any = None
    value: msgspec.Raw = msgspec.Raw()  # empty where the member is missing

    @property
    def is_record(self) -> bool:
        """Whether it is a RECORD message of some stream."""
        return self.type == "RECORD" and isinstance(self.stream, str)

    @property
    def has_version(self) -> bool:
        """Whether the message names a version."""
        return self.version is not UNSET and self.version is not None

    def read_value(self) -> Any:  # noqa: ANN401 - STATE is any JSON
        """Return the value of a STATE."""
        return decode_json(self.value)


class RecordBlock:
    """Groups of lines, and the messages between them.

    Attributes:
        groups: The groups by stream.
        held: The messages, in order.
        notable: The headers of RECORD messages that name a version, or that come from a dead-letter
            file.
    """

    def __init__(self) -> None:
        self.groups: dict[str, LineGroup] = {}
        self.held: list[HeldMessage] = []
        self.notable: list[MessageHeader] = []
        self._collections: set[str] = set()
        self._changed: dict[str, LineGroup] = {}  # by stream, since the last held message

    @property
    def has_messages(self) -> bool:
        """Whether there is any message."""
        return bool(self.groups or self.held)

    def count_messages(self) -> Counter[str]:
        """Return the number of messages of each type."""
        counts = Counter(message.header.type for message in self.held)
        counts["RECORD"] += self.count_lines()
        return counts

    def can_add(self, stream: str, collections: frozenset[str]) -> bool:
        """Return whether a line keeps its order among those of its collections."""
        return stream in self.groups or self._collections.isdisjoint(collections)

    def start_span(
        self, header: MessageHeader, collections: frozenset[str], number: int
    ) -> list[bytes]:
        """Return the lines of a stream's group, to add the line of this number to them."""
        stream = header.stream
        group = self.groups.get(stream)
        if group is None:
            group = self.groups[stream] = LineGroup(stream)
            self._collections |= collections
        self._changed[stream] = group
        if header.has_version or header.rejected is not None:
            self.notable.append(header)
        return group.start_span(number)

    def hold(
        self, number: int, line: bytes, header: MessageHeader, current_schemas: Mapping[str, bytes]
    ) -> bool:
        """Keep a message that comes after others, or a SCHEMA that changes nothing.

        Returns:
            Whether the message is kept.
        """
        if header.type == "STATE":
            is_held = self.has_messages and bool(header.value)
        elif not isinstance(header.stream, str):
            is_held = False
        elif header.type == "ACTIVATE_VERSION":
            is_held = self.has_messages and header.version is not UNSET
        else:
            is_held = header.type == "SCHEMA" and current_schemas.get(header.stream) == line
        if not is_held:
            return False
        ends = [(group, len(group.lines)) for group in self._changed.values()]
        self.held.append(HeldMessage(number, header, ends))
        self._changed = {}
        return True

    def count_lines(self) -> int:
        """Return the number of RECORD lines."""
        return sum(len(group.lines) for group in self.groups.values())

    def count_before(self, number: int) -> int:
        """Return how many RECORD lines are before a line number; called when all were added."""
        numbers, totals = self._spans
        span = bisect.bisect_left(numbers, number) - 1
        if span < 0:
            return 0
        return min(totals[span] + number - numbers[span], totals[span + 1])

    @cached_property
    def _spans(self) -> tuple[list[int], list[int]]:
        """The number of the first line of each span of all groups, and of the lines before it."""
        spans = sorted(span for group in self.groups.values() for span in group.list_spans())
        counts = (count for _, count in spans)
        return [number for number, _ in spans], [*itertools.accumulate(counts, initial=0)]
