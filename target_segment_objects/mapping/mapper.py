"""Map the records of one stream to the JSON lines of its objects.

    lines -> decode (typed, else untyped) -> columns -> validate -> convert -> ids -> encode

Pure, except for the warnings: lines or records in, objects and rejects out, in the order of the
records. A name is decided once, a value is converted by its property's type, and every limit is
checked before an object is returned, so that no object can spoil a batch file. The rules for names
are in `naming`, for values in `values`, for ids in `object_ids`, for violations in `violations`.

The decoders are the only difference between two records: what the typed one cannot decode or does
not find valid, the untyped one decodes. A record that changes how properties are sent ends its
group: what comes after it is mapped again.
"""

from __future__ import annotations

import bisect
import itertools
from typing import TYPE_CHECKING, Any, Final, Literal, NamedTuple, cast

import msgspec

from target_segment_objects.exceptions import (
    InvalidRecordError,
    SegmentObjectsError,
    UnmappableStreamError,
)
from target_segment_objects.mapping import naming
from target_segment_objects.mapping.columns import drop_rows, find_first_values
from target_segment_objects.mapping.json_lines import (
    RecordMessage,
    UnreadableLineError,
    decode_object,
    decode_record_message,
)
from target_segment_objects.mapping.layout import MAX_UNDECLARED, Layout, compile_layout
from target_segment_objects.mapping.mapped_records import MappedRecords
from target_segment_objects.mapping.object_ids import build_ids, build_object_id
from target_segment_objects.mapping.property_tree import build_tree
from target_segment_objects.mapping.schema import (
    SchemaTooLargeError,
    find_untyped_properties,
    read_property_types,
)
from target_segment_objects.mapping.schema_simplification import UnsupportedSchemaError
from target_segment_objects.mapping.typed_decoder import TypedDecoder
from target_segment_objects.mapping.untyped_mapper import UntypedMapper
from target_segment_objects.mapping.value_converter import ValueConverter

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

    from target_segment_objects.mapping.json_lines import Record
    from target_segment_objects.mapping.naming import PropertyPath
    from target_segment_objects.mapping.properties.property_mapping import PropertyMapping
    from target_segment_objects.mapping.schema import PropertyType
    from target_segment_objects.mapping.stream_state import StreamState
    from target_segment_objects.mapping.typed_decoder import DecodedLines
    from target_segment_objects.mapping.untyped_mapper import AddMetadata
    from target_segment_objects.mapping.violations import RecordCheck

_PROPERTIES_PER_RECORD: Final = 16
"""Compiling takes about 10 µs a property; a record that is decoded untyped, some 100 µs."""


class MappingOptions(msgspec.Struct, frozen=True):
    """The user's choices for the mapping.

    Attributes:
        null_properties: Whether nulls are sent or left out. That of a deletion time is always sent.
        oversized_values: What happens to a string of 32 KB or more.
        max_depth: How many levels of objects are flattened; None for all.
        max_name_length: The most characters of a property's name; None for no limit.
        sorts_properties: Whether properties are sent sorted by their paths, not in the order of
            the schema.
    """

    null_properties: Literal["send", "omit"] = "send"
    oversized_values: Literal["reject", "truncate"] = "reject"
    max_depth: int | None = None
    max_name_length: int | None = None
    sorts_properties: bool = False


class _TypedSpan(NamedTuple):
    """What became of lines that were decoded with types; positions are those in the group.

    Attributes:
        objects: The JSON of the objects.
        rows: The position of each object's line.
        left: The positions of the lines that are left to the untyped decoder.
        first_values: The properties that had no value before, each with the position of the line
            that has one; sorted.
    """

    objects: list[bytes]
    rows: Sequence[int]
    left: Sequence[int]
    first_values: Sequence[tuple[int, PropertyPath]]


class _Decoding(NamedTuple):
    """How the two decoders read a line: as a RECORD message, or as a record of a BATCH file."""

    typed: Callable[[TypedDecoder, Sequence[bytes]], DecodedLines]
    untyped: Callable[[bytes, str], RecordMessage]


def _decode_record(line: bytes, stream: str) -> RecordMessage:
    return RecordMessage(stream, decode_object(line))


_MESSAGES: Final = _Decoding(TypedDecoder.decode_messages, decode_record_message)
_RECORDS: Final = _Decoding(TypedDecoder.decode_records, _decode_record)


