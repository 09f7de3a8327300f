"""Both decoders give the same objects, warnings and rejects, for any schema and record."""

from __future__ import annotations

import hashlib
import itertools
import json
import tempfile
from typing import TYPE_CHECKING, Any, NamedTuple

import pytest
from hypothesis import HealthCheck, event, example, given, settings
from hypothesis import strategies as st

from target_segment_objects.exceptions import InvalidRecordError, UnmappableStreamError
from target_segment_objects.mapping.mapper import RecordMapper
from target_segment_objects.mapping.mapping_options import MappingOptions
from target_segment_objects.mapping.properties.memory import SentProperty
from target_segment_objects.mapping.schema import PropertyType
from target_segment_objects.mapping.validation import RecordValidator
from target_segment_objects.mapping.violations import RecordCheck
from tests.support import schema_line, state_line
from tests.support.remembered_properties import RememberedProperties, create_state
from tests.support.two_decoders import DECODERS, run_and_collect

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

OPTIONS = MappingOptions()


class Mapped(NamedTuple):
    """What became of the records of a stream.

    Attributes:
        objects: The JSON of each record's object; its error if it cannot be sent.
        failure: Why the stream stopped.
        warnings: The warnings, sorted: records that are decoded together are mapped together.
        saved: The properties that were stored, with their types.
        untyped: How many records were decoded untyped.
    """

    objects: list[bytes | str]
    failure: str | None
    warnings: list[str]
    saved: list[str]
    untyped: int

    @property
    def line(self) -> bytes:
        """The JSON of the only record's object."""
        (line,) = self.objects
        assert isinstance(line, bytes)
        return line


class Stream:
    """One stream, whose records are decoded with types or untyped."""

    def __init__(
        self,
        schema: dict[str, Any],
        keys: Sequence[str] = ("id",),
        *,
        options: MappingOptions = OPTIONS,
        known: Sequence[SentProperty] | None = None,
        use_types: bool = True,
        mode: Any = "reject",  # noqa: ANN401 - a literal
    ) -> None:
        """Compile the mapping."""
        self.warnings: list[str] = []
        self.memory = None if known is None else RememberedProperties(*known)
        state = create_state("s", self.warnings.append)
        if self.memory is not None:
            self.memory.messages = self.warnings
            state = self.memory.start_run()
        validator = RecordValidator(
            "s", schema, warnings=state.warnings, max_depth=options.max_depth
        )
        self.mapper = RecordMapper(
            "s",
            "c",
            schema,
            keys,
            options=options,
            state=state,
            check=RecordCheck(validator, mode),
            use_types=use_types,
        )
        self.untyped = 0
        self.warnings.clear()  # those of the schema

    def map_groups(self, *groups: Sequence[str]) -> Mapped:
        """Map records, those of a group together, until the stream stops."""
        objects: list[bytes | str] = []
        before = self.untyped
        failure = None
        for records in groups:
            group = self.mapper.map_messages([*map(build_line, records)])
            by_row: dict[int, bytes | str] = dict(zip(group.rows, group.objects, strict=True))
            by_row.update((row, describe_error(error)) for row, error in group.rejects)
            assert len(by_row) == len(group.objects) + len(group.rejects)
            self.untyped += group.untyped
            self.mapper.save_properties(prop for _, prop in group.unsaved)
            objects += [by_row[row] for row in sorted(by_row)]
            if group.failure is not None:
                assert group.failure[0] == len(by_row)
                failure = str(group.failure[1])
                break
            assert len(by_row) == len(records)
        saved = [] if self.memory is None else sorted(map(str, self.memory.saved.values()))
        warnings = sorted({*self.warnings})
        return Mapped(objects, failure, warnings, saved, self.untyped - before)


def describe_error(error: InvalidRecordError) -> str:
    """Return what is said of an invalid record."""
    return f"{type(error).__name__} {error} {error.object_id}"


def map_both(schema: dict[str, Any], *records: str, **options: Any) -> Mapped:  # noqa: ANN401
    """Map records with both decoders, which do the same; return what the typed one did."""
    typed, untyped = (
        Stream(schema, use_types=use_types, **options).map_groups(records)
        for use_types in (True, False)
    )
    assert typed._replace(untyped=0) == untyped._replace(untyped=0)
    return typed


def build_line(record: str, stream: str = "s") -> bytes:
    """Return a RECORD message with a record as it is written."""
    return f'{{"type": "RECORD", "stream": "{stream}", "record": {record}}}\n'.encode()


def shorten(case: object) -> str:
    """Return the id of a test: the case itself, if it is short."""
    return str(case)[:100]


