"""One line of an uploaded file: is it a legal object, and what does it say? Pure.

Numbers stay the text that was sent, because the limit of a value and the type of a column are told
from that text.
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
from target_segment_objects.sandbox.names import snake_case
from target_segment_objects.sandbox.refusal import RejectedRequestError


class Integer(str):
    """A JSON number without fraction and exponent, as its text."""

    __slots__ = ()


class Float(str):
    """A JSON number with a fraction or an exponent, as its text."""

    __slots__ = ()


Value = str | Integer | Float | bool | None
Properties = tuple[tuple[str, Value], ...]

_KEYS: Final = frozenset({"id", "collection", "properties"})
_VALUE_TYPES: Final = frozenset({str, Integer, Float, bool, type(None)})
_COLLECTION: Final = re.compile(r"[a-z](?:[a-z_]*[a-z])?")
_NAME_CHARACTERS_SHOWN: Final = 80


@dataclass(frozen=True, slots=True)
class Object:
    """A legal object.

    Attributes:
        id: 1 to 100 characters.
        collection: Lowercase letters and underscores.
        properties: Names, each folding to another column, and their values.
        size: Bytes of its line.
    """

    id: str
    collection: str
    properties: Properties = field(repr=False)
    size: int


def parse(line: bytes) -> Object:
    """Read a line, given without its newline.

    Raises:
        RejectedRequestError: The line is not a legal object.
    """
    if len(line) > MAX_OBJECT_BYTES:
        reason = f"the object is larger than {MAX_OBJECT_BYTES} bytes"
        raise RejectedRequestError(reason)
    fields = _fields(_json(line))
    object_id = _object_id(fields["id"])
    properties = _properties(fields["properties"])
    if b"\\u" in line:
        _check_surrogates(object_id, properties)
    if len(line) >= VALUE_BYTES_LIMIT:  # JSON is never shorter than the UTF-8 that it stands for
        _check_sizes(properties)
    return Object(object_id, _collection(fields["collection"]), properties, len(line))


def _refuse_constant(name: str) -> NoReturn:
    reason = f"{name} is not JSON: send null"
    raise RejectedRequestError(reason)


_DECODER: Final = json.JSONDecoder(
    object_pairs_hook=tuple,  # keeps a key that comes twice, and tells an object from a list
    parse_int=Integer,
    parse_float=Float,
    parse_constant=_refuse_constant,
)


def _json(line: bytes) -> Any:  # noqa: ANN401 - JSON of any shape, told apart by `_fields`
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
        reason = "nested too deeply: a value is a string, a number, a boolean or null"
    raise RejectedRequestError(reason)


def _fields(decoded: object) -> dict[str, Any]:
    if not isinstance(decoded, tuple):
        reason = "not a JSON object"
        raise RejectedRequestError(reason)
    fields = dict(decoded)
    for key in _KEYS - fields.keys():
        reason = f"the key {key} is missing"
        raise RejectedRequestError(reason)
    for key in fields.keys() - _KEYS:
        reason = f"the key {_quote(key)} is not one of id, collection and properties"
        raise RejectedRequestError(reason)
    if len(decoded) != len(fields):
        reason = "a key comes twice"
        raise RejectedRequestError(reason)
    return fields


def _object_id(value: object) -> str:
    if type(value) is not str or not 1 <= len(value) <= MAX_ID_CHARACTERS:
        reason = f"id must be a string of 1 to {MAX_ID_CHARACTERS} characters"
        raise RejectedRequestError(reason)
    return value


def _collection(value: object) -> str:
    if (
        type(value) is not str
        or len(value) > MAX_COLLECTION_CHARACTERS
        or _COLLECTION.fullmatch(value) is None
    ):
        reason = (
            f"collection must be 1 to {MAX_COLLECTION_CHARACTERS} lowercase letters and "
            "underscores, no underscore first or last"
        )
        raise RejectedRequestError(reason)
    return value


def _properties(value: object) -> Properties:
    if not isinstance(value, tuple) or not value:
        reason = "properties must be an object with at least one property"
        raise RejectedRequestError(reason)
    if not {type(member) for _, member in value} <= _VALUE_TYPES:
        _refuse_nested(value)
    columns = {snake_case(name) for name, _ in value}
    if len(columns) != len(value) or "" in columns:
        _refuse_names(value)
    return value


def _refuse_nested(properties: tuple[tuple[str, object], ...]) -> NoReturn:
    name = next(name for name, value in properties if type(value) not in _VALUE_TYPES)
    reason = (
        f"the property {_quote(name)} holds a list or an object: a value is a string, a number, "
        "a boolean or null"
    )
    raise RejectedRequestError(reason)


def _refuse_names(properties: Properties) -> NoReturn:
    columns: dict[str, str] = {}
    for name, _ in properties:
        column = snake_case(name)
        if not column:
            reason = f"the property {_quote(name)} has no ASCII letter or digit to name a column"
            raise RejectedRequestError(reason)
        if column in columns:
            break
        columns[column] = name
    reason = (
        f"the property {_quote(name)} comes twice"
        if columns[column] == name
        else f"the properties {_quote(columns[column])} and {_quote(name)} "
        "get the same column: rename one"
    )
    raise RejectedRequestError(reason)


def _check_surrogates(object_id: str, properties: Properties) -> None:
    texts = [object_id]
    for name, value in properties:
        texts.append(name)
        texts.append(value if isinstance(value, str) else "")
    try:
        "".join(texts).encode()
    except UnicodeEncodeError:
        reason = "half of a surrogate pair: it stands for no character"
        raise RejectedRequestError(reason) from None


def _check_sizes(properties: Properties) -> None:
    for name, value in properties:
        if isinstance(value, str) and len(value.encode()) >= VALUE_BYTES_LIMIT:
            reason = (
                f"the value of the property {_quote(name)} is not below {VALUE_BYTES_LIMIT} bytes"
            )
            raise RejectedRequestError(reason)


def _quote(name: str) -> str:
    """Show a name that may be long or hold any character: ASCII, and not too much of it."""
    if len(name) > _NAME_CHARACTERS_SHOWN:
        name = name[:_NAME_CHARACTERS_SHOWN] + "…"
    return json.dumps(name)
