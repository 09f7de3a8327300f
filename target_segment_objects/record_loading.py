"""Load the records of a run: map them, deliver their objects, reject what cannot be sent.

Everything happens in the order of the input, although the records of a stream are mapped together:
what is before a failing line is delivered, nothing after it is, and a STATE is added when all lines
before it are delivered or rejected.
"""

from __future__ import annotations

import bisect
import math
from typing import TYPE_CHECKING, Any, NamedTuple, NoReturn, TypeAlias

from target_segment_objects.exceptions import InputError, SegmentObjectsError
from target_segment_objects.mapping.json_lines import UnreadableLineError
from target_segment_objects.run.output import MappedStream, RejectedRecord
from target_segment_objects.singer.batch_files import build_record_line, read_record_blocks
from target_segment_objects.singer.reader import ReadingStopped
from target_segment_objects.singer.record_blocks import HeldMessage, MessageHeader, RecordBlock

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping, Sequence

    from target_segment_objects.exceptions import InvalidRecordError
    from target_segment_objects.mapping.mapped_records import MappedRecords
    from target_segment_objects.mapping.mapper import RecordMapper
    from target_segment_objects.run.context import RunContext
    from target_segment_objects.singer.reader import MessageReader
    from target_segment_objects.singer.record_blocks import LineGroup
    from target_segment_objects.singer.replay import ReplayLog
    from target_segment_objects.singer.transformed_streams import DroppedStream, TransformedStream
    from target_segment_objects.sinks import SegmentObjectsSink

    LineMapper: TypeAlias = RecordMapper | TransformedStream | DroppedStream
    _Objects: TypeAlias = tuple[SegmentObjectsSink, Sequence[int], list[bytes]]


class StreamOutput(NamedTuple):
    """What stream maps make of a stream: one of its outputs.

    Attributes:
        mapper: Maps the lines of the tap.
        sink: Takes the objects; None if the stream is dropped.
    """

    mapper: LineMapper
    sink: SegmentObjectsSink | None


class TapStream(NamedTuple):
    """A stream of the tap.

    Attributes:
        name: Its name, as the tap has it.
        schema_line: Its current SCHEMA message, as the tap wrote it.
        outputs: What is made of its records.
        mapped: The mappings that were made from its SCHEMA.
        shares_collection: Whether several outputs have the same collection.
    """

    name: str
    schema_line: bytes
    outputs: Sequence[StreamOutput]
    mapped: Sequence[MappedStream]
    shares_collection: bool


