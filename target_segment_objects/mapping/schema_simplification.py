"""Simplify the parts of a JSON schema for `record_types`, and compile what no type expresses."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from target_segment_objects.mapping.schema import ANY_TYPE
from target_segment_objects.mapping.schema_compilation import compile_validator

if TYPE_CHECKING:
    from collections.abc import Mapping

    import jsonschema_rs

    Schema = dict[str, Any]
    Definitions = Mapping[str, object]

RESTRICTING_KEYWORDS: Final = frozenset(
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

ANNOTATIONS: Final = frozenset({"type", "format", "title", "description", "default"})
"""What a schema may say without restricting its values, except to types."""

DEFINITION_KEYWORDS: Final = ("$defs", "definitions")
_SCOPE_KEYWORDS: Final = frozenset({"$id", "$anchor", "$dynamicAnchor", "$dynamicRef"})
"""Keywords whose meaning depends on the schema around them."""

KEYWORDS_FOR_NULL: Final = frozenset(
    {"$ref", "allOf", "anyOf", "oneOf", "not", "if", "then", "else", "enum", "const"}
)
"""The keywords that can refuse null; the others restrict values of one type."""


class UnsupportedSchemaError(Exception):
    """No msgspec type can decode and validate what a schema accepts."""


def read_definitions(schema: Schema) -> dict[str, object]:
    """Return the definitions of a stream's schema by what `$ref` calls them."""
    return {
        f"#/{keyword}/{name}": definition
        for keyword in DEFINITION_KEYWORDS
        if isinstance(schema.get(keyword), dict)
        for name, definition in schema[keyword].items()
        if not set(name) & set("/~%")  # a JSON pointer escapes these
    }


def read_types(schema: Schema) -> frozenset[str]:
    """Return the types that a schema's `type` allows; all if it has none.

    Raises:
        UnsupportedSchemaError: JSON has no such type.
    """
    declared = schema.get("type", ANY_TYPE)
    types = frozenset([declared] if isinstance(declared, str) else declared)
    if not types <= ANY_TYPE:
        raise UnsupportedSchemaError("it names a type that JSON does not have")
    return types


def refuse_keywords(schema: Schema, known: frozenset[str] | set[str] = frozenset()) -> None:
    """Refuse a schema that restricts its values by more than the known keywords.

    Raises:
        UnsupportedSchemaError: It does.
    """
    if found := (RESTRICTING_KEYWORDS & schema.keys()) - known:
        msg = f"it has the keywords {', '.join(sorted(found))}"
        raise UnsupportedSchemaError(msg)


def simplify_schema(declared: object, definitions: Definitions) -> Schema:
    """Return an equivalent schema with fewer keywords.

    A `$ref` is replaced by its target, and an `anyOf` or a `oneOf` that only lists types, or adds
    null to another schema, is merged into `type`. What cannot be simplified stays as it is.

    Raises:
        UnsupportedSchemaError: The schema is not an object.
    """
    if declared is True:
        return {}
    if not isinstance(declared, dict):
        raise UnsupportedSchemaError("a schema is not an object")
    keyword = next((name for name in ("$ref", "anyOf", "oneOf") if name in declared), None)
    others = {name: value for name, value in declared.items() if name != keyword}
    if keyword is None or "type" in others or not others.keys() <= ANNOTATIONS:
        return declared
    if keyword != "$ref":
        variants = [simplify_schema(variant, definitions) for variant in declared[keyword]]
        merged = _merge_variants(variants, is_exclusive=keyword == "oneOf")
    elif (ref := declared[keyword]) in definitions:
        # Without the target itself: a definition may refer to itself.
        remaining = {name: target for name, target in definitions.items() if name != ref}
        merged = simplify_schema(definitions[ref], remaining)
    else:
        merged = None
    return declared if merged is None else {**merged, **others}


def _merge_variants(variants: list[Schema], *, is_exclusive: bool) -> Schema | None:
    """Return one schema for several variants; None if that takes more than a list of types."""
    type_lists = [read_types(variant) for variant in variants]
    types = frozenset().union(*type_lists)
    overlap = sum(map(len, type_lists)) > len(types) or {"integer", "number"} <= types
    if is_exclusive and overlap:
        return None
    others = [variant for variant in variants if variant.keys() <= ANNOTATIONS]
    restricted = [variant for variant in variants if not variant.keys() <= ANNOTATIONS]
    if not restricted:
        return {"type": sorted(types)}
    only = restricted[0]
    adds_null = all(read_types(variant) == {"null"} for variant in others)
    if len(restricted) > 1 or not adds_null or only.keys() & KEYWORDS_FOR_NULL:
        return None
    return {**only, "type": sorted(types)}


def compile_check(schema: Schema, definitions: Definitions) -> jsonschema_rs.Draft202012Validator:
    """Compile what validates the values of one property: a list of them, with one call.

    Args:
        schema: The property's JSON schema.
        definitions: Those of the stream's schema.

    Raises:
        UnsupportedSchemaError: It depends on more than the definitions.
    """
    values: Schema = {"items": schema}
    for ref, definition in definitions.items():
        _, keyword, name = ref.split("/")
        values.setdefault(keyword, {})[name] = definition
    if not _is_self_contained(values, definitions):
        raise UnsupportedSchemaError("a property's schema depends on the schema around it")
    validator = compile_validator(values)
    if validator is None:
        raise UnsupportedSchemaError("jsonschema-rs cannot read a property's schema")
    return validator


def _is_self_contained(schema: object, definitions: Definitions) -> bool:
    if isinstance(schema, list):
        return all(_is_self_contained(item, definitions) for item in schema)
    if not isinstance(schema, dict):
        return True
    return (
        not _SCOPE_KEYWORDS & schema.keys()
        and ("$ref" not in schema or schema["$ref"] in definitions)
        and all(_is_self_contained(child, definitions) for child in schema.values())
    )
