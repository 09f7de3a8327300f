"""RecordValidator gives the SDK's results, follows JSON Schema, and shows no values."""

from __future__ import annotations

import datetime
import json
from pathlib import Path
from typing import Any

import pytest
import singer_sdk.testing
from hypothesis import example, given
from hypothesis import strategies as st
from singer_sdk.exceptions import InvalidJSONSchema, InvalidRecord
from singer_sdk.sinks.core import JSONSchemaValidator

from target_segment_objects.exceptions import InvalidRecordError
from target_segment_objects.mapping.validation import RecordValidator
from target_segment_objects.singer.reader import MessageReader

STREAMS = sorted(Path(singer_sdk.testing.__file__).parent.glob("target_test_streams/*.singer"))
SECRET = "s3cret"  # noqa: S105 - a value that no message may show

# Values as taps write them. No `1.0`: there the SDK departs from JSON Schema.
SCALARS = st.sampled_from([None, True, False, 0, 1, 2, -1, 1.5, 0.25, "", "a", "ab", "é", "b1"])
VALUES = st.recursive(
    SCALARS | st.integers() | st.text(max_size=3),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from("abc"), inner, max_size=3)
    ),
    max_leaves=5,
)
TYPES = st.sampled_from(["array", "boolean", "integer", "null", "number", "object", "string"])
COUNTS = st.integers(0, 3)
NUMBERS = st.sampled_from([-1, 0, 0.25, 1, 1.5, 2])
PATTERNS = st.sampled_from(["a", "^a", "^[ab]+", "b1|é", "^(?=a)", "^(?!a)", r"^(.)\1", "^.{1,2}"])


