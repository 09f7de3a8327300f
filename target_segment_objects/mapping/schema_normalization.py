"""Normalise the schema of a SCHEMA message to JSON Schema 2020-12. Pure.

Taps write older drafts and keywords that no draft has. What another draft means is translated:
bounds that are booleans, and lists of items, whatever `$schema` says, because they have no other
meaning; what only Draft 3 has, where `$schema` names it. What has no meaning is left out, so that
a stream is not stopped by what its mapping does not need. The rule for others: every schema after
this one, also that of a stream map, is made of a normalised schema.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import msgspec
import referencing
import referencing.exceptions
from referencing.jsonschema import DRAFT202012

from target_segment_objects.mapping.naming import format_path
from target_segment_objects.mapping.schema import ANY_TYPE, MALFORMED_SCHEMA_ERRORS
from target_segment_objects.mapping.schema_compilation import (
    compile_validator,
    is_valid_schema,
)
from target_segment_objects.mapping.values import ENCODER, ENCODING_ERRORS

if TYPE_CHECKING:
    from collections.abc import Iterable

    from target_segment_objects.mapping.naming import PropertyPath

    Schema = dict[str, Any]

_DRAFT_3: Final = "draft-03"
_MAPS_OF_SCHEMAS: Final = frozenset(
    {"$defs", "definitions", "dependentSchemas", "patternProperties", "properties"}
)
_LISTS_OF_SCHEMAS: Final = frozenset({"allOf", "anyOf", "oneOf", "prefixItems"})
_SCHEMAS: Final = frozenset(
    (
        *("additionalProperties", "propertyNames", "unevaluatedProperties", "contentSchema"),
        *("items", "contains", "unevaluatedItems", "not", "if", "then", "else"),
    )
)
_DECLARING: Final = frozenset(
    {"$ref", "additionalProperties", "allOf", "anyOf", "extends", "oneOf", "patternProperties"}
)
"""Keywords besides `properties` that say something of a record's properties."""

_DATA_KEYWORDS: Final = frozenset({"const", "default"})  # any JSON is valid
_MAX_LISTED: Final = 10  # places in the warning


class NormalizedSchema(msgspec.Struct, frozen=True):
    """A schema of JSON Schema 2020-12.

    Attributes:
        schema: The schema. It is the tap's own if there was nothing to change.
        ignored: What was left out: the property, and the keyword; no keyword if the property's
            schema is no schema at all. Sorted, each once.
    """

    schema: Schema
    ignored: tuple[tuple[PropertyPath, str], ...] = ()

    def describe_ignored(self, stream: str) -> str:
        """Return a warning of what was left out; empty if nothing was."""
        if not self.ignored:
            return ""
        places = [_describe_place(path, keyword) for path, keyword in self.ignored[:_MAX_LISTED]]
        if len(self.ignored) > _MAX_LISTED:
            places.append(f"and {len(self.ignored) - _MAX_LISTED} more")
        return (
            f"Stream '{format_path((stream,))}': its SCHEMA has keywords that mean nothing in JSON "
            f"Schema: {', '.join(places)}. validate_records does not check them, and a property "
            "without a type that JSON has is sent as a string. Correct the tap's schema."
        )


def _describe_place(path: PropertyPath, keyword: str) -> str:
    where = f"'{format_path(path)}'" if path else "the schema itself"
    return f"{keyword or 'all'} of {where}"


def declares_anything(schema: Schema) -> bool:
    """Return whether a schema says anything of the properties of a record."""
    return isinstance(schema.get("properties"), dict) or not _DECLARING.isdisjoint(schema)


def normalize_schema(schema: Schema) -> NormalizedSchema:
    """Return a stream's schema as JSON Schema 2020-12, with `properties`.

    Args:
        schema: The schema as the SCHEMA message has it. It is not changed.

    Raises:
        RecursionError: It is nested too deeply.
    """
    if isinstance(schema.get("properties"), dict) and not _needs_changes(schema):
        return NormalizedSchema(schema)
    normalizer = _Normalizer(schema)
    normalized = normalizer.normalize(schema, ())
    normalized.setdefault("properties", {})
    return NormalizedSchema(normalized, tuple(sorted(normalizer.ignored)))


def _needs_changes(schema: Schema) -> bool:
    """Return whether anything in a schema may have to be changed; cheap where nothing has."""
    version = schema.get("$schema", "")
    if not isinstance(version, str) or _DRAFT_3 in version:
        return True
    return not is_valid_schema(schema) or (_has_refs(schema) and compile_validator(schema) is None)


def _has_refs(schema: Schema) -> bool:
    try:
        return b'"$ref"' in ENCODER.encode(schema)
    except ENCODING_ERRORS:
        return True


