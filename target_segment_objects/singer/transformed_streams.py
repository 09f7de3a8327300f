"""Map the lines of a stream whose records stream maps change or drop.

A stream map without expressions is a projection of lines. For any other, the records are decoded
untyped, changed by the SDK, and mapped as they are then.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, cast

from target_segment_objects.exceptions import InvalidRecordError
from target_segment_objects.mapping.json_lines import (
    RecordMessage,
    UnreadableLineError,
    decode_record,
    decode_record_message,
)
from target_segment_objects.mapping.mapped_records import MappedRecords
from target_segment_objects.singer.projection import LineProjector
from target_segment_objects.singer.stream_maps import transform_record

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from singer_sdk.mapper import StreamMap

    from target_segment_objects.mapping.mapper import RecordMapper
    from target_segment_objects.singer.projection import Projection

    Decode = Callable[[bytes, str], RecordMessage]


class TransformedStream:
    """Maps the records of a stream that a stream map changes.

    Args:
        stream: The stream's name, as the tap has it.
        stream_map: Changes its records.
        projection: What it does to them, if that takes no expression.
        mapper: Maps the changed records.
    """

    def __init__(
        self,
        stream: str,
        stream_map: StreamMap,
        projection: Projection | None,
        mapper: RecordMapper,
    ) -> None:
        self._stream = stream
        self._stream_map = stream_map
        self._mapper = mapper
        self._projector = (
            None
            if projection is None
            else LineProjector(stream, stream_map.stream_alias, projection)
        )

    def map_messages(self, lines: Sequence[bytes]) -> MappedRecords:
        """Map RECORD messages."""
        projected = None if self._projector is None else self._projector.project_messages(lines)
        return self._map(lines, projected, self._mapper.map_messages, decode_record_message)

    def map_lines(self, lines: Sequence[bytes]) -> MappedRecords:
        """Map records without a message around them, as BATCH files have them."""
        projected = None if self._projector is None else self._projector.project_records(lines)
        return self._map(lines, projected, self._mapper.map_lines, decode_record)

    def _map(
        self,
        lines: Sequence[bytes],
        projected: Sequence[bytes | None] | None,
        map_lines: Callable[[Sequence[bytes], Mapping[int, RecordMessage]], MappedRecords],
        decode: Callable[[bytes, str], RecordMessage],
    ) -> MappedRecords:
        """Map lines, those that were projected as they are now.

        Args:
            lines: The lines of the tap.
            projected: The projected lines; None in the place of one that cannot be projected.
            map_lines: Maps projected lines, and decoded messages between them.
            decode: Decodes another line.
        """
        if projected is not None and None not in projected:
            return map_lines(cast("Sequence[bytes]", projected), {})
        changed: list[bytes] = []
        positions: list[int] = []
        messages: dict[int, RecordMessage] = {}
        rejects: list[tuple[int, InvalidRecordError]] = []
        failure: tuple[int, Exception] | None = None
        for row, line in enumerate(lines):
            changed_line = None if projected is None else projected[row]
            if changed_line is None:
                try:
                    message = decode(line, self._stream)
                    record = transform_record(self._stream_map, message.record)
                except UnreadableLineError as error:
                    failure = (row, error)
                    break
                except InvalidRecordError as error:
                    rejects.append((row, error))
                    continue
                if record is None:  # it is filtered out
                    continue
                message.record = record
                messages[len(changed)] = message
            changed.append(changed_line or b"")
            positions.append(row)
        mapped = MappedRecords(untyped=len(lines) - len(changed))
        if len(messages) == len(changed):
            mapped.add(self._mapper.map_records([*messages.values()]), positions)
        else:
            mapped.add(map_lines(changed, messages), positions)
        mapped.failure = mapped.failure or failure
        return _add_rejects(mapped, rejects, len(lines))


def _add_rejects(
    mapped: MappedRecords, rejects: list[tuple[int, InvalidRecordError]], count: int
) -> MappedRecords:
    """Add the rejects of stream maps, as far as the stream was mapped."""
    mapped.count = count if mapped.failure is None else mapped.failure[0]
    added = [reject for reject in rejects if reject[0] < mapped.count]
    mapped.rejects = sorted([*mapped.rejects, *added], key=lambda reject: reject[0])
    return mapped


class DroppedStream:
    """Reads the records of a stream that the user drops.

    Args:
        stream: The stream's name, as the tap has it.
    """

    def __init__(self, stream: str) -> None:
        self._stream = stream

    def map_messages(self, lines: Sequence[bytes]) -> MappedRecords:
        """Check RECORD messages."""
        return self._check_lines(lines, decode_record_message)

    def map_lines(self, lines: Sequence[bytes]) -> MappedRecords:
        """Check the records of BATCH files."""
        return self._check_lines(lines, decode_record)

    def _check_lines(self, lines: Sequence[bytes], decode: Decode) -> MappedRecords:
        for row, line in enumerate(lines):
            try:
                decode(line, self._stream)
            except UnreadableLineError as error:
                return MappedRecords(count=row, failure=(row, error))
        return MappedRecords(count=len(lines))
