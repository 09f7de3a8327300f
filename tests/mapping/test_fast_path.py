"""The fast way of a RECORD says what the slow one says, or nothing."""

from __future__ import annotations

import gzip
import io
import json
import logging
import tempfile
from contextlib import redirect_stdout
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, event, example, given, settings
from hypothesis import strategies as st

from target_segment_objects.cli.load import load
from target_segment_objects.exceptions import InvalidRecordError
from target_segment_objects.mapping.fast_path import (
    FastPath,
    UnsupportedSchemaError,
    compile_fast_path,
)
from target_segment_objects.mapping.mapper import MappingOptions, RecordMapper
from target_segment_objects.mapping.validation import RecordValidator
from target_segment_objects.singer.reader import MessageReader
from target_segment_objects.target import TargetSegmentObjects
from tests.support import schema_line, state_line

OPTIONS = MappingOptions()


@dataclass
class Both:
    """The two ways of one stream."""

    schema: dict[str, Any]
    keys: tuple[str, ...] = ("id",)
    options: MappingOptions = OPTIONS
    warnings: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        """Compile both."""
        self.mapping = RecordMapper(
            "s", "c", self.schema, self.keys, options=self.options, warn=self.warnings.append
        )
        self.validator = RecordValidator("s", self.schema)
        self.warnings.clear()  # those of the schema are told whichever way its records go

    def fast(self) -> FastPath:
        """Return the fast way as it is by now."""
        return compile_fast_path(
            stream="s",
            collection="c",
            schema=self.schema,
            key_properties=self.keys,
            properties=self.mapping.properties,
            send_nulls=self.options.null_properties == "send",
            warned_long_paths=self.mapping.warned_long_paths,
        )

    def slow(self, line: bytes) -> bytes | None:
        """Return what the slow way makes of a line; None when it refuses."""
        record = MessageReader().deserialize_json(line)["record"]
        try:
            self.validator.validate(record)
            return self.mapping.map_record(record)
        except InvalidRecordError:
            return None


def line_of(record: str, stream: str = "s") -> bytes:
    """Return a RECORD message whose record is written as it is given."""
    return f'{{"type": "RECORD", "stream": "{stream}", "record": {record}}}\n'.encode()


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
KNOWN = [
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
LEFT = [
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
    '{"id": 1, "home": {"size": 1}}',
    '{"id": 1, "home": {"street": "x", "more": 1}}',
    '{"id": 1, "home": "x"}',
    '{"id": 1, "any": "%s"}' % ("x" * 33000),
]


@pytest.mark.parametrize("record", KNOWN)
@pytest.mark.parametrize("nulls", ["send", "omit"])
def test_what_the_fast_way_knows_it_writes_as_the_slow_one_does(
    record: str,
    nulls: Any,  # noqa: ANN401 - one of two texts
) -> None:
    """The same bytes, and no warning."""
    both = Both(FLAT, options=MappingOptions(null_properties=nulls))
    fast = both.fast()(line_of(record))
    assert fast is not None
    assert fast == both.slow(line_of(record))
    assert both.warnings == []


@pytest.mark.parametrize("record", LEFT)
def test_what_the_fast_way_does_not_know_it_leaves_alone(record: str) -> None:
    """Whatever is odd is the slow way's to decide."""
    assert Both(FLAT).fast()(line_of(record)) is None


@pytest.mark.parametrize(
    "line",
    [
        line_of('{"id": 1}', stream="other"),
        b'{"type": "STATE", "stream": "s", "record": {"id": 1}}',
        b'{"type": "RECORD", "stream": "s"}',
        b'{"type": "RECORD", "stream": "s", "record": {"id": 1}} x',
        b'{"type": "RECORD", "stream": "s", "record": {"id": 1',
        b'\xff{"type": "RECORD", "stream": "s", "record": {"id": 1}}',
        b"[]",
        b"",
    ],
)
def test_another_s_line_is_left_alone(line: bytes) -> None:
    """A message of another stream or type, or none at all."""
    assert Both(FLAT).fast()(line) is None


@pytest.mark.parametrize(
    "properties",
    [
        {"a": {"enum": ["x"]}},
        {"a": {"type": ["string", "integer"], "enum": ["x", 1]}},
        {"a": {"type": "string", "enum": ["x" * 513]}},
        {"a": {"pattern": "x"}},
        {"a": {"$ref": "#/definitions/x"}},
        {"a": {"type": "string", "minLength": 1.0}},
        {"a": {"type": "number", "minimum": 0}},
        {"a": {"type": "array", "minItems": 1}},
        {"a": {"anyOf": [{"type": "string", "maxLength": 3}, {"type": "null"}]}},
        {"a": {"oneOf": [{"type": "string"}, {"type": "null"}]}},
        {"a": {"type": "array", "items": {"enum": [1]}}},
        {"a": False},
    ],
)
def test_a_schema_that_says_more_is_not_for_the_fast_way(properties: dict[str, Any]) -> None:
    """It is refused as a whole, so that nothing of it can be passed over."""
    schema = {"properties": {"id": {"type": "integer"}, **properties}}
    with pytest.raises(UnsupportedSchemaError):
        Both(schema).fast()


def test_a_stream_without_keys_is_not_for_the_fast_way() -> None:
    """Its ids are digests of the whole record."""
    with pytest.raises(UnsupportedSchemaError):
        Both(FLAT, keys=()).fast()


def test_long_texts_are_fast_once_they_have_been_told() -> None:
    """The slow way warns of the first; then there is nothing to say any more."""
    both = Both({"properties": {"id": {"type": "integer"}, "text": {"type": "string"}}})
    line = line_of('{"id": 1, "text": "%s"}' % ("x" * 600))
    assert both.fast()(line) is None
    written = both.slow(line)
    assert len(both.warnings) == 1
    assert both.fast()(line) == written


# For every input


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
            [{}, {"format": "date-time"}, {"maxLength": 5}, {"minimum": 0}, {"title": "t"}]
        ),
    ),
    st.just({}),
    st.just({"type": "array", "items": {"type": "integer"}}),
    st.just({"anyOf": [{"type": "string", "format": "date"}, {"type": "null"}]}),
    st.just({"type": ["string", "null"], "enum": ["", "a_b%", "1.5"]}),
)