FLAT = {
    "properties": {
        "id": {"type": "integer"},
        "text": {"type": ["string", "null"], "maxLength": 600},
        "number": {"type": ["number", "null"]},
        "sure": {"type": "number"},
        "whole": {"type": ["integer", "null"], "minimum": -5, "maximum": 2000},
        "is": {"type": "boolean"},
        "atTime": {"anyOf": [{"type": "string", "format": "date-time"}, {"type": "null"}]},
        "tags": {"type": ["array", "null"], "items": {"type": ["string", "integer"]}},
        "free": {"type": "object"},
        "any": {},
        "mixed": {"type": ["integer", "string"]},
        "choice": {"type": ["string", "null"], "enum": ["x", "y", None]},
        "must": {"type": ["string", "null"], "enum": ["x", "y"]},
        "home": {
            "type": ["object", "null"],
            "required": ["street"],
            "properties": {
                "street": {"type": "string", "minLength": 1},
                "size": {"type": ["number", "null"]},
                "inner": {"type": "object", "properties": {"x": {"type": "integer"}}},
            },
        },
    }
}
TYPED = [
    '{"id": 1}',
    '{"id": 1, "number": 1e5}',
    '{"id": 1, "number": -0}',
    '{"id": 1, "text": "x", "number": 12.340, "sure": 10, "whole": 7, "is": true}',
    '{"id": 1, "number": null, "sure": 0.0000001, "atTime": "2024-01-31 10:00:00Z"}',
    '{"id": 1, "atTime": "2024-01-31T10:00:00Z", "tags": ["a", 1, "\\u00e9"]}',
    '{"id": 1, "free": {"k": [1.50]}}',
    '{"id": 1, "choice": "x", "must": "y"}',
    '{"id": 1, "choice": null}',
    '{"id": 1, "any": {"b": 1, "a": 1E-7}, "mixed": 5, "home": null}',
    '{"id": 1, "home": {"street": "x", "size": 2, "inner": {"x": 3}}, "any": null}',
    '{"id": 1, "home": {"street": "x", "size": null}, "mixed": "\\u0000"}',
]
UNTYPED = [
    '{"id": 1.0}',
    '{"id": "1"}',
    '{"id": null}',
    "{}",
    '{"id": 1, "undeclared": 2}',
    '{"id": 1, "number": "1.5"}',
    '{"id": 1, "number": NaN}',
    '{"id": 1, "sure": null}',
    '{"id": 1, "whole": 2001}',
    '{"id": 1, "whole": 9223372036854775808}',
    '{"id": 1, "text": "%s"}' % ("x" * 513),
    '{"id": 1, "text": "\\ud800"}',
    '{"id": 1, "tags": [1.5]}',
    '{"id": 1, "free": []}',
    '{"id": 1, "free": null}',
    '{"id": 1, "choice": "z"}',
    '{"id": 1, "must": null}',
    '{"id": 1, "tags": [null]}',
    '{"id": 1, "tags": "{1,2}"}',
    '{"id": 1, "free": "POINT(1 2)"}',
    '{"id": 1, "home": {"size": 1}}',
    '{"id": 1, "home": {"street": "x", "more": 1}}',
    '{"id": 1, "home": "x"}',
    '{"id": 1, "any": "%s"}' % ("x" * 33000),
]


COMPOSITE = {"properties": {"id": {"type": "string"}, "k": {"type": ["string", "integer"]}}}
COMPOSITE_RECORDS = [
    '{"id": "", "k": ""}',
    '{"id": "", "k": "_"}',
    '{"id": "x", "k": ""}',
    '{"id": "", "k": 1}',
]


@pytest.mark.parametrize("record", TYPED, ids=shorten)
@pytest.mark.parametrize("nulls", ["send", "omit"])
def test_record_is_decoded_with_types(
    record: str,
    nulls: Any,  # noqa: ANN401 - a literal
) -> None:
    """It gives the bytes that it gives untyped, and no warning."""
    mapped = map_both(FLAT, record, options=MappingOptions(null_properties=nulls))
    assert mapped.untyped == 0
    assert mapped.line
    assert not mapped.warnings


@pytest.mark.parametrize("record", UNTYPED, ids=shorten)
def test_record_that_the_types_do_not_fit_is_decoded_untyped(record: str) -> None:
    """It gives what it gives without types: an object with a warning, or an error."""
    assert map_both(FLAT, record).untyped == 1


@pytest.mark.parametrize("keys", [("id",), ("id", "text"), ()], ids=str)
@pytest.mark.parametrize(
    "records",
    [
        TYPED,
        TYPED * 40,
        TYPED[:5] + UNTYPED + TYPED,
        UNTYPED,
        [record for pair in zip(TYPED, UNTYPED, strict=False) for record in pair],
        [f'{{"id": {number}, "sure": {number}}}' for number in range(-3, 9)],
        ['{"id": 7, "atTime": "2024-01-31 10:00:00Z"}', '{"id": 8, "atTime": null}'],
        [],
    ],
    ids=["typed", "many", "untyped between", "untyped", "mixed", "whole", "time", "none"],
)
def test_group_gives_what_each_record_gives_alone(
    records: list[str], keys: tuple[str, ...]
) -> None:
    """In order, whatever is decoded with types."""
    together = map_both(FLAT, *records, keys=keys)
    alone = Stream(FLAT, keys).map_groups(*([record] for record in records))
    assert together._replace(untyped=0) == alone._replace(untyped=0)


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        (build_line('{"id": 1}', stream="other"), "it names more than one stream"),
        (b'{"type": "STATE", "stream": "s", "record": {"id": 1}}', "it has more than one type"),
        (b'{"type": "RECORD", "stream": "s"}', "it has no record"),
        (b'{"type": "RECORD", "stream": "s", "record": 5}', "its record is not an object"),
        (b'{"type": "RECORD", "stream": "s", "record": {}} x\n', "invalid JSON at character 49"),
        (b'{"type": "RECORD", "stream": "s", "record": {"id": 1', "ends in the middle of it"),
        (b'\xff{"type": "RECORD", "stream": "s", "record": {}}', "invalid UTF-8 at byte 1"),
        (b"[]", "it is JSON, but not an object"),
        (b"", "ends in the middle of it"),
    ],
    ids=repr,
)
@pytest.mark.parametrize("use_types", [True, False], ids=["typed", "untyped"])
def test_other_line_stops_the_group(line: bytes, reason: str, use_types: bool) -> None:  # noqa: FBT001
    """What is before it is mapped, and nothing after it."""
    lines = [build_line('{"id": 1}'), build_line('{"id": 2}')]
    mapped = Stream(FLAT, use_types=use_types).mapper.map_messages([*lines, line, *lines])
    assert (len(mapped.objects), [*mapped.rows]) == (2, [0, 1])
    assert mapped.failure is not None
    row, error = mapped.failure
    assert row == 2
    assert reason in str(error)


