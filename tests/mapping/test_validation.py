"""RecordValidator gives the SDK's results, follows JSON Schema, and shows no values."""

from __future__ import annotations

import datetime
import json
import math
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
import singer_sdk.testing
from hypothesis import example, given
from hypothesis import strategies as st
from singer_sdk.exceptions import InvalidJSONSchema, InvalidRecord
from singer_sdk.sinks.core import JSONSchemaValidator

from target_segment_objects.exceptions import InvalidRecordError, UnmappableStreamError
from target_segment_objects.mapping.data_warnings import DataWarnings
from target_segment_objects.mapping.properties.property_mapping import PropertyMapping
from target_segment_objects.mapping.property_tree import DeclaredObject, build_tree
from target_segment_objects.mapping.schema import read_property_types
from target_segment_objects.mapping.validation import RecordValidator
from target_segment_objects.mapping.violations import RecordCheck
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


def validate(
    schema: dict[str, Any], record: dict[str, Any], warnings: list[str] | None = None
) -> InvalidRecordError | None:
    """Return why a record is invalid for `schema_violations: reject`; None if it is sent."""
    log = DataWarnings("s", ([] if warnings is None else warnings).append)
    try:
        check_record(RecordValidator("s", schema, warnings=log), record, log)
    except InvalidRecordError as error:
        return error
    return None


def check_record(validator: RecordValidator, record: dict[str, Any], log: DataWarnings) -> None:
    """Check a record as the mapping does, and warn of what does no harm."""
    check = RecordCheck(validator, "reject")
    if check.find_suspects([record]):
        tree = build_declared_tree(validator.schema)
        log.warn_schema_mismatches(check.find_harmless(record, tree))


def build_declared_tree(schema: dict[str, Any]) -> DeclaredObject:
    """Return the properties that a schema declares."""
    types = read_property_types(schema)
    return build_tree([PropertyMapping(path, "", each) for path, each in types.items()])


def is_valid(schema: dict[str, Any], record: dict[str, Any]) -> bool:
    """Return whether a record has no violation of its schema, not even a harmless one."""
    warnings: list[str] = []
    return validate(schema, record, warnings) is None and not warnings


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
                assert is_valid(schema["schema"], message["record"]) == accept_with_sdk(
                    schema["schema"], message["record"]
                )


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
        assert is_valid(schema, as_read) == accept_with_sdk(schema, as_read)


@given(SCHEMAS, VALUES, st.sampled_from(["NaN", "Infinity", "-Infinity"]))
@example({"type": "number"}, None, "NaN")
@example({"type": "null"}, None, "NaN")
@example({"anyOf": [False]}, None, "NaN")
def test_results_equal_the_sdks_for_records_with_nan(
    schema: object, value: object, number: str
) -> None:
    """A record with NaN is valid exactly if the SDK accepts it, unless the SDK fails."""
    definitions = {"d": {"type": ["integer", "null"]}, "e": {"items": {"$ref": "#/$defs/e"}}}
    properties = {"a": schema, "b": schema}
    whole = read_json(json.dumps({"properties": properties, "$defs": definitions}))
    record = read_json(f'{{"a":{number},"b":{json.dumps(value)}}}')
    try:
        is_accepted = accept_with_sdk(whole, record)
    except (ArithmeticError, TypeError):  # it compares NaN with a decimal
        return
    assert is_valid(whole, record) == is_accepted


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
    with_nan = validate({"properties": {"a": schema}}, {"a": value, "n": math.nan})
    assert with_nan is not None
    assert with_nan.reason == error.reason
    assert SECRET not in f"{error} {with_nan}"


