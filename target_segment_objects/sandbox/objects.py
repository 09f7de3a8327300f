"""One line of an uploaded file: check that it is a legal object, and parse it. Pure.

A number with a fraction or an exponent keeps the text that was sent: the type of a column and the
losses depend on it.

Most lines take a fast path: msgspec decodes them, and cheap checks show that nothing is wrong. A
line that fails any of them is parsed by the slow path, which checks rule by rule and says why the
line is rejected. A property test compares the two.
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Final, NoReturn

import msgspec

from target_segment_objects.limits import (
    MAX_COLLECTION_CHARACTERS,
    MAX_ID_CHARACTERS,
    MAX_OBJECT_BYTES,
    VALUE_BYTES_LIMIT,
)
from target_segment_objects.sandbox.column_names import column_name, snake_case
from target_segment_objects.sandbox.errors import RejectedRequestError


class IntegerText(str):
    """The text of an integer with more digits than `int` takes: some thousands."""

    __slots__ = ()


class FloatText(str):
    """The text of a JSON number with a fraction or an exponent."""

    __slots__ = ()


Value = str | int | IntegerText | FloatText | bool | None
Properties = tuple[tuple[str, Value], ...]

MAX_PROPERTIES: Final = 1_600
"""Properties of an object, and of a collection.