@pytest.mark.parametrize(
    ("declared", "valid", "invalid"),
    [
        pytest.param({"enum": ["x"]}, '"x"', '"y"', id="enum without type"),
        pytest.param({"enum": [1, 2.5]}, "2.5", "2", id="enum of numbers"),
        pytest.param(
            {"type": ["string", "integer"], "enum": ["x", 1]}, "1", "2", id="enum of mixed types"
        ),
        pytest.param({"type": "string", "const": "x"}, '"x"', '"y"', id="const"),
        pytest.param({"type": "boolean", "const": True}, "true", "false", id="boolean"),
        pytest.param({"type": "string", "pattern": "^x$"}, '"x"', '"x\\n"', id="pattern"),
        pytest.param({"type": ["string", "null"], "pattern": "x"}, "null", '"y"', id="null"),
        pytest.param({"type": "string", "minLength": 1.0}, '"x"', '""', id="fractional bound"),
        pytest.param({"type": "number", "minimum": 0}, "0.5", "-0.5", id="bound of a number"),
        pytest.param({"type": ["number", "null"], "enum": [1]}, "1", "null", id="no null in enum"),
        pytest.param({"type": "integer", "multipleOf": 2}, "4", "5", id="multipleOf"),
        pytest.param({"type": "array", "minItems": 1}, "[1]", "[]", id="bound of an array"),
        pytest.param({"type": "array", "items": {"enum": [1]}}, "[1]", "[2]", id="enum of items"),
        pytest.param({"type": "object", "required": ["k"]}, '{"k": 1}', "{}", id="required"),
        pytest.param({"$ref": "#/definitions/short"}, '"xyz"', '"xyzz"', id="reference"),
        pytest.param(
            {"type": "array", "items": {"$ref": "#/definitions/short"}},
            '["x"]',
            '["xyzz"]',
            id="reference of items",
        ),
        pytest.param(
            {"anyOf": [{"$ref": "#/definitions/short"}, {"type": "null"}]},
            "null",
            "1",
            id="reference or null",
        ),
        pytest.param(
            {"anyOf": [{"type": "string", "maxLength": 3}, {"type": "null"}]},
            "null",
            '"xyzz"',
            id="bound or null",
        ),
        pytest.param(
            {"oneOf": [{"type": "string"}, {"type": "null"}]}, '"x"', "1", id="oneOf with null"
        ),
        pytest.param(
            {"oneOf": [{"type": "integer"}, {"type": "number"}]}, "1.5", "1", id="oneOf of both"
        ),
        pytest.param(
            {"anyOf": [{"type": "string", "const": ""}, {"type": "string", "minLength": 2}]},
            '""',
            '"x"',
            id="anyOf of two bounds",
        ),
    ],
)
def test_values_are_validated_by_every_keyword(
    declared: dict[str, Any], valid: str, invalid: str
) -> None:
    """A valid value is decoded with types, and an invalid one untyped, which says what is wrong."""
    schema = {
        "properties": {"id": {"type": "integer"}, "a": declared},
        "definitions": {"short": {"type": "string", "maxLength": 3}},
    }
    accepted = map_both(schema, f'{{"id": 1, "a": {valid}}}')
    assert accepted.line
    assert accepted.untyped == 0
    refused = map_both(schema, f'{{"id": 1, "a": {invalid}}}')
    assert refused.untyped == 1
    assert refused.warnings or isinstance(refused.objects[0], str)


@pytest.mark.parametrize(
    "declared",
    [
        False,
        {"$ref": "#/properties/id"},
        {"type": "array", "items": {"$ref": "#"}},
        {"type": "string", "$id": "x", "pattern": "x"},
        {"type": "object", "properties": {"x": {}}, "minProperties": 1},
    ],
    ids=shorten,
)
def test_schema_that_no_types_express(declared: object) -> None:
    """It is refused as a whole, so that no keyword is ignored."""
    schema = {"properties": {"id": {"type": "integer"}, "a": declared}}
    assert map_both(schema, '{"id": 1}', '{"id": 2}').untyped == 2


