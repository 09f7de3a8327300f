"""Map the records of one stream to the JSON lines of its objects.

    lines -> decode (typed, else untyped) -> columns -> validate -> convert -> ids -> encode

Pure, except for the warnings: lines or records in, objects and rejects out, in the order of the
records. What a ledger has to know is returned, too, to be saved when the objects are delivered. A
name is decided once, a value is converted by its property's type, and every limit is checked before
an object is returned, so that no object can spoil a batch file. The rules for names are in
`naming`, for values in `values`, for ids in `object_ids`, for violations in `violations`.

The decoders are the only difference between two records: what the typed one cannot decode or does
not find valid, the untyped one decodes. A record that changes how properties are sent ends its
group: what comes after it is mapped again.
"""

from __future__ import annotations

import bisect
import functools
import itertools
from typing import TYPE_CHECKING, Any, Final, NamedTuple, cast

from target_segment_objects.exceptions import SegmentObjectsError
from target_segment_objects.mapping.columns import drop_rows, find_first_values
from target_segment_objects.mapping.json_lines import (
    RecordMessage,
    UnreadableLineError,
    decode_record,
    decode_record_message,
)
from target_segment_objects.mapping.mapped_records import MappedRecords
from target_segment_objects.mapping.object_ids import build_ids
from target_segment_objects.mapping.stream_layout import StreamLayout
from target_segment_objects.mapping.typed_decoder import TypedDecoder
from target_segment_objects.mapping.untyped_mapper import UntypedMapper
from target_segment_objects.mapping.value_converter import ValueConverter

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence

    from target_segment_objects.mapping.json_lines import Record
    from target_segment_objects.mapping.layout import Layout
    from target_segment_objects.mapping.mapping_options import MappingOptions
    from target_segment_objects.mapping.naming import PropertyPath
    from target_segment_objects.mapping.properties.memory import SentProperty
    from target_segment_objects.mapping.properties.property_mapping import PropertyMapping
    from target_segment_objects.mapping.stream_state import StreamState
    from target_segment_objects.mapping.typed_decoder import DecodedLines
    from target_segment_objects.mapping.untyped_mapper import AddMetadata
    from target_segment_objects.mapping.violations import ValidityCheck


class _TypedSpan(NamedTuple):
    """The result of mapping lines with types; positions are those in the group.

    Attributes:
        objects: The JSON of the objects.
        rows: The position of each object's line.
        remaining: The positions of the lines that the untyped decoder takes.
        first_values: The properties that had no value before, each with the position of the line
            that has one; sorted.
    """

    objects: list[bytes]
    rows: Sequence[int]
    remaining: Sequence[int]
    first_values: Sequence[tuple[int, PropertyPath]]


class _Decoding(NamedTuple):
    """How the two decoders read a line: as a RECORD message, or as a record of a BATCH file."""

    typed: Callable[[TypedDecoder, Sequence[bytes]], DecodedLines]
    untyped: Callable[[bytes, str], RecordMessage]


