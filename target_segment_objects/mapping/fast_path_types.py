"""Compile a stream's JSON schema to msgspec types that decode and validate its records.

A type accepts only records that the schema accepts. A schema that says what no type can express
raises `UnsupportedSchemaError`, and so does any keyword that is not known to be harmless.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from decimal import Decimal
from typing import TYPE_CHECKING, Annotated, Any, Final, Literal, TypeAlias

import jsonschema_rs
import msgspec
from msgspec import UNSET, Meta, Raw, UnsetType

from target_segment_objects import limits
from target_segment_objects.mapping.schema import PropertyType

if TYPE_CHECKING:
    from collections.abc import Mapping

    from target_segment_objects.mapping.naming import PropertyPath

    Schema = dict[str, Any]

_INT64_RANGE: Final = (-(2**63), 2**63 - 1)
_SURROGATES: Final = re.compile(r"[\ud800-\udfff]")
_ESCAPED_CHARACTERS: Final = re.compile(r'["\\\x00-\x1f\ud800-\udfff]')
_ABSENT_NUMBER: Final = Raw(b"")

_RESTRICTING_KEYWORDS: Final = frozenset(
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
"""The keywords of JSON Schema 2020-12 that can refuse a value, except for types and properties."""

_NOT_FOR_NULL: Final = frozenset({"enum", "items", "minLength", "maxLength", "minimum", "maximum"})
"""Keywords that do not restrict null, except for `enum`, which is looked at."""

_ANNOTATIONS: Final = frozenset({"type", "format", "title", "description"})
"""All that a variant of `anyOf` may say to be merged into one list of types."""

_PYTHON_TYPES: Final[dict[str, frozenset[type]]] = {
    "string": frozenset({str}),
    "integer": frozenset({int}),
    "number": frozenset({int, Decimal}),
    "boolean": frozenset({bool}),
    "array": frozenset({list}),
    "object": frozenset({dict}),
    "null": frozenset({type(None)}),
}
"""The Python types of a decoded value that has a JSON type for certain; `1.0` may be an integer."""


class UnsupportedSchemaError(Exception):
    """The fast path does not support a schema."""


ValueMatcher: TypeAlias = Callable[[Any], bool]
"""Returns whether a decoded value is valid for certain."""

NestedFields: TypeAlias = "list[tuple[int, int, NestedFields]]"
"""The fields of a struct that are structs themselves, the last first.