@pytest.mark.parametrize("keyword", ["anyOf", "oneOf"])
def test_nullable_object_is_flattened(keyword: str) -> None:
    """An object or null, in all forms that data models write."""
    home = {"type": "object", "properties": {"x": {"type": "integer"}}, "required": ["x"]}
    variants = [{"$ref": "#/$defs/Home"}, {"type": "null"}]
    schema = {
        "properties": {"id": {"type": "integer"}, "home": {keyword: variants, "title": "h"}},
        "$defs": {"Home": home},
    }
    mapped = map_both(schema, '{"id": 1, "home": {"x": 1}}', '{"id": 1, "home": null}')
    assert mapped.untyped == 0
    assert map_both(schema, '{"id": 1, "home": {}}').untyped == 1


def test_definition_that_refers_to_itself_is_compiled() -> None:
    """The inner object is JSON text."""
    node = {"type": "object", "properties": {"next": {"$ref": "#/$defs/node"}}}
    schema = {
        "properties": {"id": {"type": "integer"}, "first": {"$ref": "#/$defs/node"}},
        "$defs": {"node": node},
    }
    assert map_both(schema, '{"id": 1, "first": {"next": {"next": {}}}}').untyped == 0


@pytest.mark.parametrize(
    ("number", "object_id"),
    [
        ("10", "10"),
        ("10.0", "10"),
        ("-0.50", "-0.5"),
        ("0.0", "0"),
        ("100", "100"),
        ("9" * 40, "9" * 40),
        ("-0.0", "0"),
        ("1e2", "100"),
        ("1.5E-3", "0.0015"),
        pytest.param("7" * 300, hashlib.sha256(b"7" * 300).hexdigest(), id="300 digits"),
    ],
    ids=shorten,
)
def test_number_keys(number: str, object_id: str) -> None:
    """Equal numbers give one id, in whatever way they are written."""
    mapped = map_both({"properties": {"id": {"type": "number"}}}, f'{{"id": {number}}}')
    assert json.loads(mapped.line)["id"] == object_id
    assert mapped.untyped == 0


@pytest.mark.parametrize("number", ["9" * 4400, "1e99999999999999999999", "-1e400"], ids=shorten)
@pytest.mark.parametrize("name", ["id", "x"])
def test_number_beyond_all_limits_makes_the_record_invalid(name: str, number: str) -> None:
    """As a key or as a value; no decoder is stopped by it."""
    schema = {"properties": {"id": {"type": "number"}, "x": {"type": "number"}}}
    record = json.dumps({"id": 1, "x": 2}).replace(f'"{name}": ', f'"{name}": {number}, "y": ')
    mapped = map_both(schema, record)
    assert "beyond the range of a 64-bit float" in str(mapped.objects[0])


@pytest.mark.parametrize("declared", ["boolean", ["integer", "boolean", "array"], "string"])
@pytest.mark.parametrize("value", ["true", "[1]", '"x"', "7"])
def test_keys_of_any_type(declared: object, value: str) -> None:
    """Both decoders give the same id or error."""
    schema = {"properties": {"id": {"type": declared}, "b": {"type": "integer"}}}
    map_both(schema, f'{{"id": {value}, "b": 1}}', keys=("b", "id"), mode="warn")


KEYLESS = {
    "properties": {
        "b": {"type": ["number", "null"]},
        "a": {"type": "object", "properties": {"y": {"type": "integer"}, "x": {}}},
        "_sdc_deleted_at": {"type": ["string", "null"]},
    }
}


@pytest.mark.parametrize(
    ("record", "untyped"),
    [
        ('{"b": 1.50, "a": {"y": 1, "x": {"l": [1.0, 2], "k": "\\u00e9"}}}', 0),
        ('{"b": 1, "a": {}}', 0),
        ('{"b": null, "_sdc_deleted_at": "2024-01-01T00:00:00Z"}', 0),
        ('{"b": 0.000001}', 0),
        ('{"b": 0.0000001}', 1),
        ('{"b": 1e5}', 1),
        ("{}", 1),
        ('{"a": {}}', 1),
    ],
)
def test_record_without_keys_has_the_same_digest(record: str, untyped: int) -> None:
    """A number that its canonical JSON writes with an exponent is decoded, and so is no value."""
    assert map_both(KEYLESS, record, keys=()).untyped == untyped


@pytest.mark.parametrize("declared", [{"type": ["string", "null"]}, {"type": ["number", "null"]}])
def test_null_of_a_deletion_time_is_sent(declared: dict[str, Any]) -> None:
    """Also where nulls are left out: else a row that is back would stay deleted."""
    schema = {"properties": {"id": {}, "name": {"type": "null"}, "_sdc_deleted_at": declared}}
    options = MappingOptions(null_properties="omit")
    for record, expected in (
        ('{"id": 1, "name": null, "_sdc_deleted_at": null}', {"id": "1", "sdc_deleted_at": None}),
        ('{"id": 1, "name": null}', {"id": "1"}),
    ):
        line = map_both(schema, record, options=options).line
        assert json.loads(line)["properties"] == expected