@pytest.mark.parametrize(
    ("schema", "value", "violation"),
    [
        pytest.param(
            {"type": "array", "items": {"type": "integer"}},
            [1, None],
            'requires type "integer"',
            id="null in an array",
        ),
        pytest.param(
            {"type": ["array", "null"], "items": {"type": "integer"}},
            [[1], [2]],
            'requires type "integer"',
            id="array of arrays",
        ),
        pytest.param(
            {"type": ["null", "array"], "items": {"type": "integer"}},
            "{1,2}",
            'requires type ["array","null"]',
            id="array as a string",
        ),
        pytest.param(
            {"type": ["null", "object"]},
            "POINT(1 2)",
            'requires type ["null","object"]',
            id="object as a string",
        ),
        pytest.param({"type": "array"}, 5, 'requires type "array"', id="number as an array"),
        pytest.param(
            {"type": "array", "minItems": 2}, [SECRET], "requires minItems 2", id="minItems"
        ),
        pytest.param(
            {"anyOf": [{"type": "array", "items": {"type": "null"}}, {"type": "string"}]},
            [SECRET],
            "requires anyOf",
            id="anyOf",
        ),
        pytest.param(
            {"items": {"properties": {"b": {"type": "null"}}}},
            [{}, {"b": SECRET}],
            'requires type "null"',
            id="object in an array",
        ),
        pytest.param(
            {"additionalProperties": False},
            {SECRET: 1},
            "allows no other properties",
            id="additionalProperties",
        ),
        pytest.param({"required": ["b"]}, {SECRET: 1}, "requires the property 'b'", id="required"),
        pytest.param(
            {"additionalProperties": {"type": "null"}},
            {SECRET: SECRET},
            'requires type "null"',
            id="member of a free-form object",
        ),
        pytest.param(
            {"propertyNames": {"maxLength": 1}},
            {SECRET: 1},
            "requires ",
            id="propertyNames",
        ),
    ],
)
@pytest.mark.parametrize("other", [{}, {"b": math.nan}], ids=["plain", "with NaN"])
def test_violation_at_json_text_is_one_warning(
    schema: object, value: object, violation: str, other: dict[str, Any]
) -> None:
    """The record is sent; the warning names property and constraint, once, and no value."""
    warnings: list[str] = []
    state = DataWarnings("s", warnings.append)
    for _ in range(2):
        validator = RecordValidator(
            "s", {"properties": {"o": {"properties": {"a": schema}}}}, warnings=state
        )
        check_record(validator, {"o": {"a": value}, **other}, state)
    (warning,) = warnings
    assert "'o.a' has values that do not match its schema" in warning
    assert f"which {violation}" in warning
    assert SECRET not in warning


@pytest.mark.parametrize(
    ("schema", "value"),
    [
        pytest.param({"type": "array"}, None, id="null is not JSON text"),
        pytest.param({"type": "integer"}, "x", id="string as an integer"),
        pytest.param({"type": "integer"}, [1], id="array as an integer"),
        pytest.param({"type": "string"}, [1], id="array as a string"),
        pytest.param(
            {"type": "object", "properties": {"b": {}}}, "x", id="string as a declared object"
        ),
        pytest.param(
            {"type": "object", "properties": {"b": {}}}, ["x"], id="array as a declared object"
        ),
        pytest.param({"type": ["array", "string"], "maxLength": 1}, "xy", id="string, too long"),
    ],
)
def test_violation_elsewhere_makes_the_record_invalid(schema: object, value: object) -> None:
    """Also beside a harmless one; the message says what to do."""
    properties = {"a": {"type": "array", "items": {"type": "integer"}}, "z": schema}
    error = validate({"properties": properties}, {"a": [None], "z": value})
    assert error is not None
    assert error.field == "z"
    for solution in ("stream_maps", "validate_records", "dead_letter", "tap's schema"):
        assert solution in str(error)


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
        RecordValidator("s", schema, warnings=DataWarnings("s", print))
    with pytest.raises(InvalidJSONSchema):
        JSONSchemaValidator(schema)


def test_remote_reference_is_not_fetched() -> None:
    """Only a record that needs it is invalid, and the reason names the address."""
    schema = {"properties": {"a": {"$ref": "http://127.0.0.1:9/schema"}}}
    assert validate(schema, {"b": 1}) is None
    error = validate(schema, {"a": 1})
    assert error is not None
    assert "refers to http://127.0.0.1:9/schema" in error.reason


@pytest.mark.parametrize("depth", [200, 500, 900])
@pytest.mark.parametrize("number", ["1", "NaN"])
def test_invalid_deeply_nested_record_has_its_reason(depth: int, number: str) -> None:
    """Whichever library finds the violation, and with patterns in the schema."""
    schema = {"id": {"type": "integer"}, "d": {"patternProperties": {"^x": {}}}}
    record = read_json(f'{{"id":"x","n":{number},"d":{"[" * depth}1{"]" * depth}}}')
    with ThreadPoolExecutor(1) as thread:  # with a stack of its own
        error = thread.submit(validate, {"properties": schema}, record).result()
    assert error is not None
    assert (error.field, error.reason) == ("id", 'the schema requires type "integer"')


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


