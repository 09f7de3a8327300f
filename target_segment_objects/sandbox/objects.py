"""One line of an uploaded file: check that it is a legal object, and parse it. Pure.

Numbers keep the text that was sent: the size limit of a value and the type of a column depend on
that text.
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass, field
from typing import Any, Final, NoReturn

from target_segment_objects.limits import (
    MAX_COLLECTION_CHARACTERS,
    MAX_ID_CHARACTERS,
    MAX_OBJECT_BYTES,
    VALUE_BYTES_LIMIT,
)
from target_segment_objects.sandbox.errors import RejectedRequestError
from target_segment_objects.sandbox.names import snake_case


class IntegerText(str):
    """The text of a JSON number without fraction and exponent."""

    __slots__ = ()


class FloatText(str):
    """The text of a JSON number with a fraction or an exponent."""

    __slots__ = ()


Value = str | IntegerText | FloatText | bool | None
Properties = tuple[tuple[str, Value], ...]

MAX_PROPERTIES: Final = 1_600
"""Properties of an object, and of a collection.

The sandbox's choice, which bounds its memory: a table in Postgres or Redshift has at most 1,600
columns. Segment documents no limit for an object.
"""

_KEYS: Final = frozenset({"id", "collection", "properties"})
_VALUE_TYPES: Final = frozenset({str, IntegerText, FloatText, bool, type(None)})
_COLLECTION_NAME: Final = re.compile(r"[a-z](?:[a-z_]*[a-z])?")
_MAX_SHOWN_CHARACTERS: Final = 80


@dataclass(frozen=True, slots=True)
class Object:
    """A legal object.

    Attributes:
        id: 1 to 100 characters.
        collection: Lowercase letters and underscores.
        properties: Names and values. Each name gets a column of its own.
        size: Bytes of its line.
    """

    id: str
    collection: str
    properties: Properties = field(repr=False)
    size: int


def parse_object(line: bytes) -> Object:
    """Parse a line, given without its newline.

    Raises:
        RejectedRequestError: The line is not a legal object.
    """
    if len(line) > MAX_OBJECT_BYTES:
        reason = f"the object is larger than {MAX_OBJECT_BYTES} bytes"
        raise RejectedRequestError(reason)
    fields = _check_keys(_decode_json(line))
    object_id = _check_id(fields["id"])
    properties = _check_properties(fields["properties"])
    if b"\\u" in line:
        _check_surrogates(object_id, properties)
    if len(line) >= VALUE_BYTES_LIMIT:  # JSON is never shorter than the UTF-8 it encodes
        _check_value_sizes(properties)
    return Object(object_id, _check_collection(fields["collection"]), properties, len(line))


def _reject_constant(name: str) -> NoReturn:
    reason = f"{name} is not JSON: send null instead"
    raise RejectedRequestError(reason)


_DECODER: Final = json.JSONDecoder(
    object_pairs_hook=tuple,  # keeps duplicate keys, and tells an object from a list
    parse_int=IntegerText,
    parse_float=FloatText,
    parse_constant=_reject_constant,
)


def _decode_json(line: bytes) -> Any:  # noqa: ANN401 - JSON of any shape: `_check_keys` checks it
    if not line.strip():
        reason = "the line is empty"
        raise RejectedRequestError(reason)
    try:
        return _DECODER.decode(line.decode())
    except UnicodeDecodeError as error:
        reason = f"not UTF-8 at byte {error.start + 1}"
    except json.JSONDecodeError as error:
        reason = f"not JSON at character {error.pos + 1}: {error.msg}"
    except RecursionError:
        reason = "nested too deeply: a value must be a string, a number, a boolean or null"
    raise RejectedRequestError(reason)


def _check_keys(decoded: object) -> dict[str, Any]:
    if not isinstance(decoded, tuple):
        reason = "not a JSON object"
        raise RejectedRequestError(reason)
    fields = dict(decoded)
    for key in _KEYS - fields.keys():
        reason = f"the key {key} is missing"
        raise RejectedRequestError(reason)
    for key in fields.keys() - _KEYS:
        reason = (
            f"the key {_quote_name(key)} is not allowed: use id, collection and properties only"
        )
        raise RejectedRequestError(reason)
    if len(decoded) != len(fields):
        reason = "a key occurs twice"
        raise RejectedRequestError(reason)
    return fields


def _check_id(value: object) -> str:
    if type(value) is not str or not 1 <= len(value) <= MAX_ID_CHARACTERS:
        reason = f"id must be a string of 1 to {MAX_ID_CHARACTERS} characters"
        raise RejectedRequestError(reason)
    return value


def _check_collection(value: object) -> str:
    if (
        type(value) is not str
        or len(value) > MAX_COLLECTION_CHARACTERS
        or _COLLECTION_NAME.fullmatch(value) is None
    ):
        reason = (
            f"collection must be 1 to {MAX_COLLECTION_CHARACTERS} lowercase letters and "
            "underscores, without an underscore first or last"
        )
        raise RejectedRequestError(reason)
    return value


def _check_properties(value: object) -> Properties:
    if not isinstance(value, tuple) or not value:
        reason = "properties must be an object with at least one property"
        raise RejectedRequestError(reason)
    if len(value) > MAX_PROPERTIES:
        reason = f"the object has more than {MAX_PROPERTIES} properties"
        raise RejectedRequestError(reason)
    if not {type(member) for _, member in value} <= _VALUE_TYPES:
        _reject_nested_value(value)
    columns = {snake_case(name) for name, _ in value}
    if len(columns) != len(value) or "" in columns:
        _reject_duplicate_name(value)
    return value


def _reject_nested_value(properties: tuple[tuple[str, object], ...]) -> NoReturn:
    name = next(name for name, value in properties if type(value) not in _VALUE_TYPES)
    reason = (
        f"the property {_quote_name(name)} holds a list or an object: a value must be a string, "
        "a number, a boolean or null"
    )
    raise RejectedRequestError(reason)


def _reject_duplicate_name(properties: Properties) -> NoReturn:
    columns: dict[str, str] = {}
    for name, _ in properties:
        column = snake_case(name)
        if not column:
            reason = (
                f"the property {_quote_name(name)} has no ASCII letter or digit for a column name"
            )
            raise RejectedRequestError(reason)
        if column in columns:
            break
        columns[column] = name
    reason = (
        f"the property {_quote_name(name)} occurs twice"
        if columns[column] == name
        else f"the properties {_quote_name(columns[column])} and {_quote_name(name)} "
        "get the same column name: rename one"
    )
    raise RejectedRequestError(reason)


def _check_surrogates(object_id: str, properties: Properties) -> None:
    strings = [object_id]
    for name, value in properties:
        strings.append(name)
        strings.append(value if isinstance(value, str) else "")
    try:
        "".join(strings).encode()
    except UnicodeEncodeError:
        reason = "an unpaired surrogate: it is not a character"
        raise RejectedRequestError(reason) from None


def _check_value_sizes(properties: Properties) -> None:
    for name, value in properties:
        if isinstance(value, str) and len(value.encode()) >= VALUE_BYTES_LIMIT:
            reason = (
                f"the value of the property {_quote_name(name)} is not smaller than "
                f"{VALUE_BYTES_LIMIT} bytes"
            )
            raise RejectedRequestError(reason)


def _quote_name(name: str) -> str:
    """Return a name as ASCII, shortened and safe to print."""
    if len(name) > _MAX_SHOWN_CHARACTERS:
        name = name[:_MAX_SHOWN_CHARACTERS] + "…"
    return json.dumps(name)