def test_undeclared_properties_get_types_after_their_first_group() -> None:
    """They are sent as before, sorted, after the others; another one is decoded untyped again."""
    stream = Stream(FLAT)
    record = '{"zoo": [1, {"k": 2.50}], "id": 1, "home": {"street": "x", "new": 1}, "extra": "e"}'
    first, second = (stream.map_groups([record] * 2) for _ in range(2))
    assert (first.untyped, second.untyped) == (2, 0)
    assert first.objects == second.objects
    names = [*json.loads(second.objects[0])["properties"]]
    assert names[-3:] == ["extra", "home_new", "zoo"]
    assert stream.map_groups(['{"id": 1, "other": 1}']).untyped == 1


def test_undeclared_property_of_a_part_of_the_records_is_sorted_among_the_others() -> None:
    """One that gets no column in time is sent in its place."""
    record = '{"id": 1, "b": 1, "d": 2}'
    stream = Stream(FLAT, use_types=False)
    stream.map_groups([record] * 9)
    mapped = stream.map_groups(['{"id": 1, "e": 5, "b": 1, "c": 3, "d": 2, "a": 4}', record])
    assert [[*json.loads(line)["properties"]] for line in mapped.objects] == [
        ["id", "a", "b", "c", "d", "e"],
        ["id", "b", "d"],
    ]


@pytest.mark.parametrize(
    ("additional", "untyped"),
    [(True, 0), ({"type": "integer"}, 0), ({"type": "string"}, 1), (False, 1)],
    ids=str,
)
def test_undeclared_properties_are_validated(additional: object, untyped: int) -> None:
    """`additionalProperties` decides which are valid."""
    schema = {"properties": {"id": {"type": "integer"}}, "additionalProperties": additional}
    record = '{"id": 1, "extra": 1}'
    stream = Stream(schema)
    stream.map_groups([record])
    assert stream.map_groups([record]).untyped == untyped


@pytest.mark.parametrize("name", ['12" disk', "a\\b", "a\nb", "a\x1fb", "a\ud800b"], ids=ascii)
def test_name_that_json_escapes(name: str) -> None:
    """A declared property of such a name is decoded untyped, at any level."""
    inner: dict[str, Any] = {"type": "object", "properties": {name: {"type": "string"}}}
    for properties in (inner["properties"], {"o": inner}):
        value = {name: "x"} if "o" not in properties else {"o": {name: "x"}}
        schema = {"properties": {"id": {"type": "integer"}, **properties}}
        mapped = map_both(schema, json.dumps({"id": 1, **value}))
        assert mapped.line.endswith(b':"x"}}')
        assert mapped.untyped == 1


def test_free_form_values_may_have_names_that_json_escapes() -> None:
    """They are inside a JSON text."""
    free = {"type": "object", "properties": {}, "additionalProperties": {"type": "string"}}
    schema = {"properties": {"id": {"type": "integer"}, "free": free}}
    record = json.dumps({"id": 1, "free": dict.fromkeys(['12" disk', "a\\b", "a\nb"], "x")})
    assert map_both(schema, record).untyped == 0


