"""What a schema says of a property: its kind, and what is flattened."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from target_segment_objects.mapping.schema import PropertyType, read_property_types

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=3),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner),
    max_leaves=8,
)
KEYWORDS = ("type", "properties", "anyOf", "oneOf", "allOf", "enum", "const", "format", "$ref")
SCHEMAS = st.recursive(
    JSON | st.just({"$ref": "#"}) | st.just({"$ref": "#/properties/a"}),
    lambda inner: st.dictionaries(
        st.sampled_from(KEYWORDS),
        inner | st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from("ab"), inner),
    ),
    max_leaves=12,
)


def kinds(properties: dict[str, Any], **rest: Any) -> dict[str, PropertyType]:  # noqa: ANN401 - JSON
    """Return the kind of each leaf, its path joined by dots."""
    found = read_property_types({"type": "object", "properties": properties, **rest})
    return {".".join(path): property_type for path, property_type in found.items()}


@pytest.mark.parametrize(
    ("schema", "kind"),
    [
        ({"type": "integer"}, PropertyType.INTEGER),
        ({"type": ["null", "integer"]}, PropertyType.INTEGER),
        ({"type": "number"}, PropertyType.NUMBER),
        ({"type": ["integer", "number"]}, PropertyType.NUMBER),
        ({"type": "boolean"}, PropertyType.BOOLEAN),
        ({"type": "string"}, PropertyType.STRING),
        ({"type": "string", "format": "date"}, PropertyType.TIMESTAMP),
        ({"type": ["string", "null"], "format": "date-time"}, PropertyType.TIMESTAMP),
        ({"type": "string", "format": "time"}, PropertyType.STRING),
        ({"type": ["string", "integer"]}, PropertyType.STRING),
        ({"type": ["boolean", "integer"]}, PropertyType.STRING),
        ({"type": "array", "items": {"type": "integer"}}, PropertyType.STRING),
        ({"type": "object"}, PropertyType.STRING),
        ({"type": "object", "properties": {}}, PropertyType.STRING),
        ({"type": "object", "additionalProperties": {"type": "integer"}}, PropertyType.STRING),
        ({"type": "null"}, PropertyType.STRING),
        ({}, PropertyType.STRING),
        (True, PropertyType.STRING),
        (False, PropertyType.STRING),
        ({"enum": [1, 2, None]}, PropertyType.INTEGER),
        ({"enum": [1, Decimal("2.5")]}, PropertyType.NUMBER),
        ({"enum": ["a", 1]}, PropertyType.STRING),
        ({"const": True}, PropertyType.BOOLEAN),
        ({"type": "number", "enum": [1, 2]}, PropertyType.NUMBER),
        ({"anyOf": [{"type": "integer"}, {"type": "null"}]}, PropertyType.INTEGER),
        ({"oneOf": [{"type": "integer"}, {"type": "number"}]}, PropertyType.NUMBER),
        ({"anyOf": [{"type": "integer"}, {}]}, PropertyType.STRING),
        (
            {"anyOf": [{"type": "string", "format": "date-time"}, {"type": "string"}]},
            PropertyType.TIMESTAMP,
        ),
        ({"allOf": [{"type": ["integer", "string"]}, {"type": "integer"}]}, PropertyType.INTEGER),
        (
            {"type": ["integer", "null"], "anyOf": [{"minimum": 3}, {"const": None}]},
            PropertyType.INTEGER,
        ),
        (
            {"type": "string", "anyOf": [{"format": "date"}, {"maxLength": 0}]},
            PropertyType.TIMESTAMP,
        ),
        ({"$ref": "#/definitions/a~1b%20c"}, PropertyType.NUMBER),
        ({"$ref": "#/definitions/union/anyOf/1"}, PropertyType.INTEGER),
        ({"$ref": "#/definitions/nowhere"}, PropertyType.STRING),
        ({"$ref": "https://example.com/schema"}, PropertyType.STRING),
    ],
)
def test_kind(schema: object, kind: PropertyType) -> None:
    """A property is of the one kind that all its schema's parts leave; else it is text."""
    definitions = {"a/b c": {"type": "number"}, "union": {"anyOf": [{}, {"type": "integer"}]}}
    assert kinds({"p": schema}, definitions=definitions) == {"p": kind}


@pytest.mark.parametrize(
    "schema",
    [
        {"type": "object", "properties": {"x": {"type": "integer"}}},
        {"properties": {"x": {"type": "integer"}}},
        {"type": ["object", "null"], "properties": {"x": {"type": "integer"}}},
        {"anyOf": [{"properties": {"x": {"type": "integer"}}}, {"type": "null"}]},
        {"$ref": "#/$defs/d"},
        {"allOf": [{"$ref": "#/$defs/d"}, {"type": "object"}]},
        {
            "type": "object",
            "properties": {"x": {"type": "integer"}},
            "anyOf": [{"required": ["x"]}, {"required": ["y"]}],
        },
    ],
)
def test_a_declared_object_is_flattened(schema: dict[str, Any]) -> None:
    """However an object is declared, its properties are leaves."""
    definitions = {"d": {"properties": {"x": {"type": "integer"}}}}
    assert kinds({"p": schema}, **{"$defs": definitions}) == {"p.x": PropertyType.INTEGER}


def test_what_may_be_no_object_is_not_flattened() -> None:
    """An object or something else is one text."""
    declared = {"type": ["object", "string"], "properties": {"x": {}}}
    assert kinds({"p": declared}) == {"p": PropertyType.STRING}


def test_leaves_come_in_the_schemas_order() -> None:
    """Names are given in this order, so it must be the schema's."""
    schema: dict[str, Any] = {
        "properties": {"b": {}, "a": {"properties": {"d": {}, "c": {}}}, "0": {}}
    }
    assert list(read_property_types(schema)) == [("b",), ("a", "d"), ("a", "c"), ("0",)]


def test_an_object_within_itself_is_text_where_it_comes_again() -> None:
    """A definition that refers to itself is flattened once."""
    node = {"properties": {"n": {"type": "integer"}, "next": {"$ref": "#/$defs/node"}}}
    found = kinds({"first": {"$ref": "#/$defs/node"}}, **{"$defs": {"node": node}})
    assert found == {"first.n": PropertyType.INTEGER, "first.next": PropertyType.STRING}


def test_definitions_that_all_refer_to_each_other_are_read_in_no_time() -> None:
    """Forty such definitions (as FHIR has) do not make a leaf of each path through them."""
    names = [f"d{number}" for number in range(40)]
    definition = {"properties": {name: {"$ref": f"#/definitions/{name}"} for name in names}}
    found = kinds(
        {"start": {"$ref": "#/definitions/d0"}}, definitions=dict.fromkeys(names, definition)
    )
    assert found == {f"start.{name}": PropertyType.STRING for name in names}


@given(SCHEMAS)
def test_any_json_is_read(schema: object) -> None:
    """A schema that is none raises nothing here: saying so is validation's part."""
    found = read_property_types({"properties": {"a": schema, "b": schema}})
    assert {path[0] for path in found} <= {"a", "b"}
    assert all(isinstance(property_type, PropertyType) for property_type in found.values())
