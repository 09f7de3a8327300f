"""Read the declared properties and their types from a stream's JSON schema. Pure.

The rule for others: a property has one type for the whole run, whatever its values look like,
because a warehouse gives a column the type of the first value that it sees.
"""

from __future__ import annotations

import enum
from decimal import Decimal
from typing import TYPE_CHECKING, Any, Final, TypeAlias, TypeVar

import msgspec
import referencing
import referencing.exceptions
from referencing.jsonschema import DRAFT202012

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping

    from target_segment_objects.mapping.naming import PropertyPath

    JsonSchema = Mapping[str, Any]

ANY_TYPE: Final = frozenset({"array", "boolean", "integer", "null", "number", "object", "string"})
"""The types of JSON, which a schema without a type allows."""

_NUMBER_TYPES: Final = frozenset({"integer", "number"})
_OBJECT_TYPES: Final = frozenset({"object", "null"})
_TIMESTAMP_FORMATS: Final = frozenset({"date", "date-time"})
_JSON_TYPES: Final[dict[type, frozenset[str]]] = {
    bool: frozenset({"boolean"}),
    int: frozenset({"integer"}),
    float: _NUMBER_TYPES,
    Decimal: _NUMBER_TYPES,
    str: frozenset({"string"}),
    list: frozenset({"array"}),
    dict: frozenset({"object"}),
    type(None): frozenset({"null"}),
}
MALFORMED_SCHEMA_ERRORS: Final = (AttributeError, TypeError, ValueError)
"""What `referencing` raises for an `$id` or a `$ref` that no schema may have."""


_TOO_DEEP: Final = "is nested too deeply"
_UNUSED_KEYWORDS: Final = frozenset(
    {"$defs", "const", "default", "definitions", "enum", "examples"}
)
"""Keywords whose value is data, or schemas that count only where they are referred to."""
_TYPING_KEYWORDS: Final = frozenset(
    {"$ref", "allOf", "anyOf", "const", "enum", "oneOf", "properties", "type"}
)
_MAP_KEYWORDS: Final = frozenset({"dependentSchemas", "patternProperties", "properties"})
_MAX_SUBSCHEMAS: Final = 100_000
"""Subschemas of a schema whose references are replaced by their targets.

A chain of 40 definitions that each refer to the next one twice has 2 ** 40. Reading so many takes
years, and so does validation. Segment's own limit is far below: 5,000 properties of a collection.
"""


class SchemaTooLargeError(Exception):
    """A schema has too many subschemas, or is nested too deeply, to be read.

    Attributes:
        property: The declared property that is the cause, where one is.
        reason: What is too large.
    """

    def __init__(self, name: str | None, reason: str) -> None:
        """Keep the parts."""
        self.property = name
        self.reason = reason
        super().__init__(name, reason)


class PropertyType(enum.Enum):
    """How a property's values are written."""

    STRING = "string"
    """A string as it is; anything else (array, free-form object, mixed types) as JSON text."""

    TIMESTAMP = "timestamp"
    """A string that is an ISO 8601 date or date and time."""

    INTEGER = "integer"
    NUMBER = "number"
    BOOLEAN = "boolean"


def read_property_types(
    schema: JsonSchema, *, max_depth: int | None = None
) -> dict[PropertyPath, PropertyType]:
    """Return the type of each declared property that is sent, in the schema's order.

    Args:
        schema: The stream's JSON schema, as its SCHEMA message holds it. Local `$ref`s are
            followed; all variants of `allOf`, `anyOf` and `oneOf` count.
        max_depth: How many levels of objects are flattened; None for all.

    Returns:
        Path to type. An object that is flattened is not in it, but its properties are.

    Raises:
        SchemaTooLargeError: Reading or validation would take too long.
    """
    return _SchemaReader(schema, max_depth).read(lambda resolved: resolved.property_type)


def read_json_types(
    schema: JsonSchema, *, max_depth: int | None = None
) -> dict[PropertyPath, frozenset[str]]:
    """Return the JSON types of each declared property that is sent; see `read_property_types`."""
    return _SchemaReader(schema, max_depth).read(lambda resolved: resolved.types)


def find_untyped_properties(schema: JsonSchema) -> frozenset[PropertyPath]:
    """Return the properties of a record whose schema says nothing of their type."""
    return frozenset(
        (name,)
        for name, declared in _get_members(schema, "properties")
        if declared is True
        or (isinstance(declared, dict) and not _TYPING_KEYWORDS & declared.keys())
    )


