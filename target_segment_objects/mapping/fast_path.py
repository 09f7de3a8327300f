"""The fast way of a RECORD: its line → its object's line, through types made from the schema.

This is the hot path, all of it. msgspec decodes a line straight into a struct whose fields have the
schema's types, which validates them on the way; the struct's values, flattened, go into a second
struct that has the names which are sent, and msgspec encodes that. No dict is made, and a number's
digits are never read: they are copied.

The rule that makes this safe: the fast way knows less than the slow one and never decides against a
record. Whatever it does not know, it leaves alone: `compile_fast_path` raises
`UnsupportedSchemaError` for a schema, and what it returns gives None for a line, and then the slow
path (`reader` → `mapper`) decides. Where the fast path does answer, the slow one would have given
the same bytes, and no warning. A property test holds it to that.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from decimal import Decimal
from operator import itemgetter
from typing import TYPE_CHECKING, Annotated, Any, Final, Literal, TypeAlias

import msgspec
from msgspec import UNSET, Meta, Raw, UnsetType
from msgspec.structs import astuple

from target_segment_objects import limits
from target_segment_objects.mapping.schema import PropertyType
from target_segment_objects.mapping.values import ENCODER, to_timestamp

if TYPE_CHECKING:
    from collections.abc import Mapping

    from target_segment_objects.mapping.mapper import PropertyMapping
    from target_segment_objects.mapping.naming import PropertyPath

    Schema = dict[str, Any]

FastPath: TypeAlias = Callable[[bytes], "bytes | None"]
"""A RECORD's line → its object's line; None where the slow way has to look."""

_INT64: Final = (-(2**63), 2**63 - 1)
_PLAIN_INTEGER: Final = re.compile(rb"-?[0-9]{1,300}")  # more may be beyond a 64-bit float
_PLAIN_NUMBER: Final = re.compile(rb"-?[0-9]{1,300}\.[0-9]{1,300}")
_PLAIN_NUMBERS: Final = re.compile(rb"%b(?:,%b)*" % ((_PLAIN_NUMBER.pattern,) * 2))
_PLAIN_NUMBERS_OR_NULLS: Final = re.compile(
    rb"(?:null|%b)(?:,(?:null|%b))*" % ((_PLAIN_NUMBER.pattern,) * 2)
)
_UNDECODABLE: Final = (msgspec.DecodeError, UnicodeDecodeError, ArithmeticError, RecursionError)

_KEYWORDS: Final = frozenset(
    (
        *("$ref", "$dynamicRef", "allOf", "anyOf", "oneOf", "not", "if", "then", "else"),
        *("enum", "const", "multipleOf", "minimum", "maximum"),
        *("exclusiveMinimum", "exclusiveMaximum", "minLength", "maxLength", "pattern"),
        *("items", "prefixItems", "minItems", "maxItems", "uniqueItems"),
        *("contains", "minContains", "maxContains", "minProperties", "maxProperties"),
        *("patternProperties", "propertyNames", "dependentRequired", "dependentSchemas"),
        *("unevaluatedItems", "unevaluatedProperties"),
    )
)
"""JSON Schema 2020-12's keywords that may refuse a value, but for types and declared properties."""

_TYPES: Final[dict[str, frozenset[type]]] = {
    "string": frozenset({str}),
    "integer": frozenset({int}),
    "number": frozenset({int, Decimal}),
    "boolean": frozenset({bool}),
    "array": frozenset({list}),
    "object": frozenset({dict}),
    "null": frozenset({type(None)}),
}
"""What a decoded value of a type looks like for certain; `1.0` as an integer is the slow way's."""


class UnsupportedSchemaError(Exception):
    """A schema says something that the fast way does not know."""


_Nested: TypeAlias = "list[tuple[int, int, _Nested]]"
"""Which fields of a struct are structs, from the last to the first: place, leaves, and so on."""


class _Fields:
    """The flattened fields of a record, in the schema's order; lists hold positions among them."""

    def __init__(self) -> None:
        self.paths: list[PropertyPath] = []
        self.numbers: list[tuple[int, bool]] = []  # and whether it may be null
        self.times: list[int] = []
        self.texts: list[tuple[int, _Matcher, int]] = []  # and the characters it may have