class RecordMapper:
    """Maps the records of one stream by one schema.

    Args:
        stream: The stream's name, for messages.
        collection: The collection of its objects.
        schema: The stream's JSON schema.
        key_properties: The names of the properties that make the id; none for a digest.
        options: The user's choices.
        state: What the stream's mapping remembers across SCHEMAs.
        check: Decides which records are invalid; None if none is.
        add_metadata: Adds the SDK's metadata to a record, from the members of its message; None if
            none is added.
        omitted: The names of metadata that is left out of records, with a warning.
        use_types: Whether records are decoded with types where that is possible.

    Attributes:
        stream: The stream's name.
        collection: The collection of its objects.
        properties: The declared properties in the order in which they are sent.

    Raises:
        UnmappableStreamError: A declared property cannot have a name in Segment.
    """

    def __init__(  # noqa: PLR0913 - keyword-only: all that the mapping of a record depends on
        self,
        stream: str,
        collection: str,
        schema: dict[str, Any],
        key_properties: Sequence[str],
        *,
        options: MappingOptions,
        state: StreamState,
        check: RecordCheck | None = None,
        add_metadata: AddMetadata | None = None,
        omitted: frozenset[str] = frozenset(),
        use_types: bool = True,
    ) -> None:
        self.stream = stream
        self.collection = collection
        self._schema = schema
        self._key_properties = tuple(key_properties)
        self._options = options
        self._sent = state.properties
        self._warnings = state.warnings
        self._add_metadata = add_metadata
        self._values = ValueConverter(
            stream, state.warnings, truncate=options.oversized_values == "truncate"
        )
        self._untyped = UntypedMapper(
            stream,
            self._key_properties,
            state,
            self._values,
            check=check,
            add_metadata=add_metadata,
            omitted=omitted,
        )
        self._use_types = use_types
        self._layout: Layout | None = None
        self._typed: TypedDecoder | None = None
        self._compiled_for: tuple[object, ...] = ()
        self._can_use_types = use_types
        self._untyped_count = 0  # records that were decoded untyped since the layout was compiled
        types = _read_types(stream, schema, options.max_depth)
        self._insert_properties(self._sent.map_declared(types, find_untyped_properties(schema)))
        names = self._sent.get_names(prop.path for prop in self.properties)
        self._warnings.warn_names(names, self._key_properties)
        self._warnings.warn_collection(collection)

    @property
    def undeclared(self) -> Mapping[PropertyPath, PropertyMapping]:
        """The properties that records had though the schema does not declare them.

        One of another type than a string may be sent in another way, depending on its value.
        """
        return self._sent.undeclared

    # Groups

    def map_messages(self, lines: Sequence[bytes]) -> MappedRecords:
        """Map RECORD messages."""
        return self._map_lines(lines, _MESSAGES)

    def map_lines(self, lines: Sequence[bytes]) -> MappedRecords:
        """Map records without a message around them, as BATCH files have them."""
        return self._map_lines(lines, _RECORDS)

    def map_records(self, messages: Sequence[RecordMessage]) -> MappedRecords:
        """Map decoded records, which are changed."""
        group = MappedRecords()
        start = 0
        while start < len(messages) and self._renew_properties(group, start):
            layout = self._get_layout()
            mapped = self._untyped.map_records(layout, self._root, messages[start:])
            group.add(mapped, range(start, len(messages)))
            start += mapped.count
            self._untyped_count += mapped.count
        return group

    def map_record(self, record: Record) -> bytes:
        """Return the JSON of a record's object, without an end of line.

        Raises:
            InvalidRecordError: The record cannot be sent; the reason says why.
            UnmappableStreamError: A value does not fit the type that its property was sent with.
        """
        mapped = self.map_records([RecordMessage(self.stream, dict(record))])
        for _, error in (*mapped.rejects, *([mapped.failure] if mapped.failure else [])):
            raise error
        return mapped.objects[0]

    def find_object_id(self, record: Record) -> str | None:
        """Return the id that a record's object would have; None if it has none."""
        try:
            return build_object_id(self.stream, self._key_properties, record)
        except InvalidRecordError:
            return None

    def _map_lines(self, lines: Sequence[bytes], decoding: _Decoding) -> MappedRecords:
        group = MappedRecords()
        start = 0
        while start < len(lines) and self._renew_properties(group, start):
            layout = self._get_layout(lines, start, decoding)
            span = self._map_typed(layout, lines, start, decoding)
            if not (start or span.left):
                if span.first_values:
                    self._store_before(len(lines), span.first_values)
                return MappedRecords(span.objects, span.rows, count=len(lines))
            start = self._map_left(layout, lines, span, decoding, group)
        return group

    def _map_typed(
        self, layout: Layout, lines: Sequence[bytes], start: int, decoding: _Decoding
    ) -> _TypedSpan:
        """Map lines, from a position on, as far as they can be decoded with types."""
        every_row = range(start, len(lines))
        if self._typed is None:
            return _TypedSpan([], (), every_row, ())
        decoded = decoding.typed(self._typed, lines[start:] if start else lines)
        left = {every_row[at] for at in decoded.undecoded}
        rows: Sequence[int] = [row for row in every_row if row not in left] if left else every_row
        if not rows:
            return _TypedSpan([], (), every_row, ())
        failed: set[int] = set()
        odd: dict[int, set[int]] = {}
        columns = self._typed.build_columns(decoded, failed)
        converted = self._typed.convert_columns(columns, odd, failed)
        if layout.keys is None:
            ids: Sequence[str]
            ids, inexact = self._typed.hash_records(decoded, columns, odd)
            failed |= inexact
        else:
            keys = [columns[position] for position in layout.keys]
            ids, errors = build_ids(self.stream, self._key_properties, keys)
            failed.update(errors)
        if odd:
            failed |= self._values.convert_odd_values(
                layout.properties, columns, converted, odd, failed
            ).keys()
        objects = layout.encoder.encode_objects(ids, layout.encoder.select_columns(converted))
        failed.update(layout.encoder.find_unsendable(objects))
        if self._warnings.long_paths:
            failed |= self._typed.find_oversized(converted, objects)
        first_values: Sequence[tuple[int, PropertyPath]] = ()
        if self._sent.valueless:
            unsent = layout.select_unsent(self._sent.valueless)
            first_values = find_first_values(converted, unsent, rows, failed)
        if failed:
            left.update(rows[at] for at in failed)
            rows, objects = drop_rows(rows, failed), drop_rows(objects, failed)
        return _TypedSpan(cast("list[bytes]", objects), rows, sorted(left), first_values)

    def _map_left(
        self,
        layout: Layout,
        lines: Sequence[bytes],
        span: _TypedSpan,
        decoding: _Decoding,
        group: MappedRecords,
    ) -> int:
        """Map the lines that are left to the untyped decoder, and add all objects in order.

        Returns:
            Where the next span begins: after a record that changes how properties are sent, or at
            the end of the lines.
        """
        end = len(lines)
        first_values = span.first_values
        for rows in _split_rows(span.left, [row for row, _ in first_values]):
            first_values = self._store_before(rows[0], first_values)
            part = self._decode_and_map(layout, lines, rows, decoding)
            group.add(part, rows)
            self._untyped_count += part.count
            if part.count < len(rows):
                end = rows[part.count - 1] + 1 if group.failure is None else group.failure[0]
                break
        self._store_before(end, first_values)
        count = bisect.bisect_left(span.rows, end)
        group.add_objects(span.objects[:count], span.rows[:count])
        group.count = end
        return end

    def _decode_and_map(
        self, layout: Layout, lines: Sequence[bytes], rows: Sequence[int], decoding: _Decoding
    ) -> MappedRecords:
        """Map some lines untyped, up to one that cannot be decoded."""
        messages: list[RecordMessage] = []
        failure: UnreadableLineError | None = None
        for row in rows:
            try:
                messages.append(decoding.untyped(lines[row], self.stream))
            except UnreadableLineError as error:
                failure = error
                break
        mapped = MappedRecords()
        if messages:
            mapped = self._untyped.map_records(layout, self._root, messages)
        if failure is not None and mapped.count == len(messages) and mapped.failure is None:
            mapped.failure = (len(messages), failure)
        return mapped

    def _store_before(
        self, end: int, first_values: Sequence[tuple[int, PropertyPath]]
    ) -> Sequence[tuple[int, PropertyPath]]:
        """Store the types of properties with a first value before a row; return the others."""
        self._sent.store_types([path for row, path in first_values if row < end])
        return [(row, path) for row, path in first_values if row >= end]

    # What depends on the properties

    def _renew_properties(self, group: MappedRecords, row: int) -> bool:
        """Map the properties again if another stream of the collection has changed how.

        Returns:
            Whether the group can go on. If not, it has the failure at this row.
        """
        if group.failure is not None:
            return False
        if self._sent.is_outdated:
            try:
                properties = self._sent.renew()
            except SegmentObjectsError as error:
                group.failure = (row, error)
                return False
            if properties != self._unsorted:
                self._insert_properties(properties)
        return True

    def _insert_properties(self, properties: list[PropertyMapping]) -> None:
        self._unsorted = properties
        self.properties = properties
        if self._options.sorts_properties:
            self.properties = sorted(properties, key=lambda prop: prop.path)
        self._root = build_tree(properties)
        self._layout = None

    def _get_layout(
        self,
        lines: Sequence[bytes] = (),
        start: int = 0,
        decoding: _Decoding = _MESSAGES,
    ) -> Layout:
        """Return the layout for how properties are sent now, compiled again if that is worth it.

        In a wide stream, undeclared properties come with many different records. Not each of them
        is worth the time.

        Args:
            lines: The lines that are mapped next, for which types are compiled.
            start: The first of them.
            decoding: How to read them.
        """
        depends_on = (
            self._sent.version,
            self._warnings.long_paths,
            self._warnings.omitted_metadata,
            min(len(self._sent.undeclared), MAX_UNDECLARED + 1),
        )
        layout = self._layout
        if (
            layout is None
            or self._compiled_for[0] != self._sent.version
            or (self._compiled_for != depends_on and self._is_worth(self._untyped_count))
        ):
            layout = self._layout = compile_layout(
                self.collection,
                self.properties,
                self._sent.undeclared,
                self._root,
                key_properties=self._key_properties,
                send_nulls=self._options.null_properties == "send",
                warned_long_paths=self._warnings.long_paths,
                unsent=self._sent.valueless,
            )
            self._compiled_for = depends_on
            self._untyped_count = 0
            self._typed = None
            self._can_use_types = self._use_types
        if self._typed is None and self._can_use_types:
            count = len(lines) - start
            if count and self._is_worth(self._untyped_count + count):
                self._typed = self._compile_types(layout, lines[start], decoding)
                self._can_use_types = self._typed is not None
        return layout

    def _is_worth(self, count: int) -> bool:
        """Return whether so many records take more time than compiling what saves it."""
        property_count = len(self.properties) + len(self._sent.undeclared)
        return count * _PROPERTIES_PER_RECORD >= property_count

    def _compile_types(
        self, layout: Layout, line: bytes, decoding: _Decoding
    ) -> TypedDecoder | None:
        """Return the typed decoder; None if no types express the schema."""
        if self._key_properties and layout.keys is None:
            return None
        try:
            example = decoding.untyped(line, self.stream).record
        except UnreadableLineError:
            example = {}
        try:
            return TypedDecoder(
                stream=self.stream,
                schema=self._schema,
                properties=layout.properties,
                undeclared=layout.undeclared,
                ignored=self._warnings.omitted_metadata,
                make_metadata=None if self._add_metadata is None else self._make_metadata,
                send_nulls=self._options.null_properties == "send",
                warned_long_paths=self._warnings.long_paths,
                example=example,
            )
        except UnsupportedSchemaError:
            return None

    def _make_metadata(self) -> Record:
        metadata: Record = {}
        if self._add_metadata is not None:
            self._add_metadata(metadata, {})
        return metadata


def _read_types(
    stream: str, schema: dict[str, Any], max_depth: int | None
) -> dict[PropertyPath, PropertyType]:
    """Return the types of the declared properties, of which each can have a name."""
    try:
        types = read_property_types(schema, max_depth=max_depth)
    except SchemaTooLargeError as error:
        label = None if error.property is None else naming.format_path((error.property,))
        subject = "its SCHEMA" if label is None else f"the property '{label}'"
        msg = (
            f"Stream '{stream}': {subject} {error.reason}. Drop or simplify it with stream_maps, "
            "or correct the tap's schema."
        )
        raise UnmappableStreamError(msg) from None
    for path in types:
        if not naming.to_path_name(path):
            msg = (
                f"Stream '{stream}': the property '{naming.format_path(path)}' has no letter or "
                "digit in its name, so Segment has no name for it. Rename or drop it with "
                "stream_maps."
            )
            raise UnmappableStreamError(msg)
    return types


def _split_rows(rows: Sequence[int], cuts: Sequence[int]) -> Iterator[list[int]]:
    """Yield rows in their order, those together between which there is no cut."""
    for _, part in itertools.groupby(rows, key=lambda row: bisect.bisect_left(cuts, row)):
        yield [*part]
