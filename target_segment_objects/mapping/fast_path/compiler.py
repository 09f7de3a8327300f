"""Compile what maps the RECORD lines of one stream, many at a time."""

from __future__ import annotations

import hashlib
import itertools
from decimal import Decimal
from operator import attrgetter
from typing import TYPE_CHECKING, Any, NamedTuple

import msgspec
from msgspec import UNSET

from target_segment_objects import limits
from target_segment_objects.mapping.fast_path.columns import build_columns, drop_rows
from target_segment_objects.mapping.fast_path.conversions import compile_conversion
from target_segment_objects.mapping.fast_path.metadata import MESSAGE_FIELDS, MetadataColumns
from target_segment_objects.mapping.fast_path.object_ids import compile_ids
from target_segment_objects.mapping.fast_path.record_types import (
    RecordTypeBuilder,
    define_message_type,
    is_encodable,
)
from target_segment_objects.mapping.fast_path.schemas import (
    UnsupportedSchemaError,
    is_valid_schema,
)
from target_segment_objects.mapping.values import DECODING_ERRORS, ENCODER

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Mapping, Sequence

    from target_segment_objects.mapping.fast_path.columns import Column, NestedObject
    from target_segment_objects.mapping.fast_path.conversions import Conversion
    from target_segment_objects.mapping.fast_path.object_ids import IdBuilder
    from target_segment_objects.mapping.naming import PropertyPath
    from target_segment_objects.mapping.properties.mapping import PropertyMapping

_get_record = attrgetter("record")


class MappedLines(NamedTuple):
    """What the fast path made of some lines.

    Attributes:
        objects: The lines of the objects, in order.
        unsupported: The positions of the other lines, which are left to the slow path, in order.
    """

    objects: list[bytes]
    unsupported: list[int]


class _Object(msgspec.Struct, gc=False):
    """An object; its properties are a struct of the stream's own."""

    id: str
    collection: str
    properties: Any


class FastPath:
    """Maps the records of one stream, many at a time."""

    def __init__(
        self,
        stream: str,
        record_type: type[msgspec.Struct],
        nested: list[NestedObject],
        *,
        metadata: MetadataColumns | None,
        build_ids: IdBuilder,
        convert_columns: Conversion,
        encode_objects: Callable[[Column, list[Column]], list[bytes]],
        empty_bytes: int,
    ) -> None:
        """Keep the compiled steps.

        Args:
            stream: The stream's name, as RECORD messages have it.
            record_type: The type of its records.
            nested: The objects in a record.
            metadata: Fills the columns of metadata; None if the SDK adds none.
            build_ids: Builds the ids.
            convert_columns: Validates and converts the values.
            encode_objects: Returns the lines of objects with these ids and properties.
            empty_bytes: The size of an object without properties; 0 if there is none.
        """
        members = () if metadata is None else MESSAGE_FIELDS
        message_type = define_message_type(stream, record_type, members)
        self._decode_message = msgspec.json.Decoder(message_type, float_hook=Decimal).decode
        self._decode_record = msgspec.json.Decoder(record_type, float_hook=Decimal).decode
        self._nested = nested
        self._metadata = metadata
        self._build_ids = build_ids
        self._convert_columns = convert_columns
        self._encode_objects = encode_objects
        self._empty_bytes = empty_bytes

    def map_messages(self, lines: Sequence[bytes]) -> MappedLines:
        """Map RECORD messages."""
        messages, undecoded = _decode_lines(self._decode_message, lines)
        return self._map_records([*map(_get_record, messages)], undecoded, messages)

    def map_records(self, lines: Sequence[bytes]) -> MappedLines:
        """Map records without a message around them, as BATCH files have them."""
        return self._map_records(*_decode_lines(self._decode_record, lines))

    def _map_records(
        self,
        records: list[msgspec.Struct],
        undecoded: list[int],
        messages: Sequence[msgspec.Struct] = (),
    ) -> MappedLines:
        """Map decoded records, which are those of all lines but the undecoded ones."""
        unsupported: set[int] = set()
        objects = self._map_rows(records, messages, unsupported) if records else []
        if not undecoded:
            return MappedLines(objects, sorted(unsupported))
        left = set(undecoded)
        positions = [line for line in range(len(records) + len(left)) if line not in left]
        left.update(positions[row] for row in unsupported)
        return MappedLines(objects, sorted(left))

    def _map_rows(
        self,
        records: list[msgspec.Struct],
        messages: Sequence[msgspec.Struct],
        unsupported: set[int],
    ) -> list[bytes]:
        """Return the lines of the objects; add the rows that have none to the set."""
        columns = build_columns(records, self._nested)
        if self._metadata is not None:
            self._metadata.fill(columns, messages, unsupported)
        ids = self._build_ids(records, columns, unsupported)
        self._convert_columns(columns, unsupported)
        rows: Sequence[int] = range(len(records))
        if unsupported:
            rows = drop_rows(rows, unsupported)
            ids = drop_rows(ids, unsupported)
            columns = [drop_rows(column, unsupported) for column in columns]
        objects = self._encode_objects(ids, columns)
        sizes = [*map(len, objects)]
        # An object is at least as large as each of its values.
        if not sizes or (min(sizes) > self._empty_bytes and max(sizes) < limits.VALUE_BYTES_LIMIT):
            return objects
        excluded = {
            at
            for at, size in enumerate(sizes)
            if not self._empty_bytes < size < limits.VALUE_BYTES_LIMIT
        }
        unsupported.update(rows[at] for at in excluded)
        return drop_rows(objects, excluded)


