"""The fast path of a RECORD: from its line to its object's line, with types made from the schema.

This is the whole hot path. msgspec decodes a line into a struct whose fields have the schema's
types, which also validates the record. The struct's values, flattened, go into a second struct that
has the names which are sent, and msgspec encodes that. No dict is made, and the digits of a number
are copied, never parsed.

The rule that makes this safe: the fast path supports less than the slow path and never refuses a
record. What it does not support it leaves to the slow path (`reader`, then `mapper`):
`compile_fast_path` raises `UnsupportedSchemaError` for a schema, and the compiled function returns
None for a line. Where it returns a line, the slow path would have returned the same bytes without a
warning. A property test compares the two.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from decimal import Decimal
from operator import itemgetter
from typing import TYPE_CHECKING, Any, Final, Literal, TypeAlias

import msgspec
from msgspec import UNSET, Raw
from msgspec.structs import astuple

from target_segment_objects import limits
from target_segment_objects.mapping.fast_path_types import (
    NestedFields,
    RecordTypeBuilder,
    UnsupportedSchemaError,
    ValueMatcher,
    is_encodable,
    is_valid_schema,
)
from target_segment_objects.mapping.object_ids import join_key_values
from target_segment_objects.mapping.schema import PropertyType
from target_segment_objects.mapping.values import ENCODER, to_timestamp

if TYPE_CHECKING:
    from target_segment_objects.mapping.naming import PropertyPath
    from target_segment_objects.mapping.properties.mapping import PropertyMapping

__all__ = ["FastPath", "UnsupportedSchemaError", "compile_fast_path"]

FastPath: TypeAlias = Callable[[bytes], "bytes | None"]
"""Returns the line of an object for the line of a RECORD; None where the slow path has to look."""

_KEY_TYPES: Final = frozenset({PropertyType.INTEGER, PropertyType.STRING, PropertyType.TIMESTAMP})
_PLAIN_INTEGER: Final = re.compile(rb"-?[0-9]{1,300}")  # more digits may not fit a 64-bit float
_PLAIN_DECIMAL: Final = re.compile(rb"-?[0-9]{1,300}\.[0-9]{1,300}")
_PLAIN_DECIMALS: Final = re.compile(rb"%b(?:,%b)*" % ((_PLAIN_DECIMAL.pattern,) * 2))
_PLAIN_DECIMALS_OR_NULLS: Final = re.compile(
    rb"(?:null|%b)(?:,(?:null|%b))*" % ((_PLAIN_DECIMAL.pattern,) * 2)
)
_DECODING_ERRORS: Final = (msgspec.DecodeError, UnicodeDecodeError, ArithmeticError, RecursionError)


def compile_fast_path(  # noqa: C901 - the hot path is one function: each call in it costs time
    *,
    stream: str,
    collection: str,
    schema: dict[str, Any],
    key_properties: Sequence[str],
    properties: Sequence[PropertyMapping],
    send_nulls: bool,
    warned_long_paths: frozenset[PropertyPath],
    unsent_paths: frozenset[PropertyPath] = frozenset(),
) -> FastPath:
    """Compile the fast path of a stream.

    Args:
        stream: The stream's name, as RECORD messages have it.
        collection: The collection of its objects.
        schema: Its JSON schema.
        key_properties: The names of the properties that make the id.
        properties: Its declared properties, in the order of the schema.
        send_nulls: Whether nulls are sent.
        warned_long_paths: The properties whose long strings were already warned of.
        unsent_paths: The properties whose first value has to take the slow path.

    Raises:
        UnsupportedSchemaError: Only the slow path supports this schema.
    """
    if not (is_encodable(stream) and is_valid_schema(schema)):
        raise UnsupportedSchemaError("its name or its schema is not valid")
    types = {prop.path: prop.type for prop in properties}
    builder = RecordTypeBuilder(types, warned_long_paths, unsent_paths)
    record_type, nested = builder.build_struct(schema)
    if builder.paths != [prop.path for prop in properties]:
        raise UnsupportedSchemaError("its properties are not declared in a plain way")
    keys = _find_key_positions(key_properties, builder.paths, types)
    message_type = msgspec.defstruct(
        "Message",
        [("type", Literal["RECORD"]), ("stream", Literal[stream]), ("record", record_type)],
        gc=False,
    )
    decode: Callable[[bytes], Any] = msgspec.json.Decoder(message_type, float_hook=Decimal).decode
    make_properties = _define_properties(properties, send_nulls=send_nulls)
    make_object = msgspec.defstruct(
        "Object", [("id", str), ("collection", str), ("properties", make_properties)], gc=False
    )
    numbers, timestamps, json_texts = builder.numbers, builder.timestamps, builder.json_texts
    whole_numbers = builder.whole_numbers
    has_conversions = bool(json_texts or whole_numbers)
    pick_numbers: Callable[[Any], Any] = (
        itemgetter(*(position for position, _ in numbers)) if numbers else tuple
    )
    has_one_number = len(numbers) == 1
    nulls_pass = send_nulls and all(is_nullable for _, is_nullable in numbers)
    match_plain = (_PLAIN_DECIMALS_OR_NULLS if nulls_pass else _PLAIN_DECIMALS).fullmatch
    first_key, has_one_key = keys[0], len(keys) == 1
    encode = ENCODER.encode
    size_limit = limits.VALUE_BYTES_LIMIT

    def map_line(line: bytes) -> bytes | None:
        try:
            record = decode(line).record
        except _DECODING_ERRORS:
            return None
        values = [*astuple(record)]
        if nested:
            _flatten_values(values, nested)
        key = values[first_key]
        object_id = str(key) if has_one_key and type(key) is int else _build_plain_id(values, keys)
        if object_id is None:
            return None
        if numbers:
            try:
                # One match for all numbers: rarely does one need more than to be copied.
                digits = pick_numbers(values) if has_one_number else b",".join(pick_numbers(values))
                has_plain = match_plain(digits)
            except TypeError:  # some belong to an object that is null or absent
                has_plain = None
            if not has_plain and not _convert_numbers(values, numbers):
                return None
        for position in timestamps:
            value = values[position]
            if value and " " in value:
                values[position] = to_timestamp(value)
        if has_conversions and not _convert_values(values, whole_numbers, json_texts):
            return None
        encoded = encode(make_object(object_id, collection, make_properties(*values)))
        # A line is at least as large as each of its values.
        return encoded if len(encoded) < size_limit else None

    return map_line


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


def _find_key_positions(
    key_properties: Sequence[str],
    paths: list[PropertyPath],
    types: dict[PropertyPath, PropertyType],
) -> list[int]:
    if not key_properties:
        raise UnsupportedSchemaError("it has no key properties")
    for key in key_properties:
        if types.get((key,)) not in _KEY_TYPES:
            msg = f"its key property '{key}' is not a string or an integer"
            raise UnsupportedSchemaError(msg)
    return [paths.index((key,)) for key in key_properties]


def _flatten_values(values: list[Any], nested: NestedFields) -> None:
    """Replace nested structs by their values; each value of a null or absent one is like it."""
    for position, count, inner in nested:  # the last first, so that positions stay correct
        value = values[position]
        if value is None or value is UNSET:
            values[position : position + 1] = [value] * count
        elif inner:
            flat = [*astuple(value)]
            _flatten_values(flat, inner)
            values[position : position + 1] = flat
        else:
            values[position : position + 1] = astuple(value)


def _build_plain_id(values: list[Any], keys: list[int]) -> str | None:
    """Return the object's id; None if a key's value is not an integer or a plain string."""
    parts = []
    for position in keys:
        value = values[position]
        if type(value) is int:
            parts.append(str(value))
        elif type(value) is str:
            parts.append(value)
        else:
            return None
    object_id = parts[0] if len(parts) == 1 else join_key_values(parts)
    return object_id if 0 < len(object_id) <= limits.MAX_ID_CHARACTERS else None


def _convert_numbers(values: list[Any], numbers: list[tuple[int, bool]]) -> bool:
    """Convert numbers one by one; return whether all were converted.

    A number is copied, with a point if it has none. One with an exponent, and "-0", is left to the
    slow path.
    """
    for position, is_nullable in numbers:
        value = values[position]
        if type(value) is not Raw:  # it belongs to an object that is null or absent
            continue
        raw = bytes(value)
        if _PLAIN_DECIMAL.fullmatch(raw):
            continue
        if not raw:
            values[position] = UNSET
        elif raw == b"null" and is_nullable:
            values[position] = None
        elif _PLAIN_INTEGER.fullmatch(raw) and raw != b"-0":
            values[position] = Raw(raw + b".0")
        else:
            return False
    return True


def _convert_values(
    values: list[Any],
    whole_numbers: list[int],
    json_texts: list[tuple[int, bool, ValueMatcher, int]],
) -> bool:
    """Convert values that are sent as another type; return whether all were converted."""
    for position in whole_numbers:
        value = values[position]
        if type(value) is int:  # else it is null or absent
            values[position] = Raw(b"%d.0" % value)
    return _convert_json_texts(values, json_texts)


def _convert_json_texts(
    values: list[Any], json_texts: list[tuple[int, bool, ValueMatcher, int]]
) -> bool:
    """Convert to JSON text what is not a string; return whether all was valid and short enough.

    A null may stand for an object around the value. The slow path decides where that matters.
    """
    for position, is_nullable, match_value, max_characters in json_texts:
        value = values[position]
        if value is UNSET:
            continue
        if value is None:
            if is_nullable:
                continue
            return False
        if not match_value(value):
            return False
        text = value if type(value) is str else ENCODER.encode(value).decode()
        if len(text) > max_characters:
            return False
        values[position] = text
    return True
