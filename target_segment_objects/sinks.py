"""The SDK's sink of one stream: how its records become objects, and where these go.

To the SDK a record is written at once. Batches belong to collections, not to streams, so that
neither a changed SCHEMA nor a second stream can put an older row after a newer one.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar, Final

from singer_sdk.sinks import RecordSink

from target_segment_objects.delivery.interface import StreamInfo
from target_segment_objects.mapping.mapper import RecordMapper
from target_segment_objects.mapping.validation import RecordValidator
from target_segment_objects.mapping.violations import RecordCheck

if TYPE_CHECKING:
    from collections.abc import Sequence

    from singer_sdk import Target

    from target_segment_objects.run.context import RunContext

_OMITTED_METADATA: Final = frozenset(
    f"_sdc_{name}"
    for name in (
        *("extracted_at", "received_at", "batched_at"),
        *("sequence", "table_version", "sync_started_at"),
    )
)
"""Properties of a tap that go only with `add_record_metadata`. `_sdc_deleted_at` always goes."""

_RECORDS_PER_CLOCK_READ: Final = 1024  # reading the clock takes longer than counting


class SegmentObjectsSink(RecordSink):
    """Maps a stream's records, and delivers their objects.

    Args:
        target: The target, which has the context of the run.
        stream_name: The stream's name, after stream maps.
        schema: Its JSON schema.
        key_properties: The names of the properties that make the id.

    Attributes:
        collection: The collection of its objects.
        mapper: How its records become objects.
        use_types: Whether records are decoded with types where that is possible.

    Raises:
        UnmappableStreamError: The stream has no name that Segment could take.
        InvalidJSONSchema: The schema is not valid.
    """

    use_types: ClassVar[bool] = True

    def __init__(
        self,
        target: Target,
        stream_name: str,
        schema: dict[str, Any],
        key_properties: Sequence[str] | None,
    ) -> None:
        context: RunContext = target.context  # type: ignore[attr-defined]  # it is our target
        self._options = context.settings.mapping
        self._state = context.get_stream_state(stream_name)
        super().__init__(target, stream_name, schema, key_properties)
        self.collection = context.resolve_collection(stream_name)
        has_metadata = self.include_sdc_metadata_properties
        validator, mode = self._validator, context.settings.schema_violations
        self.mapper = RecordMapper(
            stream_name,
            self.collection,
            self.schema,
            self.key_properties,
            options=self._options,
            state=self._state,
            check=RecordCheck(validator, mode) if isinstance(validator, RecordValidator) else None,
            add_metadata=self._add_metadata if has_metadata else None,
            omitted=frozenset() if has_metadata else _OMITTED_METADATA,
            use_types=self.use_types,
        )
        self._add_objects = context.delivery.open_stream(self._describe_stream())

    def add_objects(self, objects: Sequence[bytes]) -> None:
        """Deliver objects of the stream, and count their records.

        Raises:
            SegmentObjectsError: Delivery has failed.
        """
        self._add_objects(objects)
        counter = self._record_counter
        before, counter.value = counter.value, counter.value + len(objects)
        if before // _RECORDS_PER_CLOCK_READ != counter.value // _RECORDS_PER_CLOCK_READ:
            counter.increment(0)  # reads the clock, and may log

    def process_record(self, record: dict[str, Any], context: dict[str, Any]) -> None:  # noqa: ARG002
        """Map and deliver one record.

        Raises:
            InvalidRecordError: It cannot be sent; others can.
            SegmentObjectsError: Delivery has failed.
        """
        self.add_objects([self.mapper.map_record(record)])

    def get_validator(self) -> RecordValidator | None:
        """Return a validator by jsonschema-rs; None where `validate_records` is off."""
        if not self.validate_schema:
            return None
        warnings, depth = self._state.warnings, self._options.max_depth
        return RecordValidator(self.stream_name, self.schema, warnings=warnings, max_depth=depth)

    def _describe_stream(self) -> StreamInfo:
        properties = tuple((mapped.name, mapped.type.value) for mapped in self.mapper.properties)
        return StreamInfo(self.stream_name, self.collection, tuple(self.key_properties), properties)

    def _add_metadata(self, record: dict[str, Any], message: dict[str, Any]) -> None:
        self._add_sdc_metadata_to_record(record, message, {})

    def _remove_sdc_metadata_from_schema(self) -> None:
        """Remove what the mapping leaves out of records, too."""
        properties, required = self.schema["properties"], self.schema.get("required")
        names = _OMITTED_METADATA.intersection(properties)
        for name in names:
            del properties[name]
            if isinstance(required, list) and name in required:
                required.remove(name)
        self._state.warnings.warn_omitted_metadata(names)
