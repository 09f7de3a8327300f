"""What a stream's JSON schema says of a record: which leaves it has, and of which kind each is.

Pure. The rule for others: a property has one kind for the whole run, whatever its values look like,
because a warehouse types a column from the first value it sees.
"""

from __future__ import annotations

import enum
from dataclasses import dataclass, field
from decimal import Decimal
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import unquote

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

    from target_segment_objects.mapping.naming import PropertyPath

    JsonSchema = Mapping[str, Any]

_ANY_TYPE: Final = frozenset({"array", "boolean", "integer", "null", "number", "object", "string"})
_NUMBER_TYPES: Final = frozenset({"integer", "number"})
_OBJECT_TYPES: Final = frozenset({"object", "null"})
_TIME_FORMATS: Final = frozenset({"date", "date-time"})
_TYPES_OF_VALUES: Final[dict[type, frozenset[str]]] = {
    bool: frozenset({"boolean"}),
    int: frozenset({"integer"}),
    float: _NUMBER_TYPES,
    Decimal: _NUMBER_TYPES,
    str: frozenset({"string"}),
    list: frozenset({"array"}),
    dict: frozenset({"object"}),
    type(None): frozenset({"null"}),
}


class PropertyType(enum.Enum):
    """How a property's values are written."""

    STRING = "string"
    """Strings as they are; everything else (arrays, free-form objects, mixtures) as JSON text."""

    TIMESTAMP = "timestamp"
    """A string that is an ISO 8601 date or date and time."""

    INTEGER = "integer"
    NUMBER = "number"
    BOOLEAN = "boolean"


Refs = frozenset[str]
"""The `$ref`s that were followed to come here."""


@dataclass(slots=True)
class _Shape:
    """What a schema says of a value, with all its parts.

    Attributes:
        types: Those that a value may have; an integer is a number, too.
        formats: Those that any part names.
        properties: What is declared of each property, part by part.
    """

    types: frozenset[str] = _ANY_TYPE
    formats: set[str] = field(default_factory=set)
    properties: dict[str, list[tuple[object, Refs]]] = field(default_factory=dict)

    @property
    def is_declared_object(self) -> bool:
        return bool(self.properties) and self.types <= _OBJECT_TYPES

    @property
    def type(self) -> PropertyType:
        types = self.types - {"null"}
        if types == {"boolean"}:
            return PropertyType.BOOLEAN
        if types == {"integer"}:
            return PropertyType.INTEGER
        if types and types <= _NUMBER_TYPES:
            return PropertyType.NUMBER
        if types == {"string"} and self.formats & _TIME_FORMATS:
            return PropertyType.TIMESTAMP
        return PropertyType.STRING


def read_property_types(schema: JsonSchema) -> dict[PropertyPath, PropertyType]:
    """Return the type of each declared property that is sent, in the schema's order.

    Args:
        schema: The stream's JSON schema, as its SCHEMA message holds it. Local `$ref`s are
            followed; `allOf`, `anyOf` and `oneOf` count with all their variants.

    Returns:
        Path to type. An object with declared properties is not in it, but its properties are.
    """
    reader = _Reader(schema)
    return dict(reader.leaves(reader.shape([(schema, frozenset())]), ()))


class _Reader:
    """Reads one stream's schema."""

    def __init__(self, root: JsonSchema) -> None:
        self._root = root
        self._endless: dict[str, bool] = {}

    def leaves(
        self, shape: _Shape, above: PropertyPath
    ) -> Iterator[tuple[PropertyPath, PropertyType]]:
        for name, parts in shape.properties.items():
            path = (*above, name)
            below = self.shape(parts)
            if below.is_declared_object:
                yield from self.leaves(below, path)
            else:
                yield path, below.type

    def shape(self, parts: Iterable[tuple[object, Refs]]) -> _Shape:
        """Return what all parts say together."""
        shape = _Shape()
        for part, refs in parts:
            shape.types &= self._add(shape, part, refs)
        return shape

    def _add(self, shape: _Shape, schema: object, refs: Refs) -> frozenset[str]:
        """Add formats and properties to a shape, and return the types that a schema allows.

        `True`, as a schema, allows everything.
        """
        if not isinstance(schema, dict):
            return _ANY_TYPE
        types = _types(schema)
        ref = schema.get("$ref")
        if isinstance(ref, str):
            if ref in refs or (self._is_endless(ref) and any(map(self._is_endless, refs))):
                return types  # or there would be leaves without an end: one JSON text
            types &= self._add(shape, _resolve(ref, self._root), refs | {ref})
        if isinstance(schema.get("format"), str):
            shape.formats.add(schema["format"])
        for name, child in _members(schema, "properties"):
            shape.properties.setdefault(name, []).append((child, refs))
        for variant in _variants(schema, "allOf"):
            types &= self._add(shape, variant, refs)
        for keyword in ("anyOf", "oneOf"):
            allowed = [self._add(shape, variant, refs) for variant in _variants(schema, keyword)]
            types &= frozenset().union(*allowed) if allowed else _ANY_TYPE
        return types

    def _is_endless(self, ref: str) -> bool:
        """Return whether what a reference points at refers, through whatever, to itself."""
        if ref not in self._endless:
            found: set[str] = set()
            ahead = _refs(_resolve(ref, self._root))
            while ahead:
                found |= ahead
                ahead = {ref for one in ahead for ref in _refs(_resolve(one, self._root))} - found
            self._endless[ref] = ref in found
        return self._endless[ref]


def _types(schema: JsonSchema) -> frozenset[str]:
    """Return the types that a schema's own keywords allow."""
    declared = schema.get("type")
    names = {declared} if isinstance(declared, str) else _strings(declared)
    if names:
        return frozenset(names | _NUMBER_TYPES if "number" in names else names)
    values = schema["enum"] if isinstance(schema.get("enum"), list) else []
    if "const" in schema:
        values = [schema["const"]]
    if values:
        return frozenset().union(*(_TYPES_OF_VALUES.get(type(v), _ANY_TYPE) for v in values))
    return frozenset({"object"}) if _members(schema, "properties") else _ANY_TYPE


def _strings(value: object) -> set[str]:
    return {one for one in value if isinstance(one, str)} if isinstance(value, list) else set()


def _members(schema: JsonSchema, keyword: str) -> list[tuple[str, object]]:
    value = schema.get(keyword)
    return list(value.items()) if isinstance(value, dict) else []


def _variants(schema: JsonSchema, keyword: str) -> list[object]:
    value = schema.get(keyword)
    return value if isinstance(value, list) else []


def _refs(schema: object) -> set[str]:
    """Return every reference in a schema."""
    if isinstance(schema, list):
        return set().union(*map(_refs, schema))
    if not isinstance(schema, dict):
        return set()
    ref = schema.get("$ref")
    return set().union({ref} if isinstance(ref, str) else (), *map(_refs, schema.values()))


def _resolve(ref: str, root: JsonSchema) -> object:
    """Return what a local reference (`#/definitions/address`) points at; None if nothing."""
    if not ref.startswith("#"):
        return None
    found: Any = root
    for step in unquote(ref[1:]).split("/")[1:]:
        name = step.replace("~1", "/").replace("~0", "~")
        if isinstance(found, list):
            found = found[int(name)] if name.isdecimal() and int(name) < len(found) else None
        else:
            found = found.get(name) if isinstance(found, dict) else None
    return found