def compile_fast_path(  # noqa: C901 - the hot path stands in one piece: a call takes its time
    *,
    stream: str,
    collection: str,
    schema: Schema,
    key_properties: Sequence[str],
    properties: Sequence[PropertyMapping],
    send_nulls: bool,
    warned_long_paths: frozenset[PropertyPath],
) -> FastPath:
    """Make the fast way of a stream.

    Args:
        stream: The stream's name, as RECORD messages have it.
        collection: The collection of its objects.
        schema: Its JSON schema.
        key_properties: The names that make the id.
        properties: Its declared properties, in the order of the schema.
        send_nulls: Whether nulls are sent.
        warned_long_paths: Paths whose texts exceed what a warehouse keeps, already warned of.

    Raises:
        UnsupportedSchemaError: The slow way alone knows this schema.
    """
    fields = _Fields()
    kinds = {one.path: one.type for one in properties}
    record_type, nested = _struct(schema, (), kinds, warned_long_paths, fields)
    if fields.paths != [one.path for one in properties]:
        raise UnsupportedSchemaError("its leaves are not those that are sent")
    keys = [_key_position(key, fields.paths, kinds) for key in key_properties]
    if not keys:
        raise UnsupportedSchemaError("it has no key")
    message_type = msgspec.defstruct(
        "Message",
        [("type", Literal["RECORD"]), ("stream", Literal[stream]), ("record", record_type)],
        gc=False,
    )
    decode: Callable[[bytes], Any] = msgspec.json.Decoder(message_type, float_hook=Decimal).decode
    properties_type = msgspec.defstruct(
        "Properties",
        [(f"f{at}", Any, UNSET if send_nulls else None) for at in range(len(properties))],
        rename={f"f{at}": one.name for at, one in enumerate(properties)},
        omit_defaults=not send_nulls,
        gc=False,
    )
    line_of = msgspec.defstruct(
        "Line", [("id", str), ("collection", str), ("properties", properties_type)], gc=False
    )
    numbers, times, texts = fields.numbers, fields.times, fields.texts
    pick: Callable[[Any], Any] = itemgetter(*(at for at, _ in numbers)) if numbers else tuple
    has_one_number = len(numbers) == 1
    nulls_pass = send_nulls and all(is_nullable for _, is_nullable in numbers)
    are_plain = (_PLAIN_NUMBERS_OR_NULLS if nulls_pass else _PLAIN_NUMBERS).fullmatch
    first_key, has_one_key = keys[0], len(keys) == 1
    encode = ENCODER.encode
    longest = limits.VALUE_BYTES_LIMIT

    def object_line(line: bytes) -> bytes | None:
        try:
            record = decode(line).record
        except _UNDECODABLE:
            return None
        values = [*astuple(record)]
        if nested:
            _flatten(values, nested)
        key = values[first_key]
        object_id = str(key) if has_one_key and type(key) is int else _id(values, keys)
        if object_id is None:
            return None
        if numbers:
            try:
                # All at once, as they stand: for one by one there is seldom a reason.
                digits = pick(values) if has_one_number else b",".join(pick(values))
                has_plain = are_plain(digits)
            except TypeError:  # some are of an object that is null or absent
                has_plain = None
            if not has_plain and not _write_numbers(values, numbers):
                return None
        for at in times:
            value = values[at]
            if value and " " in value:
                values[at] = to_timestamp(value)
        if texts and not _write_texts(values, texts):
            return None
        encoded = encode(line_of(object_id, collection, properties_type(*values)))
        # A value that is too large makes a line that is at least as large.
        return encoded if len(encoded) < longest else None

    return object_line


def _flatten(values: list[Any], nested: _Nested) -> None:
    """Put the leaves of nested structs in their place; a null or absent one is so in each leaf."""
    for at, leaves, inner in nested:  # from the last to the first, so that places stay right
        value = values[at]
        if value is None or value is UNSET:
            values[at : at + 1] = [value] * leaves
        elif inner:
            flat = [*astuple(value)]
            _flatten(flat, inner)
            values[at : at + 1] = flat
        else:
            values[at : at + 1] = astuple(value)


def _id(values: list[Any], keys: list[int]) -> str | None:
    """Return the object's id by the rules of `mapping`; None for one that is not plain."""
    parts = []
    for at in keys:
        value = values[at]
        if type(value) is int:
            parts.append(str(value))
        elif type(value) is str and value:
            parts.append(value)
        else:
            return None
    if len(parts) == 1:
        object_id: str = parts[0]
    else:
        object_id = "_".join([part.replace("%", "%25").replace("_", "%5F") for part in parts])
    return object_id if len(object_id) <= limits.MAX_ID_CHARACTERS else None


