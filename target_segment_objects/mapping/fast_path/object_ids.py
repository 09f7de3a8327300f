"""Build the ids of objects on the fast path. The rules are those of `mapping.object_ids`.

A key that needs more than to be copied is left to the slow path.
"""

from __future__ import annotations

import hashlib
import re
from typing import TYPE_CHECKING, Final, TypeAlias

import msgspec
from msgspec import UNSET, Raw

from target_segment_objects import limits
from target_segment_objects.mapping.fast_path.schemas import UnsupportedSchemaError
from target_segment_objects.mapping.object_ids import METADATA_PREFIX, join_key_values
from target_segment_objects.mapping.schema import PropertyType
from target_segment_objects.mapping.values import to_canonical_json

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from target_segment_objects.mapping.fast_path.columns import Column
    from target_segment_objects.mapping.fast_path.record_types import RecordFields
    from target_segment_objects.mapping.naming import PropertyPath

IdBuilder: TypeAlias = "Callable[[Sequence[msgspec.Struct], list[Column], set[int]], Column]"
"""Returns the ids of records from their columns, before these are converted.

It adds the rows whose id the slow path has to build to the set.
"""

_KEY_TYPES: Final = frozenset(
    {PropertyType.INTEGER, PropertyType.NUMBER, PropertyType.STRING, PropertyType.TIMESTAMP}
)
_NUMBER: Final = re.compile(r"-?[0-9]{1,100}(?:\.[0-9]{1,100})?")
_WHOLE_NUMBERS: Final = re.compile(r"[0-9,]+")
_TINY_START: Final = b"0.000000"
_TINY_NUMBER: Final = re.compile(rb"-?0\.0{6}")
"""The canonical JSON of a record without keys writes such a number with an exponent."""


def compile_ids(
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
        return _compile_digests(record_type, fields)
    for key in key_properties:
        if types.get((key,)) not in _KEY_TYPES:
            msg = f"its key property '{key}' is not a string or a number"
            raise UnsupportedSchemaError(msg)
    positions = [fields.paths.index((key,)) for key in key_properties]
    return _compile_single(positions[0]) if len(positions) == 1 else _compile_composite(positions)


def _compile_single(position: int) -> IdBuilder:
    def build_ids(
        _: Sequence[msgspec.Struct], columns: list[Column], unsupported: set[int]
    ) -> Column:
        ids = _format_keys(columns[position], unsupported)
        return _limit_lengths(ids, unsupported, minimum=1)

    return build_ids


def _compile_composite(positions: list[int]) -> IdBuilder:
    def build_ids(
        _: Sequence[msgspec.Struct], columns: list[Column], unsupported: set[int]
    ) -> Column:
        parts = [_format_keys(columns[position], unsupported) for position in positions]
        ids = [join_key_values(values) for values in zip(*parts, strict=True)]
        return _limit_lengths(ids, unsupported, minimum=0)

    return build_ids


def _limit_lengths(ids: Column, unsupported: set[int], *, minimum: int) -> Column:
    lengths = [*map(len, ids)]
    if min(lengths) < minimum or max(lengths) > limits.MAX_ID_CHARACTERS:
        unsupported.update(
            row
            for row, length in enumerate(lengths)
            if not minimum <= length <= limits.MAX_ID_CHARACTERS
        )
    return ids


def _format_keys(column: Column, unsupported: set[int]) -> Column:
    """Return the values of a key as strings, where that takes no more than a copy."""
    types = {*map(type, column)}
    if types == {str}:
        return column
    if types == {int}:
        return [*map(str, column)]
    if types == {Raw}:
        digits = b",".join(column).decode()
        if _WHOLE_NUMBERS.fullmatch(digits):
            return digits.split(",")
    texts = [_format_key(value) for value in column]
    unsupported.update(row for row, text in enumerate(texts) if text is None)
    return [text or "" for text in texts]


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


def _compile_digests(record_type: type[msgspec.Struct], fields: RecordFields) -> IdBuilder:
    """Compile what hashes records without keys. The records have no metadata afterwards."""
    numbers = [position for position, _ in fields.numbers]
    metadata = [
        field.name
        for field in msgspec.structs.fields(record_type)
        if field.encode_name.startswith(METADATA_PREFIX)
    ]

    def hash_records(
        records: Sequence[msgspec.Struct], columns: list[Column], unsupported: set[int]
    ) -> Column:
        for position in numbers:
            unsupported.update(_find_tiny_numbers(columns[position]))
        for name in metadata:
            for record in records:
                setattr(record, name, UNSET)
        return [hashlib.sha256(to_canonical_json(record)).hexdigest() for record in records]

    return hash_records


def _find_tiny_numbers(column: Column) -> list[int]:
    """Return the rows with a number so small that its canonical JSON has an exponent."""
    if _TINY_START not in b",".join([value for value in column if type(value) is Raw]):
        return []
    return [
        row
        for row, value in enumerate(column)
        if type(value) is Raw and _TINY_NUMBER.match(value) is not None
    ]
