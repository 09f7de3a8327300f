"""Compile a stream's JSON schema to msgspec types that decode and validate its records.

A type accepts only records that the schema accepts. What no type expresses is validated by
jsonschema-rs, if it is about one property; else the schema is refused.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Annotated, Any, Final, Literal, NamedTuple, TypeAlias

import msgspec
from msgspec import UNSET, Meta, Raw, UnsetType

from target_segment_objects import limits
from target_segment_objects.mapping.columns import NestedObject
from target_segment_objects.mapping.properties.type_changes import is_timestamp
from target_segment_objects.mapping.schema import PropertyType
from target_segment_objects.mapping.schema_simplification import (
    ANNOTATIONS,
    KEYWORDS_FOR_NULL,
    RESTRICTING_KEYWORDS,
    UnsupportedSchemaError,
    compile_check,
    read_definitions,
    read_types,
    refuse_keywords,
    simplify_schema,
)
from target_segment_objects.mapping.values import INT64_RANGE

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Mapping

    from target_segment_objects.mapping.naming import PropertyPath
    from target_segment_objects.mapping.schema_simplification import Schema

_SURROGATES: Final = re.compile(r"[\ud800-\udfff]")
_ESCAPED_CHARACTERS: Final = re.compile(r'["\\\x00-\x1f\ud800-\udfff]')

_HARMLESS_KEYWORDS: Final = ANNOTATIONS - {"type"}
_STRING_TYPES: Final = frozenset({PropertyType.STRING, PropertyType.TIMESTAMP})


ValuesCheck: TypeAlias = Callable[[list[Any]], bool]
"""Returns whether decoded values that are not null are valid; raises `ValueError` if in doubt."""


class JsonText(NamedTuple):
    """A property whose values may be written as JSON text.

    Attributes:
        position: Its position.
        is_nullable: Whether null is allowed.
        are_valid: Validates other values; None if all are valid.
        max_length: The most characters of a text before the user is warned of it; None afterwards.
    """

    position: int
    is_nullable: bool
    are_valid: ValuesCheck | None
    max_length: int | None


@dataclass(frozen=True, slots=True)
class RecordFields:
    """The properties of a record by how they are handled, as the positions of their columns.

    Attributes:
        paths: The path of each property.
        numbers: The numbers, with whether null is allowed.
        timestamps: The dates and timestamps.
        long_strings: The strings that may be longer than a warehouse keeps.
        json_texts: The values that may be written as JSON text.
        checks: What no type expresses, for values that are not written as JSON text.
    """

    paths: list[PropertyPath] = field(default_factory=list)
    numbers: list[tuple[int, bool]] = field(default_factory=list)
    timestamps: list[int] = field(default_factory=list)
    long_strings: list[int] = field(default_factory=list)
    json_texts: list[JsonText] = field(default_factory=list)
    checks: list[tuple[int, ValuesCheck]] = field(default_factory=list)


class RecordTypeBuilder:
    """Builds the type of one stream's records.

    Args:
        schema: The JSON schema of the stream.
        types: The type that each property is sent with.
        undeclared: Those that the schema does not declare.
        ignored: The names of properties of a record that are not sent.
        warned_long_paths: Those whose strings may be longer than a warehouse keeps.
        example: A record as the tap writes it: msgspec looks for the fields of a struct one after
            the other, so it decodes members that come in the struct's order fastest.

    Attributes:
        fields: The properties that were added so far.
    """

    def __init__(
        self,
        schema: Schema,
        types: Mapping[PropertyPath, PropertyType],
        *,
        undeclared: frozenset[PropertyPath],
        ignored: Collection[str],
        warned_long_paths: frozenset[PropertyPath],
        example: Mapping[str, Any],
    ) -> None:
        self._schema = schema
        self._types = types
        self._undeclared = undeclared
        self._ignored = sorted(ignored)
        self._warned_long_paths = warned_long_paths
        self._example = example
        self._definitions = read_definitions(schema)
        self.fields = RecordFields()

    def build_record(self) -> tuple[type[msgspec.Struct], list[NestedObject]]:
        """Return the type of a record, and add its properties.

        Raises:
            UnsupportedSchemaError: No type expresses the schema.
        """
        return self._build_struct(self._schema, (), self._example)

    def _build_struct(
        self, schema: Schema, path: PropertyPath, example: Mapping[str, Any]
    ) -> tuple[type[msgspec.Struct], list[NestedObject]]:
        """Return the type of an object, and add its properties."""
        # These say nothing of an object.
        refuse_keywords(schema, known={"minLength", "maxLength", "items"})
        members = {**schema["properties"], **self._find_undeclared(schema, path)}
        order = [*dict.fromkeys((*filter(members.__contains__, example), *members))]
        if not all(map(is_plain_name, members)):
            raise UnsupportedSchemaError("the name of a property has to be escaped in JSON")
        required = schema.get("required", [])
        if missing := set(required) - members.keys():
            msg = f"it requires {len(missing)} properties that it does not declare"
            raise UnsupportedSchemaError(msg)
        fields: list[tuple[str, Any] | tuple[str, Any, Any]] = []
        nested: list[NestedObject] = []
        for position, name in enumerate(order):
            child = (*path, name)
            if child in self._types:
                field_type = self._build_property(members[name], child)
            else:
                inner = example.get(name)
                field_type, nested_object = self._build_object(
                    members[name], child, position, inner if isinstance(inner, dict) else {}
                )
                nested.insert(0, nested_object)
            field = (f"f{position}", field_type)
            fields.append(field if name in required else (*field, UNSET))
        names = order
        if not path:  # last, so that the positions of the others do not change
            names = [*order, *self._ignored]
            fields += [(f"f{position}", Any, UNSET) for position in range(len(fields), len(names))]
        struct = msgspec.defstruct(
            "Record",
            fields,
            rename={f"f{position}": name for position, name in enumerate(names)},
            forbid_unknown_fields=True,
            kw_only=True,
            gc=False,
        )
        return struct, nested

    def _find_undeclared(self, schema: Schema, parent: PropertyPath) -> Schema:
        """Return the properties that records have though the schema does not declare them."""
        additional = schema.get("additionalProperties", True)
        if additional is False:
            return {}
        return {
            path[-1]: additional
            for path in sorted(self._undeclared)
            if path[:-1] == parent and path[-1] not in schema["properties"]
        }

    def _build_object(
        self, declared: object, path: PropertyPath, position: int, example: Mapping[str, Any]
    ) -> tuple[Any, NestedObject]:
        """Return the type of a property that is an object, and how it is flattened."""
        schema = simplify_schema(declared, self._definitions)
        types = read_types(schema)
        if not schema.get("properties") or not types <= {"object", "null"}:
            raise UnsupportedSchemaError("an object's properties are not declared in a plain way")
        struct, nested = self._build_struct(schema, path, example)
        nulls = {
            # Undeclared properties are sent only where the record has them.
            field.name: UNSET if (*path, field.encode_name) in self._undeclared else None
            for field in msgspec.structs.fields(struct)
        }
        null, absent = struct(**nulls), struct(**dict.fromkeys(nulls, UNSET))
        field_type = _make_optional(struct, is_nullable="null" in types)
        return field_type, NestedObject(position, null, absent, nested)

    def _build_property(self, declared: object, path: PropertyPath) -> Any:  # noqa: ANN401 - a type
        """Return a property's type, and add the property."""
        schema = simplify_schema(declared, self._definitions)
        position = len(self.fields.paths)
        self.fields.paths.append(path)
        property_type = self._types[path]
        is_nullable = self._allows_null(schema)
        max_length = None if path in self._warned_long_paths else limits.WAREHOUSE_STRING_CHARACTERS
        if property_type is PropertyType.STRING and read_types(schema) - {"null"} != {"string"}:
            check = self._compile_check(schema) if schema.keys() - _HARMLESS_KEYWORDS else None
            self.fields.json_texts.append(JsonText(position, is_nullable, check, max_length))
            return Any
        is_undeclared = path in self._undeclared  # its type is that of an earlier schema
        field_type = None
        if not is_undeclared:
            field_type = _build_exact_type(schema, property_type, max_length)
        if field_type is None:
            field_type = build_plain_type(property_type, max_length)
            if schema:
                self.fields.checks.append((position, self._compile_check(schema)))
        if property_type is PropertyType.NUMBER:
            self.fields.numbers.append((position, is_nullable))
            return Raw
        if max_length is None and property_type in _STRING_TYPES:
            self.fields.long_strings.append(position)
        if property_type is PropertyType.TIMESTAMP:
            self.fields.timestamps.append(position)
            if is_undeclared:  # nothing says that each of its strings is one
                self.fields.checks.append((position, _are_timestamps))
        return _make_optional(field_type, is_nullable=is_nullable)

    def _compile_check(self, schema: Schema) -> ValuesCheck:
        return compile_check(schema, self._definitions).is_valid

    def _allows_null(self, schema: Schema) -> bool:
        if schema.keys() & KEYWORDS_FOR_NULL:
            return self._compile_check(schema)([None])
        return "null" in read_types(schema)


