"""Decode the lines of one stream into columns with msgspec types that its schema is compiled to.

Decoding a line into a struct whose fields have the schema's types also validates the record. What
no type expresses, such as a pattern, is checked column by column. No dict is made, and the digits
of a number are copied, never parsed.

The rule that makes this safe: the typed decoder never refuses a record, and accepts none that the
schema does not accept. Whatever it cannot decode or does not find valid, the caller decodes
untyped, and its columns have the same values.
"""

from __future__ import annotations

from decimal import Decimal
from functools import cached_property
from operator import attrgetter
from typing import TYPE_CHECKING, Any, NamedTuple

import msgspec

from target_segment_objects import limits
from target_segment_objects.mapping.column_conversion import (
    ColumnConversion,
    check_values,
    compile_number_conversion,
    compile_text_conversion,
    convert_timestamps,
    is_number,
    is_oversized,
)
from target_segment_objects.mapping.columns import build_struct_columns
from target_segment_objects.mapping.metadata import MESSAGE_FIELDS, MetadataColumns
from target_segment_objects.mapping.object_ids import compile_struct_digests, find_tiny_numbers
from target_segment_objects.mapping.record_types import (
    RecordTypeBuilder,
    define_message_type,
    is_encodable,
)
from target_segment_objects.mapping.schema_compilation import is_valid_schema
from target_segment_objects.mapping.schema_simplification import UnsupportedSchemaError
from target_segment_objects.mapping.values import DECODING_ERRORS

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Mapping, Sequence

    from target_segment_objects.mapping.columns import Column
    from target_segment_objects.mapping.naming import PropertyPath
    from target_segment_objects.mapping.properties.property_mapping import PropertyMapping

_get_record = attrgetter("record")


class DecodedLines(NamedTuple):
    """What was decoded of some lines.

    Attributes:
        records: The records.
        messages: Their messages; none for BATCH files.
        undecoded: The positions of the other lines.
    """

    records: Sequence[msgspec.Struct]
    messages: Sequence[msgspec.Struct]
    undecoded: list[int]


