"""Build the ids of objects. The only home of the rules for ids.

1. One key property: its value as a string, which is not empty. Several: their strings, joined by
   `_` in the order of the key properties; `%` and `_` inside a part are percent-encoded. A part may
   be empty, as in a database.
2. No key properties: the SHA-256 of the record's canonical JSON without the `_sdc_` columns, so
   that the same row is the same object in every run.
3. An id of more than 100 characters: its SHA-256. The key columns are sent as properties anyway.
"""

from __future__ import annotations

import hashlib
import re
from decimal import Decimal
from typing import TYPE_CHECKING, Any, Final

import msgspec
from msgspec import UNSET, Raw

from target_segment_objects import limits
from target_segment_objects.exceptions import InvalidRecordError, MissingKeyError
from target_segment_objects.mapping.column_conversion import decode_value, join_numbers
from target_segment_objects.mapping.naming import format_path
from target_segment_objects.mapping.values import (
    ENCODING_ERRORS,
    can_encode,
    explain_encoding_error,
    is_finite,
    to_canonical_json,
    to_id_string,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from target_segment_objects.mapping.columns import Column

    IdErrors = dict[int, InvalidRecordError]

METADATA_PREFIX: Final = "_sdc_"

_NUMBER: Final = re.compile(r"-?[0-9]{1,100}(?:\.[0-9]{1,100})?")
_WHOLE_NUMBERS: Final = re.compile(r"[0-9,]+")
_TINY_START: Final = b"0.000000"
_TINY_NUMBER: Final = re.compile(rb"-?0\.0{6}")
"""The canonical JSON of a decoded record writes such a number with an exponent."""


def build_ids(
    stream: str, key_properties: Sequence[str], columns: Sequence[Column]
) -> tuple[Sequence[str], IdErrors]:
    """Return the ids of objects, empty where there is none, and why not by row.

    Args:
        stream: The stream's name, for errors.
        key_properties: The names of its key properties; at least one.
        columns: Their values, as they were decoded.
    """
    odd: set[int] = set()
    parts = [_format_keys(column, odd) for column in columns]
    is_single = len(columns) == 1
    ids = (
        parts[0] if is_single else [join_key_values(values) for values in zip(*parts, strict=True)]
    )
    lengths = [*map(len, ids)]
    shortest = 1 if is_single else 0
    if min(lengths) < shortest or max(lengths) > limits.MAX_ID_CHARACTERS:
        odd.update(
            row
            for row, length in enumerate(lengths)
            if not shortest <= length <= limits.MAX_ID_CHARACTERS
        )
    if not odd:
        return ids, {}
    exact, errors = [*ids], {}
    for row in sorted(odd):
        values = [decode_value(column[row]) for column in columns]
        try:
            exact[row] = _build_id(stream, key_properties, values)
        except InvalidRecordError as error:
            exact[row], errors[row] = "", error
    return exact, errors


def build_object_id(stream: str, key_properties: Sequence[str], record: dict[str, Any]) -> str:
    """Return the id of a decoded record's object.

    Args:
        stream: The stream's name, for errors.
        key_properties: The names of the key properties; none for a digest of the record.
        record: The record.

    Raises:
        MissingKeyError: A key property is missing, null or NaN, or the only one is empty.
        InvalidRecordError: A value that the id needs cannot be written.
    """
    if not key_properties:
        return hash_record(stream, record)
    values = [record.get(key, UNSET) for key in key_properties]
    return _build_id(stream, key_properties, values)


def _build_id(stream: str, key_properties: Sequence[str], values: Sequence[object]) -> str:
    parts = [
        _format_key_value(stream, key, value)
        for key, value in zip(key_properties, values, strict=True)
    ]
    object_id = parts[0] if len(parts) == 1 else join_key_values(parts)
    if not object_id:
        raise _missing_key(stream, key_properties[0], "empty")
    if len(object_id) > limits.MAX_ID_CHARACTERS:
        return hashlib.sha256(object_id.encode()).hexdigest()
    return object_id


def join_key_values(parts: Iterable[str]) -> str:
    """Return a composite id. The encoding keeps ("x_y", "z") and ("x", "y_z") apart."""
    return "_".join([part.replace("%", "%25").replace("_", "%5F") for part in parts])


def _missing_key(stream: str, key: str, problem: str) -> MissingKeyError:
    return MissingKeyError(stream, f"the key property is {problem}", field=format_path((key,)))


def _format_key_value(stream: str, key: str, value: object) -> str:
    """Return the value of a key property as a string."""
    if value is None or value is UNSET:
        raise _missing_key(stream, key, "null" if value is None else "missing")
    if isinstance(value, (float, Decimal)) and not is_finite(value):
        raise _missing_key(stream, key, "not a number")
    try:
        text = to_id_string(value)
        if not text.isascii():
            text.encode()
    except ENCODING_ERRORS as error:
        reason = explain_encoding_error(error)
        raise InvalidRecordError(stream, reason, field=format_path((key,))) from None
    return text


# Columns of keys


def _format_keys(column: Column, odd: set[int]) -> Sequence[str]:
    """Return the values of a key as strings, where that takes no more than a copy."""
    types = {*map(type, column)}
    if types == {str}:
        _find_unencodable(column, odd)
        return column
    if types == {int}:
        try:
            return [*map(str, column)]
        except ValueError:  # more digits than Python's limit
            odd.update(range(len(column)))
            return [""] * len(column)
    if types == {Raw}:
        digits = b",".join(column).decode()
        if _WHOLE_NUMBERS.fullmatch(digits):
            return digits.split(",")
    texts = [_format_key(value) for value in column]
    odd.update(row for row, text in enumerate(texts) if text is None)
    return [text or "" for text in texts]


def _find_unencodable(column: Column, odd: set[int]) -> None:
    """Add the rows with an unpaired surrogate."""
    try:
        "".join(column).encode()
    except UnicodeEncodeError:
        odd.update(row for row, text in enumerate(column) if not can_encode(text))


def _format_key(value: object) -> str | None:
    """Return the value of a key as a string; None where that takes more than a copy."""
    if type(value) is str and value.isascii():
        return value
    return _format_number(value) if type(value) is Raw else None


def _format_number(raw: Raw) -> str | None:
    """Return a number without redundant zeros."""
    text = bytes(raw).decode()
    if not _NUMBER.fullmatch(text):
        return None
    if "." in text:
        text = text.rstrip("0").rstrip(".")
    return None if text == "-0" else text


# Records without keys


def hash_record(stream: str, record: dict[str, Any]) -> str:
    """Return the digest of a decoded record.

    Raises:
        InvalidRecordError: A value cannot be written.
    """
    row = {key: value for key, value in record.items() if not key.startswith(METADATA_PREFIX)}
    try:
        return hashlib.sha256(to_canonical_json(row)).hexdigest()
    except ENCODING_ERRORS as error:
        culprit = next((key for key, value in row.items() if not can_encode({key: value})), None)
        field = None if culprit is None else format_path((culprit,))
        raise InvalidRecordError(stream, explain_encoding_error(error), field=field) from None


def compile_struct_digests(
    record_type: type[msgspec.Struct],
) -> Callable[[Sequence[msgspec.Struct]], list[str]]:
    """Return what hashes structs of this type. They have no metadata afterwards."""
    metadata = [
        field.name
        for field in msgspec.structs.fields(record_type)
        if field.encode_name.startswith(METADATA_PREFIX)
    ]

    def hash_structs(records: Sequence[msgspec.Struct]) -> list[str]:
        for name in metadata:
            for record in records:
                setattr(record, name, UNSET)
        return [hashlib.sha256(to_canonical_json(record)).hexdigest() for record in records]

    return hash_structs


def find_tiny_numbers(column: Column) -> list[int]:
    """Return the rows with a number so small that its canonical JSON has an exponent."""
    if _TINY_START not in join_numbers(column)[1]:
        return []
    return [
        row
        for row, value in enumerate(column)
        if type(value) is Raw and _TINY_NUMBER.match(value) is not None
    ]
