"""What loads the RECORD lines of a stream, before the reader decodes them.

Where the SDK does nothing to the records of a stream, its sink loads the lines. Where the SDK
changes them, by stream maps, flattening or metadata, they are decoded, changed by the SDK, and
encoded again: these lines take the fast path.

The rule that makes this safe: a changed record is encoded only if its line says exactly what the
slow path would be given. Else the slow path gets the line of the tap.
"""

from __future__ import annotations

from decimal import Decimal
from types import NoneType
from typing import TYPE_CHECKING, Any, Final, Literal, cast

import msgspec
from singer_sdk.mapper import SameRecordTransform

from target_segment_objects.sinks import SegmentObjectsSink

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from singer_sdk.mapper import StreamMap
    from singer_sdk.sinks import Sink

    from target_segment_objects.reporting.stats import StreamStats

    Record = dict[str, Any]
    LoadSlowly = Callable[[int], None]

_EXACT_TYPES: Final = frozenset({str, int, bool, NoneType, Decimal})
_MIN_PLAIN_FLOAT: Final = 1e-4
_MAX_PLAIN_FLOAT: Final = 1e15
_encode: Final = msgspec.json.Encoder(decimal_format="number").encode
_decode_record: Final = msgspec.json.Decoder(dict[str, Any], float_hook=Decimal).decode


class ChangedStreamLoader:
    """Loads the lines of a stream whose records the SDK changes."""

    def __init__(
        self,
        stream: str,
        stream_map: StreamMap,
        sinks: Mapping[str, Sink],
        stats: StreamStats,
    ) -> None:
        """Prepare the decoding of the stream's messages.

        Args:
            stream: The stream's name, as RECORD messages have it.
            stream_map: Changes its records.
            sinks: The sinks by the names of their streams; a SCHEMA may replace one.
            stats: The stream's counts.
        """
        self._transform = stream_map.transform
        self._alias = stream_map.stream_alias
        self._sinks = sinks
        self._stats = stats
        message_type = msgspec.defstruct(
            "Message",
            [("type", Literal["RECORD"]), ("stream", Literal[stream]), ("record", dict[str, Any])]
            + [(name, Any, None) for name in ("time_extracted", "version")],
        )
        self._decode_message = msgspec.json.Decoder(message_type, float_hook=Decimal).decode

    @property
    def collection(self) -> str:
        """The collection of its objects."""
        return self._sink.collection

    @property
    def _sink(self) -> SegmentObjectsSink:
        return cast("SegmentObjectsSink", self._sinks[self._alias])

    def load_lines(self, lines: list[bytes], load_slowly: LoadSlowly) -> None:
        """Load RECORD lines; see `LineLoader`."""
        self._load_changed(lines, self._change_message, load_slowly)

    def load_batch_lines(self, lines: list[bytes], load_slowly: LoadSlowly) -> None:
        """Load the records of BATCH files; see `LineLoader`."""
        self._load_changed(lines, self._change_record, load_slowly)

    def _load_changed(
        self,
        lines: list[bytes],
        change: Callable[[SegmentObjectsSink, bytes], bytes | None],
        load_slowly: LoadSlowly,
    ) -> None:
        sink = self._sink
        records: list[bytes] = []
        positions: list[int] = []
        for position, line in enumerate(lines):
            try:
                record = change(sink, line)
            except Exception:  # noqa: BLE001 - an expression may raise any exception
                record = b""  # which the fast path leaves to the slow path
            if record is not None:  # else it is filtered out
                records.append(record)
                positions.append(position)
        self._stats.read += len(lines) - len(records)
        sink.load_batch_lines(records, lambda row: load_slowly(positions[row]), self._stats)

    def _change_message(self, sink: SegmentObjectsSink, line: bytes) -> bytes | None:
        message: Any = self._decode_message(line)  # its type is made at run time
        return self._change(sink, message.record, message.time_extracted, message.version)

    def _change_record(self, sink: SegmentObjectsSink, line: bytes) -> bytes | None:
        return self._change(sink, _decode_record(line), None, None)

    def _change(
        self, sink: SegmentObjectsSink, record: Record, time_extracted: object, version: object
    ) -> bytes | None:
        """Return the JSON of a changed record; None if it is filtered out.

        Raises:
            Exception: An expression fails, or JSON does not express the record exactly.
        """
        changed = self._transform(record)
        if changed is None:
            return None
        sink.add_metadata(changed, {"time_extracted": time_extracted, "version": version})
        if not _EXACT_TYPES.issuperset(map(type, changed.values())):
            for name, value in changed.items():
                if value is not record.get(name) and not _is_exact(value):
                    return b""
        return _encode(changed)


def find_loader(
    stream: str,
    stream_maps: Sequence[StreamMap],
    sinks: Mapping[str, Sink],
    stats: StreamStats,
) -> SegmentObjectsSink | ChangedStreamLoader | None:
    """Return what may load the lines of a stream before they are decoded; None if nothing may.

    Args:
        stream: The stream's name, as RECORD messages have it.
        stream_maps: What makes its records those of one or more sinks.
        sinks: The sinks by the names of their streams.
        stats: The stream's counts.
    """
    if len(stream_maps) != 1:
        return None
    (stream_map,) = stream_maps
    sink = sinks.get(stream_map.stream_alias)
    if not isinstance(sink, SegmentObjectsSink):
        return None
    if _leaves_records_unchanged(stream_map, stream, sink):
        return sink
    return ChangedStreamLoader(stream, stream_map, sinks, stats)


def _leaves_records_unchanged(stream_map: StreamMap, stream: str, sink: SegmentObjectsSink) -> bool:
    """Return whether the SDK does nothing to a record: no stream map, flattening or metadata."""
    return (
        not sink.include_sdc_metadata_properties
        and type(stream_map) is SameRecordTransform
        and stream_map.stream_alias == stream
        and not stream_map.flattening_enabled
    )


def _is_exact(value: object) -> bool:
    """Return whether the JSON of a value says all that the slow path would see."""
    if type(value) is float:
        # Others are written with an exponent, and not by all encoders in the same way.
        return value == 0 or _MIN_PLAIN_FLOAT <= abs(value) < _MAX_PLAIN_FLOAT
    if type(value) is dict:
        return all(type(name) is str and _is_exact(item) for name, item in value.items())
    if type(value) is list:
        return all(map(_is_exact, value))
    return type(value) in _EXACT_TYPES
