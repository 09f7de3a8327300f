"""The fast path returns what the slow path returns, or nothing."""

from __future__ import annotations

import itertools
import json
import tempfile
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import HealthCheck, event, example, given, settings
from hypothesis import strategies as st

from target_segment_objects.exceptions import InvalidRecordError, UnmappableStreamError
from target_segment_objects.mapping.fast_path import (
    FastPath,
    UnsupportedSchemaError,
    compile_fast_path,
)
from target_segment_objects.mapping.mapper import MappingOptions, RecordMapper
from target_segment_objects.mapping.properties.memory import SentProperty
from target_segment_objects.mapping.schema import PropertyType
from target_segment_objects.mapping.validation import RecordValidator
from target_segment_objects.singer.reader import MessageReader
from tests.support import schema_line, state_line
from tests.support.remembered_properties import RememberedProperties, create_state
from tests.support.two_paths import READERS, run_and_collect

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

OPTIONS = MappingOptions()


@dataclass
class BothPaths:
    """The fast and the slow path of one stream."""

    schema: dict[str, Any]
    keys: tuple[str, ...] = ("id",)
    options: MappingOptions = OPTIONS
    warnings: list[str] = field(default_factory=list)
    memory: RememberedProperties | None = None

    def __post_init__(self) -> None:
        """Compile the slow path."""
        state = create_state("s", self.warnings.append)
        if self.memory is not None:
            self.memory.messages = self.warnings
            state = self.memory.start_run()
        self.mapper = RecordMapper(
            "s", "c", self.schema, self.keys, options=self.options, state=state
        )
        self.validator = RecordValidator(
            "s", self.schema, warnings=state.warnings, max_depth=self.options.max_depth
        )
        self.warnings.clear()  # those of the schema are the same for both paths

    def compile_fast(self) -> Callable[[bytes], bytes | None]:
        """Compile the fast path with the warnings given so far, for one line at a time."""
        fast_path = self.compile_fast_path()

        def map_line(line: bytes) -> bytes | None:
            objects, unsupported, _ = fast_path.map_messages([line])
            assert len(objects) + len(unsupported) == 1
            return objects[0] if objects else None

        return map_line

    def compile_fast_path(self) -> FastPath:
        """Compile the fast path with the warnings given so far."""
        return compile_fast_path(
            stream="s",
            collection="c",
            schema=self.schema,
            key_properties=self.keys,
            properties=self.mapper.properties,
            undeclared=[prop for _, prop in sorted(self.mapper.undeclared.items())],
            send_nulls=self.options.null_properties == "send",
            warned_long_paths=self.mapper.warned_long_paths,
            unsent_paths=self.mapper.unsent_paths,
        )

    def map_slowly(self, line: bytes) -> bytes | None:
        """Return the slow path's line; None if the record is invalid."""
        record = MessageReader().deserialize_json(line)["record"]
        try:
            self.validator.validate(record)
            return self.mapper.map_record(record)
        except InvalidRecordError:
            return None


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
SUPPORTED = [
    '{"id": 1}',
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
UNSUPPORTED = [
    '{"id": 1.0}',
    '{"id": "1"}',
    '{"id": null}',
    "{}",
    '{"id": 1, "undeclared": 2}',
    '{"id": 1, "number": 1e5}',
    '{"id": 1, "number": -0}',
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


@pytest.mark.parametrize("record", SUPPORTED, ids=shorten)
@pytest.mark.parametrize("nulls", ["send", "omit"])
def test_supported_record_gives_the_slow_paths_line(
    record: str,
    nulls: Any,  # noqa: ANN401 - a literal
) -> None:
    """The same bytes, and no warning."""
    both = BothPaths(FLAT, options=MappingOptions(null_properties=nulls))
    fast = both.compile_fast()(build_line(record))
    assert fast is not None
    assert fast == both.map_slowly(build_line(record))
    assert both.warnings == []


@pytest.mark.parametrize("record", UNSUPPORTED, ids=shorten)
def test_unsupported_record_is_left_to_the_slow_path(record: str) -> None:
    """The fast path returns None."""
    assert BothPaths(FLAT).compile_fast()(build_line(record)) is None


@pytest.mark.parametrize("keys", [("id",), ("id", "text"), ()], ids=str)
@pytest.mark.parametrize(
    "records",
    [
        SUPPORTED,
        SUPPORTED * 40,
        SUPPORTED[:5] + UNSUPPORTED + SUPPORTED,
        UNSUPPORTED,
        [record for pair in zip(SUPPORTED, UNSUPPORTED, strict=False) for record in pair],
        [f'{{"id": {number}, "sure": {number}}}' for number in range(-3, 9)],
        ['{"id": 7, "atTime": "2024-01-31 10:00:00Z"}', '{"id": 8, "atTime": null}'],
        [],
    ],
    ids=[
        "supported",
        "many",
        "unsupported between",
        "unsupported",
        "mixed",
        "whole",
        "time",
        "none",
    ],
)
def test_many_lines_give_what_each_gives_alone(records: list[str], keys: tuple[str, ...]) -> None:
    """The objects in order, and the positions of the lines that are left to the slow path."""
    both = BothPaths(FLAT, keys=keys)
    assert_lines_are_independent(both.compile_fast_path(), records)
    for record in SUPPORTED:
        both.map_slowly(build_line(record))  # what was undeclared is known now
    assert_lines_are_independent(both.compile_fast_path(), records)


@pytest.mark.parametrize(
    "line",
    [
        build_line('{"id": 1}', stream="other"),
        b'{"type": "STATE", "stream": "s", "record": {"id": 1}}',
        b'{"type": "RECORD", "stream": "s"}',
        b'{"type": "RECORD", "stream": "s", "record": {"id": 1}} x',
        b'{"type": "RECORD", "stream": "s", "record": {"id": 1',
        b'\xff{"type": "RECORD", "stream": "s", "record": {"id": 1}}',
        b"[]",
        b"",
    ],
    ids=repr,
)
def test_other_message_is_left_to_the_slow_path(line: bytes) -> None:
    """A message of another stream or type, or no message at all."""
    assert BothPaths(FLAT).compile_fast()(line) is None


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
    """A valid value takes the fast path, and an invalid one the slow path."""
    schema = {
        "properties": {"id": {"type": "integer"}, "a": declared},
        "definitions": {"short": {"type": "string", "maxLength": 3}},
    }
    both = BothPaths(schema)
    map_line = both.compile_fast()
    line = build_line(f'{{"id": 1, "a": {valid}}}')
    assert map_line(line) == both.map_slowly(line) is not None
    assert map_line(build_line(f'{{"id": 1, "a": {invalid}}}')) is None


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
def test_unsupported_schema_is_refused(declared: object) -> None:
    """It is refused as a whole, so that no keyword is ignored."""
    schema = {"properties": {"id": {"type": "integer"}, "a": declared}}
    with pytest.raises(UnsupportedSchemaError):
        BothPaths(schema).compile_fast()


@pytest.mark.parametrize("keyword", ["anyOf", "oneOf"])
def test_nullable_object_is_flattened(keyword: str) -> None:
    """An object or null, in all forms that data models write."""
    home = {"type": "object", "properties": {"x": {"type": "integer"}}, "required": ["x"]}
    variants = [{"$ref": "#/$defs/Home"}, {"type": "null"}]
    both = BothPaths(
        {
            "properties": {"id": {"type": "integer"}, "home": {keyword: variants, "title": "h"}},
            "$defs": {"Home": home},
        }
    )
    map_line = both.compile_fast()
    for value in ('{"x": 1}', "null"):
        line = build_line(f'{{"id": 1, "home": {value}}}')
        assert map_line(line) == both.map_slowly(line) is not None
    assert map_line(build_line('{"id": 1, "home": {}}')) is None


def test_definition_that_refers_to_itself_is_compiled() -> None:
    """The inner object is JSON text."""
    node = {"type": "object", "properties": {"next": {"$ref": "#/$defs/node"}}}
    both = BothPaths(
        {
            "properties": {"id": {"type": "integer"}, "first": {"$ref": "#/$defs/node"}},
            "$defs": {"node": node},
        }
    )
    line = build_line('{"id": 1, "first": {"next": {"next": {}}}}')
    assert both.compile_fast()(line) == both.map_slowly(line) is not None


@pytest.mark.parametrize(
    ("number", "object_id"),
    [
        ("10", "10"),
        ("10.0", "10"),
        ("-0.50", "-0.5"),
        ("0.0", "0"),
        ("100", "100"),
        ("9" * 40, "9" * 40),
        ("-0.0", None),
        ("1e2", None),
        ("9" * 101, None),
        ("null", None),
    ],
    ids=shorten,
)
def test_number_keys(number: str, object_id: str | None) -> None:
    """Equal numbers give one id; what takes more than a copy is left to the slow path."""
    both = BothPaths({"properties": {"id": {"type": ["number", "null"]}}})
    line = build_line(f'{{"id": {number}}}')
    fast = both.compile_fast()(line)
    assert (fast and json.loads(fast)["id"]) == object_id
    assert fast is None or fast == both.map_slowly(line)


KEYLESS = {
    "properties": {
        "b": {"type": ["number", "null"]},
        "a": {"type": "object", "properties": {"y": {"type": "integer"}, "x": {}}},
        "_sdc_deleted_at": {"type": ["string", "null"]},
    }
}


@pytest.mark.parametrize(
    "record",
    [
        '{"b": 1.50, "a": {"y": 1, "x": {"l": [1.0, 2], "k": "\\u00e9"}}}',
        '{"b": 1, "a": {}}',
        '{"b": null, "_sdc_deleted_at": "2024-01-01T00:00:00Z"}',
        '{"b": 0.000001}',
    ],
)
def test_record_without_keys_has_the_same_digest(record: str) -> None:
    """The id is that of the slow path, whatever the order of the members."""
    both = BothPaths(KEYLESS, keys=())
    line = build_line(record)
    assert both.compile_fast()(line) == both.map_slowly(line) is not None


@pytest.mark.parametrize("declared", [{"type": ["string", "null"]}, {"type": ["number", "null"]}])
def test_null_of_a_deletion_time_is_sent(declared: dict[str, Any]) -> None:
    """Also where nulls are left out: else a row that is back would stay deleted."""
    schema = {"properties": {"id": {}, "name": {"type": "null"}, "_sdc_deleted_at": declared}}
    both = BothPaths(schema, options=MappingOptions(null_properties="omit"))
    compiled = both.compile_fast()
    for record, expected in (
        ('{"id": 1, "name": null, "_sdc_deleted_at": null}', {"id": "1", "sdc_deleted_at": None}),
        ('{"id": 1, "name": null}', {"id": "1"}),
    ):
        line = both.map_slowly(build_line(record))
        assert line is not None
        assert json.loads(line)["properties"] == expected
        assert compiled(build_line(record)) == line


@pytest.mark.parametrize("record", ['{"b": 0.0000001}', "{}", '{"a": {}}'])
def test_record_without_keys_is_left_to_the_slow_path(record: str) -> None:
    """A number that its canonical JSON writes with an exponent, and a record without a value."""
    assert BothPaths(KEYLESS, keys=()).compile_fast()(build_line(record)) is None


def test_undeclared_properties_are_supported_after_the_first_record() -> None:
    """The slow path names them; then they are sent as it sends them, sorted, after the others."""
    both = BothPaths(FLAT)
    line = build_line(
        '{"zoo": [1, {"k": 2.50}], "id": 1, "home": {"street": "x", "new": 1}, "extra": "e"}'
    )
    assert both.compile_fast()(line) is None
    assert both.map_slowly(line) is not None
    map_line = both.compile_fast()
    assert map_line(line) == both.map_slowly(line)
    assert map_line(build_line('{"id": 1, "other": 1}')) is None


@pytest.mark.parametrize(
    ("additional", "is_fast"),
    [(True, True), ({"type": "integer"}, True), ({"type": "string"}, False), (False, False)],
    ids=str,
)
def test_undeclared_properties_are_validated(additional: object, *, is_fast: bool) -> None:
    """`additionalProperties` decides which are valid."""
    both = BothPaths(
        {"properties": {"id": {"type": "integer"}}, "additionalProperties": additional}
    )
    line = build_line('{"id": 1, "extra": 1}')
    both.mapper.map_record({"id": 1, "extra": 1})
    assert (both.compile_fast()(line) is not None) == is_fast
    assert (both.map_slowly(line) is not None) == is_fast


NAMES_OUTSIDE_STRUCTS = ['12" disk', "a\\b", "a\nb", "a\x1fb", "a\ud800b"]


@pytest.mark.parametrize("name", NAMES_OUTSIDE_STRUCTS, ids=ascii)
def test_name_that_json_escapes_is_left_to_the_slow_path(name: str) -> None:
    """A declared property of such a name is mapped, at any level."""
    inner: dict[str, Any] = {"type": "object", "properties": {name: {"type": "string"}}}
    for properties in (inner["properties"], {"o": inner}):
        both = BothPaths({"properties": {"id": {"type": "integer"}, **properties}})
        with pytest.raises(UnsupportedSchemaError):
            both.compile_fast()
        value = {name: "x"} if "o" not in properties else {"o": {name: "x"}}
        line = both.map_slowly(build_line(json.dumps({"id": 1, **value})))
        assert line is not None
        assert line.endswith(b':"x"}}')


def test_free_form_values_may_have_names_that_json_escapes() -> None:
    """They are inside a JSON text, which the fast path supports."""
    free = {"type": "object", "properties": {}, "additionalProperties": {"type": "string"}}
    both = BothPaths({"properties": {"id": {"type": "integer"}, "free": free}})
    line = build_line(json.dumps({"id": 1, "free": dict.fromkeys(NAMES_OUTSIDE_STRUCTS[:4], "x")}))
    assert both.compile_fast()(line) == both.map_slowly(line) is not None


def test_stream_with_an_unpaired_surrogate_is_left_to_the_slow_path() -> None:
    """The types of the fast path cannot compare with such a name."""
    with pytest.raises(UnsupportedSchemaError):
        compile_fast_path(
            stream="s\ud800",
            collection="c",
            schema=FLAT,
            key_properties=("id",),
            properties=BothPaths(FLAT).mapper.properties,
            send_nulls=True,
            warned_long_paths=frozenset(),
        )


def test_long_strings_are_supported_after_their_warning() -> None:
    """The slow path warns of the first one; the fast path maps the others."""
    both = BothPaths({"properties": {"id": {"type": "integer"}, "text": {"type": "string"}}})
    line = build_line('{"id": 1, "text": "%s"}' % ("x" * 600))
    assert both.compile_fast()(line) is None
    written = both.map_slowly(line)
    assert len(both.warnings) == 1
    assert both.compile_fast()(line) == written


def remember_types(
    schema: dict[str, Any], keys: tuple[str, ...], first_types: Sequence[str | None]
) -> RememberedProperties:
    """Return a memory of an earlier run of a schema.

    Args:
        schema: The schema.
        keys: The key properties.
        first_types: For each property in turn, the first type: `None` for a null, `same` as the
            schema's, or `wider`, which holds the values of the schema's.
    """
    memory = RememberedProperties()
    mapper = BothPaths(schema, keys, memory=memory).mapper
    for prop, first in zip(mapper.properties, itertools.cycle(first_types), strict=False):
        if first is not None:
            is_integer = prop.type is PropertyType.INTEGER and len(prop.path) % 2
            wider = PropertyType.NUMBER if is_integer else PropertyType.STRING
            kept = prop.type if first == "same" else wider
            memory.save_property("s", SentProperty("s", prop.path, prop.name, kept))
    return memory


@pytest.mark.parametrize("first", ["same", "wider"])
def test_record_of_remembered_types_takes_the_fast_path(first: str) -> None:
    """Also one whose values are converted to the types that were sent first."""
    schema = {"properties": {name: FLAT["properties"][name] for name in ("id", "whole", "is")}}
    both = BothPaths(schema, memory=remember_types(schema, ("id",), ["same", first, first]))
    line = build_line('{"id": 1, "whole": 12, "is": true}')
    assert both.compile_fast()(line) == both.map_slowly(line) is not None


@pytest.mark.parametrize("value", ["7", '"x"', "12.5", "true", "[1]"])
def test_first_value_is_reported(value: str) -> None:
    """Once, so that its type can be stored; a null before it is not."""
    types = ["integer", "string", "number", "boolean", "array", "null"]
    schema = {"properties": {"id": {"type": "integer"}, "a": {"type": types}}}
    both = BothPaths(schema, memory=RememberedProperties())
    both.map_slowly(build_line('{"id": 1}'))
    fast_path = both.compile_fast_path()
    null, first = build_line('{"id": 1, "a": null}'), build_line(f'{{"id": 1, "a": {value}}}')
    nulls, values = fast_path.map_messages([null, null]), fast_path.map_messages([null, first])
    assert [nulls.first_values, values.first_values] == [[], [("a",)]]
    assert values.objects == [both.map_slowly(null), both.map_slowly(first)]
    assert fast_path.map_messages([first]).first_values == []


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
)
@example(
    stream=(FLAT, ("id",), SUPPORTED + UNSUPPORTED), nulls="send", max_depth=None, first_types=None
)
@example(
    stream=(FLAT, ("id",), SUPPORTED + UNSUPPORTED),
    nulls="send",
    max_depth=None,
    first_types=["wider"],
)
@example(stream=(FLAT, (), SUPPORTED + UNSUPPORTED), nulls="omit", max_depth=None, first_types=None)
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
)
@example(
    stream=(COMPOSITE, ("id", "k"), COMPOSITE_RECORDS),
    nulls="send",
    max_depth=None,
    first_types=None,
)
def test_fast_path_agrees_with_the_slow_path_on_every_record(
    stream: tuple[dict[str, Any], tuple[str, ...], list[str]],
    nulls: Any,  # noqa: ANN401 - a literal
    max_depth: int | None,
    first_types: list[str | None] | None,
) -> None:
    """Where it returns a line, the slow path returns the same bytes and gives no warning.

    So it is with types of earlier runs, and while the first value of a property is awaited. The
    slow path stops the stream at a value that does not fit what an earlier run has sent; the fast
    path leaves such a record to it.
    """
    schema, keys, records = stream
    memory = None if first_types is None else remember_types(schema, keys, first_types)
    options = MappingOptions(null_properties=nulls, max_depth=max_depth)
    both = BothPaths(schema, keys, options, memory=memory)
    for record in records * 2:  # what the first time is undeclared is known the second time
        line = build_line(record)
        try:
            objects, _, first_values = both.compile_fast_path().map_messages([line])
        except UnsupportedSchemaError:
            event("unsupported schema")
            return
        warning_count, unsent = len(both.warnings), set(both.mapper.unsent_paths)
        fast = objects[0] if objects else None
        try:
            slow = both.map_slowly(line)
        except UnmappableStreamError:
            event("stop")
            assert fast is None
            return
        event("fast" if fast is not None else "slow")
        if fast is not None:
            assert fast == slow
            assert len(both.warnings) == warning_count
            assert set(first_values) == unsent - set(both.mapper.unsent_paths)
    assert_lines_are_independent(both.compile_fast_path(), records)


