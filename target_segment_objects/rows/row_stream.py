"""Map the rows of one collection, and deliver their objects in order.

What is before a row that ends the load is delivered, nothing after it is.
"""

from __future__ import annotations

import bisect
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Final

from target_segment_objects.delivery.interface import StreamInfo
from target_segment_objects.exceptions import ConfigurationError, InputError
from target_segment_objects.mapping.json_lines import RecordMessage
from target_segment_objects.mapping.mapper import RecordMapper
from target_segment_objects.rows.load_result import RejectedRow
from target_segment_objects.rows.row_reader import RowReader
from target_segment_objects.run.output import MappedStream, RejectedRecord

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence

    from target_segment_objects.exceptions import InvalidRecordError
    from target_segment_objects.mapping.json_lines import Record
    from target_segment_objects.mapping.mapped_records import MappedRecords
    from target_segment_objects.mapping.violations import ValidityCheck
    from target_segment_objects.run.context import RunContext

    Schema = dict[str, Any]
    Rows = list[tuple[Mapping[str, Any], Record]]
    """Rows, each with its record."""

_GROUP_ROWS: Final = 250
"""Rows that are mapped together. A fixed number, so that no name depends on the time."""


class RowStream:
    """Loads the rows of one collection.

    Args:
        context: The parts of the load.
        name: The collection's name, as the caller has it.
        key: The names of the properties that make the id; none for a digest of the row.
        schema: The JSON schema of the rows; None if their first values decide the types.
        rejects: Takes the rows that cannot be sent.

    Attributes:
        collection: The collection's name in Segment.
        rejects: The rows that cannot be sent.

    Raises:
        UnmappableStreamError: The collection has no name in Segment.
        ConfigurationError: The schema is not a valid one.
    """

    def __init__(
        self,
        context: RunContext,
        name: str,
        key: Sequence[str],
        schema: Schema | None,
        rejects: list[RejectedRow],
    ) -> None:
        self._context = context
        self._name = name
        self._key = tuple(key)
        self._state = context.get_stream_state(name)
        self.collection = context.resolve_collection(name)
        self.rejects = rejects
        self._hint = "" if schema is None else "Convert the value, or change the schema."
        self._add_objects: Callable[[Sequence[bytes]], None]
        if schema is None:
            self._reader = RowReader(name, None)
            self._mapper: RecordMapper | None = None
        else:
            schema, check = self._read_schema(schema)
            self._reader = RowReader(name, check)
            self._mapper = self._open_mapper(schema)

    @property
    def _read_count(self) -> int:
        return self._context.stats.streams[self._name].read

    def add_rows(self, rows: Iterable[Mapping[str, Any]]) -> None:
        """Load rows.

        Raises:
            InputError: One of them is not a dict.
            SegmentObjectsError: A row ends the load, or delivery has failed.
        """
        for group in self._read_groups(rows):
            if self._mapper is None or self._reader.has_new_types:
                self._mapper = self._open_mapper(self._reader.build_schema())
            messages = [RecordMessage(self._name, record) for _, record in group]
            try:
                mapped = self._mapper.map_records(messages)
            finally:
                self._reader.forget_records()
            self._deliver(group, mapped)

    def _read_groups(self, rows: Iterable[Mapping[str, Any]]) -> Iterator[Rows]:
        """Yield rows with their records; before an error, those that came before it."""
        group: Rows = []
        try:
            for row in rows:
                group.append((row, self._read_row(row, len(group))))
                if len(group) == _GROUP_ROWS:
                    yield group
                    group = []
        except Exception:  # the caller's own: it is raised when these rows are delivered
            if group:
                yield group
            raise
        if group:
            yield group

    def _read_row(self, row: object, pending: int) -> Record:
        if not isinstance(row, Mapping):
            msg = (
                f"Row {self._read_count + pending + 1:,} of '{self._name}' is of type "
                f"{type(row).__name__}, not a dict. The rows before it are loaded."
            )
            raise InputError(msg)
        return self._reader.read_row(row)

    def _open_mapper(self, schema: Schema) -> RecordMapper:
        """Return the mapper of a schema, and have its objects delivered."""
        context = self._context
        mapper = RecordMapper(
            self._name,
            self.collection,
            schema,
            self._key,
            options=context.settings.mapping,
            state=self._state,
            check=self._reader,
            use_types=False,
        )
        properties = tuple((mapped.name, mapped.type.value) for mapped in mapper.properties)
        self._add_objects = context.delivery.open_stream(
            StreamInfo(self._name, self.collection, self._key, properties)
        )
        context.deletion_notes.add_schema(
            MappedStream(self._name, self._name, self._key, mapper), {}
        )
        return mapper

    def _read_schema(self, schema: Schema) -> tuple[Schema, ValidityCheck]:
        """Return a schema as JSON Schema 2020-12, and what checks records against it."""
        # Not at the start: these import the SDK, and most loads have no schema.
        from singer_sdk.exceptions import InvalidJSONSchema  # noqa: PLC0415

        from target_segment_objects.mapping.schema_normalization import (  # noqa: PLC0415
            normalize_schema,
        )
        from target_segment_objects.mapping.validation import RecordValidator  # noqa: PLC0415
        from target_segment_objects.mapping.violations import RecordCheck  # noqa: PLC0415

        settings = self._context.settings
        try:
            normalized = normalize_schema(schema)
            if warning := normalized.describe_ignored(self._name):
                self._context.log_warning(self._name, warning)
            validator = RecordValidator(
                self._name,
                normalized.schema,
                warnings=self._state.warnings,
                max_depth=settings.mapping.max_depth,
            )
        except InvalidJSONSchema as error:
            raise ConfigurationError(str(error)) from error
        except RecursionError:
            msg = f"The schema of '{self._name}' is nested too deeply."
            raise ConfigurationError(msg) from None
        return normalized.schema, RecordCheck(validator, settings.schema_violations)

    # Delivery

    def _deliver(self, group: Rows, mapped: MappedRecords) -> None:
        """Deliver the objects and reject what cannot be sent, in the order of the rows."""
        self._context.stats.streams[self._name].untyped += mapped.untyped
        first, position = self._read_count + 1, 0
        for row, error in (*mapped.rejects, (mapped.count, None)):
            self._deliver_rows(mapped, position, row)
            position = row
            if error is not None:
                self._context.stats.count_read(self._name, 1)
                position += 1
                self._reject(first + row, group[row][0], error)
        if mapped.failure is not None:
            self._context.stats.count_read(self._name, 1)
            raise mapped.failure[1]

    def _deliver_rows(self, mapped: MappedRecords, start: int, end: int) -> None:
        """Deliver the objects of rows from one position to another."""
        stats = self._context.stats
        unsaved = [prop for row, prop in mapped.unsaved if start <= row < end]
        if unsaved and self._mapper is not None:
            self._mapper.save_properties(unsaved)
        first, last = (bisect.bisect_left(mapped.rows, row) for row in (start, end))
        if first < last:
            self._add_objects(mapped.objects[first:last])
        violations = [names for row, names in mapped.violations if start <= row < end]
        stats.count_violations(self._name, self.collection, violations)
        stats.count_read(self._name, end - start)

    def _reject(self, number: int, row: Mapping[str, Any], error: InvalidRecordError) -> None:
        hint = self._hint if error.hint else ""
        error.hint = f"It is row {number:,}. {hint or error.hint}".rstrip()
        self.rejects.append(RejectedRow(number, error.reason, error.field, error.object_id, row))
        self._context.deletion_notes.add_reject(error)
        # A traceback would keep what its frames have of the record.
        self._context.reject_record(RejectedRecord(error.with_traceback(None), b"", b""))
