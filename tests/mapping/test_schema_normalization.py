"""A tap's schema becomes one of JSON Schema 2020-12, and what has no meaning is left out."""

from __future__ import annotations

import copy
import json
from typing import Any

import jsonschema_rs
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from target_segment_objects.mapping.schema_compilation import compile_validator
from target_segment_objects.mapping.schema_normalization import normalize_schema

JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-1, 3) | st.text("ab#/:", max_size=4),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from("ab"), inner),
    max_leaves=5,
)
KEYWORDS = st.sampled_from(
    (
        *("type", "properties", "required", "items", "additionalItems", "prefixItems", "enum"),
        *("anyOf", "not", "format", "maximum", "exclusiveMaximum", "multipleOf", "maxLength"),
        *("$ref", "$id", "$schema", "$anchor", "definitions", "description", "dependencies"),
        *("readOnly", "divisibleBy", "extends", "disallow", "additionalProperties"),
    )
)
SCHEMAS = st.recursive(
    JSON,
    lambda inner: st.dictionaries(
        KEYWORDS, inner | st.lists(inner, max_size=2) | st.dictionaries(st.just("a"), inner)
    ),
    max_leaves=8,
)


@pytest.mark.parametrize(
    ("declared", "expected"),
    [
        ({"maximum": 5, "exclusiveMaximum": True}, {"exclusiveMaximum": 5}),
        ({"maximum": 5, "exclusiveMaximum": False}, {"maximum": 5}),
        ({"minimum": 1e-38, "exclusiveMinimum": True}, {"exclusiveMinimum": 1e-38}),
        ({"exclusiveMaximum": 5}, {"exclusiveMaximum": 5}),
        ({"items": [{"type": "string"}]}, {"prefixItems": [{"type": "string"}]}),
        (
            {"items": [{}], "additionalItems": False},
            {"prefixItems": [{}], "items": False},
        ),
        ({"items": []}, {}),
        ({"type": "any"}, {}),
        (
            {"anyOf": [{"maximum": 1, "exclusiveMaximum": True}, {"type": "null"}]},
            {"anyOf": [{"exclusiveMaximum": 1}, {"type": "null"}]},
        ),
    ],
)
def test_what_another_draft_means_is_translated(
    declared: dict[str, Any], expected: dict[str, Any]
) -> None:
    """Without a warning, and whatever `$schema` says."""
    for version in ({}, {"$schema": "http://json-schema.org/draft-07/schema#"}):
        normalized = normalize_schema({**version, "properties": {"a": declared}})
        assert normalized.schema["properties"] == {"a": expected}
        assert normalized.describe_ignored("s") == ""


def test_draft_3_is_translated_where_the_schema_names_it() -> None:
    """A property says there itself that it is required; elsewhere, that has no meaning."""
    properties = {
        "a": {"type": "string", "required": True},
        "n": {"type": "number", "divisibleBy": 2, "disallow": "null"},
    }
    version = {"$schema": "http://json-schema.org/draft-03/schema#"}
    normalized = normalize_schema({**version, "properties": properties, "extends": {"title": "t"}})
    assert normalized.schema == {
        "properties": {
            "a": {"type": "string"},
            "n": {"type": "number", "multipleOf": 2, "not": {"type": "null"}},
        },
        "required": ["a"],
        "allOf": [{"title": "t"}],
    }
    assert not normalized.ignored
    normalized = normalize_schema({"properties": {"a": properties["a"]}})
    assert normalized.schema == {"properties": {"a": {"type": "string"}}}
    assert "required of 'a'" in normalized.describe_ignored("s")


