"""Load the lines of a stream whose records the SDK changes or removes.

Where stream maps change the records, the lines of the changed records take the fast path. What
needs no expression, `property_moves` makes of the lines. For the rest, the records are decoded,
changed by the SDK, and encoded again.

The rule that makes this safe: a changed record is encoded only if its line says exactly what the
slow path would be given. Else the slow path gets the line of the tap.
"""

from __future__ import annotations

from decimal import Decimal
from types import NoneType
from typing import TYPE_CHECKING, Any, Final, TypeAlias, cast

import msgspec

from target_segment_objects.mapping.values import DECODING_ERRORS
from target_segment_objects.singer.property_moves import LineMover

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from singer_sdk.mapper import StreamMap
    from singer_sdk.sinks import Sink

    from target_segment_objects.reporting.stats import StreamStats
    from target_segment_objects.singer.property_moves import PropertyMoves
    from target_segment_objects.sinks import SegmentObjectsSink

    LoadSlowly = Callable[[int], None]

Record: TypeAlias = "dict[str, Any]"

_UNSUPPORTED: Final = b""  # no JSON, so that the fast path leaves it to the slow path
_EXACT_TYPES: Final = frozenset({str, int, bool, NoneType, Decimal})
_MIN_PLAIN_FLOAT: Final = 1e-4
_MAX_PLAIN_FLOAT: Final = 1e15
_encode: Final = msgspec.json.Encoder(decimal_format="number").encode
_decode_record: Final = msgspec.json.Decoder(dict[str, Any], float_hook=Decimal).decode


class _RecordMessage(msgspec.Struct, tag_field="type", tag="RECORD"):
    """A RECORD message with the members that become metadata."""

    stream: str
    record: Record
    time_extracted: Any = None
    version: Any = None


_decode_message: Final = msgspec.json.Decoder(_RecordMessage, float_hook=Decimal).decode


class ChangedStreamLoader:
    """Loads the lines of a stream whose records the SDK changes."""

    def __init__(
        self,
        stream: str,
        stream_map: StreamMap,
        moves: PropertyMoves | None,
        sinks: Mapping[str, Sink],
        stats: StreamStats,
    ) -> None:
        """Keep what the loader works with.

        Args:
            stream: The stream's name, as RECORD messages have it.
            stream_map: Changes its records.
            moves: What it does to them, if that takes no expression.
            sinks: The sinks by the names of their streams; a SCHEMA may replace one.
            stats: The stream's counts.
        """
        self._stream = stream
        self._transform = stream_map.transform
        self._alias = stream_map.stream_alias
        self._mover = None if moves is None else LineMover(stream, self._alias, moves)
        self._sinks = sinks
        self._stats = stats

    @property
    def collection(self) -> str:
        """The collection of its objects."""
        return self._sink.collection

    @property
    def _sink(self) -> SegmentObjectsSink:
        return cast("SegmentObjectsSink", self._sinks[self._alias])

    def load_lines(self, lines: list[bytes], load_slowly: LoadSlowly) -> None:
        """Load RECORD lines; see `LineLoader`."""
        moved = None if self._mover is None else self._mover.move_messages(lines)
        changed, positions = self._change_lines(lines, moved, self._change_message)
        self._sink.load_lines(changed, lambda row: load_slowly(positions[row]), self._stats)

    def load_batch_lines(self, lines: list[bytes], load_slowly: LoadSlowly) -> None:
        """Load the records of BATCH files; see `LineLoader`."""
        moved = None if self._mover is None else self._mover.move_records(lines)
        changed, positions = self._change_lines(lines, moved, self._change_record)
        self._sink.load_batch_lines(changed, lambda row: load_slowly(positions[row]), self._stats)

    def _change_lines(
        self,
        lines: list[bytes],
        moved: list[bytes | None] | None,
        change_line: Callable[[bytes], bytes | None],
    ) -> tuple[list[bytes], Sequence[int]]:
        """Return the lines of the changed records, and the positions that they had.

        Args:
            lines: The lines of the tap.
            moved: Those that are changed already; None if none is.
            change_line: Changes another one.
        """
        if moved is not None and None not in moved:
            return cast("list[bytes]", moved), range(len(moved))
        changed: list[bytes] = []
        positions: list[int] = []
        for position, line in enumerate(lines):
            try:
                changed_line = (moved and moved[position]) or change_line(line)
            except Exception:  # noqa: BLE001 - an expression may raise any exception
                changed_line = _UNSUPPORTED
            if changed_line is not None:  # else it is filtered out
                changed.append(changed_line)
                positions.append(position)
        self._stats.read += len(lines) - len(changed)
        return changed, positions

    def _change_message(self, line: bytes) -> bytes | None:
        message = _decode_message(line)
        if message.stream != self._stream:
            return _UNSUPPORTED
        record = self._transform(message.record)
        if record is None:
            return None
        if not _is_exact_record(record, message.record):
            return _UNSUPPORTED
        message.stream, message.record = self._alias, record
        return _encode(message)

    def _change_record(self, line: bytes) -> bytes | None:
        before = _decode_record(line)
        record = self._transform(before)
        if record is None:
            return None
        return _encode(record) if _is_exact_record(record, before) else _UNSUPPORTED


class RemovedStreamLoader:
    """Counts the lines of a stream that the user removes."""

    def __init__(self, stream: str, stats: StreamStats) -> None:
        """Keep what the loader works with.

        Args:
            stream: The stream's name, as RECORD messages have it.
            stats: The stream's counts.
        """
        self._stream = stream
        self._stats = stats

    @property
    def collection(self) -> str:
        """The name of the stream, because it has no collection."""
        return self._stream

    def load_lines(self, lines: list[bytes], load_slowly: LoadSlowly) -> None:
        """Count RECORD lines; see `LineLoader`."""
        self._count_lines(lines, self._is_message, load_slowly)

    def load_batch_lines(self, lines: list[bytes], load_slowly: LoadSlowly) -> None:
        """Count the records of BATCH files; see `LineLoader`."""
        self._count_lines(lines, _is_record, load_slowly)

    def _is_message(self, line: bytes) -> bool:
        return _decode_message(line).stream == self._stream

    def _count_lines(
        self, lines: list[bytes], is_valid: Callable[[bytes], bool], load_slowly: LoadSlowly
    ) -> None:
        for position, line in enumerate(lines):
            try:
                can_count = is_valid(line)
            except DECODING_ERRORS:
                can_count = False
            if can_count:
                self._stats.read += 1
            else:
                load_slowly(position)


def _is_record(line: bytes) -> bool:
    return isinstance(_decode_record(line), dict)


def _is_exact_record(record: Record, before: Record) -> bool:
    """Return whether the JSON of a changed record says all that the slow path would see."""
    if _EXACT_TYPES.issuperset(map(type, record.values())):
        return True
    # What the tap wrote is exact.
    return all(value is before.get(name) or _is_exact(value) for name, value in record.items())


def _is_exact(value: object) -> bool:
    if type(value) is float:
        # Others are written with an exponent, and not by all encoders in the same way.
        return value == 0 or _MIN_PLAIN_FLOAT <= abs(value) < _MAX_PLAIN_FLOAT
    if type(value) is dict:
        return all(type(name) is str and _is_exact(item) for name, item in value.items())
    if type(value) is list:
        return all(map(_is_exact, value))
    return type(value) in _EXACT_TYPES