def assert_lines_are_independent(fast_path: FastPath, records: Sequence[str]) -> None:
    """Assert that many lines at a time give what each gives alone, in messages or not."""
    for map_lines, lines in (
        (fast_path.map_messages, [*map(build_line, records)]),
        (fast_path.map_records, [record.encode() + b"\n" for record in records]),
    ):
        alone = [map_lines([line]) for line in lines]
        expected = [one.objects[0] for one in alone if one.objects]
        unsupported = [at for at, one in enumerate(alone) if one.unsupported]
        mapped = map_lines(lines)
        assert (mapped.objects, mapped.unsupported) == (expected, unsupported)


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
def test_any_schema_is_compiled_or_refused(properties: dict[str, Any], required: object) -> None:
    """Without validation, a schema may be any JSON."""
    schema = {
        "properties": {**properties, "id": {"type": "integer"}},
        **({} if required is None else {"required": required}),
    }
    try:
        mapper = RecordMapper(
            "s", "c", schema, ("id",), options=OPTIONS, state=create_state("s", print)
        )
        compile_fast_path(
            stream="s",
            collection="c",
            schema=schema,
            key_properties=("id",),
            properties=mapper.properties,
            send_nulls=True,
            warned_long_paths=frozenset(),
        )
    except (UnsupportedSchemaError, UnmappableStreamError) as error:
        event(type(error).__name__)


@pytest.mark.slow
@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(first=streams(), second=streams(), order=st.randoms(use_true_random=False))
def test_run_is_the_same_with_and_without_the_fast_path(
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
        fast, slow = (run_and_collect(merged, reader, folder) for reader in READERS)
    assert fast == slow
    assert slow.slow_records == slow.records
