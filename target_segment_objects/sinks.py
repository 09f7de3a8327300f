"""The SDK's callbacks for one stream, and no logic beyond them."""

from __future__ import annotations

import functools
from typing import TYPE_CHECKING, Any

from singer_sdk.sinks import RecordSink

from target_segment_objects.exceptions import InvalidRecordError
from target_segment_objects.mapping.fast_path import (
    FastPath,
    UnsupportedSchemaError,
    compile_fast_path,
)
from target_segment_objects.mapping.mapper import RecordMapper
from target_segment_objects.mapping.validation import RecordValidator

if TYPE_CHECKING:
    from collections.abc import Sequence

    from target_segment_objects.target import TargetSegmentObjects

_COUNTS_PER_LOOK = 1024  # looking at the clock takes longer than counting


class SegmentObjectsSink(RecordSink):
    """Maps a stream's records and gives them to delivery, one by one.

    To the SDK a record is written at once: batches belong to collections, not to streams, so that
    neither a changed SCHEMA nor a second stream can put an older row after a newer one.
    """

    def __init__(
        self,
        target: TargetSegmentObjects,
        stream_name: str,
        schema: dict[str, Any],
        key_properties: Sequence[str] | None,
    ) -> None:
        """Compile the schema.

        Raises:
            UnmappableStreamError: The stream has no name that Segment could take.
            InvalidJSONSchema: The schema is none.
        """
        super().__init__(target, stream_name, schema, key_properties)
        self._delivery = target.delivery
        self._mapper = RecordMapper(
            stream_name,
            target.collections.resolve(stream_name),
            self.schema,
            self.key_properties,
            options=target.settings.mapping,
            warn=functools.partial(target.warn, stream_name),
        )
        self._counts = target.counts[stream_name]
        self._sends_nulls = target.settings.mapping.null_properties == "send"
        self._object_line = self._compile_fast_way()

    @property
    def mapper(self) -> RecordMapper:
        """How its records become objects."""
        return self._mapper

    def load_line(self, line: bytes) -> bool:
        """Load a RECORD from its line the fast way, if that knows how.

        Returns:
            Whether it did; else the record has to go the slow way.

        Raises:
            SegmentObjectsError: DeliveryScheduler has failed.
        """
        encoded = None if self._object_line is None else self._object_line(line)
        if encoded is None:
            return False
        self._delivery.add_object(self._mapper.collection, encoded)
        self._counts.read += 1
        counter = self._record_counter
        counter.value += 1
        if not counter.value % _COUNTS_PER_LOOK:
            counter.increment(0)  # it looks at the clock, and may log
        return True

    def _compile_fast_way(self) -> FastPath | None:
        self._told_long = self._mapper.warned_long_paths
        try:
            return compile_fast_path(
                stream=self.stream_name,
                collection=self._mapper.collection,
                schema=self.schema,
                key_properties=self.key_properties,
                properties=self._mapper.properties,
                send_nulls=self._sends_nulls,
                warned_long_paths=self._told_long,
            )
        except UnsupportedSchemaError as reason:
            self.logger.debug("Its schema is not for the fast way: %s.", reason)
            return None

    def get_validator(self) -> RecordValidator | None:
        """Validate with jsonschema-rs, unless `validate_records` is off."""
        return RecordValidator(self.stream_name, self.schema) if self.validate_schema else None

    def process_record(self, record: dict[str, Any], context: dict[str, Any]) -> None:  # noqa: ARG002
        """Validate, map and deliver a record.

        Raises:
            InvalidRecordError: It cannot be sent; others can.
            SegmentObjectsError: DeliveryScheduler has failed.
        """
        if self._validator is not None:
            try:
                self._validator.validate(record)
            except InvalidRecordError as error:
                if error.field not in self.key_properties:  # else the id is the value at fault
                    error.object_id = self._mapper.find_object_id(record)
                raise
        self._delivery.add_object(self._mapper.collection, self._mapper.map_record(record))
        if self._mapper.warned_long_paths is not self._told_long:
            self._object_line = self._compile_fast_way()