def find_deepest_property(schema: JsonSchema) -> str:
    """Return the top-level property whose schema is nested most deeply; empty if there is none."""
    depths: dict[str, int] = {}
    pending = [(name, child, 1) for name, child in _get_members(schema, "properties")]
    while pending:
        name, value, depth = pending.pop()
        depths[name] = max(depth, depths.get(name, 0))
        if isinstance(value, (dict, list)):
            children = value.values() if isinstance(value, dict) else value
            pending += [(name, child, depth + 1) for child in children]
    return max(depths, key=lambda name: depths[name], default="")


_Fact = TypeVar("_Fact")
FollowedRefs: TypeAlias = "frozenset[str]"
"""The `$ref`s that were followed to get to a part of the schema."""


class _ResolvedSchema(msgspec.Struct):
    """What all parts of a schema say of a value.

    Attributes:
        types: The JSON types that a value may have; an integer is also a number.
        formats: The formats that any part names.
        properties: What each part declares of a property.
    """

    types: frozenset[str] = ANY_TYPE
    formats: set[str] = set()
    properties: dict[str, list[tuple[object, FollowedRefs]]] = {}

    @property
    def is_declared_object(self) -> bool:
        return bool(self.properties) and self.types <= _OBJECT_TYPES

    @property
    def property_type(self) -> PropertyType:
        types = self.types - {"null"}
        if types == {"boolean"}:
            return PropertyType.BOOLEAN
        if types == {"integer"}:
            return PropertyType.INTEGER
        if types and types <= _NUMBER_TYPES:
            return PropertyType.NUMBER
        if types == {"string"} and self.formats & _TIMESTAMP_FORMATS:
            return PropertyType.TIMESTAMP
        return PropertyType.STRING