def _build_schemas(inner: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    properties = st.dictionaries(st.sampled_from("abc"), inner, max_size=3)
    some = st.lists(inner, min_size=1, max_size=3)
    return st.fixed_dictionaries(
        {},
        optional={
            "type": TYPES | st.lists(TYPES, min_size=1, unique=True),
            "properties": properties,
            "required": st.lists(st.sampled_from("abc"), unique=True),
            "additionalProperties": inner,
            "unevaluatedProperties": inner,
            "patternProperties": st.dictionaries(PATTERNS, inner, max_size=2),
            "propertyNames": inner,
            "dependentRequired": st.just({"a": ["b"]}),
            "dependencies": st.just({"a": ["b"]}),
            "minProperties": COUNTS,
            "items": inner,
            "prefixItems": some,
            "contains": inner,
            "uniqueItems": st.booleans(),
            "maxItems": COUNTS,
            "enum": st.lists(VALUES, max_size=3),
            "const": VALUES,
            "minimum": NUMBERS,
            "exclusiveMaximum": NUMBERS,
            "multipleOf": st.sampled_from([1, 2, 0.25]),
            "minLength": COUNTS,
            "maxLength": COUNTS,
            "pattern": PATTERNS,
            "format": st.sampled_from(["date-time", "email", "none"]),
            "allOf": some,
            "anyOf": some,
            "oneOf": some,
            "not": inner,
            "if": inner,
            "then": inner,
            "$ref": st.sampled_from(["#/$defs/d", "#/$defs/e"]),
        },
    )


SCHEMAS = st.recursive(
    st.booleans() | st.fixed_dictionaries({}, optional={"type": TYPES, "const": SCALARS}),
    _build_schemas,
    max_leaves=6,
)


def read_json(text: str) -> Any:  # noqa: ANN401 - JSON of any shape
    """Return JSON as the target reads it: numbers with a fraction as decimals."""
    return MessageReader().deserialize_json(text.encode())


def validate(schema: dict[str, Any], record: dict[str, Any]) -> InvalidRecordError | None:
    """Return why a record is invalid; None if it is valid."""
    try:
        RecordValidator("s", schema).validate(record)
    except InvalidRecordError as error:
        return error
    return None


def accept_with_sdk(schema: dict[str, Any], record: dict[str, Any]) -> bool:
    """Return whether the SDK accepts a record."""
    try:
        JSONSchemaValidator(schema).validate(record)
    except InvalidRecord:
        return False
    return True


@pytest.mark.parametrize("stream", STREAMS, ids=lambda path: path.stem)
def test_results_equal_the_sdks_for_its_test_streams(stream: Path) -> None:
    """Each record of each stream, against each schema of that stream."""
    messages = [read_json(line) for line in stream.read_text(encoding="utf-8").splitlines()]
    schemas = [message for message in messages if message["type"] == "SCHEMA"]
    for message in messages:
        for schema in schemas:
            if message["type"] == "RECORD" and message["stream"] == schema["stream"]:
                is_valid = validate(schema["schema"], message["record"]) is None
                assert is_valid == accept_with_sdk(schema["schema"], message["record"])


def test_sdk_test_streams_exist() -> None:
    """They include valid and invalid records."""
    assert len(STREAMS) >= 15
    assert "record_missing_required_property" in {stream.stem for stream in STREAMS}


@pytest.mark.slow
@given(
    st.dictionaries(st.sampled_from("abc"), SCHEMAS, min_size=1, max_size=3),
    _build_schemas(SCHEMAS),
    st.lists(st.dictionaries(st.sampled_from("abc"), VALUES, max_size=3), min_size=1, max_size=4),
)
def test_results_equal_the_sdks_for_random_schemas(
    properties: dict[str, Any], rest: dict[str, Any], records: list[dict[str, Any]]
) -> None:
    """A record is valid exactly if the SDK accepts it."""
    definitions = {"d": {"type": ["integer", "null"]}, "e": {"items": {"$ref": "#/$defs/e"}}}
    schema = read_json(json.dumps({**rest, "properties": properties, "$defs": definitions}))
    for record in records:
        as_read = read_json(json.dumps(record))
        assert (validate(schema, as_read) is None) == accept_with_sdk(schema, as_read)


@given(SCHEMAS, VALUES, st.sampled_from(["NaN", "Infinity", "-Infinity"]))
@example({"type": "number"}, None, "NaN")
@example({"type": "null"}, None, "NaN")
def test_results_equal_the_sdks_for_records_with_nan(
    schema: object, value: object, number: str
) -> None:
    """A record with NaN is valid exactly if the SDK accepts it, unless the SDK fails."""
    definitions = {"d": {"type": ["integer", "null"]}, "e": {"items": {"$ref": "#/$defs/e"}}}
    properties = {"a": schema, "b": schema}
    whole = read_json(json.dumps({"properties": properties, "$defs": definitions}))
    record = read_json(f'{{"a":{number},"b":{json.dumps(value)}}}')
    is_valid = validate(whole, record) is None
    try:
        is_accepted = accept_with_sdk(whole, record)
    except (ArithmeticError, TypeError):  # it compares NaN with a decimal
        return
    assert is_valid == is_accepted


@pytest.mark.parametrize(
    ("schema", "value", "field", "reason"),
    [
        pytest.param({"type": "integer"}, SECRET, "a", 'requires type "integer"', id="type"),
        pytest.param(
            {"type": ["null", "integer"]},
            SECRET,
            "a",
            'requires type ["integer","null"]',
            id="types",
        ),
        pytest.param({"maxLength": 2}, SECRET, "a", "requires maxLength 2", id="maxLength"),
        pytest.param({"pattern": "^x"}, SECRET, "a", 'requires pattern "^x"', id="pattern"),
        pytest.param({"enum": ["x", 1]}, SECRET, "a", 'requires enum ["x",1]', id="enum"),
        pytest.param(
            {"enum": ["x" * 500]}, SECRET, "a", 'requires enum ["' + "x" * 78, id="long enum"
        ),
        pytest.param({"anyOf": [{"type": "null"}]}, SECRET, "a", "requires anyOf", id="anyOf"),
        pytest.param(False, SECRET, "a", "allows no value here", id="false"),
        pytest.param(
            {"additionalProperties": False},
            {SECRET: 1},
            "a",
            "allows no other properties",
            id="additionalProperties",
        ),
        pytest.param(
            {"required": ["b"]}, {SECRET: 1}, "a", "requires the property 'b'", id="required"
        ),
        pytest.param(
            {"items": {"properties": {"b": {"type": "null"}}}},
            [{}, {"b": SECRET}],
            "a.1.b",
            'requires type "null"',
            id="inside an array",
        ),
        pytest.param(
            {"additionalProperties": {"type": "null"}},
            {SECRET: SECRET},
            "a",
            'requires type "null"',
            id="inside a free-form object",
        ),
        pytest.param(
            {"propertyNames": {"maxLength": 1}},
            {SECRET: 1},
            "a",
            "requires propertyNames",
            id="propertyNames",
        ),
        pytest.param(
            {"type": "string"},
            datetime.date(2024, 1, 31),
            "a",
            'requires type "string"',
            id="value of a stream map",
        ),
    ],
)
def test_reason_names_the_constraint_and_never_the_value(
    schema: object, value: object, field: str, reason: str
) -> None:
    """Property and reason come from the schema; the keys of a free-form object are values, too."""
    error = validate({"properties": {"a": schema}}, {"a": value})
    assert error is not None
    assert error.field == field
    assert error.reason.startswith(f"the schema {reason}")
    with_python_pattern = {"a": schema, "z": {"pattern": r"\Z"}}  # the fallback validates it
    for found in (error, validate({"properties": with_python_pattern}, {"a": value})):
        assert found is not None
        assert SECRET not in str(found)


@pytest.mark.parametrize(
    ("schema", "location"),
    [
        pytest.param({"type": "any"}, "type", id="unknown type"),
        pytest.param(
            {"properties": {"a": {"pattern": "("}}}, "properties.a.pattern", id="broken pattern"
        ),
        pytest.param(
            {"properties": {"a": {"required": True}}}, "properties.a.required", id="draft 3"
        ),
        pytest.param({"properties": []}, "properties", id="properties is an array"),
    ],
)
def test_invalid_schema_is_refused(schema: dict[str, Any], location: str) -> None:
    """The SDK refuses it, too; the message names the stream and the place in the schema."""
    with pytest.raises(InvalidJSONSchema, match=rf"^Stream 's': its SCHEMA .* at {location}, "):
        RecordValidator("s", schema)
    with pytest.raises(InvalidJSONSchema):
        JSONSchemaValidator(schema)


def test_remote_reference_is_not_fetched() -> None:
    """Only a record that needs it is invalid, and the reason names the address."""
    schema = {"properties": {"a": {"$ref": "http://127.0.0.1:9/schema"}}}
    assert validate(schema, {"b": 1}) is None
    error = validate(schema, {"a": 1})
    assert error is not None
    assert "refers to http://127.0.0.1:9/schema" in error.reason


def test_deeply_nested_record_is_validated_or_invalid() -> None:
    """A record as deep as can be read never ends the run."""
    deep = read_json('{"a":' * 900 + "1" + "}" * 900)
    node = {"properties": {"a": {"anyOf": [{"$ref": "#"}, {"type": "integer"}]}}}
    assert validate({**node, "type": ["object", "integer"]}, deep) is None
    error = validate({**node, "type": ["object", "integer"], "pattern": r"\Z"}, deep)
    assert error is None or error.reason == "it is nested too deeply"


@pytest.mark.parametrize("keyword", ["type", "const"])
def test_unpaired_surrogates_are_validated(keyword: str) -> None:
    """In a schema and in a record; the message can be written."""
    record = read_json('{"\\ud800":"\\ud800"}')
    schema = read_json(
        json.dumps(
            {"properties": {"\ud800": {keyword: {"type": "null", "const": "\ud801"}[keyword]}}}
        )
    )
    error = validate(schema, record)
    assert error is not None
    assert str(error).encode()


def test_rust_only_pattern_with_nan_makes_the_record_invalid() -> None:
    """It does not end the run."""
    schema = {"properties": {"a": {"type": "number"}, "b": {"pattern": r"\p{L}"}}}
    error = validate(schema, read_json('{"a":NaN,"b":"x"}'))
    assert error is not None
    assert "pattern" in error.reason
    assert validate(schema, read_json('{"a":NaN}')) is None


def test_nested_quantifiers_take_no_time() -> None:
    """A pattern that would take Python years takes jsonschema-rs none."""
    schema = {"properties": {"a": {"pattern": "^(a+)+$"}}}
    assert validate(schema, {"a": "a" * 60 + "b"}) is not None