The sandbox's choice, which bounds its memory: a table in Postgres or Redshift has at most 1,600
columns. Segment documents no limit for an object.
"""

_KEYS: Final = ("id", "collection", "properties")
_VALUE_TYPES: Final = frozenset({str, int, IntegerText, FloatText, bool, type(None)})
_TOP_LEVEL_STRINGS: Final = 5  # three keys, the id and the collection
_COLLECTION_NAME: Final = re.compile(r"[a-z](?:[a-z_]*[a-z])?")
_MAX_SHOWN_CHARACTERS: Final = 80


@dataclass(frozen=True, slots=True, eq=False)
class Shape:
    """The names that an object's properties have. Objects with the same names share it.

    Attributes:
        names: The names as they were sent.
        columns: The column of each, all different. It may be one of Segment's own.
    """

    names: tuple[str, ...]
    columns: tuple[str, ...]


class Object(msgspec.Struct, frozen=True, eq=False, gc=False):
    """A legal object.

    Attributes:
        id: 1 to 100 characters.
        collection: Lowercase letters and underscores.
        shape: The names of its properties.
        values: Their values.
        size: Bytes of its line.
    """

    id: str
    collection: str
    shape: Shape
    values: tuple[Value, ...]
    size: int

    def __repr__(self) -> str:
        """Leave the values out, which are personal data."""
        return f"Object({self.id!r}, {self.collection!r})"

    @property
    def properties(self) -> Properties:
        """Its properties: names and values."""
        return tuple(zip(self.shape.names, self.values, strict=True))


class _DecodedObject(msgspec.Struct, forbid_unknown_fields=True, gc=False):
    """A line as the fast path decodes it."""

    id: str
    collection: str
    properties: dict[str, Any]


_FAST_DECODER: Final = msgspec.json.Decoder(_DecodedObject, float_hook=FloatText)
_FAST_ERRORS: Final = (msgspec.DecodeError, ValueError, RecursionError)


def parse_object(line: bytes) -> Object:
    """Parse a line, given without its newline.

    Raises:
        RejectedRequestError: The line is not a legal object.
    """
    return _parse_fast(line) or parse_strictly(line)


def _parse_fast(line: bytes) -> Object | None:
    """Parse a line that is legal beyond doubt and has nothing unusual; None for any other.

    A JSON decoder drops all but the last of duplicate keys. They show in the number of quotes: each
    string that was decoded has two, and a dropped key would have two more.
    """
    if len(line) >= VALUE_BYTES_LIMIT:
        return None
    try:
        decoded = _FAST_DECODER.decode(line)
    except _FAST_ERRORS:
        return None
    values = (*decoded.properties.values(),)
    types = [*map(type, values)]
    if (
        _count_quotes(line) != 2 * (_TOP_LEVEL_STRINGS + len(types) + types.count(str))
        or not 1 <= len(decoded.id) <= MAX_ID_CHARACTERS
        or not _is_collection(decoded.collection)
        or not 1 <= len(types) <= MAX_PROPERTIES
        or not {*types} <= _VALUE_TYPES
    ):
        return None
    shape = _find_shape((*decoded.properties,))
    if shape is None:
        return None
    return Object(decoded.id, decoded.collection, shape, values, len(line))


def _count_quotes(line: bytes) -> int:
    """Return the number of quotes that begin or end a string; -1 where that is hard to say."""
    quotes = line.count(b'"')
    if b"\\" not in line:
        return quotes
    if b"\\\\" in line or b"\\u" in line:
        return -1
    return quotes - line.count(b'\\"')


def parse_strictly(line: bytes) -> Object:
    """Parse a line rule by rule. The slow path of `parse_object`.

    Raises:
        RejectedRequestError: The line is not a legal object.
    """
    if len(line) > MAX_OBJECT_BYTES:
        reason = f"the object is larger than {MAX_OBJECT_BYTES} bytes"
        raise RejectedRequestError(reason)
    fields = _check_keys(_decode_json(line))
    object_id, properties = _check_id(fields["id"]), fields["properties"]
    shape = _check_properties(properties)
    if b"\\u" in line:
        _check_surrogates(object_id, properties)
    if len(line) >= VALUE_BYTES_LIMIT:  # JSON is never shorter than the UTF-8 it encodes
        _check_value_sizes(properties)
    collection = _check_collection(fields["collection"])
    return Object(object_id, collection, shape, tuple(dict(properties).values()), len(line))


@lru_cache(maxsize=128)
def _find_shape(names: tuple[str, ...]) -> Shape | None:
    """Return the shape of names; None if one has no column, or two have the same."""
    columns = tuple(map(column_name, names))
    if "" in columns or len(set(columns)) != len(columns):
        return None
    return Shape(names, columns)


def _reject_constant(name: str) -> NoReturn:
    reason = f"{name} is not JSON: send null instead"
    raise RejectedRequestError(reason)


def _parse_integer(text: str) -> int | IntegerText:
    try:
        return int(text)
    except ValueError:
        return IntegerText(text)


_DECODER: Final = json.JSONDecoder(
    object_pairs_hook=tuple,  # keeps duplicate keys, and tells an object from a list
    parse_int=_parse_integer,
    parse_float=FloatText,
    parse_constant=_reject_constant,
)


def _decode_json(line: bytes) -> Any:  # noqa: ANN401 - JSON of any shape: `_check_keys` checks it
    if not line.strip():
        raise RejectedRequestError("the line is empty")
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
        raise RejectedRequestError("not a JSON object")
    fields = dict(decoded)
    for key in _KEYS:
        if key not in fields:
            reason = f"the key {key} is missing"
            raise RejectedRequestError(reason)
    for key in fields:
        if key not in _KEYS:
            name = _quote_name(key)
            reason = f"the key {name} is not allowed: use id, collection and properties only"
            raise RejectedRequestError(reason)
    if len(decoded) != len(fields):
        raise RejectedRequestError("a key occurs twice")
    return fields


def _check_id(value: object) -> str:
    if type(value) is not str or not 1 <= len(value) <= MAX_ID_CHARACTERS:
        reason = f"id must be a string of 1 to {MAX_ID_CHARACTERS} characters"
        raise RejectedRequestError(reason)
    return value


def _check_collection(value: object) -> str:
    if type(value) is not str or not _is_collection(value):
        reason = (
            f"collection must be 1 to {MAX_COLLECTION_CHARACTERS} lowercase letters and "
            "underscores, without an underscore first or last"
        )
        raise RejectedRequestError(reason)
    return value


@lru_cache(maxsize=128)
def _is_collection(name: str) -> bool:
    return len(name) <= MAX_COLLECTION_CHARACTERS and bool(_COLLECTION_NAME.fullmatch(name))


def _check_properties(properties: Any) -> Shape:  # noqa: ANN401 - JSON of any shape
    if not isinstance(properties, tuple) or not properties:
        raise RejectedRequestError("properties must be an object with at least one property")
    if len(properties) > MAX_PROPERTIES:
        reason = f"the object has more than {MAX_PROPERTIES} properties"
        raise RejectedRequestError(reason)
    for name, value in properties:
        if type(value) not in _VALUE_TYPES:
            reason = (
                f"the property {_quote_name(name)} holds a list or an object: a value must be a "
                "string, a number, a boolean or null"
            )
            raise RejectedRequestError(reason)
    names = tuple(name for name, _ in properties)
    return _find_shape(names) or _reject_names(names)


def _reject_names(names: tuple[str, ...]) -> NoReturn:
    """Reject the first name that has no column, or the column of a name before it."""
    by_column: dict[str, str] = {}
    for name in names:
        column = snake_case(name)
        if not column or column in by_column:
            break
        by_column[column] = name
    quoted = _quote_name(name)
    if not column:
        reason = f"the property {quoted} has no ASCII letter or digit for a column name"
    elif by_column[column] == name:
        reason = f"the property {quoted} occurs twice"
    else:
        reason = (
            f"the properties {_quote_name(by_column[column])} and {quoted} get the same column "
            "name: rename one"
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
        raise RejectedRequestError("an unpaired surrogate: it is not a character") from None


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