@pytest.mark.parametrize("length", [1200, 8191, 8192, 32_767])
@pytest.mark.parametrize("character", ["x", "ü"])
def test_long_strings_are_decoded_with_types_after_their_warning(
    length: int, character: str
) -> None:
    """The first group has the warning; a value that is too large for the API is an error."""
    declared = {"type": "string"}
    schema = {"properties": {"id": {"type": "integer"}, "text": declared, "any": {}}}
    text = character * (length // len(character.encode()))
    record = json.dumps({"id": 1, "text": text, "any": text}, ensure_ascii=False)
    too_large = json.dumps({"id": 1, "text": "x", "any": text + "xx"}, ensure_ascii=False)
    stream = Stream(schema)
    first, second = stream.map_groups([record]), stream.map_groups([record])
    assert len(first.warnings) == len(second.warnings) == 2
    assert second.untyped == 0
    assert first.objects == second.objects
    is_at_limit = length > 32_000
    refused = stream.map_groups([record, too_large, record])
    assert refused.untyped == is_at_limit
    assert isinstance(refused.objects[1], str) is is_at_limit


def test_large_objects_are_decoded_with_types() -> None:
    """Up to the limit of an object; one beyond it is an error."""
    properties = {f"p{number:02}": {"type": "string"} for number in range(20)}
    stream = Stream({"properties": {"id": {"type": "integer"}, **properties}})
    record = {"id": 1, **dict.fromkeys(properties, "x" * 20_000)}
    stream.map_groups([json.dumps(record)])
    mapped = stream.map_groups([json.dumps(record)])
    assert mapped.untyped == 0
    assert len(mapped.objects[0]) > 400_000
    larger = stream.map_groups([json.dumps({**record, **dict.fromkeys(properties, "x" * 20_480)})])
    assert "an object of 409829 bytes" in str(larger.objects[0])


@pytest.mark.parametrize("order", [1, -1])
@pytest.mark.parametrize("sorts", [True, False])
def test_members_are_decoded_in_the_order_of_the_tap(order: int, *, sorts: bool) -> None:
    """The types have the order of the first record, which changes nothing of what is sent."""
    names = [f"p{number}" for number in range(30)]
    inner: dict[str, Any] = {
        "type": "object",
        "properties": {name: {"type": "integer"} for name in names},
    }
    schema = {"properties": {"id": {"type": "integer"}, **inner["properties"], "o": inner}}
    values = dict.fromkeys(names[::order], 1)
    record = json.dumps({"o": values, **values, "id": 1})
    options = MappingOptions(sorts_properties=sorts)
    stream = Stream(schema, options=options)
    mapped = stream.map_groups([record] * 5)
    assert mapped.untyped == 0
    assert mapped.objects == [map_both(schema, record, options=options).line] * 5
    typed = stream.mapper._layout.types  # noqa: SLF001 - what msgspec decodes
    assert typed is not None
    fields = typed.record_type.__struct_encode_fields__
    assert fields == ("o", *values, "id")


def remember_types(
    schema: dict[str, Any], keys: tuple[str, ...], first_types: Sequence[str | None]
) -> list[SentProperty]:
    """Return what an earlier run of a schema has sent.

    Args:
        schema: The schema.
        keys: The key properties.
        first_types: For each property in turn, the first type: `None` for a null, `same` as the
            schema's, or `wider`, which holds the values of the schema's.
    """
    stream = Stream(schema, keys, known=[])
    assert stream.memory is not None
    for prop, first in zip(stream.mapper.properties, itertools.cycle(first_types), strict=False):
        if first is not None:
            is_integer = prop.type is PropertyType.INTEGER and len(prop.path) % 2
            wider = PropertyType.NUMBER if is_integer else PropertyType.STRING
            kept = prop.type if first == "same" else wider
            stream.memory.save_property("s", SentProperty("s", prop.path, prop.name, kept))
    return [*stream.memory.saved.values()]


@pytest.mark.parametrize("first", ["same", "wider"])
def test_record_of_remembered_types_is_decoded_with_types(first: str) -> None:
    """Also one whose values are converted to the types that were sent first."""
    schema = {"properties": {name: FLAT["properties"][name] for name in ("id", "whole", "is")}}
    known = remember_types(schema, ("id",), ["same", first, first])
    assert map_both(schema, '{"id": 1, "whole": 12, "is": true}', known=known).untyped == 0


@pytest.mark.parametrize("value", ["7", '"x"', "12.5", "true", "[1]"])
def test_type_is_stored_with_the_first_value(value: str) -> None:
    """Once; a null before it is none."""
    types = ["integer", "string", "number", "boolean", "array", "null"]
    schema = {"properties": {"id": {"type": "integer"}, "a": {"type": types}}}
    null, first = '{"id": 1, "a": null}', f'{{"id": 1, "a": {value}}}'
    before = map_both(schema, null, null, known=[])
    after = map_both(schema, null, first, known=[])
    assert "type=None" in before.saved[0]
    assert "type=None" not in after.saved[0]


# Properties of every input


names = st.sampled_from(["id", "key", "a", "A", "userId", "user_id", "b c", "é", "x_1", "home"])
leaf_schemas = st.one_of(
    st.builds(
        lambda types, more: {"type": sorted(types), **more},
        st.sets(
            st.sampled_from(["string", "integer", "number", "boolean", "null", "array", "object"]),
            min_size=1,
            max_size=3,
        ),
        st.sampled_from(
            [
                *({}, {"format": "date-time"}, {"maxLength": 5}, {"minimum": 0}, {"title": "t"}),
                *({"pattern": "^[a-z]*$"}, {"enum": [1, "x", None, 3.0]}, {"multipleOf": 2}),
                *({"minItems": 1}, {"not": {"const": 7}}, {"exclusiveMaximum": 7.5}),
            ]
        ),
    ),
    st.just({}),
    st.just({"type": "array", "items": {"type": "integer"}}),
    st.just({"anyOf": [{"type": "string", "format": "date"}, {"type": "null"}]}),
    st.just({"type": ["string", "null"], "enum": ["", "a_b%", "1.5"]}),
    st.just({"enum": [1, 10, 1.0, "x"]}),
    st.just({"$ref": "#/$defs/word"}),
    st.sampled_from([["string", "null"], ["integer", "number"], ["object", "null", "array"]]).map(
        lambda types: {"oneOf": [{"type": name} for name in types]}
    ),
)


FORMS: dict[str, Callable[[dict[str, Any]], dict[str, Any]]] = {
    "object": lambda schema: {"type": "object", **schema},
    "nullable": lambda schema: {"type": ["object", "null"], **schema},
    "anyOf": lambda schema: {"anyOf": [{"type": "object", **schema}, {"type": "null"}]},
    "oneOf": lambda schema: {"oneOf": [{"type": "null"}, {"type": "object", **schema}]},
    "closed": lambda schema: {"type": "object", "additionalProperties": False, **schema},
}
"""How a schema says that a value is an object."""


def build_object_schemas(children: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    """Return a strategy for objects with declared properties."""
    return st.builds(
        lambda properties, form, required: FORMS[form](
            {
                "properties": properties,
                "required": [name for name in properties if name in required],
            }
        ),
        st.dictionaries(names, children, min_size=1, max_size=4),
        st.sampled_from(sorted(FORMS)),
        st.sets(names, max_size=1),
    )


schemas = st.builds(
    lambda properties, key: {
        "properties": {"id": key, **properties},
        "$defs": {"word": {"type": ["string", "null"], "pattern": "^[^ ]*$"}},
    },
    st.dictionaries(
        names.filter("id".__ne__),
        st.recursive(leaf_schemas, build_object_schemas, max_leaves=6),
        max_size=6,
    ),
    st.sampled_from(
        [
            *({"type": "integer"}, {"type": "string"}, {"type": ["string", "integer"]}),
            *({"type": "number"}, {"type": "integer", "multipleOf": 2}),
        ]
    ),
)
number_texts = st.sampled_from(
    [
        *("0", "-0", "7", "10", "-3", "1.0", "12.340", "-0.0", "1e2", "1E-7", "0.0000001"),
        *("9" * 40, "1e400", "3.0", "-1.5", "2147483648", "NaN"),
    ]
)
string_texts = st.one_of(
    st.text(max_size=8).map(json.dumps),
    st.text(max_size=8).map(lambda text: json.dumps(text, ensure_ascii=False)),
    st.sampled_from(
        [
            '"2024-01-31 10:00:00"',
            '"2024-01-31"',
            '"1.5"',
            '"a_b%"',
            '""',
            '"\\ud800"',
            json.dumps("y" * 600),
            json.dumps("ü" * 17000),
        ]
    ),
)
scalar_texts = number_texts | string_texts | st.sampled_from(["null", "true", "false"])
value_texts = st.recursive(
    scalar_texts,
    lambda inner: st.lists(inner, max_size=3).map(lambda items: f"[{', '.join(items)}]"),
    max_leaves=3,
)


@st.composite
def draw_record(draw: st.DrawFn, schema: Any) -> str:  # noqa: ANN401 - any schema
    """Draw a record, mostly valid, as a tap writes it."""
    members = []
    for name, declared in schema["properties"].items():
        if name != "id" and draw(st.integers(0, 9)) == 0:
            continue
        members.append(f"{json.dumps(name)}: {draw(draw_value(declared))}")
    members += [
        f'"{name}": {draw(value_texts)}'
        for name in ("undeclared", "also undeclared")
        if draw(st.integers(0, 9)) == 0
    ]
    return f"{{{', '.join(draw(st.permutations(members)))}}}"


@st.composite
def draw_value(draw: st.DrawFn, schema: Any) -> str:  # noqa: ANN401 - any schema
    """Draw a value's JSON, mostly of the schema's type."""
    if draw(st.integers(0, 14)) == 0:
        return draw(value_texts)
    if "enum" in schema:
        return json.dumps(draw(st.sampled_from(schema["enum"])))
    if variants := (*schema.get("anyOf", []), *schema.get("oneOf", [])):
        schema = draw(st.sampled_from(variants))
    types = schema.get("type", ["string", "null"])
    json_type = draw(st.sampled_from(types if isinstance(types, list) else [types]))
    if json_type == "object":
        if schema.get("properties"):
            return draw(draw_record(schema))
        return draw(st.sampled_from(["{}", '{"k": 1.50}', '{"k": {"l": [null]}}']))
    if json_type == "array":
        items = draw(st.lists(scalar_texts, max_size=3))
        return f"[{','.join(items)}]"
    strategies: dict[str, st.SearchStrategy[str]] = {
        "string": string_texts,
        "integer": st.integers(-(10**20), 10**20).map(str) | st.integers(-9, 9).map(str),
        "number": number_texts,
        "boolean": st.sampled_from(["true", "false"]),
        "null": st.just("null"),
    }
    return str(draw(strategies[json_type]))


@st.composite
def streams(draw: st.DrawFn) -> tuple[dict[str, Any], tuple[str, ...], list[str]]:
    """Draw a schema, its keys, and records."""
    schema = draw(schemas)
    others = sorted(schema["properties"].keys() - {"id"})
    keys: tuple[str, ...] = draw(st.sampled_from([(), ("id",), ("id", "")]))
    if len(keys) > 1:
        keys = ("id", draw(st.sampled_from(others))) if others else ("id",)
    return schema, keys, draw(st.lists(draw_record(schema), min_size=1, max_size=6))


@pytest.mark.slow
@settings(max_examples=400, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(
    stream=streams(),
    nulls=st.sampled_from(["send", "omit"]),
    max_depth=st.none() | st.integers(0, 2),
    first_types=st.none()
    | st.lists(st.sampled_from([None, "same", "wider"]), min_size=1, max_size=5),
    mode=st.sampled_from(["warn", "reject"]),
    size=st.integers(1, 9),
)
@example(
    stream=(FLAT, ("id",), TYPED + UNTYPED),
    nulls="send",
    max_depth=None,
    first_types=None,
    mode="warn",
    size=50,
)
@example(
    stream=(FLAT, ("id",), TYPED + UNTYPED),
    nulls="send",
    max_depth=None,
    first_types=["wider"],
    mode="reject",
    size=3,
)
@example(
    stream=(FLAT, (), TYPED + UNTYPED),
    nulls="omit",
    max_depth=None,
    first_types=None,
    mode="warn",
    size=1,
)
@example(  # what an earlier run has flattened, and what this run would send as JSON text
    stream=(
        {
            "properties": {
                "id": {"type": "integer"},
                "A": {
                    "type": ["null", "object"],
                    "properties": {"a": {"type": "object", "properties": {"key": {}}}},
                },
            }
        },
        ("id",),
        ['{"id": 1, "A": {"a": 0}}'],
    ),
    nulls="send",
    max_depth=0,
    first_types=["same"],
    mode="reject",
    size=1,
)
@example(
    stream=(COMPOSITE, ("id", "k"), COMPOSITE_RECORDS),
    nulls="send",
    max_depth=None,
    first_types=None,
    mode="warn",
    size=2,
)
def test_decoders_agree_on_every_record(
    stream: tuple[dict[str, Any], tuple[str, ...], list[str]],
    nulls: Any,  # noqa: ANN401 - a literal
    max_depth: int | None,
    first_types: list[str | None] | None,
    mode: str,
    size: int,
) -> None:
    """The same bytes, warnings, rejects and stored types, whatever is mapped together.

    So it is with types of earlier runs, and where a value does not fit what an earlier run has
    sent, which stops the stream.
    """
    schema, keys, records = stream
    known = None if first_types is None else remember_types(schema, keys, first_types)
    options = MappingOptions(null_properties=nulls, max_depth=max_depth)
    records = records * 2  # what the first time is undeclared is known the second time
    groups = [records[start : start + size] for start in range(0, len(records), size)]
    typed, untyped, alone = (
        Stream(
            schema, keys, options=options, known=known, use_types=use_types, mode=mode
        ).map_groups(*parts)
        for use_types, parts in (
            (True, groups),
            (False, groups),
            (False, [[record] for record in records]),
        )
    )
    event("typed" if typed.untyped < len(typed.objects) else "untyped")
    event("stop" if typed.failure else "no stop")
    # Of a record with several faults, any may be named, and what is warned of may differ.
    for other in (untyped, alone):
        assert [sent for sent in typed.objects if isinstance(sent, bytes)] == [
            sent for sent in other.objects if isinstance(sent, bytes)
        ]
        assert [isinstance(sent, str) for sent in typed.objects] == [
            isinstance(sent, str) for sent in other.objects
        ]
        assert (typed.failure is None) == (other.failure is None)
        assert typed.saved == other.saved
        if not any(isinstance(sent, str) for sent in typed.objects):
            assert typed.warnings == other.warnings


ANY_JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=3) | names,
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.text(max_size=3) | names, inner, max_size=3)
    ),
    max_leaves=4,
)
KEYWORDS = (
    *("type", "enum", "minimum", "maximum", "minLength", "maxLength", "items", "properties"),
    *("required", "anyOf", "additionalProperties", "format", "$schema", "title"),
)
ANY_SCHEMA = st.recursive(
    ANY_JSON | st.fixed_dictionaries({"type": st.sampled_from(["string", "integer", "object"])}),
    lambda inner: (
        st.dictionaries(st.sampled_from(KEYWORDS), inner, max_size=4)
        | st.fixed_dictionaries({"properties": st.dictionaries(names, inner, max_size=3)})
    ),
    max_leaves=6,
)


