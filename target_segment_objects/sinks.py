"""The SDK's sink of one stream: validates and maps its records, and compiles its fast path.

To the SDK a record is written at once. Batches belong to collections, not to streams, so that
neither a changed SCHEMA nor a second stream can put an older row after a newer one.
"""

from __future__ import annotations

import functools
from typing import TYPE_CHECKING, Any, Final, Protocol, cast

from singer_sdk.sinks import RecordSink

from target_segment_objects.delivery.interface import StreamInfo
from target_segment_objects.mapping.fast_path import (
    FastPath,
    MappedLines,
    UnsupportedSchemaError,
    compile_fast_path,
)
from target_segment_objects.mapping.mapper import RecordMapper
from target_segment_objects.mapping.validation import RecordValidator
from target_segment_objects.mapping.violations import RecordCheck

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from singer_sdk import Target

    from target_segment_objects.reporting.stats import StreamStats
    from target_segment_objects.run.context import RunContext

_OMITTED_METADATA: Final = frozenset(
    f"_sdc_{name}"
    for name in (
        *("extracted_at", "received_at", "batched_at"),
        *("sequence", "table_version", "sync_started_at"),
    )
)
"""Properties of a tap that go only with `add_record_metadata`. `_sdc_deleted_at` always goes."""

_MAX_FAST_UNDECLARED: Final = 200
"""A stream with more undeclared properties has other ones in each record."""

_RECORDS_PER_CLOCK_READ: Final = 1024  # reading the clock takes longer than counting

_PROPERTIES_PER_SLOW_RECORD: Final = 16
"""Compiling takes about 10 µs a property; a record that takes the slow path, some 100 µs."""


class LoadingTarget(Protocol):
    """What a sink needs of its target."""

    @property
    def context(self) -> RunContext:
        """The parts of the run."""