def _are_timestamps(values: list[Any]) -> bool:
    return all(map(is_timestamp, values))


def is_plain_name(name: str) -> bool:
    """Return whether msgspec can decode a struct that has a field of this name."""
    return not _ESCAPED_CHARACTERS.search(name)


def is_encodable(text: str) -> bool:
    """Return whether a string has no unpaired surrogate, so that msgspec can compare with it."""
    return not _SURROGATES.search(text)


def _make_optional(field_type: Any, *, is_nullable: bool) -> Any:  # noqa: ANN401 - types
    """Return a type that may be absent, and null where the schema allows it."""
    present = field_type | None if is_nullable else field_type
    return present | UnsetType


def define_message_type(
    stream: str,
    record_type: Any,  # noqa: ANN401 - a type
    members: Iterable[tuple[str, Any, Any]] = (),
) -> type[msgspec.Struct]:
    """Return the type of a stream's RECORD messages.

    Args:
        stream: The stream's name.
        record_type: The type of a record.
        members: Other members that are read, with their types and defaults.
    """
    return msgspec.defstruct(
        "Message",
        [
            ("type", Literal["RECORD"]),
            ("stream", Literal[stream]),
            ("record", record_type),
            *members,
        ],
        gc=False,
    )


def build_plain_type(property_type: PropertyType, max_length: int | None) -> Any:  # noqa: ANN401
    """Return a type of the values that need no conversion, or one of a whole column."""
    lowest, highest = INT64_RANGE
    return {
        PropertyType.STRING: Annotated[str, Meta(max_length=max_length)],
        PropertyType.TIMESTAMP: Annotated[str, Meta(max_length=max_length)],
        PropertyType.INTEGER: Annotated[int, Meta(ge=lowest, le=highest)],
        PropertyType.NUMBER: Raw,
        PropertyType.BOOLEAN: bool,
    }[property_type]