def compile_fast_path(  # noqa: PLR0913 - keyword-only: all that the mapping of a line depends on
    *,
    stream: str,
    collection: str,
    schema: dict[str, Any],
    key_properties: Sequence[str],
    properties: Sequence[PropertyMapping],
    undeclared: Sequence[PropertyMapping] = (),
    ignored: Collection[str] = (),
    make_metadata: Callable[[], Mapping[str, Any]] | None = None,
    send_nulls: bool,
    warned_long_paths: frozenset[PropertyPath],
    unsent_paths: frozenset[PropertyPath] = frozenset(),
) -> FastPath:
    """Compile the fast path of a stream.

    Args:
        stream: The stream's name, as RECORD messages have it.
        collection: The collection of its objects.
        schema: Its JSON schema.
        key_properties: The names of the properties that make the id; none for a digest.
        properties: Its declared properties, in the order of the schema.
        undeclared: The strings that its records had though the schema does not declare them, sorted
            by path. A record with another property takes the slow path, which names it.
        ignored: The names of other properties of a record, which are not sent.
        make_metadata: Returns the metadata that the SDK adds to a record; see `MetadataColumns`.
        send_nulls: Whether nulls are sent.
        warned_long_paths: The properties whose long strings were already warned of.
        unsent_paths: The properties whose first value has to take the slow path.

    Raises:
        UnsupportedSchemaError: Only the slow path supports this schema.
    """
    if not (is_encodable(stream) and is_valid_schema(schema)):
        raise UnsupportedSchemaError("its name or its schema is not valid")
    types = {prop.path: prop.type for prop in (*properties, *undeclared)}
    builder = RecordTypeBuilder(
        schema,
        types,
        undeclared=frozenset(prop.path for prop in undeclared),
        ignored=ignored,
        warned_long_paths=warned_long_paths,
        unsent_paths=unsent_paths,
    )
    record_type, nested = builder.build_record()
    fields = builder.fields
    sent = [*properties, *(prop for prop in undeclared if prop.path in fields.paths)]
    if sorted(fields.paths) != sorted(prop.path for prop in sent):
        raise UnsupportedSchemaError("its properties are not declared in a plain way")
    return FastPath(
        stream,
        record_type,
        nested,
        metadata=None
        if make_metadata is None
        else MetadataColumns(make_metadata, types, fields.paths, unsent_paths),
        build_ids=compile_ids(key_properties, record_type, fields, types),
        convert_columns=compile_conversion(fields, send_nulls=send_nulls),
        encode_objects=_compile_encoder(
            collection,
            [fields.paths.index(prop.path) for prop in sent],
            _define_properties(sent, send_nulls=send_nulls),
        ),
        # With a key, there is at least one property.
        empty_bytes=0 if key_properties else _measure_empty_object(collection),
    )


def _measure_empty_object(collection: str) -> int:
    """Return the size of an object whose id is a digest and that has no properties."""
    digest = hashlib.sha256().hexdigest()
    return len(ENCODER.encode(_Object(digest, collection, {})))


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


def _compile_encoder(
    collection: str, positions: list[int], make_properties: type[msgspec.Struct]
) -> Callable[[Column, list[Column]], list[bytes]]:
    """Return what encodes objects from their ids and the columns of their properties.

    Args:
        collection: Their collection.
        positions: The positions of the columns in the order in which they are sent.
        make_properties: The type of their properties.
    """
    encode = ENCODER.encode

    def encode_objects(ids: Column, columns: list[Column]) -> list[bytes]:
        properties = map(make_properties, *[columns[position] for position in positions])
        return [*map(encode, map(_Object, ids, itertools.repeat(collection), properties))]

    return encode_objects


def _define_properties(
    properties: Sequence[PropertyMapping], *, send_nulls: bool
) -> type[msgspec.Struct]:
    """Return a struct of the values that are sent; its default is what is not sent."""
    return msgspec.defstruct(
        "Properties",
        [
            (f"f{position}", Any, UNSET if send_nulls or prop.always_sends_null else None)
            for position, prop in enumerate(properties)
        ],
        rename={f"f{position}": prop.name for position, prop in enumerate(properties)},
        omit_defaults=not send_nulls,
        gc=False,
    )