class TypedDecoder:
    """Decodes the lines of one stream.

    Args:
        stream: The stream's name, as RECORD messages have it.
        schema: Its JSON schema.
        properties: The property of each column.
        undeclared: The paths of those that the schema does not declare. A record with another one
            is not decoded.
        ignored: The names of other properties of a record, which are not sent.
        make_metadata: Returns the metadata that the SDK adds to a record; see `MetadataColumns`.
        send_nulls: Whether nulls are sent.
        warned_long_paths: The properties whose long strings were already warned of.
        example: A record as the tap writes it.

    Attributes:
        record_type: The type of a record.
        conversions: What converts columns, by position. The others need no conversion.

    Raises:
        UnsupportedSchemaError: No type expresses the schema.
    """

    def __init__(  # noqa: PLR0913 - keyword-only: all that the decoding of a line depends on
        self,
        *,
        stream: str,
        schema: dict[str, Any],
        properties: Sequence[PropertyMapping],
        undeclared: frozenset[PropertyPath],
        ignored: Collection[str],
        make_metadata: Callable[[], Mapping[str, Any]] | None,
        send_nulls: bool,
        warned_long_paths: frozenset[PropertyPath],
        example: Mapping[str, Any],
    ) -> None:
        if not (is_encodable(stream) and is_valid_schema(schema)):
            raise UnsupportedSchemaError("its name or its schema is not valid")
        builder = RecordTypeBuilder(
            schema,
            {prop.path: prop.type for prop in properties},
            undeclared=undeclared,
            ignored=ignored,
            warned_long_paths=warned_long_paths,
            example=example,
        )
        self.record_type, self._nested = builder.build_record()
        fields = builder.fields
        if sorted(fields.paths) != sorted(prop.path for prop in properties):
            raise UnsupportedSchemaError("its properties are not declared in a plain way")
        columns = {prop.path: position for position, prop in enumerate(properties)}
        places = [columns[path] for path in fields.paths]  # where each field's column goes
        built = {path: position for position, path in enumerate(fields.paths)}
        order = [built[prop.path] for prop in properties]
        is_ordered = order == [*range(len(order))]
        self._order = None if is_ordered and not ignored else order
        self._metadata = (
            None if make_metadata is None else MetadataColumns(make_metadata, properties)
        )
        members = () if make_metadata is None else MESSAGE_FIELDS
        message_type = define_message_type(stream, self.record_type, members)
        self._decode_message = msgspec.json.Decoder(message_type, float_hook=Decimal).decode
        self._decode_record = msgspec.json.Decoder(self.record_type, float_hook=Decimal).decode
        self._numbers = [places[position] for position, _ in fields.numbers]
        self._texts = [(places[text.position], text) for text in fields.json_texts]
        self._checks = [(places[position], check) for position, check in fields.checks]
        self.conversions: dict[int, ColumnConversion] = {
            **dict.fromkeys((places[at] for at in fields.timestamps), convert_timestamps),
            **{
                places[position]: compile_number_conversion(
                    is_nullable=is_nullable, send_nulls=send_nulls
                )
                for position, is_nullable in fields.numbers
            },
            **{
                position: compile_text_conversion(
                    text.max_length, is_finite=True, is_limited=text.max_length is not None
                )
                for position, text in self._texts
            },
        }
        self._long_strings = [
            *(places[position] for position in fields.long_strings),
            *(position for position, text in self._texts if text.max_length is None),
        ]

    def decode_messages(self, lines: Sequence[bytes]) -> DecodedLines:
        """Decode RECORD messages."""
        messages, undecoded = _decode_lines(self._decode_message, lines)
        return DecodedLines([*map(_get_record, messages)], messages, undecoded)

    def decode_records(self, lines: Sequence[bytes]) -> DecodedLines:
        """Decode records without a message around them, as BATCH files have them."""
        records, undecoded = _decode_lines(self._decode_record, lines)
        return DecodedLines(records, (), undecoded)

    def build_columns(self, decoded: DecodedLines, invalid: set[int]) -> list[Column]:
        """Return the columns of at least one record, and add to a set the rows not found valid."""
        built = build_struct_columns(decoded.records, self._nested)
        columns = built
        if self._order is not None:
            columns = [built[position] for position in self._order]
        if self._metadata is not None:
            self._metadata.fill_columns(columns, decoded.messages)
        for position, are_valid in self._checks:
            check_values(columns[position], are_valid, invalid)
        for position, text in self._texts:
            if not text.is_nullable and None in columns[position]:
                # A null may stand for an object around the value.
                invalid.update(row for row, value in enumerate(columns[position]) if value is None)
            if text.are_valid is not None:
                check_values(columns[position], text.are_valid, invalid)
        return columns

    def convert_columns(
        self, columns: list[Column], odd: dict[int, set[int]], invalid: set[int]
    ) -> list[Column]:
        """Return the converted columns.

        Args:
            columns: The columns. They are not changed.
            odd: By column, takes the rows whose values are to be converted one by one.
            invalid: Takes the rows that are not found valid.
        """
        converted = [*columns]
        rows: set[int] = set()
        for position, convert in self.conversions.items():
            converted[position] = convert(columns[position], rows)
            if rows:
                odd[position] = rows
                rows = set()
        if odd:
            for position in self._numbers:
                numbers = columns[position]
                invalid.update(row for row in odd.get(position, ()) if not is_number(numbers[row]))
        return converted

    def find_oversized(
        self, converted: Sequence[Column], objects: Sequence[bytes | None]
    ) -> set[int]:
        """Return the rows with a string that Segment does not accept.

        An object is at least as large as each of its values, so few are looked at.
        """
        if max(map(len, filter(None, objects)), default=0) < limits.VALUE_BYTES_LIMIT:
            return set()
        return {
            row
            for row, line in enumerate(objects)
            if line is not None
            and len(line) >= limits.VALUE_BYTES_LIMIT
            and any(is_oversized(converted[position][row]) for position in self._long_strings)
        }

    def hash_records(
        self, decoded: DecodedLines, columns: Sequence[Column], odd: Mapping[int, set[int]]
    ) -> tuple[list[str], set[int]]:
        """Return the digests of records without keys, and the rows whose digests are not exact.

        Args:
            decoded: The records. They have no metadata afterwards.
            columns: Their columns, before the conversion.
            odd: By column, the rows that were not converted with the whole column.
        """
        inexact: set[int] = set()
        for position in self._numbers:
            inexact.update(odd.get(position, ()), find_tiny_numbers(columns[position]))
        return self._hash_structs(decoded.records), inexact

    @cached_property
    def _hash_structs(self) -> Callable[[Sequence[msgspec.Struct]], list[str]]:
        return compile_struct_digests(self.record_type)


def _decode_lines(
    decode: Callable[[bytes], msgspec.Struct], lines: Sequence[bytes]
) -> tuple[list[msgspec.Struct], list[int]]:
    """Return the decoded lines, and the positions of those that do not have the type."""
    decoded: list[msgspec.Struct] = []
    undecoded: list[int] = []
    remaining = iter(lines)
    while True:
        try:
            for line in remaining:
                decoded.append(decode(line))  # noqa: PERF401 - what was decoded is kept
        except DECODING_ERRORS:
            undecoded.append(len(decoded) + len(undecoded))
        else:
            return decoded, undecoded