class _Normalizer:
    """Normalises one schema.

    Attributes:
        ignored: What was left out so far: the property, and the keyword.
    """

    def __init__(self, root: Schema) -> None:
        self.ignored: set[tuple[PropertyPath, str]] = set()
        version = root.get("$schema")
        self._is_draft_3 = isinstance(version, str) and _DRAFT_3 in version
        resource = DRAFT202012.create_resource(root)
        self._resolver = referencing.Registry().with_resource("", resource).resolver()

    def normalize(self, schema: object, path: PropertyPath) -> Any:  # noqa: ANN401 - a schema
        """Return a part of the schema, which belongs to a property, as JSON Schema 2020-12."""
        if isinstance(schema, bool):
            return schema
        if not isinstance(schema, dict):
            self._ignore(path, "")
            return {}
        translated = self._translate(schema, path)
        normalized: Schema = {}
        for keyword, value in translated.items():
            if keyword == "$schema":  # it may name the draft that was translated
                continue
            if self._is_readable(keyword, value):
                normalized[keyword] = self._normalize_value(keyword, value, path)
            else:
                self._ignore(path, keyword)
        return normalized

    def _ignore(self, path: PropertyPath, keyword: str) -> None:
        self.ignored.add((path, keyword))

    # Values of keywords

    def _is_readable(self, keyword: str, value: object) -> bool:
        """Return whether a keyword's value has the form that it must have."""
        if keyword in _DATA_KEYWORDS:
            return True
        if keyword in _MAPS_OF_SCHEMAS:
            return isinstance(value, dict)
        if keyword in _LISTS_OF_SCHEMAS:
            return isinstance(value, list) and bool(value)
        if keyword in _SCHEMAS:
            return isinstance(value, (dict, bool))
        if keyword == "$ref":
            return isinstance(value, str) and self._has_target(value)
        return is_valid_schema({keyword: value})

    def _normalize_value(self, keyword: str, value: Any, path: PropertyPath) -> Any:  # noqa: ANN401 - JSON of any shape
        if keyword in _MAPS_OF_SCHEMAS:
            is_properties = keyword == "properties"
            return {
                name: self.normalize(child, (*path, name) if is_properties else path)
                for name, child in value.items()
            }
        if keyword in _LISTS_OF_SCHEMAS:
            return [self.normalize(child, path) for child in value]
        return self.normalize(value, path) if keyword in _SCHEMAS else value

    def _has_target(self, ref: str) -> bool:
        """Return whether a reference has a target in the schema; no address is followed."""
        try:
            self._resolver.lookup(ref)
        except (referencing.exceptions.Unresolvable, *MALFORMED_SCHEMA_ERRORS):
            return False
        return True

    # Keywords that other drafts write in another way

    def _translate(self, schema: Schema, path: PropertyPath) -> Schema:
        translated = dict(schema)
        if self._is_draft_3:
            _translate_draft_3(translated)
        for bound in ("minimum", "maximum"):
            self._translate_bound(translated, bound, path)
        if isinstance(translated.get("items"), list):
            self._translate_item_list(translated, path)
        if "type" in translated:
            self._translate_type(translated, path)
        if isinstance(translated.get("required"), list):
            self._translate_required(translated, path)
        return translated

    def _translate_bound(self, schema: Schema, bound: str, path: PropertyPath) -> None:
        """Translate `"maximum": 5, "exclusiveMaximum": true` of Draft 3 and 4."""
        exclusive = f"exclusive{bound.capitalize()}"
        is_exclusive = schema.get(exclusive)
        if not isinstance(is_exclusive, bool):
            return
        del schema[exclusive]
        if is_exclusive and bound in schema:
            schema[exclusive] = schema.pop(bound)
        elif is_exclusive:
            self._ignore(path, exclusive)

    def _translate_item_list(self, schema: Schema, path: PropertyPath) -> None:
        """Translate a list of items, which all drafts up to 2019-09 have."""
        items = schema.pop("items")
        if items and "prefixItems" in schema:
            self._ignore(path, "items")
        elif items:
            schema["prefixItems"] = items
        if "additionalItems" in schema:
            schema["items"] = schema.pop("additionalItems")

    def _translate_type(self, schema: Schema, path: PropertyPath) -> None:
        """Leave out a type that JSON does not have; it may stand for any."""
        declared = schema["type"]
        names = declared if isinstance(declared, list) else [declared]
        if names and all(isinstance(name, str) and name in ANY_TYPE for name in names):
            if len(names) > len(set(names)):
                schema["type"] = self._drop_repeated(names, path, "type")
            return
        del schema["type"]
        if declared != "any":  # the word of Draft 3 for what a schema without a type means
            self._ignore(path, "type")

    def _translate_required(self, schema: Schema, path: PropertyPath) -> None:
        names = [name for name in schema["required"] if isinstance(name, str)]
        if len(names) < len(schema["required"]):
            self._ignore(path, "required")
        schema["required"] = self._drop_repeated(names, path, "required")

    def _drop_repeated(self, names: list[str], path: PropertyPath, keyword: str) -> list[str]:
        distinct = [*dict.fromkeys(names)]
        if len(distinct) < len(names):
            self._ignore(path, keyword)
        return distinct


def _translate_draft_3(schema: Schema) -> None:
    """Translate the keywords that only Draft 3 has."""
    if isinstance(schema.get("required"), bool):  # its parent has it now
        del schema["required"]
    properties = schema.get("properties")
    if isinstance(properties, dict):
        required = [*_find_required(properties.items())]
        if required:
            schema["required"] = required
    if "divisibleBy" in schema:
        schema.setdefault("multipleOf", schema.pop("divisibleBy"))
    if "extends" in schema:
        extended = schema.pop("extends")
        schema.setdefault("allOf", extended if isinstance(extended, list) else [extended])
    if "disallow" in schema:
        schema.setdefault("not", {"type": schema.pop("disallow")})


def _find_required(properties: Iterable[tuple[str, object]]) -> Iterable[str]:
    for name, declared in properties:
        if isinstance(declared, dict) and declared.get("required") is True:
            yield name
