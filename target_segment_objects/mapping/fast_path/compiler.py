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
from target_segment_objects.mapping.fast_path.columns import (
    build_columns,
    drop_rows,
    has_value,
    select_nulls,
)
from target_segment_objects.mapping.fast_path.conversions import compile_conversion
from target_segment_objects.mapping.fast_path.metadata import MESSAGE_FIELDS, MetadataColumns
from target_segment_objects.mapping.fast_path.object_ids import compile_ids
from target_segment_objects.mapping.fast_path.record_types import (
    RecordTypeBuilder,
    define_message_type,
    is_encodable,
)
from target_segment_objects.mapping.fast_path.schemas import UnsupportedSchemaError
from target_segment_objects.mapping.validation import is_valid_schema
from target_segment_objects.mapping.values import DECODING_ERRORS, ENCODER

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Mapping, Sequence

    from target_segment_objects.mapping.fast_path.columns import Column, NestedObject
    from target_segment_objects.mapping.fast_path.conversions import Conversion
    from target_segment_objects.mapping.fast_path.object_ids import IdBuilder
    from target_segment_objects.mapping.naming import PropertyPath
    from target_segment_objects.mapping.properties.property_mapping import PropertyMapping

_get_record = attrgetter("record")


class MappedLines(NamedTuple):
    """What the fast path made of some lines.

    Attributes:
        objects: The lines of the objects, in order.
        unsupported: The positions of the other lines, which are left to the slow path, in order.
        first_values: The properties that had no value before, and have one in these objects.
    """

    objects: list[bytes]
    unsupported: list[int]
    first_values: Sequence[PropertyPath] = ()


class _Object(msgspec.Struct, gc=False):
    """An object; its properties are a struct of the stream's own."""

    id: str
    collection: str
    properties: Any


