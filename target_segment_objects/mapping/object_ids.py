"""Build the id of a record's object. The only home of the rules for ids.

1. One key property: its value as a string, which is not empty. Several: their strings, joined by
   `_` in the order of the key properties; `%` and `_` inside a part are percent-encoded. A part may
   be empty, as in a database.
2. No key properties: the SHA-256 of the record's canonical JSON without the `_sdc_` columns, so
   that the same row is the same object in every run.
3. An id of more than 100 characters: its SHA-256. The key columns are sent as properties anyway.
"""

from __future__ import annotations

import hashlib
from decimal import Decimal
from typing import TYPE_CHECKING, Any, Final

from target_segment_objects import limits
from target_segment_objects.exceptions import InvalidRecordError, MissingKeyError
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
    from collections.abc import Iterable, Sequence

METADATA_PREFIX: Final = "_sdc_"


def build_object_id(stream: str, key_properties: Sequence[str], record: dict[str, Any]) -> str:
    """Return the id of a record's object.

    Args:
        stream: The stream's name, for errors.
        key_properties: The names of the key properties; none for a digest of the record.
        record: The record.

    Raises:
        MissingKeyError: A key property is missing, null or NaN, or the only one is empty.
        InvalidRecordError: A value that the id needs cannot be written.
    """
    if not key_properties:
        return _hash_record(stream, record)
    parts = [_read_key_value(stream, key, record) for key in key_properties]
    object_id = parts[0] if len(parts) == 1 else join_key_values(parts)
    if not object_id:
        raise _missing_key(stream, key_properties[0], "empty")
    if len(object_id) > limits.MAX_ID_CHARACTERS:
        return hashlib.sha256(object_id.encode()).hexdigest()
    return object_id


def join_key_values(parts: Iterable[str]) -> str:
    """Return a composite id. The encoding keeps ("x_y", "z") and ("x", "y_z") apart."""
    return "_".join([part.replace("%", "%25").replace("_", "%5F") for part in parts])


def _read_key_value(stream: str, key: str, record: dict[str, Any]) -> str:
    """Return the value of a key property as a string."""
    value = record.get(key)
    if value is None:
        problem = "null" if key in record else "missing"
    elif isinstance(value, (float, Decimal)) and not is_finite(value):
        problem = "not a number"
    else:
        return _format_key_value(stream, key, value)
    raise _missing_key(stream, key, problem)


def _missing_key(stream: str, key: str, problem: str) -> MissingKeyError:
    return MissingKeyError(stream, f"the key property is {problem}", field=format_path((key,)))


def _format_key_value(stream: str, key: str, value: object) -> str:
    try:
        text = to_id_string(value)
        if not text.isascii():
            text.encode()
    except ENCODING_ERRORS as error:
        reason = explain_encoding_error(error)
        raise InvalidRecordError(stream, reason, field=format_path((key,))) from None
    return text


def _hash_record(stream: str, record: dict[str, Any]) -> str:
    row = {key: value for key, value in record.items() if not key.startswith(METADATA_PREFIX)}
    try:
        return hashlib.sha256(to_canonical_json(row)).hexdigest()
    except ENCODING_ERRORS as error:
        culprit = next((key for key, value in row.items() if not can_encode({key: value})), None)
        field = None if culprit is None else format_path((culprit,))
        raise InvalidRecordError(stream, explain_encoding_error(error), field=field) from None