Each has its position, its number of properties, and its own nested fields.
"""


class RecordTypeBuilder:
    """Builds the type of one stream's records.

    The lists hold positions in the flattened record, which has the schema's order.

    Attributes:
        paths: The path of each flattened property.
        numbers: The positions of numbers, with whether null is allowed.
        whole_numbers: The positions of integers that are sent as numbers.
        timestamps: The positions of dates and timestamps.
        json_texts: The positions of values that may be written as JSON text, with whether null is
            allowed, what validates other values, and the most characters that they may have.
    """

    def __init__(
        self,
        types: Mapping[PropertyPath, PropertyType],
        warned_long_paths: frozenset[PropertyPath],
        unsent_paths: frozenset[PropertyPath] = frozenset(),
    ) -> None:
        """Start without a property.

        Args:
            types: The type that each declared property is sent with.
            warned_long_paths: The properties whose strings may be longer than a warehouse keeps.
            unsent_paths: The properties that are null or absent.
        """
        self._types = types
        self._warned_long_paths = warned_long_paths
        self._unsent_paths = unsent_paths
        self.paths: list[PropertyPath] = []
        self.numbers: list[tuple[int, bool]] = []
        self.whole_numbers: list[int] = []
        self.timestamps: list[int] = []
        self.json_texts: list[tuple[int, bool, ValueMatcher, int]] = []

    def build_struct(
        self, schema: Schema, path: PropertyPath = ()
    ) -> tuple[type[msgspec.Struct], NestedFields]:
        """Return the type of an object with declared properties, and add these.

        Args:
            schema: The JSON schema of the object.
            path: Its path; empty for the record.

        Raises:
            UnsupportedSchemaError: No type expresses the schema.
        """
        _refuse_keywords(schema, known={"minLength", "maxLength", "items"})
        if not all(map(is_plain_name, schema["properties"])):
            raise UnsupportedSchemaError("the name of a property has to be escaped in JSON")
        required = schema.get("required", [])
        fields: list[tuple[str, Any] | tuple[str, Any, Any]] = []
        nested: NestedFields = []
        for position, (name, declared) in enumerate(schema["properties"].items()):
            child = (*path, name)
            if child in self._types:
                field_type, default = self._build_property(_merge_any_of(declared), child)
            else:
                count = len(self.paths)
                field_type, inner = self._build_object(declared, child)
                default = UNSET
                nested.insert(0, (position, len(self.paths) - count, inner))
            field = (f"f{position}", field_type)
            fields.append(field if name in required else (*field, default))
        names = {f"f{position}": name for position, name in enumerate(schema["properties"])}
        if missing := set(required) - set(names.values()):
            msg = f"it requires {len(missing)} properties that it does not declare"
            raise UnsupportedSchemaError(msg)
        struct = msgspec.defstruct(
            "Record", fields, rename=names, forbid_unknown_fields=True, kw_only=True, gc=False
        )
        return struct, nested

    def _build_object(
        self,
        declared: Any,  # noqa: ANN401 - whatever a SCHEMA holds
        path: PropertyPath,
    ) -> tuple[Any, NestedFields]:
        schema = _merge_any_of(declared)
        types = _read_types(schema)
        if not schema.get("properties") or not types <= {"object", "null"}:
            raise UnsupportedSchemaError("an object's properties are not declared in a plain way")
        struct, nested = self.build_struct(schema, path)
        return _make_optional(struct, types), nested

    def _build_property(self, schema: Schema, path: PropertyPath) -> tuple[Any, Any]:
        """Return a property's type and its default when it is absent, and add the property."""
        position = len(self.paths)
        self.paths.append(path)
        types = _read_types(schema)
        present_types = types - {"null"}
        property_type = self._types[path]
        max_length = None if path in self._warned_long_paths else limits.WAREHOUSE_STRING_CHARACTERS
        if path in self._unsent_paths:
            _refuse_keywords(schema, known=_NOT_FOR_NULL)
            is_nullable = "null" in types and None in schema.get("enum", [None])
            return (None | UnsetType if is_nullable else UnsetType), UNSET
        if property_type is PropertyType.NUMBER and present_types == {"integer"}:
            self.whole_numbers.append(position)
            return _make_optional(_build_integer(schema), types), UNSET
        if property_type is PropertyType.NUMBER:
            _refuse_keywords(schema)
            self.numbers.append((position, "null" in types))
            return Raw, _ABSENT_NUMBER
        if property_type is PropertyType.INTEGER:
            field_type = _build_integer(schema)
        elif property_type is PropertyType.BOOLEAN:
            _refuse_keywords(schema)
            field_type = bool
        elif property_type is PropertyType.STRING and "enum" in schema:
            field_type, types = _build_enum(schema, present_types)
        elif present_types == {"string"}:
            field_type = _build_string(schema, max_length)
            if property_type is PropertyType.TIMESTAMP:
                self.timestamps.append(position)
        else:
            max_text = limits.VALUE_BYTES_LIMIT if max_length is None else max_length
            self.json_texts.append((position, "null" in types, build_matcher(schema), max_text))
            return Any, UNSET
        return _make_optional(field_type, types), UNSET


def is_valid_schema(schema: Schema) -> bool:
    """Return whether a schema has the form that JSON Schema prescribes."""
    # Whatever version `$schema` names, validation reads 2020-12.
    without_version = {key: value for key, value in schema.items() if key != "$schema"}
    try:
        return jsonschema_rs.meta.is_valid(without_version)
    except ValueError:  # an unpaired surrogate, or nested too deeply
        return False


def is_plain_name(name: str) -> bool:
    """Return whether msgspec can decode a struct that has a field of this name."""
    return not _ESCAPED_CHARACTERS.search(name)


def is_encodable(text: str) -> bool:
    """Return whether a string has no unpaired surrogate, so that msgspec can compare with it."""
    return not _SURROGATES.search(text)


def _make_optional(field_type: Any, types: frozenset[str]) -> Any:  # noqa: ANN401 - types
    """Return a type that may be absent, and null where the schema allows it."""
    present = field_type | None if "null" in types else field_type
    return present | UnsetType


