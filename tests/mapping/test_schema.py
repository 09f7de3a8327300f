"""What a schema says of a property: its type, and what is flattened."""

from __future__ import annotations

from decimal import Decimal
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from target_segment_objects.mapping.schema import (
    PropertyType,
    SchemaTooLargeError,
    find_deepest_property,
    read_property_types,
)

if TYPE_CHECKING:
    from collections.abc import Callable

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


def read_types(properties: dict[str, Any], **rest: Any) -> dict[str, PropertyType]:  # noqa: ANN401 - JSON
    """Return the type of each declared property, its path joined by dots."""
    found = read_property_types({"type": "object", "properties": properties, **rest})
    return {".".join(path): property_type for path, property_type in found.items()}


@pytest.mark.parametrize(
    ("schema", "expected"),
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
    ids=repr,
)
def test_type_of_a_property(schema: object, expected: PropertyType) -> None:
    """A property has the one type that all parts of its schema allow; otherwise it is a string."""
    definitions = {"a/b c": {"type": "number"}, "union": {"anyOf": [{}, {"type": "integer"}]}}
    assert read_types({"p": schema}, definitions=definitions) == {"p": expected}


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
    ids=repr,
)
def test_declared_object_is_flattened(schema: dict[str, Any]) -> None:
    """However an object is declared, its properties are sent."""
    definitions = {"d": {"properties": {"x": {"type": "integer"}}}}
    assert read_types({"p": schema}, **{"$defs": definitions}) == {"p.x": PropertyType.INTEGER}


def test_object_or_other_type_is_not_flattened() -> None:
    """A property that can be an object or something else is one string."""
    declared = {"type": ["object", "string"], "properties": {"x": {}}}
    assert read_types({"p": declared}) == {"p": PropertyType.STRING}


def test_properties_have_the_schemas_order() -> None:
    """Names are given in this order, so it must be the schema's."""
    schema: dict[str, Any] = {
        "properties": {"b": {}, "a": {"properties": {"d": {}, "c": {}}}, "0": {}}
    }
    assert list(read_property_types(schema)) == [("b",), ("a", "d"), ("a", "c"), ("0",)]


def test_recursive_object_is_flattened_once() -> None:
    """A definition that refers to itself is a string where it occurs again."""
    node = {"properties": {"n": {"type": "integer"}, "next": {"$ref": "#/$defs/node"}}}
    found = read_types({"first": {"$ref": "#/$defs/node"}}, **{"$defs": {"node": node}})
    assert found == {"first.n": PropertyType.INTEGER, "first.next": PropertyType.STRING}


def test_mutually_recursive_definitions_take_no_time() -> None:
    """Forty definitions that refer to each other (as in FHIR) do not give a property per path."""
    names = [f"d{number}" for number in range(40)]
    definition = {"properties": {name: {"$ref": f"#/definitions/{name}"} for name in names}}
    found = read_types(
        {"start": {"$ref": "#/definitions/d0"}}, definitions=dict.fromkeys(names, definition)
    )
    assert found == {f"start.{name}": PropertyType.STRING for name in names}


def build_chain(length: int, refer_to: Callable[[str], object]) -> dict[str, Any]:
    """Return definitions that each refer to the next one."""
    chain = {f"d{i}": refer_to(f"#/$defs/d{i + 1}") for i in range(length)}
    return {**chain, f"d{length}": {"type": "integer"}}


@pytest.mark.parametrize(
    "refer_to",
    [
        pytest.param(
            lambda ref: {"properties": {"a": {"$ref": ref}, "b": {"$ref": ref}}}, id="properties"
        ),
        pytest.param(lambda ref: {"allOf": [{"$ref": ref}, {"$ref": ref}]}, id="allOf"),
        pytest.param(lambda ref: {"not": {"anyOf": [{"$ref": ref}, {"$ref": ref}]}}, id="not"),
        pytest.param(lambda ref: {"items": {"oneOf": [{"$ref": ref}] * 2}}, id="items"),
    ],
)
@pytest.mark.timeout(20)
def test_exponential_references_are_refused(refer_to: Callable[[str], object]) -> None:
    """40 definitions that each refer to the next one twice would take years to read."""
    definitions = build_chain(40, refer_to)
    with pytest.raises(SchemaTooLargeError, match="100,000 subschemas") as raised:
        read_types({"x": {}, "p": {"$ref": "#/$defs/d0"}}, **{"$defs": definitions})
    assert raised.value.property == "p"
    assert read_types({"p": {"$ref": "#/$defs/d30"}}, **{"$defs": definitions})


def test_definitions_that_are_not_used_do_not_count() -> None:
    """Nor do properties that are named like a keyword escape the limit."""
    definitions = build_chain(40, lambda ref: {"allOf": [{"$ref": ref}, {"$ref": ref}]})
    assert read_types({"p": {}}, **{"$defs": definitions})
    for name in ("enum", "const", "definitions"):
        with pytest.raises(SchemaTooLargeError):
            read_types({name: {"$ref": "#/$defs/d0"}}, **{"$defs": definitions})


@pytest.mark.timeout(20)
@pytest.mark.parametrize("frames", range(5))
def test_long_chain_of_references_is_refused(frames: int) -> None:
    """The message names the property; Python's recursion limit does not show.

    Wherever the limit is met: within a lookup of a reference, Rust would panic.
    """
    definitions = build_chain(2000, lambda ref: {"properties": {"a": {"$ref": ref}}})

    def read_below(frames: int) -> None:
        if frames:
            read_below(frames - 1)
        else:
            read_types({"p": {"$ref": "#/$defs/d0"}}, **{"$defs": definitions})

    with pytest.raises(SchemaTooLargeError, match="nested too deeply") as raised:
        read_below(frames)
    assert raised.value.property == "p"


def test_deepest_property_is_found() -> None:
    """However deep a schema is."""
    schema: Any = {}
    for _ in range(5000):
        schema = {"items": [schema]}
    properties = {"a": {"type": ["string", "null"]}, "b": schema, "c": {}}
    assert find_deepest_property({"properties": properties}) == "b"
    assert find_deepest_property({}) == ""


@given(SCHEMAS)
def test_any_json_can_be_read(schema: object) -> None:
    """An invalid schema raises no error here: validation reports it."""
    found = read_property_types({"properties": {"a": schema, "b": schema}})
    assert {path[0] for path in found} <= {"a", "b"}
    assert all(isinstance(property_type, PropertyType) for property_type in found.values())