def _write_numbers(values: list[Any], numbers: list[tuple[int, bool]]) -> bool:
    """Write numbers one by one; return whether all could be.

    The first character tells what a JSON value is. A number is copied as it stands but for a
    missing point; with an exponent, or as "-0", it is the slow way's.
    """
    for at, is_nullable in numbers:
        value = values[at]
        if type(value) is not Raw:  # of an object that is null or absent
            continue
        raw = bytes(value)
        if _PLAIN_NUMBER.fullmatch(raw):
            continue
        if not raw:
            values[at] = UNSET
        elif raw == b"null" and is_nullable:
            values[at] = None
        elif _PLAIN_INTEGER.fullmatch(raw) and raw != b"-0":
            values[at] = Raw(raw + b".0")
        else:
            return False
    return True


def _write_texts(values: list[Any], texts: list[tuple[int, _Matcher, int]]) -> bool:
    """Write what is no string as JSON text; return whether all was valid and short enough."""
    for at, matches, most in texts:
        value = values[at]
        if value is None or value is UNSET:
            continue
        if not matches(value):
            return False
        text = value if type(value) is str else ENCODER.encode(value).decode()
        if len(text) > most:
            return False
        values[at] = text
    return True


def _key_position(
    key: str, paths: list[PropertyPath], kinds: Mapping[PropertyPath, PropertyType]
) -> int:
    path = (key,)
    if kinds.get(path) not in {PropertyType.INTEGER, PropertyType.STRING, PropertyType.TIMESTAMP}:
        msg = f"its key '{key}' is no text and no integer"
        raise UnsupportedSchemaError(msg)
    return paths.index(path)


# From a schema to types


def _struct(
    schema: Schema,
    path: PropertyPath,
    kinds: Mapping[PropertyPath, PropertyType],
    warned_long_paths: frozenset[PropertyPath],
    fields: _Fields,
) -> tuple[type[msgspec.Struct], _Nested]:
    """Make the type of an object with declared properties, and note its leaves."""
    _refuse_unknown(schema, known={"minLength", "maxLength", "items"})
    required = schema.get("required", [])
    members: list[tuple[str, Any] | tuple[str, Any, Any]] = []
    nested: _Nested = []
    for at, (name, declared) in enumerate(schema["properties"].items()):
        below = (*path, name)
        if below in kinds:
            field_type, absent = _leaf(
                _simplified(declared), below, kinds[below], warned_long_paths, fields
            )
        else:
            before = len(fields.paths)
            field_type, absent, inner = _object(declared, below, kinds, warned_long_paths, fields)
            nested.insert(0, (at, len(fields.paths) - before, inner))
        member = (f"f{at}", field_type)
        members.append(member if name in required else (*member, absent))
    names = {f"f{at}": name for at, name in enumerate(schema["properties"])}
    if missing := set(required) - set(names.values()):
        msg = f"it asks for {len(missing)} properties that it does not declare"
        raise UnsupportedSchemaError(msg)
    struct = msgspec.defstruct(
        "Record", members, rename=names, forbid_unknown_fields=True, kw_only=True, gc=False
    )
    return struct, nested


def _object(
    declared: Any,  # noqa: ANN401 - whatever a SCHEMA holds
    path: PropertyPath,
    kinds: Mapping[PropertyPath, PropertyType],
    warned_long_paths: frozenset[PropertyPath],
    fields: _Fields,
) -> tuple[Any, Any, _Nested]:
    schema = _simplified(declared)
    types = _types(schema)
    if not schema.get("properties") or not types <= {"object", "null"}:
        raise UnsupportedSchemaError("an object's properties are not told in a simple way")
    struct, nested = _struct(schema, path, kinds, warned_long_paths, fields)
    return _optional(struct, types), UNSET, nested


def _leaf(
    schema: Schema,
    path: PropertyPath,
    kind: PropertyType,
    warned_long_paths: frozenset[PropertyPath],
    fields: _Fields,
) -> tuple[Any, Any]:
    """Return a leaf's type and what stands for its absence, and note what is to be done to it."""
    at = len(fields.paths)
    fields.paths.append(path)
    types = _types(schema)
    only = types - {"null"}
    longest = None if path in warned_long_paths else limits.WAREHOUSE_STRING_CHARACTERS
    if kind is PropertyType.NUMBER:
        _refuse_unknown(schema)
        fields.numbers.append((at, "null" in types))
        return Raw, _ABSENT
    if kind is PropertyType.INTEGER:
        field_type: Any = _integer(schema)
    elif kind is PropertyType.BOOLEAN:
        _refuse_unknown(schema)
        field_type = bool
    elif kind is PropertyType.STRING and "enum" in schema:
        field_type, types = _choice(schema, only)
    elif only == {"string"}:
        field_type = _string(schema, longest)
        if kind is PropertyType.TIMESTAMP:
            fields.times.append(at)
    else:
        fields.texts.append(
            (at, _matcher(schema), limits.VALUE_BYTES_LIMIT if longest is None else longest)
        )
        return Any, UNSET
    return _optional(field_type, types), UNSET


