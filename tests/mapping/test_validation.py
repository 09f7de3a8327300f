"""Validation: the SDK's verdicts, without its departures from JSON Schema and without values."""

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
SECRET = "s3cret"  # noqa: S105 - stands for what may be in no message

# Values as taps write them. Numbers with a fraction have one: `1.0` is where verdicts differ.
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


def _schemas(inner: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
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
    _schemas,
    max_leaves=6,
)


def read(text: str) -> Any:  # noqa: ANN401 - JSON of any shape
    """Return JSON as the target reads it: numbers with a fraction as decimals."""
    return MessageReader().deserialize_json(text.encode())


def refusal(schema: dict[str, Any], record: dict[str, Any]) -> InvalidRecordError | None:
    """Return why a record is refused; None if it is accepted."""
    try:
        RecordValidator("s", schema).validate(record)
    except InvalidRecordError as error:
        return error
    return None


def sdk_accepts(schema: dict[str, Any], record: dict[str, Any]) -> bool:
    """Return the SDK's verdict."""
    try:
        JSONSchemaValidator(schema).validate(record)
    except InvalidRecord:
        return False
    return True


@pytest.mark.parametrize("stream", STREAMS, ids=lambda path: path.stem)
def test_verdicts_on_the_sdks_own_streams(stream: Path) -> None:
    """Each record of each stream, against each schema of that stream, is judged as by the SDK."""
    messages = [read(line) for line in stream.read_text(encoding="utf-8").splitlines()]
    schemas = [message for message in messages if message["type"] == "SCHEMA"]
    for message in messages:
        for schema in schemas:
            if message["type"] == "RECORD" and message["stream"] == schema["stream"]:
                ours = refusal(schema["schema"], message["record"]) is None
                assert ours == sdk_accepts(schema["schema"], message["record"])


def test_the_sdks_streams_are_there() -> None:
    """The test above has something to say: both verdicts occur in it."""
    assert len(STREAMS) >= 15
    assert "record_missing_required_property" in {stream.stem for stream in STREAMS}


@pytest.mark.slow
@given(
    st.dictionaries(st.sampled_from("abc"), SCHEMAS, min_size=1, max_size=3),
    _schemas(SCHEMAS),
    st.lists(st.dictionaries(st.sampled_from("abc"), VALUES, max_size=3), min_size=1, max_size=4),
)
def test_verdicts_on_random_schemas_and_records(
    properties: dict[str, Any], rest: dict[str, Any], records: list[dict[str, Any]]
) -> None:
    """What the SDK accepts is accepted, and what it refuses is refused."""
    definitions = {"d": {"type": ["integer", "null"]}, "e": {"items": {"$ref": "#/$defs/e"}}}
    schema = read(json.dumps({**rest, "properties": properties, "$defs": definitions}))
    for record in records:
        as_read = read(json.dumps(record))
        assert (refusal(schema, as_read) is None) == sdk_accepts(schema, as_read)


@given(SCHEMAS, VALUES, st.sampled_from(["NaN", "Infinity", "-Infinity"]))
@example({"type": "number"}, None, "NaN")
@example({"type": "null"}, None, "NaN")
def test_verdicts_on_records_with_nan(schema: object, value: object, number: str) -> None:
    """A record with NaN is judged as by the SDK, wherever that comes to a verdict at all."""
    definitions = {"d": {"type": ["integer", "null"]}, "e": {"items": {"$ref": "#/$defs/e"}}}
    properties = {"a": schema, "b": schema}
    whole = read(json.dumps({"properties": properties, "$defs": definitions}))
    record = read(f'{{"a":{number},"b":{json.dumps(value)}}}')
    ours = refusal(whole, record) is None
    try:
        theirs = sdk_accepts(whole, record)
    except (ArithmeticError, TypeError):  # it compares NaN with a decimal, or divides it
        return
    assert ours == theirs