class SegmentObjectsSink(RecordSink):
    """Maps a stream's records and adds them to delivery.

    Attributes:
        collection: The collection of its objects.
    """

    def __init__(
        self,
        target: LoadingTarget,
        stream_name: str,
        schema: dict[str, Any],
        key_properties: Sequence[str] | None,
    ) -> None:
        """Compile the schema.

        Args:
            target: The target, which is also the SDK's.
            stream_name: The stream's name, after stream maps.
            schema: Its JSON schema.
            key_properties: The names of the properties that make the id.

        Raises:
            UnmappableStreamError: The stream has no name that Segment could take.
            InvalidJSONSchema: The schema is not valid.
        """
        context = target.context
        self._log_warning = functools.partial(context.log_warning, stream_name)
        self._omitted: frozenset[str] = frozenset()
        self._state = context.get_stream_state(stream_name)
        options = self._options = context.settings.mapping
        super().__init__(cast("Target", target), stream_name, schema, key_properties)
        self.collection = context.resolve_collection(stream_name)
        self._mapper = RecordMapper(
            stream_name,
            self.collection,
            self.schema,
            self.key_properties,
            options=options,
            state=self._state,
        )
        self._check = _create_check(self._validator, self._mapper, self.key_properties, context)
        self._count_violations = functools.partial(
            context.stats.count_violations, stream_name, self.collection
        )
        self._stream_stats = context.stats.streams[stream_name]
        self._fast_path = self._compile_fast_path()
        self._add_objects = context.delivery.open_stream(self._describe_stream())

    @property
    def mapper(self) -> RecordMapper:
        """How its records become objects."""
        return self._mapper

    def load_lines(
        self,
        lines: list[bytes],
        load_slowly: Callable[[int], None],
        stats: StreamStats | None = None,
    ) -> None:
        """Load RECORD lines in their order, on the fast path where it supports them.

        Args:
            lines: RECORD messages of the stream.
            load_slowly: Loads the line at a position on the slow path.
            stats: Counts the records; None for the counts of the sink's stream.

        Raises:
            SegmentObjectsError: A record is invalid, or delivery has failed.
        """
        self._load_lines(FastPath.map_messages, lines, load_slowly, stats)

    def load_batch_lines(
        self,
        lines: list[bytes],
        load_slowly: Callable[[int], None],
        stats: StreamStats | None = None,
    ) -> None:
        """Load the records of BATCH files; for the rest, see `load_lines`."""
        self._load_lines(FastPath.map_records, lines, load_slowly, stats)

    def _load_lines(
        self,
        map_lines: Callable[[FastPath, Sequence[bytes]], MappedLines],
        lines: list[bytes],
        load_slowly: Callable[[int], None],
        stats: StreamStats | None,
    ) -> None:
        stats = stats or self._stream_stats
        self._mapper.renew_properties()  # another stream of the collection may have changed them
        self._renew_fast_path()
        start = 0
        while start < len(lines):
            fast_path = self._fast_path
            if fast_path is None:
                load_slowly(start)
                start += 1
                continue
            objects, unsupported, first_values = map_lines(
                fast_path, lines[start:] if start else lines
            )
            if first_values:
                self._mapper.store_types(first_values)
            added = 0
            for count, position in enumerate(unsupported):
                self._add_mapped(objects[added : position - count], stats)
                added = position - count
                load_slowly(start + position)
                if self._fast_path is not fast_path:  # it may support the lines after this one
                    start += position + 1
                    break
            else:
                self._add_mapped(objects[added:] if added else objects, stats)
                return

    def _add_mapped(self, objects: Sequence[bytes], stats: StreamStats) -> None:
        """Deliver objects that the fast path has mapped."""
        if not objects:
            return
        stats.read += len(objects)  # also where delivery fails: they are not delivered then
        self._add_objects(objects)
        counter = self._record_counter
        before, counter.value = counter.value, counter.value + len(objects)
        if before // _RECORDS_PER_CLOCK_READ != counter.value // _RECORDS_PER_CLOCK_READ:
            counter.increment(0)  # reads the clock, and may log

    def load_record(self, record: dict[str, Any], message: dict[str, Any]) -> None:
        """Load a record on the slow path.

        Args:
            record: The record after stream maps. Metadata is added to it or removed from it.
            message: Its RECORD message.

        Raises:
            InvalidRecordError: It cannot be sent; others can.
            SegmentObjectsError: Delivery has failed.
        """
        if self.include_sdc_metadata_properties:
            self._add_sdc_metadata_to_record(record, message, {})
        else:
            self._remove_sdc_metadata_from_record(record)
        self.process_record(record, {})
        self.record_counter_metric.increment()

    def get_validator(self) -> RecordValidator | None:
        """Return a validator by jsonschema-rs; None where `validate_records` is off."""
        if not self.validate_schema:
            return None
        warnings, depth = self._state.warnings, self._options.max_depth
        return RecordValidator(self.stream_name, self.schema, warnings=warnings, max_depth=depth)

    def process_record(self, record: dict[str, Any], context: dict[str, Any]) -> None:  # noqa: ARG002
        """Validate, map and deliver a record.

        Raises:
            InvalidRecordError: It cannot be sent; others can.
            SegmentObjectsError: Delivery has failed.
        """
        violations = {} if self._check is None else self._check.find_harmless(record)
        mapped = self._mapper.map_record(record)
        if violations:
            self._state.warnings.warn_schema_mismatches(violations)
            self._count_violations(violations)
        self._add_objects([mapped])
        self._renew_fast_path()

    def _describe_stream(self) -> StreamInfo:
        properties = tuple((mapped.name, mapped.type.value) for mapped in self._mapper.properties)
        return StreamInfo(self.stream_name, self.collection, tuple(self.key_properties), properties)

    def _make_metadata(self) -> dict[str, Any]:
        metadata: dict[str, Any] = {}
        self._add_sdc_metadata_to_record(metadata, {}, {})
        return metadata

    def _remove_sdc_metadata_from_schema(self) -> None:
        """Remove what `_remove_sdc_metadata_from_record` removes."""
        properties, required = self.schema["properties"], self.schema.get("required")
        names = _OMITTED_METADATA.intersection(properties)
        for name in names:
            del properties[name]
            if isinstance(required, list) and name in required:
                required.remove(name)
        self._warn_omitted(names)

    def _remove_sdc_metadata_from_record(self, record: dict[str, Any]) -> None:
        """Remove the tap's metadata. What it says of a deletion stays: Segment has no delete."""
        names = _OMITTED_METADATA.intersection(record)
        for name in names:
            del record[name]
        self._warn_omitted(names)

    def _warn_omitted(self, names: frozenset[str]) -> None:
        new_names = names - self._omitted
        if new_names:
            self._omitted |= new_names
            self._log_warning(
                f"Stream '{self.stream_name}': the tap's metadata ({', '.join(sorted(new_names))}) "
                "is not sent. Set add_record_metadata to true to send record metadata."
            )

    def _renew_fast_path(self) -> None:
        """Compile the fast path again if it would map lines in another way, or more of them.

        In a wide stream, undeclared properties come with many different records. Not each of them
        is worth the time.
        """
        if self._mapper.version != self._version:
            self._fast_path = self._compile_fast_path()
            return
        undeclared_count = len(self._mapper.undeclared)
        if (
            self._mapper.warned_long_paths is self._warned_long_paths
            and self._omitted is self._ignored
            and (
                undeclared_count == self._undeclared_count
                or undeclared_count > _MAX_FAST_UNDECLARED
            )
        ):
            return
        self._slow_records += 1
        property_count = len(self._mapper.properties) + undeclared_count
        if self._slow_records * _PROPERTIES_PER_SLOW_RECORD >= property_count:
            self._fast_path = self._compile_fast_path()

    def _compile_fast_path(self) -> FastPath | None:
        self._slow_records = 0
        self._version = self._mapper.version
        self._warned_long_paths = self._mapper.warned_long_paths
        self._ignored = self._omitted
        undeclared = self._mapper.undeclared
        self._undeclared_count = len(undeclared)
        try:
            return compile_fast_path(
                stream=self.stream_name,
                collection=self.collection,
                schema=self.schema,
                key_properties=self.key_properties,
                properties=self._mapper.properties,
                undeclared=[undeclared[path] for path in sorted(undeclared)],
                ignored=self._ignored,
                make_metadata=(
                    self._make_metadata if self.include_sdc_metadata_properties else None
                ),
                send_nulls=self._options.null_properties == "send",
                warned_long_paths=self._warned_long_paths,
                unsent_paths=self._mapper.unsent_paths,
            )
        except UnsupportedSchemaError as reason:
            self.logger.debug("The fast path does not support the schema: %s.", reason)
            return None


def _create_check(
    validator: object, mapper: RecordMapper, key_properties: Sequence[str], context: RunContext
) -> RecordCheck | None:
    """Return what checks records; None where they are not validated."""
    if not isinstance(validator, RecordValidator):
        return None
    return RecordCheck(validator, mapper, key_properties, context.settings.schema_violations)