def _optional(field_type: Any, types: frozenset[str]) -> Any:  # noqa: ANN401 - types
    """Return a type that may be absent, and null where the schema says so."""
    present = field_type | None if "null" in types else field_type
    return present | UnsetType


def _integer(schema: Schema) -> Any:  # noqa: ANN401 - a type
    _refuse_unknown(schema, known={"minimum", "maximum"})
    least, most = (
        schema.get(name, at) for name, at in zip(("minimum", "maximum"), _INT64, strict=True)
    )
    if not (type(least) is type(most) is int):
        raise UnsupportedSchemaError("an integer's bounds are no integers")
    return Annotated[int, Meta(ge=max(least, _INT64[0]), le=min(most, _INT64[1]))]


def _choice(schema: Schema, only: frozenset[str]) -> tuple[Any, frozenset[str]]:
    """Return the type of one of some texts, and whether null is one of them, as types."""
    _refuse_unknown(schema, known={"enum"})
    texts = [value for value in schema["enum"] if value is not None]
    if not (
        only == {"string"}
        and texts
        and all(type(text) is str for text in texts)
        and max(map(len, texts)) <= limits.WAREHOUSE_STRING_CHARACTERS
    ):
        raise UnsupportedSchemaError("it has a choice that is not of short texts")
    has_null = len(texts) < len(schema["enum"]) and "null" in _types(schema)
    return Literal[tuple(texts)], frozenset({"null"} if has_null else ())


def _string(schema: Schema, longest: int | None) -> Any:  # noqa: ANN401 - a type
    _refuse_unknown(schema, known={"minLength", "maxLength"})
    bounds = [most for most in (schema.get("maxLength"), longest) if most is not None]
    least = schema.get("minLength")
    if not all(type(bound) is int for bound in (*bounds, least or 0)):
        raise UnsupportedSchemaError("a text's bounds are no integers")
    return Annotated[str, Meta(min_length=least, max_length=min(bounds, default=None))]


_Matcher: TypeAlias = Callable[[Any], bool]


def _matcher(declared: Any) -> _Matcher:  # noqa: ANN401 - whatever a SCHEMA holds
    """Return what tells whether a decoded value is valid for certain."""
    schema = _simplified(declared)
    _refuse_unknown(schema, known={"items"})
    expected = frozenset().union(*(_TYPES[name] for name in _types(schema)))
    items = _matcher(schema["items"]) if "items" in schema else None
    members = {name: _matcher(child) for name, child in schema.get("properties", {}).items()}
    required = frozenset(schema.get("required", []))
    others = schema.get("additionalProperties", True)
    other = None if others is True else _matcher(others)

    def matches(value: Any) -> bool:  # noqa: ANN401 - any JSON
        kind = type(value)
        if kind not in expected:
            return False
        if kind is list and items is not None:
            return all(map(items, value))
        if kind is dict and (members or required or other is not None):
            return required <= value.keys() and all(
                one(child)
                for name, child in value.items()
                if (one := members.get(name, other)) is not None
            )
        return True

    return matches


def _simplified(declared: Any) -> Schema:  # noqa: ANN401 - whatever a SCHEMA holds
    """Return a schema in which types that `anyOf` names one by one stand in `type`."""
    if declared is True:
        return {}
    if not isinstance(declared, dict):
        raise UnsupportedSchemaError("a schema is no object")
    variants = declared.get("anyOf")
    if not isinstance(variants, list) or "type" in declared:
        return declared
    types: list[str] = []
    for variant in variants:
        if not isinstance(variant, dict) or "type" not in variant or variant.keys() - _PLAIN:
            raise UnsupportedSchemaError("anyOf says more than types")
        types += _types(variant)
    return {**{key: said for key, said in declared.items() if key != "anyOf"}, "type": types}


_PLAIN: Final = frozenset({"type", "format", "title", "description"})


def _types(schema: Schema) -> frozenset[str]:
    declared = schema.get("type", list(_TYPES))
    types = frozenset([declared] if isinstance(declared, str) else declared)
    if not types <= _TYPES.keys():
        raise UnsupportedSchemaError("a type is none that JSON has")
    return types


def _refuse_unknown(schema: Schema, known: frozenset[str] | set[str] = frozenset()) -> None:
    if found := (_KEYWORDS & schema.keys()) - known:
        msg = f"it says {', '.join(sorted(found))}"
        raise UnsupportedSchemaError(msg)


_ABSENT: Final = Raw(b"")