@pytest.mark.parametrize(
    ("schema", "record", "field", "reason"),
    [
        ({"a": {"type": "integer"}}, {"a": SECRET}, "a", 'type "integer"'),
        ({"a": {"type": ["null", "integer"]}}, {"a": SECRET}, "a", 'type ["integer","null"]'),
        ({"a": {"maxLength": 2}}, {"a": SECRET}, "a", "maxLength 2"),
        ({"a": {"pattern": "^x"}}, {"a": SECRET}, "a", 'pattern "^x"'),
        ({"a": {"enum": ["x", 1]}}, {"a": SECRET}, "a", 'enum ["x",1]'),
        ({"a": {"anyOf": [{"type": "null"}]}}, {"a": SECRET}, "a", "anyOf"),
        ({"a": False}, {"a": SECRET}, "a", "nothing there"),
        ({"a": {"additionalProperties": False}}, {"a": {SECRET: 1}}, "a", "no other properties"),
        ({"a": {"required": ["b"]}}, {"a": {SECRET: 1}}, "a", "the property 'b'"),
        ({"a": {"items": {"properties": {"b": {"type": "null"}}}}}, {"a": [{}, {"b": SECRET}]},
         "a.1.b", 'type "null"'),
        ({"a": {"additionalProperties": {"type": "null"}}}, {"a": {SECRET: SECRET}}, "a",
         'type "null"'),
        ({"a": {"propertyNames": {"maxLength": 1}}}, {"a": {SECRET: 1}}, "a", "propertyNames"),
        ({"a": {"type": "string"}}, {"a": datetime.date(2024, 1, 31)}, "a", 'type "string"'),
        ({"a": {"enum": ["x" * 500]}}, {"a": SECRET}, "a", 'enum ["' + "x" * 78),
    ],
)  # fmt: skip
def test_a_reason_names_what_is_asked_and_no_value(
    schema: dict[str, Any], record: dict[str, Any], field: str, reason: str
) -> None:
    """Field and reason come from the schema; keys of a map in the record are values, too."""
    error = refusal({"properties": schema}, record)
    assert error is not None
    assert error.field == field
    assert error.reason.startswith(f"the schema asks for {reason}")
    # The other validator, which such a pattern needs, has the same manners.
    for told in (error, refusal({"properties": {**schema, "z": {"pattern": r"\Z"}}}, record)):
        assert told is not None
        assert SECRET not in str(told)


@pytest.mark.parametrize(
    ("schema", "text"),
    [
        ({"type": "any"}, "type"),
        ({"properties": {"a": {"pattern": "("}}}, "properties.a.pattern"),
        ({"properties": {"a": {"required": True}}}, "properties.a.required"),
        ({"properties": []}, "properties"),
    ],
)
def test_a_schema_that_is_none_is_refused(schema: dict[str, Any], text: str) -> None:
    """As by the SDK, with stream and place."""
    with pytest.raises(InvalidJSONSchema, match=rf"^Stream 's': its SCHEMA .* at {text}, "):
        RecordValidator("s", schema)
    with pytest.raises(InvalidJSONSchema):
        JSONSchemaValidator(schema)


def test_no_address_is_followed() -> None:
    """A schema elsewhere is not fetched; the record that needs it is refused, with the address."""
    schema = {"properties": {"a": {"$ref": "http://127.0.0.1:9/schema"}}}
    assert refusal(schema, {"b": 1}) is None
    error = refusal(schema, {"a": 1})
    assert error is not None
    assert "refers to http://127.0.0.1:9/schema" in error.reason


def test_deep_nesting_ends_no_run() -> None:
    """A record as deep as can be read is judged, or refused for being so deep."""
    deep = read('{"a":' * 900 + "1" + "}" * 900)
    node = {"properties": {"a": {"anyOf": [{"$ref": "#"}, {"type": "integer"}]}}}
    assert refusal({**node, "type": ["object", "integer"]}, deep) is None
    error = refusal({**node, "type": ["object", "integer"], "pattern": r"\Z"}, deep)
    assert error is None or error.reason == "it is nested too deeply"


@pytest.mark.parametrize("keyword", ["type", "const"])
def test_half_a_surrogate_is_no_trouble(keyword: str) -> None:
    """A schema or a record with one is judged, and the message can be written."""
    record = read('{"\\ud800":"\\ud800"}')
    schema = read(
        json.dumps(
            {"properties": {"\ud800": {keyword: {"type": "null", "const": "\ud801"}[keyword]}}}
        )
    )
    error = refusal(schema, record)
    assert error is not None
    assert str(error).encode()


def test_a_pattern_that_python_cannot_read_beside_nan() -> None:
    """Two rarities at once are an invalid record, not the end of the run."""
    schema = {"properties": {"a": {"type": "number"}, "b": {"pattern": r"\p{L}"}}}
    error = refusal(schema, read('{"a":NaN,"b":"x"}'))
    assert error is not None
    assert "pattern" in error.reason
    assert refusal(schema, read('{"a":NaN}')) is None


def test_patterns_that_backtrack_without_end_come_to_an_end() -> None:
    """A pattern that would keep Python busy for years does not keep us."""
    schema = {"properties": {"a": {"pattern": "^(a+)+$"}}}
    assert refusal(schema, {"a": "a" * 60 + "b"}) is not None