class FastPath:
    """Maps the records of one stream, many at a time."""

    def __init__(  # noqa: PLR0913 - the compiled steps, each passed by name
        self,
        stream: str,
        record_type: type[msgspec.Struct],
        nested: list[NestedObject],
        *,
        metadata: MetadataColumns | None,
        build_ids: IdBuilder,
        convert_columns: Conversion,
        encode_objects: Callable[[Column, list[Column]], list[bytes]],
        unsent: dict[PropertyPath, int],
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
            unsent: The columns of the properties that have had no value yet.
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
        self._unsent = unsent
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
        first_values: list[PropertyPath] = []
        objects = self._map_rows(records, messages, unsupported, first_values) if records else []
        if not undecoded:
            return MappedLines(objects, sorted(unsupported), first_values)
        left = set(undecoded)
        positions = [line for line in range(len(records) + len(left)) if line not in left]
        left.update(positions[row] for row in unsupported)
        return MappedLines(objects, sorted(left), first_values)

    def _map_rows(
        self,
        records: list[msgspec.Struct],
        messages: Sequence[msgspec.Struct],
        unsupported: set[int],
        first_values: list[PropertyPath],
    ) -> list[bytes]:
        """Return the lines of the objects.

        The rows that have none are added to the set, and the properties that have their first value
        to the list.
        """
        columns = build_columns(records, self._nested)
        if self._metadata is not None:
            self._metadata.fill(columns, messages)
        ids = self._build_ids(records, columns, unsupported)
        self._convert_columns(columns, unsupported)
        rows: Sequence[int] = range(len(records))
        if unsupported:
            rows = drop_rows(rows, unsupported)
            ids = drop_rows(ids, unsupported)
            columns = [drop_rows(column, unsupported) for column in columns]
        objects = self._encode_objects(ids, columns)
        excluded = self._find_excluded(objects)
        if excluded:
            unsupported.update(rows[at] for at in excluded)
            objects = drop_rows(objects, excluded)
        if self._unsent:
            first_values += self._take_first_values(columns, excluded)
        return objects

    def _find_excluded(self, objects: Sequence[bytes]) -> set[int]:
        """Return the positions of the objects that may be too large, or that are empty."""
        sizes = [*map(len, objects)]
        # An object is at least as large as each of its values.
        if not sizes or (min(sizes) > self._empty_bytes and max(sizes) < limits.VALUE_BYTES_LIMIT):
            return set()
        return {
            at
            for at, size in enumerate(sizes)
            if not self._empty_bytes < size < limits.VALUE_BYTES_LIMIT
        }

    def _take_first_values(self, columns: list[Column], excluded: set[int]) -> list[PropertyPath]:
        """Return the properties that had no value before, and have one now."""
        found = [
            path
            for path, position in self._unsent.items()
            if has_value(drop_rows(columns[position], excluded) if excluded else columns[position])
        ]
        for path in found:
            del self._unsent[path]
        return found


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
    unsent_paths: Collection[PropertyPath] = (),
) -> FastPath:
    """Compile the fast path of a stream.

    Args:
        stream: The stream's name, as RECORD messages have it.
        collection: The collection of its objects.
        schema: Its JSON schema.
        key_properties: The names of the properties that make the id; none for a digest.
        properties: Its declared properties, in the order of the schema.
        undeclared: The properties that its records had though the schema does not declare them,
            sorted by path. A record with another one takes the slow path, which names it.
        ignored: The names of other properties of a record, which are not sent.
        make_metadata: Returns the metadata that the SDK adds to a record; see `MetadataColumns`.
        send_nulls: Whether nulls are sent.
        warned_long_paths: The properties whose long strings were already warned of.
        unsent_paths: The properties that have had no value yet.

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
        else MetadataColumns(make_metadata, types, fields.paths),
        build_ids=compile_ids(key_properties, record_type, fields, types),
        convert_columns=compile_conversion(fields, send_nulls=send_nulls),
        encode_objects=_compile_encoder(collection, sent, fields.paths, send_nulls=send_nulls),
        unsent={path: at for at, path in enumerate(fields.paths) if path in unsent_paths},
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
    collection: str,
    properties: Sequence[PropertyMapping],
    paths: Sequence[PropertyPath],
    *,
    send_nulls: bool,
) -> Callable[[Column, list[Column]], list[bytes]]:
    """Return what encodes objects from their ids and the columns of their properties.

    Args:
        collection: Their collection.
        properties: Their properties, in the order in which they are sent.
        paths: The path of each column.
        send_nulls: Whether nulls are sent.
    """
    encode = ENCODER.encode
    names: dict[str, object] = {}  # with the value that is not sent
    positions: list[int] = []
    older: list[int] = []  # where a column only has the nulls of the property
    for prop in properties:
        sent_names = (prop.name, *prop.older_names) if send_nulls else (prop.name,)
        older += range(len(names) + 1, len(names) + len(sent_names))
        default = UNSET if send_nulls or prop.always_sends_null else None
        names.update(dict.fromkeys(sent_names, default))
        positions += [paths.index(prop.path)] * len(sent_names)
    make_properties = _define_properties(names, send_nulls=send_nulls)

    def encode_objects(ids: Column, columns: list[Column]) -> list[bytes]:
        sent = [columns[position] for position in positions]
        for position in older:
            sent[position] = select_nulls(sent[position])
        properties = map(make_properties, *sent)
        return [*map(encode, map(_Object, ids, itertools.repeat(collection), properties))]

    return encode_objects


def _define_properties(names: Mapping[str, object], *, send_nulls: bool) -> type[msgspec.Struct]:
    """Return a struct of the values that are sent.

    Args:
        names: Their names, each with its default: the value that is not sent.
        send_nulls: Whether nulls are sent.
    """
    return msgspec.defstruct(
        "Properties",
        [(f"f{position}", Any, default) for position, default in enumerate(names.values())],
        rename={f"f{position}": name for position, name in enumerate(names)},
        omit_defaults=not send_nulls,
        gc=False,
    )
