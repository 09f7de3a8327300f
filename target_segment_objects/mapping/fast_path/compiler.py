"""Compile the function that maps the RECORD lines of one stream."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from decimal import Decimal
from operator import itemgetter
from typing import TYPE_CHECKING, Any, Final, Literal, TypeAlias

import msgspec
from msgspec import UNSET
from msgspec.structs import astuple

from target_segment_objects import limits
from target_segment_objects.mapping.fast_path.conversions import compile_conversion, flatten_values
from target_segment_objects.mapping.fast_path.object_ids import compile_id
from target_segment_objects.mapping.fast_path.record_types import RecordTypeBuilder, is_encodable
from target_segment_objects.mapping.fast_path.schemas import (
    UnsupportedSchemaError,
    is_valid_schema,
)
from target_segment_objects.mapping.values import ENCODER

if TYPE_CHECKING:
    from target_segment_objects.mapping.naming import PropertyPath
    from target_segment_objects.mapping.properties.mapping import PropertyMapping

FastPath: TypeAlias = Callable[[bytes], "bytes | None"]
"""Returns the line of an object for the line of a RECORD; None where the slow path has to look."""
_NO_PROPERTIES: Final = b"{}}"
_DECODING_ERRORS: Final = (msgspec.DecodeError, UnicodeDecodeError, ArithmeticError, RecursionError)


def compile_fast_path(  # noqa: PLR0913 - keyword-only: all that the mapping of a line depends on
    *,
    stream: str,
    collection: str,
    schema: dict[str, Any],
    key_properties: Sequence[str],
    properties: Sequence[PropertyMapping],
    undeclared: Sequence[PropertyMapping] = (),
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
        warned_long_paths=warned_long_paths,
        unsent_paths=unsent_paths,
    )
    record_type, nested = builder.build_record()
    fields = builder.fields
    sent = [*properties, *(prop for prop in undeclared if prop.path in fields.paths)]
    if sorted(fields.paths) != sorted(prop.path for prop in sent):
        raise UnsupportedSchemaError("its properties are not declared in a plain way")
    decode = _compile_decoder(stream, record_type)
    build_id = compile_id(key_properties, record_type, fields, types)
    convert_values = compile_conversion(fields, send_nulls=send_nulls)
    sort_values = _compile_order([fields.paths.index(prop.path) for prop in sent])
    make_properties = _define_properties(sent, send_nulls=send_nulls)
    make_object = msgspec.defstruct(
        "Object", [("id", str), ("collection", str), ("properties", make_properties)], gc=False
    )
    may_be_empty = not key_properties
    encode = ENCODER.encode
    size_limit = limits.VALUE_BYTES_LIMIT

    def map_line(line: bytes) -> bytes | None:
        try:
            record = decode(line).record
        except _DECODING_ERRORS:
            return None
        values = [*astuple(record)]
        if nested:
            flatten_values(values, nested)
        object_id = build_id(record, values)
        if object_id is None or not convert_values(values):
            return None
        if sort_values is not None:
            values = sort_values(values)
        encoded = encode(make_object(object_id, collection, make_properties(*values)))
        if may_be_empty and encoded.endswith(_NO_PROPERTIES):
            return None
        # A line is at least as large as each of its values.
        return encoded if len(encoded) < size_limit else None

    return map_line


def _compile_decoder(stream: str, record_type: type[msgspec.Struct]) -> Callable[[bytes], Any]:
    """Return what decodes the RECORD lines of a stream."""
    message_type = msgspec.defstruct(
        "Message",
        [("type", Literal["RECORD"]), ("stream", Literal[stream]), ("record", record_type)],
        gc=False,
    )
    return msgspec.json.Decoder(message_type, float_hook=Decimal).decode


def _compile_order(positions: list[int]) -> Callable[[list[Any]], Any] | None:
    """Return what brings values into the order in which they are sent; None if they have it."""
    if positions == list(range(len(positions))):
        return None
    return itemgetter(*positions)


def _define_properties(
    properties: Sequence[PropertyMapping], *, send_nulls: bool
) -> type[msgspec.Struct]:
    """Return a struct of the values that are sent; its default is what is not sent."""
    default = UNSET if send_nulls else None
    return msgspec.defstruct(
        "Properties",
        [(f"f{position}", Any, default) for position in range(len(properties))],
        rename={f"f{position}": prop.name for position, prop in enumerate(properties)},
        omit_defaults=not send_nulls,
        gc=False,
    )