def _build_exact_type(schema: Schema, property_type: PropertyType, max_length: int | None) -> Any:  # noqa: ANN401 - a type
    """Return a type that accepts only values which the schema accepts; None if there is none."""
    keywords = RESTRICTING_KEYWORDS & schema.keys()
    if "type" not in schema or (
        property_type is PropertyType.NUMBER and "number" not in read_types(schema)
    ):
        return None
    if not keywords:
        return build_plain_type(property_type, max_length)
    if property_type is PropertyType.INTEGER and keywords <= {"minimum", "maximum"}:
        return _build_integer(schema)
    if property_type is PropertyType.STRING and keywords == {"enum"}:
        return _build_enum(schema)
    if property_type in _STRING_TYPES and keywords <= {"minLength", "maxLength"}:
        return _build_string(schema, max_length)
    return None


def _build_integer(schema: Schema) -> Any:  # noqa: ANN401 - a type
    lowest, highest = INT64_RANGE
    minimum, maximum = schema.get("minimum", lowest), schema.get("maximum", highest)
    if not (type(minimum) is type(maximum) is int):
        return None
    return Annotated[int, Meta(ge=max(minimum, lowest), le=min(maximum, highest))]


def _build_enum(schema: Schema) -> Any:  # noqa: ANN401 - a type
    values = [value for value in schema["enum"] if value is not None]
    is_plain = all(type(value) is str and is_encodable(value) for value in values)
    if not (values and is_plain and max(map(len, values)) <= limits.WAREHOUSE_STRING_CHARACTERS):
        return None
    return Literal[tuple(values)]


def _build_string(schema: Schema, max_length: int | None) -> Any:  # noqa: ANN401 - a type
    upper = [bound for bound in (schema.get("maxLength"), max_length) if bound is not None]
    lower = schema.get("minLength")
    if not all(type(bound) is int for bound in (*upper, lower or 0)):
        return None
    return Annotated[str, Meta(min_length=lower, max_length=min(upper, default=None))]
