"""Find what loads the lines of a stream, before the reader decodes them.

Where the SDK does nothing to the records of a stream but to add metadata, its sink loads the lines;
else `changed_streams` does.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Protocol

from singer_sdk.mapper import RemoveRecordTransform, SameRecordTransform

from target_segment_objects.singer.batch_files import BatchLoader
from target_segment_objects.singer.line_groups import LineLoader
from target_segment_objects.sinks import SegmentObjectsSink

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from singer_sdk.mapper import StreamMap
    from singer_sdk.sinks import Sink

    from target_segment_objects.reporting.stats import StreamStats


class RecordLoader(LineLoader, BatchLoader, Protocol):
    """Loads the records of one stream, of RECORD messages and of BATCH files."""


def find_loader(
    stream: str,
    stream_maps: Sequence[StreamMap],
    settings: Mapping[str, Any],
    sinks: Mapping[str, Sink],
    stats: StreamStats,
) -> RecordLoader | None:
    """Return what may load the lines of a stream before they are decoded; None if nothing may.

    Args:
        stream: The stream's name, as RECORD messages have it.
        stream_maps: What makes its records those of one or more sinks.
        settings: The setting `stream_maps`, from which they were made.
        sinks: The sinks by the names of their streams.
        stats: The stream's counts.
    """
    if len(stream_maps) != 1:
        return None
    (stream_map,) = stream_maps
    if type(stream_map) is RemoveRecordTransform:
        # Not at the start: most runs have no stream maps.
        from target_segment_objects.changed_streams import RemovedStreamLoader  # noqa: PLC0415

        return RemovedStreamLoader(stream, stats)
    sink = sinks.get(stream_map.stream_alias)
    if not isinstance(sink, SegmentObjectsSink):
        return None
    if _leaves_records_unchanged(stream_map, stream):
        return sink
    from target_segment_objects.changed_streams import ChangedStreamLoader  # noqa: PLC0415
    from target_segment_objects.singer.property_moves import find_moves  # noqa: PLC0415

    moves = find_moves(settings, stream, stream_map)
    return ChangedStreamLoader(stream, stream_map, moves, sinks, stats)


def _leaves_records_unchanged(stream_map: StreamMap, stream: str) -> bool:
    """Return whether no stream map changes a stream's records."""
    return type(stream_map) is SameRecordTransform and stream_map.stream_alias == stream