@pytest.mark.parametrize(
    ("keyword", "value", "kept"),
    [
        *[
            (keyword, None, {})
            for keyword in (
                *("format", "description", "maxLength", "items", "properties", "required"),
                *("type", "enum", "maximum", "pattern", "anyOf", "$ref", "additionalProperties"),
            )
        ],
        ("type", "date-time", {}),
        ("type", ["date-time", "null"], {}),
        ("type", [], {}),
        ("type", ["null", "string", "null"], {"type": ["null", "string"]}),
        ("required", ["x", "x"], {"required": ["x"]}),
        ("required", ["x", 1], {"required": ["x"]}),
        ("required", True, {}),
        ("multipleOf", 0, {}),
        ("maxLength", -1, {}),
        ("maxLength", "16", {}),
        ("exclusiveMaximum", True, {}),
        ("anyOf", [], {}),
        ("additionalProperties", "true", {}),
        ("readOnly", "yes", {}),
        ("description", ["a text"], {}),
        ("$id", "#/properties/x", {}),
        ("$ref", "#/definitions/missing", {}),
        ("$ref", "http://127.0.0.1:9/schema", {}),
        ("properties", ["x"], {}),
    ],
)
def test_what_has_no_meaning_is_left_out(keyword: str, value: object, kept: object) -> None:
    """The warning names the property, the keyword and the setting; other keywords stay."""
    schema = {"properties": {"a": {"title": "A", keyword: value}, "b": {"type": "integer"}}}
    before = copy.deepcopy(schema)
    normalized = normalize_schema(schema)
    assert normalized.schema["properties"] == {
        "a": {"title": "A", **kept},  # type: ignore[dict-item]
        "b": {"type": "integer"},
    }
    assert compile_validator(normalized.schema) is not None
    warning = normalized.describe_ignored("s")
    assert f"{keyword} of 'a'." in warning
    assert "validate_records" in warning
    assert schema == before


@pytest.mark.parametrize("schema", [None, "string", 1, []])
def test_what_is_no_schema_declares_nothing(schema: object) -> None:
    """The property stays, without a type."""
    normalized = normalize_schema({"properties": {"a": schema}})
    assert normalized.schema == {"properties": {"a": {}}}
    assert "all of 'a'" in normalized.describe_ignored("s")


@pytest.mark.parametrize("rest", [{}, {"properties": None}, {"type": "date-time"}])
def test_whole_schema_is_normalized(rest: dict[str, Any]) -> None:
    """The SDK needs `properties`; null has a warning, as an unknown type has."""
    normalized = normalize_schema({"required": ["id"], **rest})
    assert normalized.schema == {"required": ["id"], "properties": {}}
    assert ("the schema itself" in normalized.describe_ignored("s")) is bool(rest)


def test_warning_lists_some_places() -> None:
    """A wide stream has a short warning."""
    normalized = normalize_schema({"properties": {f"p{n:03}": {"format": None} for n in range(99)}})
    warning = normalized.describe_ignored("s")
    assert "format of 'p000', " in warning
    assert "and 89 more" in warning
    assert len(warning) < 600


def test_valid_schema_is_not_copied() -> None:
    """It is what almost every tap writes."""
    node = {"type": "object", "properties": {"child": {"$ref": "#/$defs/node"}}}
    schema = {
        "$schema": "http://json-schema.org/draft-04/schema#",
        "properties": {"id": {"type": ["integer", "null"], "maximum": 5}, "node": node},
        "$defs": {"node": node},
    }
    assert normalize_schema(schema).schema is schema


@given(st.dictionaries(KEYWORDS, SCHEMAS, max_size=4))
@example({"properties": {"type": {"$schema": []}}})
def test_any_schema_can_be_read_afterwards(schema: dict[str, Any]) -> None:
    """Whatever a tap writes, the validator can read it, and a second time changes nothing."""
    normalized = normalize_schema(schema).schema
    version_free = {keyword: value for keyword, value in normalized.items() if keyword != "$schema"}
    assert jsonschema_rs.meta.is_valid(version_free)
    assert isinstance(normalized["properties"], dict)
    assert json.dumps(normalize_schema(normalized).schema) == json.dumps(normalized)