class RecordLoader:
    """Loads the records of a run.

    Args:
        context: The parts of the run.
        reader: Reads the tap's output.
        replay_log: Takes the headers of replayed records.
        config: The settings as the SDK has them.

    Attributes:
        streams: The streams that have a SCHEMA, by the names that the tap has for them.
    """

    def __init__(
        self,
        context: RunContext,
        reader: MessageReader,
        replay_log: ReplayLog,
        config: Mapping[str, Any],
    ) -> None:
        self.streams: dict[str, TapStream] = {}
        self._context = context
        self._reader = reader
        self._replay_log = replay_log
        self._config = config

    def add_stream(self, stream: TapStream) -> None:
        """Take a stream as its SCHEMA declares it now."""
        self.streams[stream.name] = stream
        self._reader.streams[stream.name] = frozenset(
            output.sink.collection for output in stream.outputs if output.sink is not None
        )

    def load_block(self, block: RecordBlock) -> None:
        """Load RECORD messages, and what is held between them.

        Raises:
            InvalidMessageError: A line is not a message of its stream.
            SegmentObjectsError: A record ends the run, or delivery has failed.
        """
        for header in block.notable:
            if header.has_version:
                self._context.deletion_notes.add_record_version(
                    header.stream, {"version": header.version}
                )
            if header.rejected is not None:
                self._replay_log.add_record({"stream": header.stream, "rejected": header.rejected})
        number, failure = self._load_groups(block, are_messages=True)
        if isinstance(failure, UnreadableLineError):
            self._reader.line_number = int(number)
            self._reader.raise_invalid(failure.reason)
        if failure is not None:
            raise failure

    def load_batch(self, message: dict[str, Any], declared: Collection[str]) -> None:
        """Load the records of a BATCH message's files.

        Args:
            message: The message.
            declared: The names of the properties that the stream's SCHEMA declares.

        Raises:
            InputError: A file cannot be read, or a line is not a record.
            ReadingStopped: The reader was asked to stop.
            SegmentObjectsError: A record ends the run, or delivery has failed.
        """
        stream = self.streams[message["stream"]]
        storage = (self._config.get("batch_config") or {}).get("storage")
        first_number = 1
        for lines in read_record_blocks(message, storage, self._reader.waiting, declared=declared):
            if self._reader.stop_requested:
                raise ReadingStopped
            block = RecordBlock()
            block.start_span(MessageHeader(stream=stream.name), frozenset(), first_number).extend(
                lines
            )
            number, failure = self._load_groups(block, are_messages=False)
            if isinstance(failure, UnreadableLineError):
                self._refuse_batch_line(stream.name, int(number))
            if failure is not None:
                raise failure
            first_number += len(lines)

    def _refuse_batch_line(self, stream: str, number: int) -> NoReturn:
        msg = (
            f"Record {number} of the BATCH files of stream '{stream}' (line "
            f"{self._reader.line_number} of the input) is not a JSON object. Everything before it "
            "is delivered."
        )
        raise InputError(msg)

    def _load_groups(
        self, block: RecordBlock, *, are_messages: bool
    ) -> tuple[float, Exception | None]:
        """Map the groups of a block, and deliver in the order of the input.

        Returns:
            The number of the line that ends the run, and why; everything before it is delivered.
        """
        stats = self._context.stats
        read_before = stats.records_read
        mapped, limit, failure = self._map_groups(block, are_messages=are_messages)
        events: list[tuple[int, HeldMessage | _Reject]] = []
        if stats.uses_ledger:
            events += [(message.number, message) for message in block.held]
        for group in mapped.values():
            events += group.list_rejects()
        for number, event in sorted(events, key=lambda item: item[0]):
            if number >= limit:
                break
            stats.records_read = read_before + block.count_before(number)
            try:
                if isinstance(event, HeldMessage):
                    self._handle_held(event, mapped)
                else:
                    stats.records_read += 1
                    self._reject(event, are_messages=are_messages)
            except SegmentObjectsError as error:
                limit, failure = number, error
                break
        stats.records_read = read_before + _count_read(block, limit, failure)
        if not stats.uses_ledger:
            self._handle_last_state(block, mapped, limit)
        for group in mapped.values():
            self._deliver(group, group.count_before(limit))
            if failure is not None and group.stops_with(failure):
                stats.streams[group.stream.name].read += 1
        return limit, failure

    def _map_groups(
        self, block: RecordBlock, *, are_messages: bool
    ) -> tuple[dict[str, _MappedGroup], float, Exception | None]:
        """Map the groups of a block, as far as the first line that ends the run.

        Returns:
            The mapped groups by stream, the number of that line, and why it ends the run.
        """
        mapped: dict[str, _MappedGroup] = {}
        limit: float = math.inf
        failure: Exception | None = None
        for lines in block.groups.values():
            if failure is not None:
                del lines.lines[lines.count_before(int(limit)) :]
            group = mapped[lines.stream] = self._map_group(lines, are_messages=are_messages)
            if group.failure is not None:
                row, failure = group.failure
                limit = lines.find_line_number(row)
        return mapped, limit, failure

    def _map_group(self, group: LineGroup, *, are_messages: bool) -> _MappedGroup:
        """Map the lines of a group for each output of its stream."""
        stream = self.streams[group.stream]
        mapped = _MappedGroup(stream, group)
        for output in stream.outputs:
            map_lines = output.mapper.map_messages if are_messages else output.mapper.map_lines
            part = map_lines(group.lines)
            mapped.add_part(output.sink, part)
        return mapped

    def _deliver(self, mapped: _MappedGroup, end: int) -> None:
        """Count and deliver the records of a group before a position."""
        if count := mapped.advance(end):
            stats = self._context.stats.streams[mapped.stream.name]
            stats.read += count
            stats.untyped += mapped.take_untyped()
        for sink, violations in mapped.deliver_before(end):
            self._context.stats.count_violations(sink.stream_name, sink.collection, violations)

    def _handle_held(self, message: HeldMessage, mapped: Mapping[str, _MappedGroup]) -> None:
        """Handle a message when all before it is delivered."""
        for lines, end in message.ends:
            self._deliver(mapped[lines.stream], end)
        header = message.header
        if header.type == "STATE":
            self.add_state(header.read_value())
        elif header.type == "ACTIVATE_VERSION":
            self._context.deletion_notes.add_activation(header.stream, header.version)
        else:
            self.note_schema(header.stream)

    def _handle_last_state(
        self, block: RecordBlock, mapped: Mapping[str, _MappedGroup], limit: float
    ) -> None:
        """Handle the last STATE of a block: it says more than those before it.

        Only a ledger needs to know where the other messages stand.
        """
        before = [message for message in block.held if message.number < limit]
        for message in before:
            if message.header.type == "ACTIVATE_VERSION":
                self._context.deletion_notes.add_activation(
                    message.header.stream, message.header.version
                )
        states = [message for message in before if message.header.type == "STATE"]
        if states:
            for group in mapped.values():
                self._deliver(group, group.count_before(states[-1].number))
            self.add_state(states[-1].header.read_value())

    def add_state(self, value: Any) -> None:  # noqa: ANN401 - STATE is any JSON
        """Add a STATE's value, which covers everything before it."""
        self._context.deletion_notes.add_state(value)
        self._context.delivery.add_state(value)

    def note_schema(self, stream: str) -> None:
        """Note that the SCHEMA of a stream has come."""
        for mapped in self.streams[stream].mapped:
            self._context.deletion_notes.add_schema(mapped, self._config)

    def _reject(self, reject: _Reject, *, are_messages: bool) -> None:
        """Reject a record."""
        self._deliver(reject.group, reject.row + 1)
        for error in reject.errors:
            self._context.deletion_notes.add_reject(error)
        stream, line = reject.group.stream, reject.group.lines.lines[reject.row]
        if not are_messages:
            line = build_record_line(stream.name, line)
        # A traceback would keep what its frames have of the record.
        error = reject.errors[-1].with_traceback(None)
        self._context.reject_record(RejectedRecord(error, stream.schema_line, line))


