"""The SDK's callbacks for one stream, and no logic beyond them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from singer_sdk.sinks import RecordSink

from target_segment_objects.exceptions import InvalidRecordError
from target_segment_objects.mapping import Mapping
from target_segment_objects.validation import RecordValidator

if TYPE_CHECKING:
    from collections.abc import Sequence

    from target_segment_objects.target import TargetSegmentObjects


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
            StreamRefusedError: The stream has no name that Segment could take.
            InvalidJSONSchema: The schema is none.
        """
        super().__init__(target, stream_name, schema, key_properties)
        self._delivery = target.delivery
        self._mapping = Mapping(
            stream_name,
            target.collections.of(stream_name),
            self.schema,
            self.key_properties,
            options=target.settings.mapping,
            warn=self.logger.warning,
        )

    def get_validator(self) -> RecordValidator | None:
        """Validate with jsonschema-rs, unless `validate_records` is off."""
        return RecordValidator(self.stream_name, self.schema) if self.validate_schema else None

    def process_record(self, record: dict[str, Any], context: dict[str, Any]) -> None:  # noqa: ARG002
        """Validate, map and deliver a record.

        Raises:
            InvalidRecordError: It cannot be sent; others can.
            SegmentObjectsError: Delivery has failed.
        """
        if self._validator is not None:
            try:
                self._validator.validate(record)
            except InvalidRecordError as error:
                if error.field not in self.key_properties:  # else the id is the value at fault
                    error.object_id = self._mapping.object_id(record)
                raise
        self._delivery.add(self._mapping.collection, self._mapping.object_line(record))