class _SchemaReader:
    """Reads the schema of one stream."""

    def __init__(self, root: JsonSchema, max_depth: int | None) -> None:
        self._root = root
        self._max_depth = max_depth
        resource = DRAFT202012.create_resource(root)
        self._resolver = referencing.Registry().with_resource("", resource).resolver()
        self._targets: dict[str, object] = {}
        self._recursive_refs: dict[str, bool] = {}
        self._target_refs: dict[str, frozenset[str]] = {}
        self._target_sizes: dict[tuple[str, bool], int] = {}

    def read(self, select: Callable[[_ResolvedSchema], _Fact]) -> dict[PropertyPath, _Fact]:
        """Return what is selected of each declared property."""
        self._refuse_large_schema()
        try:
            root = self._resolve_schema([(self._root, frozenset())])
            properties = self._iterate_properties(root, ())
            return {path: select(resolved) for path, resolved in properties}
        except RecursionError:
            raise SchemaTooLargeError(None, _TOO_DEEP) from None

    def _refuse_large_schema(self) -> None:
        total = 0
        for name, schema in (*_get_members(self._root, "properties"), (None, self._root)):
            try:
                total = self._measure_schema(schema, in_recursion=False)
            except RecursionError:
                raise SchemaTooLargeError(name, _TOO_DEEP) from None
            if total > _MAX_SUBSCHEMAS:
                reason = f"has more than {_MAX_SUBSCHEMAS:,} subschemas"
                raise SchemaTooLargeError(name, reason)

    def _measure_schema(self, schema: object, *, in_recursion: bool) -> int:
        """Return how many subschemas there are when references are replaced by their targets.

        A recursive reference is followed once, as in `_add_part`.
        """
        if isinstance(schema, list):
            return 1 + sum(self._measure_schema(item, in_recursion=in_recursion) for item in schema)
        if not isinstance(schema, dict):
            return 1
        total = 1
        for keyword, value in schema.items():
            if keyword in _MAP_KEYWORDS and isinstance(value, dict):
                children = list(value.values())
                total += self._measure_schema(children, in_recursion=in_recursion)
            elif keyword not in _UNUSED_KEYWORDS:
                total += self._measure_schema(value, in_recursion=in_recursion)
        ref = schema.get("$ref")
        if isinstance(ref, str):
            total += self._measure_target(ref, in_recursion=in_recursion)
        return total

    def _measure_target(self, ref: str, *, in_recursion: bool) -> int:
        is_recursive = self._is_recursive(ref)
        if is_recursive and in_recursion:
            return 1
        key = (ref, in_recursion)
        if key not in self._target_sizes:
            self._target_sizes[key] = self._measure_schema(
                self._resolve_ref(ref), in_recursion=in_recursion or is_recursive
            )
        return self._target_sizes[key]

    def _iterate_properties(
        self, resolved: _ResolvedSchema, parent: PropertyPath
    ) -> Iterator[tuple[PropertyPath, _ResolvedSchema]]:
        is_flattened = self._max_depth is None or len(parent) < self._max_depth
        for name, parts in resolved.properties.items():
            path = (*parent, name)
            child = self._resolve_schema(parts)
            if child.is_declared_object and is_flattened:
                yield from self._iterate_properties(child, path)
            else:
                yield path, child

    def _resolve_schema(self, parts: Iterable[tuple[object, FollowedRefs]]) -> _ResolvedSchema:
        """Return what all parts say together."""
        resolved = _ResolvedSchema()
        for part, refs in parts:
            resolved.types &= self._add_part(resolved, part, refs)
        return resolved

    def _add_part(
        self, resolved: _ResolvedSchema, schema: object, refs: FollowedRefs
    ) -> frozenset[str]:
        """Add a part's formats and properties, and return the types that it allows.

        The schemas `true` and `false` declare nothing, so they allow every type.
        """
        if not isinstance(schema, dict):
            return ANY_TYPE
        types = _read_types(schema)
        ref = schema.get("$ref")
        if isinstance(ref, str):
            if ref in refs or (self._is_recursive(ref) and any(map(self._is_recursive, refs))):
                return types  # an object within itself has no end: one JSON text from here on
            types &= self._add_part(resolved, self._resolve_ref(ref), refs | {ref})
        if isinstance(schema.get("format"), str):
            resolved.formats.add(schema["format"])
        for name, child in _get_members(schema, "properties"):
            resolved.properties.setdefault(name, []).append((child, refs))
        for variant in _get_variants(schema, "allOf"):
            types &= self._add_part(resolved, variant, refs)
        for keyword in ("anyOf", "oneOf"):
            variants = _get_variants(schema, keyword)
            allowed = [self._add_part(resolved, variant, refs) for variant in variants]
            types &= frozenset().union(*allowed) if allowed else ANY_TYPE
        return types

    def _is_recursive(self, ref: str) -> bool:
        """Return whether the target of a reference refers, directly or not, to itself."""
        if ref not in self._recursive_refs:
            reachable: set[str] = set()
            pending = self._find_target_refs(ref)
            while pending:
                reachable |= pending
                pending = frozenset().union(*map(self._find_target_refs, pending)) - reachable
            self._recursive_refs[ref] = ref in reachable
        return self._recursive_refs[ref]

    def _find_target_refs(self, ref: str) -> frozenset[str]:
        if ref not in self._target_refs:
            self._target_refs[ref] = frozenset(_find_refs(self._resolve_ref(ref)))
        return self._target_refs[ref]

    def _resolve_ref(self, ref: str) -> object:
        """Return the target of a reference within the schema; None if there is none.

        The registry holds this schema alone and fetches nothing. `_is_recursive` looks up all that
        a reference leads to, in a loop: a lookup near Python's recursion limit would panic in Rust.
        """
        if ref not in self._targets:
            try:
                self._targets[ref] = self._resolver.lookup(ref).contents
            except (referencing.exceptions.Unresolvable, *MALFORMED_SCHEMA_ERRORS):
                self._targets[ref] = None
        return self._targets[ref]


def _read_types(schema: JsonSchema) -> frozenset[str]:
    """Return the types that a schema's own keywords allow."""
    declared = schema.get("type")
    names = {declared} if isinstance(declared, str) else _select_strings(declared)
    if names:
        return frozenset(names | _NUMBER_TYPES if "number" in names else names)
    values = schema["enum"] if isinstance(schema.get("enum"), list) else []
    if "const" in schema:
        values = [schema["const"]]
    if values:
        return frozenset().union(*(_JSON_TYPES.get(type(value), ANY_TYPE) for value in values))
    return frozenset({"object"}) if _get_members(schema, "properties") else ANY_TYPE


def _select_strings(value: object) -> set[str]:
    return {item for item in value if isinstance(item, str)} if isinstance(value, list) else set()


def _get_members(schema: JsonSchema, keyword: str) -> list[tuple[str, object]]:
    value = schema.get(keyword)
    return list(value.items()) if isinstance(value, dict) else []


def _get_variants(schema: JsonSchema, keyword: str) -> list[object]:
    value = schema.get(keyword)
    return value if isinstance(value, list) else []


def _find_refs(schema: object) -> set[str]:
    """Return every reference in a schema."""
    if isinstance(schema, list):
        return set().union(*map(_find_refs, schema))
    if not isinstance(schema, dict):
        return set()
    ref = schema.get("$ref")
    return set().union({ref} if isinstance(ref, str) else (), *map(_find_refs, schema.values()))
