"""Map records that were decoded untyped: what the typed decoder leaves, and what stream maps made.

Here a record may be invalid, may have properties that the schema does not declare, and may change
how properties are sent. Such records are taken one after the other; all else is done by columns.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from msgspec import UNSET

from target_segment_objects import limits
from target_segment_objects.exceptions import InvalidRecordError, SegmentObjectsError
from target_segment_objects.mapping import naming
from target_segment_objects.mapping.columns import build_dict_columns, find_first_values
from target_segment_objects.mapping.mapped_records import MappedRecords
from target_segment_objects.mapping.object_ids import build_ids, build_object_id, hash_record
from target_segment_objects.mapping.properties.type_changes import has_type
from target_segment_objects.mapping.values import can_encode

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from target_segment_objects.mapping.columns import Column, ExtraValues
    from target_segment_objects.mapping.json_lines import Record, RecordMessage
    from target_segment_objects.mapping.layout import Layout
    from target_segment_objects.mapping.naming import PropertyPath
    from target_segment_objects.mapping.properties.property_mapping import PropertyMapping
    from target_segment_objects.mapping.property_tree import DeclaredObject
    from target_segment_objects.mapping.stream_state import StreamState
    from target_segment_objects.mapping.value_converter import ValueConverter
    from target_segment_objects.mapping.values import Scalar
    from target_segment_objects.mapping.violations import ValidityCheck

    AddMetadata = Callable[[Record, dict[str, Any]], None]
    Errors = dict[int, InvalidRecordError]
    RowExtras = list[tuple[PropertyMapping, Scalar]]


class UntypedMapper:
    """Maps the decoded records of one stream.

    Args:
        stream: The stream's name, for messages.
        key_properties: The names of the properties that make the id; none for a digest.
        state: What the stream's mapping remembers across SCHEMAs.
        values: Converts values one by one.
        check: Decides which records are invalid; None if none is.
        add_metadata: Adds the SDK's metadata to a record, from the members of its message; None if
            none is added.
        omitted: The names of metadata that is left out of records.
    """

    def __init__(
        self,
        stream: str,
        key_properties: tuple[str, ...],
        state: StreamState,
        values: ValueConverter,
        *,
        check: ValidityCheck | None,
        add_metadata: AddMetadata | None,
        omitted: frozenset[str],
    ) -> None:
        self._stream = stream
        self._key_properties = key_properties
        self._sent = state.properties
        self._warnings = state.warnings
        self._values = values
        self._check = check
        self._add_metadata = add_metadata
        self._omitted = omitted
        self._known: set[PropertyPath] = set()  # undeclared properties with names

    def map_records(
        self, layout: Layout, tree: DeclaredObject, messages: Sequence[RecordMessage]
    ) -> MappedRecords:
        """Map records, which are changed.

        Args:
            layout: Their columns.
            tree: The record with its declared properties.
            messages: Their messages; at least one.

        Returns:
            What became of them, up to a record that changes how properties are sent, or that stops
            the stream.
        """
        records = [self._handle_metadata(message) for message in messages]
        errors: Errors = {}
        violations = self._find_violations(records, tree, errors)
        invalid = {*errors}
        columns, extra_values = build_dict_columns(records, layout.root, len(layout.properties))
        _set_aside_values(layout, columns, extra_values)
        ids = self._build_ids(records, errors)
        converted, odd = _convert_columns(layout, columns)
        errors |= self._values.convert_odd_values(
            layout.properties, columns, converted, odd, errors
        )
        mapped = MappedRecords(count=len(records))
        objects = self._encode_objects(layout, ids, converted, extra_values, errors)
        self._map_extras(layout, extra_values, ids, converted, objects, errors, mapped)
        mapped.rows = [row for row in range(mapped.count) if row not in errors]
        mapped.objects = [line for row in mapped.rows if (line := objects[row]) is not None]
        mapped.rejects = sorted((row, error) for row, error in errors.items() if row < mapped.count)
        for row, error in mapped.rejects:
            if row not in invalid:
                error.object_id = ids[row] or None
        for row in sorted(violations.keys() - errors.keys()):
            if row < mapped.count:
                self._warnings.warn_schema_mismatches(violations[row])
                mapped.violations.append((row, violations[row].keys()))
        mapped.untyped = mapped.count
        return mapped

    def _handle_metadata(self, message: RecordMessage) -> Record:
        """Return a record with the metadata that is sent."""
        record = message.record
        if self._add_metadata is not None:
            members = {"time_extracted": message.time_extracted, "version": message.version}
            self._add_metadata(record, members)
        if not self._omitted.isdisjoint(record):
            omitted = self._omitted.intersection(record)
            for name in omitted:
                del record[name]
            self._warnings.warn_omitted_metadata(omitted)
        return record

    def _find_violations(
        self, records: Sequence[Record], tree: DeclaredObject, errors: Errors
    ) -> dict[int, dict[str, str]]:
        """Return the harmless violations by row, and add the errors of invalid records."""
        violations: dict[int, dict[str, str]] = {}
        if self._check is None:
            return violations
        for row in self._check.find_suspects(records):
            try:
                harmless = self._check.find_harmless(records[row], tree)
            except InvalidRecordError as error:
                if error.field not in self._key_properties:  # else the id is the value at fault
                    error.object_id = self._find_object_id(records[row])
                errors[row] = error
            else:
                if harmless:
                    violations[row] = harmless
        return violations

    def _find_object_id(self, record: Record) -> str | None:
        try:
            return build_object_id(self._stream, self._key_properties, record)
        except InvalidRecordError:
            return None

    def _build_ids(self, records: Sequence[Record], errors: Errors) -> list[str]:
        """Return the ids; empty where there is none, with the error added."""
        if self._key_properties:
            keys = [[record.get(key, UNSET) for record in records] for key in self._key_properties]
            ids, id_errors = build_ids(self._stream, self._key_properties, keys)
            errors.update({row: error for row, error in id_errors.items() if row not in errors})
            return [*ids]
        ids = []
        for row, record in enumerate(records):
            try:
                ids.append(hash_record(self._stream, record))
            except InvalidRecordError as error:
                errors.setdefault(row, error)
                ids.append("")
        return ids

    # Objects

    def _encode_objects(
        self,
        layout: Layout,
        ids: Sequence[str],
        columns: Sequence[Column],
        extra_values: ExtraValues,
        errors: Errors,
    ) -> list[bytes | None]:
        """Return the JSON of objects without extras, and add the errors of those without any."""
        objects = layout.encoder.encode_objects(ids, layout.encoder.select_columns(columns))
        for row in layout.encoder.find_unsendable(objects):
            if not (row in errors or row in extra_values):
                errors[row] = self._explain_unsendable(layout, objects[row], row, columns)
        return objects

    def _map_extras(
        self,
        layout: Layout,
        extra_values: ExtraValues,
        ids: Sequence[str],
        columns: Sequence[Column],
        objects: list[bytes | None],
        errors: Errors,
        mapped: MappedRecords,
    ) -> None:
        """Replace the objects of records that have properties without a column.

        The first values of all properties are stored on the way, in the order of the records,
        because they decide how later ones are sent.
        """
        unsent = layout.select_unsent(self._sent.valueless)
        rows = range(mapped.count)
        first_values = find_first_values(columns, unsent, rows, errors)
        selected = layout.encoder.select_columns(columns) if extra_values else []
        version = self._sent.version
        for row in sorted(extra_values):
            if row in errors:
                continue
            first_values = self._sent.store_before(row, first_values, mapped.unsaved)
            try:
                extras = self._map_row_extras(extra_values[row])
                line = layout.encoder.encode_object(ids[row], selected, row, extras)
                if layout.encoder.find_unsendable([line]):
                    raise self._explain_unsendable(layout, line, row, columns, extras)
            except InvalidRecordError as error:
                errors[row] = error
                first_values = find_first_values(columns, unsent, rows, errors)
            except SegmentObjectsError as error:
                mapped.failure, mapped.count = (row, error), row
                break
            else:
                objects[row] = line
                self._sent.store_types([prop.path for prop, value in extras if value is not None])
            mapped.unsaved += [(row, prop) for prop in self._sent.take_unsaved()]
            if self._sent.version != version or self._sent.is_outdated:
                mapped.count = row + 1
                break
        self._sent.store_before(mapped.count, first_values, mapped.unsaved)

    def _map_row_extras(self, raw_values: Mapping[PropertyPath, object]) -> RowExtras:
        """Return how the properties of one record that have no column are sent.

        Raises:
            InvalidRecordError: One of them cannot be sent.
            UnmappableStreamError: A value does not fit the type that its property was sent with.
        """
        values: dict[PropertyPath, object] = {}
        for path, value in raw_values.items():
            values.update(self._sent.expand_object(path, value))
        for path in values:
            if path not in self._known and not naming.to_path_name(path):
                reason = "its name has no letter or digit"
                raise InvalidRecordError(self._stream, reason, field=naming.format_path(path))
        # All at once, so that no name depends on the order of the record's keys.
        properties = self._sent.map_undeclared(values)
        new = [prop.path for prop in properties if prop.path not in self._known]
        if new:
            self._known.update(new)
            self._warnings.warn_names(self._sent.get_names(new), self._key_properties)
        return [(prop, self._values.convert_value(prop, values[prop.path])) for prop in properties]

    def _explain_unsendable(
        self,
        layout: Layout,
        line: bytes | None,
        row: int,
        columns: Sequence[Column],
        extras: Sequence[tuple[PropertyMapping, Scalar]] = (),
    ) -> InvalidRecordError:
        """Return why an object cannot be sent."""
        if line is None:
            values = [
                *(
                    (prop, column[row])
                    for prop, column in zip(layout.properties, columns, strict=True)
                ),
                *extras,
            ]
            culprit = next((prop.label for prop, value in values if not can_encode(value)), None)
            reason = "an unpaired surrogate, which UTF-8 cannot encode"
            return InvalidRecordError(self._stream, reason, field=culprit)
        if len(line) <= limits.MAX_OBJECT_BYTES:
            return InvalidRecordError(self._stream, "it has no property to send")
        reason = (
            f"an object of {len(line)} bytes of JSON; Segment accepts at most "
            f"{limits.MAX_OBJECT_BYTES}"
        )
        return InvalidRecordError(self._stream, reason)


def _set_aside_values(layout: Layout, columns: list[Column], extra_values: ExtraValues) -> None:
    """Take values out of their columns that do not have the type that was sent first."""
    for position, sent_type in layout.checked_types.items():
        path, column = layout.properties[position].path, columns[position]
        rows = {
            row
            for row, value in enumerate(column)
            if value is not UNSET and not has_type(value, sent_type)
        }
        for row in rows:
            extra_values.setdefault(row, {})[path] = column[row]
        if rows:
            columns[position] = [
                UNSET if row in rows else value for row, value in enumerate(column)
            ]


def _convert_columns(
    layout: Layout, columns: Sequence[Column]
) -> tuple[list[Column], dict[int, set[int]]]:
    """Return the converted columns, and by column the rows that are to be converted one by one."""
    converted: list[Column] = []
    odd: dict[int, set[int]] = {}
    for position, convert in enumerate(layout.conversions):
        rows: set[int] = set()
        converted.append(convert(columns[position], rows))
        if rows:
            odd[position] = rows
    return converted, odd