def _build_integer(schema: Schema) -> Any:  # noqa: ANN401 - a type
    _refuse_keywords(schema, known={"minimum", "maximum"})
    lowest, highest = _INT64_RANGE
    minimum, maximum = schema.get("minimum", lowest), schema.get("maximum", highest)
    if not (type(minimum) is type(maximum) is int):
        raise UnsupportedSchemaError("the bounds of an integer are not integers")
    return Annotated[int, Meta(ge=max(minimum, lowest), le=min(maximum, highest))]


def _build_enum(schema: Schema, present_types: frozenset[str]) -> tuple[Any, frozenset[str]]:
    """Return the type of one of several strings, and the types that make it optional."""
    _refuse_keywords(schema, known={"enum"})
    values = [value for value in schema["enum"] if value is not None]
    if not (
        present_types == {"string"}
        and values
        and all(type(value) is str and is_encodable(value) for value in values)
        and max(map(len, values)) <= limits.WAREHOUSE_STRING_CHARACTERS
    ):
        raise UnsupportedSchemaError("an enum has other values than short strings")
    allows_null = len(values) < len(schema["enum"]) and "null" in _read_types(schema)
    return Literal[tuple(values)], frozenset({"null"} if allows_null else ())


def _build_string(schema: Schema, max_length: int | None) -> Any:  # noqa: ANN401 - a type
    _refuse_keywords(schema, known={"minLength", "maxLength"})
    upper = [bound for bound in (schema.get("maxLength"), max_length) if bound is not None]
    lower = schema.get("minLength")
    if not all(type(bound) is int for bound in (*upper, lower or 0)):
        raise UnsupportedSchemaError("the bounds of a string's length are not integers")
    return Annotated[str, Meta(min_length=lower, max_length=min(upper, default=None))]


def build_matcher(declared: Any) -> ValueMatcher:  # noqa: ANN401 - whatever a SCHEMA holds
    """Return a function that validates a value which is written as JSON text.

    Raises:
        UnsupportedSchemaError: The schema says more than types, items and properties.
    """
    schema = _merge_any_of(declared)
    _refuse_keywords(schema, known={"items"})
    expected = frozenset().union(*(_PYTHON_TYPES[name] for name in _read_types(schema)))
    match_item = build_matcher(schema["items"]) if "items" in schema else None
    declared_properties = schema.get("properties", {}).items()
    member_matchers = {name: build_matcher(child) for name, child in declared_properties}
    required = frozenset(schema.get("required", []))
    additional = schema.get("additionalProperties", True)
    match_additional = None if additional is True else build_matcher(additional)

    def match_value(value: Any) -> bool:  # noqa: ANN401 - any JSON
        value_type = type(value)
        if value_type not in expected:
            return False
        if value_type is list and match_item is not None:
            return all(map(match_item, value))
        if value_type is dict and (member_matchers or required or match_additional is not None):
            return required <= value.keys() and all(
                match_member(child)
                for name, child in value.items()
                if (match_member := member_matchers.get(name, match_additional)) is not None
            )
        return True

    return match_value


def _merge_any_of(declared: Any) -> Schema:  # noqa: ANN401 - whatever a SCHEMA holds
    """Return a schema whose `anyOf`, if it only lists types, is merged into `type`."""
    if declared is True:
        return {}
    if not isinstance(declared, dict):
        raise UnsupportedSchemaError("a schema is not an object")
    variants = declared.get("anyOf")
    if not isinstance(variants, list) or "type" in declared:
        return declared
    types: list[str] = []
    for variant in variants:
        if not isinstance(variant, dict) or "type" not in variant or variant.keys() - _ANNOTATIONS:
            raise UnsupportedSchemaError("anyOf says more than types")
        types += _read_types(variant)
    others = {keyword: value for keyword, value in declared.items() if keyword != "anyOf"}
    return {**others, "type": types}


def _read_types(schema: Schema) -> frozenset[str]:
    declared = schema.get("type", list(_PYTHON_TYPES))
    types = frozenset([declared] if isinstance(declared, str) else declared)
    if not types <= _PYTHON_TYPES.keys():
        raise UnsupportedSchemaError("it names a type that JSON does not have")
    return types


def _refuse_keywords(schema: Schema, known: frozenset[str] | set[str] = frozenset()) -> None:
    if found := (_RESTRICTING_KEYWORDS & schema.keys()) - known:
        msg = f"it has the keywords {', '.join(sorted(found))}"
        raise UnsupportedSchemaError(msg)