def _count_read(block: RecordBlock, limit: float, failure: Exception | None) -> int:
    """Return how many records of a block were read, with that at which a stream stops."""
    if failure is None:
        return block.count_lines()
    return block.count_before(int(limit)) + (not isinstance(failure, UnreadableLineError))


class _Reject(NamedTuple):
    """A record that cannot be sent: its group, its row, and why, for each output."""

    group: _MappedGroup
    row: int
    errors: list[InvalidRecordError]


class _MappedGroup:
    """A group whose records are mapped, and delivered step by step.

    Args:
        stream: The stream.
        lines: Its lines.

    Attributes:
        failure: The row at which the stream stops, and why.
    """

    def __init__(self, stream: TapStream, lines: LineGroup) -> None:
        self.stream = stream
        self.lines = lines
        self.failure: tuple[int, Exception] | None = None
        self._parts: list[tuple[SegmentObjectsSink | None, MappedRecords]] = []
        self._starts: list[int] = []  # of the objects of each part that are not delivered
        self._position = 0  # of the first line that is not read
        self._untyped = 0

    def add_part(self, sink: SegmentObjectsSink | None, mapped: MappedRecords) -> None:
        """Add what an output of the stream has made of the lines."""
        self._parts.append((sink, mapped))
        self._starts.append(0)
        self._untyped = max(self._untyped, mapped.untyped)
        failure = mapped.failure
        if failure is not None and (self.failure is None or failure[0] < self.failure[0]):
            self.failure = failure

    def stops_with(self, failure: Exception) -> bool:
        """Return whether a failure is that of a record of this group that was read."""
        is_own = self.failure is not None and self.failure[1] is failure
        return is_own and not isinstance(failure, UnreadableLineError)

    def count_before(self, number: float) -> int:
        """Return how many lines are before a line number."""
        return len(self.lines.lines) if number == math.inf else self.lines.count_before(int(number))

    def list_rejects(self) -> list[tuple[int, _Reject]]:
        """Return the records that cannot be sent, by line number."""
        errors: dict[int, list[InvalidRecordError]] = {}
        for _, mapped in self._parts:
            for row, error in mapped.rejects:
                errors.setdefault(row, []).append(error)
        return [
            (self.lines.find_line_number(row), _Reject(self, row, errors[row])) for row in errors
        ]

    def take_untyped(self) -> int:
        """Return how many records were decoded untyped, once."""
        untyped, self._untyped = self._untyped, 0
        return untyped

    def advance(self, end: int) -> int:
        """Count lines as read, and return how many of them were not before."""
        count = max(0, end - self._position)
        self._position += count
        return count

    def deliver_before(self, end: int) -> list[tuple[SegmentObjectsSink, list[Collection[str]]]]:
        """Deliver the objects of the rows before a position.

        Returns:
            By sink, the properties that do not match their schema, for each record that has some.
        """
        violations: list[tuple[SegmentObjectsSink, list[Collection[str]]]] = []
        pending: list[_Objects] = []
        for at, (sink, mapped) in enumerate(self._parts):
            start = self._starts[at]
            stop = self._starts[at] = bisect.bisect_left(mapped.rows, end, start)
            if sink is not None and (mapped.unsaved or mapped.violations):
                sink.mapper.save_properties(prop for row, prop in mapped.unsaved if row < end)
                mapped.unsaved = [item for item in mapped.unsaved if item[0] >= end]
                found = [names for row, names in mapped.violations if row < end]
                violations.append((sink, found))
                mapped.violations = mapped.violations[len(found) :]
            if sink is not None and start < stop:
                pending.append((sink, mapped.rows[start:stop], mapped.objects[start:stop]))
        if len(pending) > 1 and self.stream.shares_collection:
            pending = _interleave(pending)
        for sink, _, objects in pending:
            sink.add_objects(objects)
        return violations


def _interleave(pending: Sequence[_Objects]) -> list[_Objects]:
    """Return objects one by one, in the order of their rows."""
    single: list[_Objects] = [
        (sink, [row], [line])
        for sink, rows, objects in pending
        for row, line in zip(rows, objects, strict=True)
    ]
    return sorted(single, key=lambda item: item[1][0])
