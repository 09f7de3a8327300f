"""Build the id of an object on the fast path. The rules are those of `mapping.object_ids`.

A key that needs more than to be copied is left to the slow path.
"""

from __future__ import annotations

import hashlib
import re
from typing import TYPE_CHECKING, Any, Final, TypeAlias

import msgspec
from msgspec import UNSET, Raw

from target_segment_objects import limits
from target_segment_objects.mapping.fast_path.conversions import has_tiny_number
from target_segment_objects.mapping.fast_path.schemas import UnsupportedSchemaError
from target_segment_objects.mapping.object_ids import METADATA_PREFIX, join_key_values
from target_segment_objects.mapping.schema import PropertyType
from target_segment_objects.mapping.values import to_canonical_json

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from target_segment_objects.mapping.fast_path.record_types import RecordFields
    from target_segment_objects.mapping.naming import PropertyPath

IdBuilder: TypeAlias = "Callable[[msgspec.Struct, list[Any]], str | None]"
"""Returns the id for a record and its flattened values; None if the slow path has to build it."""

_KEY_TYPES: Final = frozenset(
    {PropertyType.INTEGER, PropertyType.NUMBER, PropertyType.STRING, PropertyType.TIMESTAMP}
)
_NUMBER: Final = re.compile(r"-?[0-9]{1,100}(?:\.[0-9]{1,100})?")


def compile_id(
    key_properties: Sequence[str],
    record_type: type[msgspec.Struct],
    fields: RecordFields,
    types: Mapping[PropertyPath, PropertyType],
) -> IdBuilder:
    """Compile what builds the ids of a stream's objects.

    Args:
        key_properties: The names of the key properties; none for a digest.
        record_type: The type of the stream's records.
        fields: Their properties.
        types: The type of each property.

    Raises:
        UnsupportedSchemaError: Only the slow path supports a key's type.
    """
    if not key_properties:
        return _compile_digest(record_type, fields)
    for key in key_properties:
        if types.get((key,)) not in _KEY_TYPES:
            msg = f"its key property '{key}' is not a string or a number"
            raise UnsupportedSchemaError(msg)
    positions = [fields.paths.index((key,)) for key in key_properties]
    return _compile_single(positions[0]) if len(positions) == 1 else _compile_composite(positions)


def _compile_single(position: int) -> IdBuilder:
    def build_id(_: msgspec.Struct, values: list[Any]) -> str | None:
        value = values[position]
        if type(value) is int:
            return str(value)
        object_id = _format_key(value)
        return object_id if object_id and len(object_id) <= limits.MAX_ID_CHARACTERS else None

    return build_id


def _compile_composite(positions: list[int]) -> IdBuilder:
    def build_id(_: msgspec.Struct, values: list[Any]) -> str | None:
        parts = []
        for position in positions:
            part = _format_key(values[position])
            if part is None:
                return None
            parts.append(part)
        object_id = join_key_values(parts)
        return object_id if len(object_id) <= limits.MAX_ID_CHARACTERS else None

    return build_id


def _format_key(value: object) -> str | None:
    """Return the value of a key as a string; None where that takes more than a copy."""
    if type(value) is str:
        return value
    if type(value) is int:
        return str(value)
    return _format_number(value) if type(value) is Raw else None


def _format_number(raw: Raw) -> str | None:
    """Return a number without redundant zeros."""
    text = bytes(raw).decode()
    if not _NUMBER.fullmatch(text):
        return None
    if "." in text:
        text = text.rstrip("0").rstrip(".")
    return None if text == "-0" else text


def _compile_digest(record_type: type[msgspec.Struct], fields: RecordFields) -> IdBuilder:
    """Compile what hashes a record without keys. The record has no metadata afterwards."""
    numbers = fields.numbers
    metadata = [
        field.name
        for field in msgspec.structs.fields(record_type)
        if field.encode_name.startswith(METADATA_PREFIX)
    ]

    def hash_record(record: msgspec.Struct, values: list[Any]) -> str | None:
        if numbers and has_tiny_number(values, numbers):
            return None
        for name in metadata:
            setattr(record, name, UNSET)
        return hashlib.sha256(to_canonical_json(record)).hexdigest()

    return hash_record
