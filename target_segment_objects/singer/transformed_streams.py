"""Map the lines of a stream whose records stream maps change or drop.

A stream map without expressions is a projection of lines. For any other, the records are decoded
untyped, changed by the SDK, and mapped as they are then.
"""

from __future__ import annotations

import itertools
from typing import TYPE_CHECKING, cast

from target_segment_objects.exceptions import InvalidRecordError
from target_segment_objects.mapping.json_lines import (
    RecordMessage,
    UnreadableLineError,
    decode_object,
    decode_record_message,
)
from target_segment_objects.mapping.mapped_records import MappedRecords
from target_segment_objects.singer.projection import LineProjector, find_projection
from target_segment_objects.singer.stream_maps import transform_record

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from singer_sdk.mapper import StreamMap

    from target_segment_objects.mapping.mapper import RecordMapper
    from target_segment_objects.singer.projection import Projection

    Decode = Callable[[bytes, str], RecordMessage]

__all__ = ["DroppedStream", "TransformedStream", "find_projection"]


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
        return self._map_lines(lines, projected, self._mapper.map_messages, decode_record_message)

    def map_lines(self, lines: Sequence[bytes]) -> MappedRecords:
        """Map records without a message around them, as BATCH files have them."""
        projected = None if self._projector is None else self._projector.project_records(lines)
        return self._map_lines(lines, projected, self._mapper.map_lines, _decode_record)

    def _map_lines(
        self,
        lines: Sequence[bytes],
        projected: Sequence[bytes | None] | None,
        map_projected: Callable[[Sequence[bytes]], MappedRecords],
        decode: Decode,
    ) -> MappedRecords:
        """Map lines in their order, those that were projected as they are now.

        Args:
            lines: The lines of the tap.
            projected: The projected lines; None in the place of one that cannot be projected.
            map_projected: Maps projected lines.
            decode: Decodes another line.
        """
        if projected is None:
            return self._transform_lines(lines, decode)
        if None not in projected:
            return map_projected(cast("Sequence[bytes]", projected))
        mapped = MappedRecords()
        rows = range(len(lines))
        for is_left, part in itertools.groupby(rows, lambda row: projected[row] is None):
            positions = [*part]
            mapped.add(
                self._transform_lines([lines[row] for row in positions], decode)
                if is_left
                else map_projected([cast("bytes", projected[row]) for row in positions]),
                positions,
            )
            if mapped.failure is not None:
                break
        return mapped

    def _transform_lines(self, lines: Sequence[bytes], decode: Decode) -> MappedRecords:
        """Map lines whose records the SDK changes."""
        messages: list[RecordMessage] = []
        positions: list[int] = []
        result = MappedRecords()
        rejects: list[tuple[int, InvalidRecordError]] = []
        failure: tuple[int, Exception] | None = None
        for row, line in enumerate(lines):
            try:
                message = decode(line, self._stream)
                record = transform_record(self._stream_map, message.record)
            except UnreadableLineError as error:
                failure = (row, error)
                break
            except InvalidRecordError as error:
                rejects.append((row, error))
                continue
            if record is not None:  # else it is filtered out
                message.record = record
                messages.append(message)
                positions.append(row)
        result.add(self._mapper.map_records(messages), positions)
        result.failure = result.failure or failure
        end = len(lines) if result.failure is None else result.failure[0]
        result.rejects = sorted(
            [*result.rejects, *(reject for reject in rejects if reject[0] < end)],
            key=lambda reject: reject[0],
        )
        result.count = result.untyped = end
        return result


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
        return self._check_lines(lines, _decode_record)

    def _check_lines(self, lines: Sequence[bytes], decode: Decode) -> MappedRecords:
        for row, line in enumerate(lines):
            try:
                decode(line, self._stream)
            except UnreadableLineError as error:
                return MappedRecords(count=row, failure=(row, error))
        return MappedRecords(count=len(lines))


def _decode_record(line: bytes, stream: str) -> RecordMessage:
    return RecordMessage(stream, decode_object(line))