_NONE_DECODED: Final[Mapping[int, RecordMessage]] = {}
_MESSAGES: Final = _Decoding(TypedDecoder.decode_messages, decode_record_message)
_RECORDS: Final = _Decoding(TypedDecoder.decode_records, decode_record)


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
        check: ValidityCheck | None = None,
        add_metadata: AddMetadata | None = None,
        omitted: frozenset[str] = frozenset(),
        use_types: bool = True,
    ) -> None:
        self.stream = stream
        self.collection = collection
        self._key_properties = tuple(key_properties)
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
        self._layout = StreamLayout(
            stream,
            collection,
            schema,
            self._key_properties,
            options=options,
            state=state,
            make_metadata=None if add_metadata is None else self._make_metadata,
            use_types=use_types,
        )
        names = self._sent.get_names(prop.path for prop in self.properties)
        self._warnings.warn_names(names, self._key_properties)
        self._warnings.warn_collection(collection)

    @property
    def properties(self) -> Sequence[PropertyMapping]:
        """The declared properties in the order in which they are sent."""
        return self._layout.properties

    @property
    def undeclared(self) -> Mapping[PropertyPath, PropertyMapping]:
        """The properties that records had though the schema does not declare them.

        One of another type than a string may be sent in another way, depending on its value.
        """
        return self._sent.undeclared

    # Groups

    def map_messages(
        self, lines: Sequence[bytes], decoded: Mapping[int, RecordMessage] = _NONE_DECODED
    ) -> MappedRecords:
        """Map RECORD messages.

        Args:
            lines: The messages.
            decoded: By position, those that are decoded already; their lines are empty.
        """
        return self._map_lines(lines, decoded, _MESSAGES)

    def map_lines(
        self, lines: Sequence[bytes], decoded: Mapping[int, RecordMessage] = _NONE_DECODED
    ) -> MappedRecords:
        """Map records without a message around them, as BATCH files have them."""
        return self._map_lines(lines, decoded, _RECORDS)

    def map_records(self, messages: Sequence[RecordMessage]) -> MappedRecords:
        """Map decoded records, which are changed."""
        group = MappedRecords()
        start = 0
        while start < len(messages) and self._renew_properties(group, start):
            layout = self._layout.get_layout()
            mapped = self._untyped.map_records(layout, self._layout.tree, messages[start:])
            group.add(mapped, range(start, len(messages)))
            start += mapped.count
            self._layout.count_untyped(mapped.count)
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
        self.save_properties(prop for _, prop in mapped.unsaved)
        return mapped.objects[0]

    def save_properties(self, properties: Iterable[SentProperty]) -> None:
        """Save what later runs have to know, just before the first values are sent.

        Raises:
            LedgerError: The ledger cannot be written.
        """
        self._sent.save(properties)

    def _map_lines(
        self, lines: Sequence[bytes], decoded: Mapping[int, RecordMessage], decoding: _Decoding
    ) -> MappedRecords:
        group = MappedRecords()
        start = 0
        while start < len(lines) and self._renew_properties(group, start):
            layout = self._layout.get_layout()
            if self._layout.types is None:
                example = functools.partial(_read_example, lines[start], self.stream, decoding)
                self._layout.compile_types(layout, len(lines) - start, example)
            span = self._map_typed(layout, lines, start, decoding)
            if start or span.remaining:
                start = self._map_remaining(layout, lines, decoded, span, decoding, group)
                continue
            if span.first_values:
                self._sent.store_before(len(lines), span.first_values, group.unsaved)
            group.objects, group.rows, group.count = span.objects, span.rows, len(lines)
            break
        return group

    def _map_typed(
        self, layout: Layout, lines: Sequence[bytes], start: int, decoding: _Decoding
    ) -> _TypedSpan:
        """Map lines, from a position on, as far as they can be decoded with types."""
        every_row = range(start, len(lines))
        types = self._layout.types
        if types is None:
            return _TypedSpan([], (), every_row, ())
        decoded = decoding.typed(types, lines[start:] if start else lines)
        remaining: set[int] = set()
        rows: Sequence[int] = every_row
        if decoded.undecoded:
            remaining.update(every_row[at] for at in decoded.undecoded)
            rows = [row for row in every_row if row not in remaining]
        if not rows:
            return _TypedSpan([], (), every_row, ())
        failed: set[int] = set()
        odd: dict[int, set[int]] = {}
        columns = types.build_columns(decoded, failed)
        converted = types.convert_columns(columns, odd, failed)
        if layout.keys is None:
            ids: Sequence[str]
            ids, inexact = types.hash_records(decoded, columns, odd)
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
            failed |= types.find_oversized(converted, objects)
        first_values: Sequence[tuple[int, PropertyPath]] = ()
        if self._sent.valueless:
            unsent = layout.select_unsent(self._sent.valueless)
            first_values = find_first_values(converted, unsent, rows, failed)
        if failed:
            remaining.update(rows[at] for at in failed)
            rows, objects = drop_rows(rows, failed), drop_rows(objects, failed)
        return _TypedSpan(cast("list[bytes]", objects), rows, sorted(remaining), first_values)

    def _map_remaining(
        self,
        layout: Layout,
        lines: Sequence[bytes],
        decoded: Mapping[int, RecordMessage],
        span: _TypedSpan,
        decoding: _Decoding,
        group: MappedRecords,
    ) -> int:
        """Map the lines that the untyped decoder takes, and add all objects in order.

        Returns:
            Where the next span begins: after a record that changes how properties are sent, or at
            the end of the lines.
        """
        end = len(lines)
        first_values = span.first_values
        for rows in _split_rows(span.remaining, [row for row, _ in first_values]):
            first_values = self._sent.store_before(rows[0], first_values, group.unsaved)
            part = self._decode_and_map(layout, lines, rows, decoded, decoding)
            group.add(part, rows)
            self._layout.count_untyped(part.count)
            if part.count < len(rows):
                end = rows[part.count - 1] + 1 if group.failure is None else group.failure[0]
                break
        self._sent.store_before(end, first_values, group.unsaved)
        count = bisect.bisect_left(span.rows, end)
        group.add_objects(span.objects[:count], span.rows[:count])
        group.count = end
        return end

    def _decode_and_map(
        self,
        layout: Layout,
        lines: Sequence[bytes],
        rows: Sequence[int],
        decoded: Mapping[int, RecordMessage],
        decoding: _Decoding,
    ) -> MappedRecords:
        """Map some lines untyped, up to one that cannot be decoded."""
        messages: list[RecordMessage] = []
        failure: UnreadableLineError | None = None
        for row in rows:
            try:
                message = decoded.get(row) or decoding.untyped(lines[row], self.stream)
                messages.append(message)
            except UnreadableLineError as error:
                failure = error
                break
        mapped = MappedRecords()
        if messages:
            mapped = self._untyped.map_records(layout, self._layout.tree, messages)
        if failure is not None and mapped.count == len(messages) and mapped.failure is None:
            mapped.failure = (len(messages), failure)
        return mapped

    def _renew_properties(self, group: MappedRecords, row: int) -> bool:
        """Map the properties again if another stream of the collection has changed how.

        Returns:
            Whether the group can go on. If not, it has the failure at this row.
        """
        if group.failure is None and self._sent.is_outdated:
            try:
                self._layout.renew_properties()
            except SegmentObjectsError as error:
                group.failure = (row, error)
            group.unsaved += [(row, prop) for prop in self._sent.take_unsaved()]
        return group.failure is None

    def _make_metadata(self) -> Record:
        metadata: Record = {}
        if self._add_metadata is not None:
            self._add_metadata(metadata, {})
        return metadata


def _read_example(line: bytes, stream: str, decoding: _Decoding) -> Record:
    """Return the record of a line; an empty one if the line has none."""
    try:
        return decoding.untyped(line, stream).record
    except UnreadableLineError:
        return {}


def _split_rows(rows: Sequence[int], cuts: Sequence[int]) -> Iterator[list[int]]:
    """Yield rows in their order, those together between which there is no cut."""
    for _, part in itertools.groupby(rows, key=lambda row: bisect.bisect_left(cuts, row)):
        yield [*part]