@pytest.mark.parametrize("number", ["1", "NaN"])
@pytest.mark.parametrize(
    ("pattern", "text", "expected"),
    [
        pytest.param(r"^\p{L}$", "é", True, id="only jsonschema-rs reads it"),
        pytest.param(r"^\p{L}$", "1", False, id="only jsonschema-rs reads it, no match"),
        pytest.param(r"^x\Z", "x", True, id="end of string in Python's syntax"),
        pytest.param(r"^x\Z", "xy", False, id="end of string in Python's syntax, no match"),
        pytest.param(r"^\\Z$", r"\Z", True, id="an escaped backslash before a Z"),
    ],
)
def test_patterns_have_one_meaning(number: str, pattern: str, text: str, *, expected: bool) -> None:
    """Whichever library validates the record; also as a pattern of property names."""
    record = read_json(f'{{"n":{number},"a":{json.dumps(text)},"o":{{{json.dumps(text)}:1}}}}')
    by_value = {"properties": {"a": {"pattern": pattern}}}
    by_name = {"properties": {"o": {"patternProperties": {pattern: {"const": 2}}}}}
    closed = {
        "properties": {"o": {"patternProperties": {pattern: {}}, "additionalProperties": False}}
    }
    assert is_valid(by_value, record) is expected
    assert is_valid(by_name, record) is not expected
    assert is_valid(closed, record) is expected


def test_pattern_that_only_python_supports_is_not_checked() -> None:
    """It is one warning that names the property; other constraints are checked."""
    warnings: list[str] = []
    pattern = {"o": {"properties": {"a": {"pattern": "(?#digit)[0-9]"}}}}
    assert validate({"properties": pattern}, {"o": {"a": "x"}}, warnings) is None
    (warning,) = warnings
    assert "the property 'o.a' has the pattern (?#digit)[0-9]" in warning
    properties = {**pattern, "b": {"type": "integer"}}
    assert validate({"properties": properties}, {"o": {"a": "x"}, "b": "x"}) is not None


@pytest.mark.parametrize("pattern", [r"^(a+)+$", r"^(a+)+\Z", r"^(?=a)(a|aa)+\1b$"])
@pytest.mark.parametrize("number", ["1", "NaN"])
@pytest.mark.parametrize("keyword", ["pattern", "patternProperties"])
@pytest.mark.timeout(20)
def test_backtracking_patterns_take_bounded_time(pattern: str, number: str, keyword: str) -> None:
    """A pattern that takes Python years takes no time, with NaN in the record, too."""
    text = "a" * 60 + "c"
    constraint = pattern if keyword == "pattern" else {pattern: False}
    schema = {"properties": {"o": {"properties": {"a": {keyword: constraint}}}}}
    value = text if keyword == "pattern" else {text: 1}
    record = {"o": {"a": value}, "n": read_json(f'{{"n":{number}}}')["n"]}
    error = validate(schema, record)
    assert (error is not None and error.field == "o.a") == (keyword == "pattern")


@pytest.mark.timeout(20)
def test_schema_nested_too_deeply_to_be_validated_is_refused() -> None:
    """The message names the property and what to do; less deep, it is validated."""

    def build_schema(depth: int) -> dict[str, Any]:
        schema: dict[str, Any] = {"type": "integer"}
        for _ in range(depth):
            schema = {"type": "object", "properties": {"a": schema}}
        return {"properties": {"flat": {"type": "object"}, "deep": schema}}

    assert validate(build_schema(60), {"deep": 1}) is not None
    for depth in (150, 300):
        with pytest.raises(
            UnmappableStreamError, match=r"'deep' is nested too deeply .* stream_maps"
        ):
            validate(build_schema(depth), {})


def test_validator_gives_the_same_result_each_time() -> None:
    """When its schema is compiled for one record, and when it is kept for the next ones."""
    schema = {"type": "object", "properties": {"a": {"type": "integer", "maximum": 3}}}
    validator = RecordValidator("s", schema, warnings=DataWarnings("s", print))
    for _ in range(30):
        validator.validate({"a": 3})
        with pytest.raises(InvalidRecordError, match="requires maximum 3"):
            validator.validate({"a": 4})