@settings(max_examples=300)
@given(st.dictionaries(names | st.text(max_size=3), ANY_SCHEMA, max_size=3), ANY_JSON)
@example({"a": {"type": "string", "maxLength": -1}}, None)
@example({"a": {"type": 5}}, None)
@example({"a": {"type": "string", "enum": 5}}, None)
@example({"a": {"type": "string", "enum": ["\ud800"]}}, None)
@example({}, 5)
def test_any_schema_is_compiled_or_decoded_untyped(
    properties: dict[str, Any], required: object
) -> None:
    """Without validation, a schema may be any JSON."""
    schema = {
        "properties": {**properties, "id": {"type": "integer"}},
        **({} if required is None else {"required": required}),
    }
    try:
        mapper = RecordMapper(
            "s", "c", schema, ("id",), options=OPTIONS, state=create_state("s", print)
        )
    except UnmappableStreamError as error:
        event(type(error).__name__)
    else:
        assert mapper.map_messages([build_line('{"id": 1}')]).failure is None


@pytest.mark.slow
@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(first=streams(), second=streams(), order=st.randoms(use_true_random=False))
def test_run_is_the_same_with_both_decoders(
    first: Any,  # noqa: ANN401 - schema, keys, records
    second: Any,  # noqa: ANN401 - schema, keys, records
    order: Any,  # noqa: ANN401 - a random.Random
) -> None:
    """The same bytes, last STATE, warnings and rejects, in the same order."""
    lines = []
    for name, (schema, keys, records) in (("one", first), ("two", second)):
        schema_message = schema_line(name, schema["properties"], keys).encode() + b"\n"
        records_of_stream = [build_line(record, name) for record in records * 2]
        lines.append(
            [
                schema_message,
                *records_of_stream,
                schema_message.replace(b'"object"', b'["object"]', 1),
                *records_of_stream[:2],
            ]
        )
    merged: list[bytes] = []
    while any(lines):
        queue = order.choice([queue for queue in lines if queue])
        merged.append(queue.pop(0))
        merged.append(state_line(len(merged)).encode() + b"\n")
    with tempfile.TemporaryDirectory() as folder:
        typed, untyped = (run_and_collect(merged, decoder, folder) for decoder in DECODERS)
    assert typed == untyped
    assert untyped.untyped_records == untyped.records