def object_schemas(children: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    """Schemas of objects with declared properties."""
    return st.builds(
        lambda properties, null, required: {
            "type": ["object", "null"] if null else "object",
            "properties": properties,
            "required": [name for name in properties if name in required],
        },
        st.dictionaries(names, children, min_size=1, max_size=4),
        st.booleans(),
        st.sets(names, max_size=1),
    )


schemas = st.builds(
    lambda properties, key: {"properties": {"id": key, **properties}},
    st.dictionaries(
        names.filter("id".__ne__),
        st.recursive(leaf_schemas, object_schemas, max_leaves=6),
        max_size=6,
    ),
    st.sampled_from([{"type": "integer"}, {"type": "string"}, {"type": ["string", "integer"]}]),
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
def records_of(draw: st.DrawFn, schema: Any) -> str:  # noqa: ANN401 - any schema
    """A record that mostly is as its schema says, as a tap might write it."""
    members = []
    for name, declared in schema["properties"].items():
        if name != "id" and draw(st.integers(0, 9)) == 0:
            continue
        members.append(f"{json.dumps(name)}: {draw(values_of(declared))}")
    if draw(st.integers(0, 19)) == 0:
        members.append(f'"undeclared": {draw(value_texts)}')
    return f"{{{', '.join(draw(st.permutations(members)))}}}"


@st.composite
def values_of(draw: st.DrawFn, schema: Any) -> str:  # noqa: ANN401 - any schema
    """A value's JSON: of the schema's type, most of the time."""
    if draw(st.integers(0, 14)) == 0:
        return draw(value_texts)
    types = schema.get("type", ["string", "null"])
    kind = draw(st.sampled_from(types if isinstance(types, list) else [types]))
    if kind == "object":
        if schema.get("properties"):
            return draw(records_of(schema))
        return draw(st.sampled_from(["{}", '{"k": 1.50}', '{"k": {"l": [null]}}']))
    if kind == "array":
        items = draw(st.lists(scalar_texts, max_size=3))
        return f"[{','.join(items)}]"
    of_kind: dict[str, st.SearchStrategy[str]] = {
        "string": string_texts,
        "integer": st.integers(-(10**20), 10**20).map(str) | st.integers(-9, 9).map(str),
        "number": number_texts,
        "boolean": st.sampled_from(["true", "false"]),
        "null": st.just("null"),
    }
    return str(draw(of_kind[kind]))


@st.composite
def streams(draw: st.DrawFn) -> tuple[dict[str, Any], tuple[str, ...], list[str]]:
    """A schema, its keys, and records."""
    schema = draw(schemas)
    others = sorted(schema["properties"].keys() - {"id"})
    is_composite: bool = draw(st.booleans())
    keys = ("id", draw(st.sampled_from(others))) if others and is_composite else ("id",)
    return schema, keys, draw(st.lists(records_of(schema), min_size=1, max_size=6))


@pytest.mark.slow
@settings(max_examples=400, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(stream=streams(), nulls=st.sampled_from(["send", "omit"]))
@example(stream=(FLAT, ("id",), KNOWN + LEFT), nulls="send")
def test_for_every_schema_and_record_the_fast_way_agrees_or_is_silent(
    stream: tuple[dict[str, Any], tuple[str, ...], list[str]],
    nulls: Any,  # noqa: ANN401 - one of two texts
) -> None:
    """Where it answers, the slow way takes the record, writes the same bytes and warns of none."""
    schema, keys, records = stream
    both = Both(schema, keys, MappingOptions(null_properties=nulls))
    for record in records:
        line = line_of(record)
        try:
            fast = both.fast()(line)
        except UnsupportedSchemaError:
            event("schema unsuitable")
            return
        told = len(both.warnings)
        slow = both.slow(line)
        event("fast" if fast is not None else "slow")
        if fast is not None:
            assert fast == slow
            assert len(both.warnings) == told


class NoShortcuts(dict[bytes, Any]):
    """Takes none, so that every line goes the slow way."""

    def __setitem__(self, head: bytes, shortcut: object) -> None:
        """Forget it."""


class SlowReader(MessageReader):
    """A reader of the slow way alone."""

    def __init__(self) -> None:
        """Begin without fast_handlers, for good."""
        super().__init__()
        self.fast_handlers = NoShortcuts()


class KeptFiles:
    """A client that keeps what would be uploaded."""

    def __init__(self) -> None:
        """Begin with nothing."""
        self.files: list[bytes] = []

    def start(self) -> str:
        """Begin a session."""
        return "s"

    def upload(self, _: str, file: Path) -> str:
        """Keep a file."""
        self.files.append(gzip.decompress(file.read_bytes()))
        return "p"

    def finish(self, *_: str) -> None:
        """Accept."""

    abort_session = finish
    keep_alive = finish

    def close(self) -> None:
        """Do nothing."""


class Handler(logging.Handler):
    """Keeps messages."""

    def __init__(self) -> None:
        """Begin with none."""
        super().__init__(logging.WARNING)
        self.said: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        """Keep one."""
        self.said.append(record.getMessage())


def _collection_of(file: bytes) -> str:
    collection: str = json.loads(file.splitlines()[0])["collection"]
    return collection


def outcome(lines: list[bytes], reader: type[MessageReader], folder: str) -> tuple[Any, ...]:
    """Run a target; return its code, files, STATEs, warnings and counts."""

    class Target(TargetSegmentObjects):
        message_reader_class = reader

    api = KeptFiles()

    rejects = Path(folder) / f"{reader.__name__}.singer"
    handler = Handler()
    root = logging.getLogger()
    root.addHandler(handler)
    try:
        target = Target(
            config={
                "write_key": "k",
                "batch_size_rows": 3,
                "max_parallel_sessions": 1,
                "invalid_records": "dead_letter",
                "dead_letter_path": str(rejects),
            }
        )
        with redirect_stdout(io.StringIO()) as told:
            code = load(target, io.BytesIO(b"".join(lines)), api=api)
    finally:
        root.removeHandler(handler)
    said = [message.replace(str(rejects), "rejects") for message in handler.said]
    dead = rejects.read_bytes().count(b'"rejected"') if rejects.exists() else 0
    # Sessions of two collections come in any order; each one's own come in theirs.
    files = sorted(api.files, key=_collection_of)
    return code, files, told.getvalue().splitlines()[-1:], said, dead


@pytest.mark.slow
@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(first=streams(), second=streams(), order=st.randoms(use_true_random=False))
def test_for_every_input_a_run_is_the_same_with_and_without_the_fast_way(
    first: Any,  # noqa: ANN401 - schema, keys, records
    second: Any,  # noqa: ANN401 - schema, keys, records
    order: Any,  # noqa: ANN401 - a random.Random
) -> None:
    """The same bytes, the same last STATE, the same warnings, the same rejects, in one order."""
    lines = []
    for name, (schema, keys, records) in (("one", first), ("two", second)):
        head = schema_line(name, schema["properties"], keys).encode() + b"\n"
        mine = [line_of(record, name) for record in records * 2]
        lines.append([head, *mine, head.replace(b'"object"', b'["object"]', 1), *mine[:2]])
    merged: list[bytes] = []
    while any(lines):
        queue = order.choice([queue for queue in lines if queue])
        merged.append(queue.pop(0))
        merged.append(state_line(len(merged)).encode() + b"\n")
    with tempfile.TemporaryDirectory() as folder:
        assert outcome(merged, MessageReader, folder) == outcome(merged, SlowReader, folder)
