"""Records become objects: every row of the documentation, and properties of any record."""

from __future__ import annotations

import json
import math
import random
import re
from concurrent.futures import ThreadPoolExecutor
from decimal import Decimal
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec
import pytest
import referencing.exceptions
from hypothesis import HealthCheck, assume, example, given, settings
from hypothesis import strategies as st
from singer_sdk.exceptions import InvalidJSONSchema, InvalidRecord
from singer_sdk.sinks.core import JSONSchemaValidator

from target_segment_objects import limits
from target_segment_objects.exceptions import (
    InvalidRecordError,
    MissingKeyError,
    UnmappableStreamError,
)
from target_segment_objects.mapping import naming
from target_segment_objects.mapping.data_warnings import DataWarnings
from target_segment_objects.mapping.mapper import RecordMapper
from target_segment_objects.mapping.mapping_options import MappingOptions
from target_segment_objects.mapping.naming import CollectionResolver
from target_segment_objects.mapping.validation import RecordValidator
from target_segment_objects.mapping.warehouse.names import to_column_name, to_table_name
from target_segment_objects.sandbox import objects as strict
from target_segment_objects.settings import Settings
from target_segment_objects.singer.reader import MessageReader
from tests.mapping.test_validation import check_record
from tests.support import documented_rows, remembered_properties
from tests.support.documented_rows import DocumentedRow
from tests.support.remembered_properties import RememberedProperties, create_state

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    Record = dict[str, Any]

DOCUMENTATION = Path(__file__).parents[2] / "docs" / "mapping-reference.md"
WRITE = msgspec.json.Encoder(decimal_format="number").encode


def read_json(text: str | bytes) -> Any:  # noqa: ANN401 - JSON of any shape
    """Return JSON as the target reads it."""
    line = text.encode() if isinstance(text, str) else text
    return MessageReader().deserialize_json(line)


def compile_mapper(
    properties: dict[str, Any],
    *,
    keys: Sequence[str] = (),
    options: dict[str, Any] | None = None,
    warnings: list[str] | None = None,
) -> RecordMapper:
    """Return a mapper of the stream `s`; `options` are settings of the target."""
    mapping = Settings.from_config({"write_key": "k", **(options or {})}).mapping
    log = (warnings if warnings is not None else []).append
    return RecordMapper(
        "s",
        "s",
        {"type": "object", "properties": properties},
        keys,
        options=mapping,
        state=create_state("s", log, max_name_length=mapping.max_name_length),
    )


def read_digits(line: bytes | str) -> Any:  # noqa: ANN401 - JSON of any shape
    """Return JSON with its numbers as strings of their digits."""
    return json.loads(line, parse_int=lambda t: f"int {t}", parse_float=lambda t: f"float {t}")


# The documentation


class Row(DocumentedRow):
    """A row of a table in the documentation, with JSON in its cells."""

    def read_cell(self, heading: str) -> Any:  # noqa: ANN401 - JSON of any shape
        """Return a cell's JSON as the target reads it; an empty object if the cell is empty."""
        return read_json(self[heading] or "{}")

    @property
    def expects_log(self) -> bool:
        """Whether the note says that there is a warning or a line in the log."""
        return bool(re.search("warning|logged", self.cells["Note"]))


def read_rows(*headings: str) -> list[Any]:
    """Return the rows of every table whose first columns have these headings."""
    return [
        pytest.param(Row(row.line, row.cells), id=f"line {row.line}")
        for row in documented_rows.read_rows(DOCUMENTATION, *headings)
    ]


def expand_schema(declared: Any) -> Any:  # noqa: ANN401 - a schema, or a part of one
    """Return a schema for which the documentation writes `name` in place of `{"type": name}`."""
    if isinstance(declared, str):
        return {"type": declared}
    if isinstance(declared, list) and all(isinstance(name, str) for name in declared):
        return {"type": declared}
    schema = dict(declared)
    for keyword in ("anyOf", "oneOf"):
        if keyword in schema:
            schema[keyword] = [expand_schema(variant) for variant in schema[keyword]]
    if "properties" in schema:
        schema["properties"] = {k: expand_schema(v) for k, v in schema["properties"].items()}
    return schema


def test_every_table_of_the_documentation_is_tested() -> None:
    """Every table has headings that a test knows, and each test has rows."""
    known = [
        ("Declared", "Record"),
        ("Stream", "Settings"),
        ("Keys", "Record"),
        ("First SCHEMA", "First record"),
    ]
    found = [row for headings in known for row in read_rows(*headings)]
    assert len(found) == documented_rows.count_rows(DOCUMENTATION) > 90


def list_columns(properties: dict[str, Any]) -> str:
    """Return the columns of an object's properties as the documentation lists them."""
    columns = [to_column_name(name) for name in properties]
    return ", ".join("none" if column is None else f"`{column}`" for column in columns).strip("`")


@pytest.mark.parametrize("row", [*read_rows("Declared", "Record", "Sent"),
                                 *read_rows("Declared", "Record", "Settings", "Sent")])  # fmt: skip
def test_documented_properties_are_sent(row: Row) -> None:
    """The documented names and values are what is sent, digit by digit."""
    warnings: list[str] = []
    properties = {name: expand_schema(schema) for name, schema in row.read_cell("Declared").items()}
    outcome, _, reason = row["Sent"].partition(": ")
    if outcome == "stream refused":
        with pytest.raises(UnmappableStreamError, match=re.escape(reason)):
            compile_mapper(properties)
        return
    mapper = compile_mapper(properties, options=row.read_cell("Settings"), warnings=warnings)
    if outcome == "invalid":
        with pytest.raises(InvalidRecordError, match=re.escape(reason)):
            mapper.map_record(row.read_cell("Record"))
    else:
        line = mapper.map_record(row.read_cell("Record"))
        assert read_digits(line)["properties"] == read_digits(row["Sent"])
        assert strict.parse_object(line)
        if "Column" in row.cells:
            assert list_columns(read_json(line)["properties"]) == row["Column"]
    assert len(warnings) == row.expects_log


@pytest.mark.parametrize("row", read_rows("First SCHEMA", "First record"))
def test_documented_changes_of_a_schema(row: Row) -> None:
    """What is sent of the record after the second SCHEMA is what is documented."""
    memory = RememberedProperties()
    state = memory.start_run(row.read_cell("Settings").get("type_changes", "fail"))

    def map_record(schema: str, record: str) -> bytes:
        properties = {name: expand_schema(part) for name, part in row.read_cell(schema).items()}
        return remembered_properties.compile_mapper(state, properties, keys=()).map_record(
            row.read_cell(record)
        )

    map_record("First SCHEMA", "First record")
    outcome, _, reason = row["Sent"].partition(": ")
    if outcome == "stream refused":
        with pytest.raises(UnmappableStreamError, match=re.escape(reason)):
            map_record("Next SCHEMA", "Next record")
        return
    line = map_record("Next SCHEMA", "Next record")
    assert read_digits(line)["properties"] == read_digits(row["Sent"])
    warnings = [text for text in memory.messages if "still sent as the first" not in text]
    assert len(warnings) == row.expects_log


@pytest.mark.parametrize("row", read_rows("Stream", "Settings", "Collection"))
def test_documented_collections_are_resolved(row: Row) -> None:
    """The documented streams go to the documented collections."""
    options = row.read_cell("Settings")
    messages: list[str] = []
    collections = CollectionResolver(
        options.get("collection_map", {}),
        pluralize=options.get("pluralize_collections", False),
        log=messages.append,
    )
    *before, last = [stream.strip("`") for stream in row["Stream"].split(", ")]
    for stream in before:
        collections.resolve(stream)
    outcome, _, reason = row["Collection"].partition(": ")
    if outcome == "refused":
        with pytest.raises(UnmappableStreamError, match=re.escape(reason)):
            collections.resolve(last)
    else:
        assert collections.resolve(last) == outcome
        if "Table" in row.cells:
            assert to_table_name(outcome) == row["Table"]
            DataWarnings(last, messages.append).warn_collection(outcome)
    assert len(messages) == row.expects_log


@pytest.mark.parametrize("row", read_rows("Keys", "Record", "Id"))
def test_documented_ids_are_built(row: Row) -> None:
    """The documented keys give the documented ids."""
    keys = [] if row["Keys"] == "none" else [key.strip("`") for key in row["Keys"].split(", ")]
    mapper = compile_mapper({}, keys=keys)
    outcome, _, reason = row["Id"].partition(": ")
    if outcome == "invalid":
        with pytest.raises(InvalidRecordError, match=re.escape(reason)):
            mapper.map_record(row.read_cell("Record"))
    else:
        assert strict.parse_object(mapper.map_record(row.read_cell("Record"))).id == row["Id"]


@pytest.mark.parametrize("row", read_rows("Declared", "Record", "SDK", "Here"))
def test_documented_differences_in_validation(row: Row) -> None:
    """Validation differs from the SDK's as documented."""
    properties = {name: expand_schema(schema) for name, schema in row.read_cell("Declared").items()}
    schema, record = {"properties": properties}, row.read_cell("Record")
    try:
        JSONSchemaValidator(schema).validate(record)
        sdk = "accepts"
    except InvalidRecord:
        sdk = "refuses"
    except (ArithmeticError, InvalidJSONSchema, referencing.exceptions.Unresolvable):
        sdk = "fails"
    warnings: list[str] = []
    validator_warnings = DataWarnings("s", warnings.append)
    try:
        validator = RecordValidator("s", schema, warnings=validator_warnings)
        check_record(validator, record, validator_warnings)
        here = "accepts"
    except InvalidRecordError:
        here = "refuses"
    assert (sdk, here) == (row["SDK"], row["Here"])
    assert len(warnings) == row.expects_log


# Properties of any record

# Few characters, so that names collide often; and any string that has a name.
NAMES = (st.text("aAbB2_-é", min_size=1, max_size=3) | st.text(min_size=1, max_size=6)).filter(
    naming.to_property_name
)
DECIMALS = st.decimals(allow_nan=False, allow_infinity=False).filter(lambda d: d.adjusted() < 308)
INTEGERS = st.integers() | st.integers(-(2**1000), 2**1000)
TEXTS = st.text(max_size=8) | st.sampled_from(
    ["2024-01-31 10:00:00", "null", "true", "1", "x" * 600]
)
JSON = st.recursive(
    st.none() | st.booleans() | INTEGERS | DECIMALS | TEXTS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXTS, inner, max_size=3),
    max_leaves=5,
)
LEAVES: dict[str, tuple[Any, st.SearchStrategy[Any]]] = {
    "integer": ({"type": ["integer", "null"]}, INTEGERS),
    "number": ({"type": "number"}, INTEGERS | DECIMALS),
    "boolean": ({"type": "boolean"}, st.booleans()),
    "string": ({"type": ["string", "null"]}, TEXTS),
    "time": ({"type": "string", "format": "date-time"}, TEXTS),
    "array": ({"type": "array"}, st.lists(JSON, max_size=3)),
    "map": ({"type": "object"}, st.dictionaries(TEXTS, JSON, max_size=3)),
    "mixed": ({"type": ["integer", "string"]}, INTEGERS | TEXTS),
    "any": ({}, JSON),
    "undeclared": (None, JSON),
}


@st.composite
def streams(draw: st.DrawFn, depth: int = 2) -> tuple[dict[str, Any], Record]:
    """Draw declared properties and a valid record that also has undeclared ones."""
    properties: dict[str, Any] = {}
    record: Record = {}
    for name in draw(st.lists(NAMES, max_size=5, unique=True)):
        if depth and draw(st.integers(0, 3)) == 0:
            declared, value = draw(streams(depth=depth - 1))
            properties[name] = {"type": "object", "properties": declared}
            record[name] = value
            continue
        schema, values = LEAVES[draw(st.sampled_from(sorted(LEAVES)))]
        if schema is not None:
            properties[name] = schema
        if schema is None or draw(st.booleans()):
            record[name] = draw(values)
    return properties, record


def iterate_leaves(
    properties: dict[str, Any], record: Record, above: tuple[str, ...] = ()
) -> Iterator[tuple[tuple[str, ...], Any, object]]:
    """Yield path, schema and value of each leaf of a record."""
    for name, value in record.items():
        schema = properties.get(name)
        below = schema.get("properties") if isinstance(schema, dict) else None
        if below:
            yield from iterate_leaves(below, value, (*above, name))
        else:
            yield (*above, name), schema, value


def build_single_record(path: tuple[str, ...], value: object) -> Record:
    """Return a record with one leaf."""
    for name in reversed(path):
        value = {name: value}
    assert isinstance(value, dict)
    return value


def preserves_value(sent: object, value: object) -> bool:
    """Return whether a value can be restored from what was sent for it."""
    if value is None or isinstance(value, (bool, int, Decimal)):
        if isinstance(sent, str):
            sent = read_json(f'{{"v":{sent}}}')["v"]
        return bool(sent == value) and isinstance(sent, bool) == isinstance(value, bool)
    if isinstance(value, str):
        return sent in (value, value.replace(" ", "T", 1))
    return isinstance(sent, str) and bool(read_json(f'{{"v":{sent}}}')["v"] == value)


@given(streams())
@settings(suppress_health_check=[HealthCheck.too_slow])
def test_no_value_of_a_valid_record_is_lost(stream: tuple[dict[str, Any], Record]) -> None:
    """Each leaf has one name, the same as in a record of its own, and can be restored."""
    properties, record = stream
    found = list(iterate_leaves(properties, record))
    assume(found)
    mapper = compile_mapper(properties)
    line = mapper.map_record(read_json(WRITE(record)))
    sent = read_json(line)["properties"]
    assert len(strict.parse_object(line).properties) == len(sent) == len(found)
    names = set()
    for path, schema, value in found:
        single = read_json(mapper.map_record(read_json(WRITE(build_single_record(path, value)))))[
            "properties"
        ]
        ((name, again),) = single.items()
        names.add(name)
        assert sent[name] == again
        assert preserves_value(again, value)
        if schema is None or schema == {}:
            assert again is None or isinstance(again, str)
    assert names == set(sent)


@given(streams(), st.randoms(use_true_random=False))
@example(({"b": {"type": "object", "properties": {"x": {}}},
           "b_c": {"type": "object", "properties": {"y": {}}}},
          {"b": {"c_d": 1}, "b_c": {"d": 2}}), random.Random(1))  # fmt: skip  # noqa: S311
@settings(suppress_health_check=[HealthCheck.too_slow])
def test_order_of_a_records_keys_changes_nothing(
    stream: tuple[dict[str, Any], Record], generator: random.Random
) -> None:
    """Names, values and, without key properties, the id are the same."""
    properties, record = stream
    assume(any(True for _ in iterate_leaves(properties, record)))

    def shuffle_keys(value: Any) -> Any:  # noqa: ANN401 - a record, or a part of one
        if not isinstance(value, dict):
            return value
        items = list(value.items())
        generator.shuffle(items)
        return {name: shuffle_keys(below) for name, below in items}

    lines = []
    for ordered in (record, shuffle_keys(record)):
        line = read_digits(compile_mapper(properties).map_record(read_json(WRITE(ordered))))
        lines.append(line)
    free_form = [
        name for name, text in lines[0]["properties"].items() if str(text)[:1] in ("{", "[")
    ]
    for line in lines:
        for name in free_form:  # these keep the order of their keys
            line["properties"].pop(name)
    assert lines[0] == lines[1]


@given(streams())
@settings(suppress_health_check=[HealthCheck.too_slow])
def test_same_input_gives_the_same_bytes(stream: tuple[dict[str, Any], Record]) -> None:
    """A new mapper and one that has mapped the record before return the same line."""
    properties, record = stream
    assume(any(True for _ in iterate_leaves(properties, record)))
    text = WRITE(record)
    mapper = compile_mapper(properties)
    lines = {mapper.map_record(read_json(text)), mapper.map_record(read_json(text))}
    assert lines == {compile_mapper(properties).map_record(read_json(text))}


HOSTILE_TEXTS = (
    st.text(st.characters(categories=["Cs", "Cc", "L"]), max_size=4)
    | st.text("aA_2", max_size=3)
    | st.sampled_from([c * n for c in "xé\0" for n in (512, 513, 16384, 32767, 32768, 70000)])
)
HOSTILE = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.sampled_from([10**308, 2**1024, -(10**400), math.nan, math.inf, -math.inf, 1e308])
    | HOSTILE_TEXTS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(HOSTILE_TEXTS, inner, max_size=4),
    max_leaves=8,
)
HOSTILE_SCHEMAS = st.recursive(
    st.sampled_from([leaf for leaf, _ in LEAVES.values() if leaf is not None]) | HOSTILE,
    lambda inner: st.fixed_dictionaries(
        {"properties": st.dictionaries(HOSTILE_TEXTS, inner, max_size=4)}
    ),
    max_leaves=5,
)


@pytest.mark.slow
@given(
    st.dictionaries(HOSTILE_TEXTS, HOSTILE_SCHEMAS, max_size=4),
    st.dictionaries(HOSTILE_TEXTS, HOSTILE, min_size=1, max_size=4),
    st.lists(st.integers(0, 3), max_size=2, unique=True),
    st.fixed_dictionaries(
        {
            "null_properties": st.sampled_from(["send", "omit"]),
            "oversized_values": st.sampled_from(["reject", "truncate"]),
        }
    ),
)
@settings(suppress_health_check=[HealthCheck.too_slow], max_examples=300)
def test_sandbox_accepts_every_line(
    properties: dict[str, Any], record: Record, positions: list[int], options: dict[str, str]
) -> None:
    """The strict sandbox accepts the line of any record, or the record is invalid."""
    keys = [list(record)[position % len(record)] for position in positions]
    warnings: list[str] = []
    try:
        mapper = compile_mapper(
            read_json(json.dumps(properties)), keys=keys, options=options, warnings=warnings
        )
        line = mapper.map_record(read_json(json.dumps(record)))
    except (InvalidRecordError, UnmappableStreamError) as error:
        assert str(error).encode()  # noqa: PT017 - it can be written to any log
    else:
        parsed = strict.parse_object(line)
        assert len(parsed.properties) > 0 or options["null_properties"] == "omit"
        assert b"\n" not in line
    assert len(set(warnings)) == len(warnings)
    assert "\n".join(warnings).encode() is not None


@given(
    st.lists(
        st.tuples(
            st.sets(NAMES, max_size=4),
            st.lists(st.sets(NAMES, min_size=1, max_size=3), max_size=3),
        ),
        min_size=2,
        max_size=4,
    )
)
@example([(set(), [{"userId"}]), ({"user_id"}, [{"userId", "user_id"}])])
@example([(set(), [{"userId"}, {"user_id"}]), (set(), [{"user_id"}, {"userId"}])])
@example([({"userId"}, []), ({"userId", "user_id"}, [{"userId"}])])
def test_property_keeps_its_name_across_schemas(
    schemas: list[tuple[set[str], list[set[str]]]],
) -> None:
    """In one run, each property of a stream has one name, and no name has two properties."""
    state = create_state("s", print)
    names: dict[str, str] = {}
    for declared, records in schemas:
        mapper = RecordMapper(
            "s",
            "s",
            {"properties": {name: {"type": "string"} for name in sorted(declared)}},
            [],
            options=MappingOptions(),
            state=state,
        )
        for record in records:
            for name in record:
                line = mapper.map_record({name: "x"})
                ((sent, _),) = read_json(line)["properties"].items()
                assert names.setdefault(name, sent) == sent
    assert len(set(names.values())) == len(names)


def test_warnings_are_given_once_across_schemas() -> None:
    """A changed SCHEMA does not repeat them."""
    warnings: list[str] = []
    state = create_state("s", warnings.append)
    for _ in range(2):
        properties: dict[str, Any] = {"id": {}, "ID": {}, "long": {}}
        mapper = RecordMapper(
            "s", "s", {"properties": properties}, ["k"], options=MappingOptions(), state=state
        )
        mapper.map_record({"k": 1, "K": 1, "long": "x" * 600, "n": math.nan})
        assert state.warnings.long_paths == {("long",)}
    assert len(warnings) == len(set(warnings)) == 5


KEYS: dict[str, st.SearchStrategy[Any]] = {
    "integer": st.integers(-20, 20) | INTEGERS,
    "number": st.integers(-3, 3) | DECIMALS | st.sampled_from([Decimal("1.0"), Decimal("0.10")]),
    "boolean": st.booleans(),
    "string": st.text("_%25F5ab", min_size=1, max_size=4) | st.text(min_size=1),
    "array": st.lists(st.text('_%",[]', max_size=2), max_size=2),
}


@given(st.data())
def test_different_keys_have_different_ids(data: st.DataObject) -> None:
    """With keys of the declared types, ids are equal exactly if the keys are equal."""
    types = data.draw(st.lists(st.sampled_from(sorted(KEYS)), min_size=1, max_size=3))
    properties = {f"k{position}": {"type": name} for position, name in enumerate(types)}
    mapper = compile_mapper(properties, keys=list(properties))
    values = st.tuples(*(KEYS[name] for name in types))
    first, second = data.draw(values), data.draw(values)
    ids = []
    for key in (first, second):
        record = read_json(WRITE(dict(zip(properties, key, strict=True))))
        ids.append(strict.parse_object(mapper.map_record(record)).id)
    assert (ids[0] == ids[1]) == (first == second)


# Ids, limits and warnings


def test_long_id_becomes_its_digest() -> None:
    """100 characters are kept; 101 become 64 hexadecimal digits, different for each id."""
    mapper = compile_mapper({}, keys=["k"])
    ids = [
        strict.parse_object(mapper.map_record({"k": text})).id
        for text in ("é" * 100, "é" * 101, "é" * 102)
    ]
    assert ids[0] == "é" * 100
    assert all(re.fullmatch("[0-9a-f]{64}", digest) for digest in ids[1:])
    assert ids[1] != ids[2]


@pytest.mark.parametrize(
    ("record", "reason"),
    [
        pytest.param({"b": 1}, "missing", id="missing"),
        pytest.param({"a": None}, "null", id="null"),
        pytest.param({"a": math.nan}, "not a", id="NaN"),
    ],
)
@pytest.mark.parametrize("keys", [["a"], ["b", "a"]], ids=["single", "composite"])
def test_key_without_a_value_is_invalid(record: Record, reason: str, keys: list[str]) -> None:
    """The error names the key property."""
    with pytest.raises(MissingKeyError, match=f"'a': the key property is {reason}") as raised:
        compile_mapper({}, keys=keys).map_record({"b": 1, **record})
    assert raised.value.field == "a"


def test_only_key_is_not_empty() -> None:
    """An empty string is a value of one of several keys, as in a database."""
    with pytest.raises(MissingKeyError, match="'a': the key property is empty"):
        compile_mapper({}, keys=["a"]).map_record({"a": "", "b": 1})
    mapper = compile_mapper({}, keys=["a", "b"])
    keys = [("", 1), ("", ""), ("x", ""), ("", "x"), ("", "_")]
    ids = [strict.parse_object(mapper.map_record({"a": a, "b": b})).id for a, b in keys]
    assert ids == ["_1", "_", "x_", "_x", "_%5F"]


@pytest.mark.parametrize(
    ("keys", "warned"),
    [
        pytest.param(["id"], 0, id="only key"),
        pytest.param(["id", "x"], 1, id="one of two keys"),
        pytest.param(["x"], 1, id="not a key"),
        pytest.param([], 1, id="no keys"),
    ],
)
def test_property_id_that_is_not_the_key_is_warned_of(keys: list[str], warned: int) -> None:
    """It is sent, with one warning, whether the schema declares it or not."""
    for properties in ({"id": {"type": "integer"}}, {"ID": {"type": "integer"}}, {}):
        warnings: list[str] = []
        name = next(iter(properties), "id")
        renamed = [name if key == "id" else key for key in keys]
        mapper = compile_mapper(properties, keys=renamed, warnings=warnings)
        for _ in range(2):
            line = mapper.map_record({name: 7, "x": 8})
        assert "id" in dict(strict.parse_object(line).properties)
        assert len(warnings) == warned


def test_size_limit_of_an_object() -> None:
    """An object of 409,600 bytes of JSON is sent; one byte more makes the record invalid."""
    names = [f"p{number}" for number in range(16)]
    properties = {name: {"type": "string"} for name in names}
    record = dict.fromkeys(names, "x" * 25_400)
    room = limits.MAX_OBJECT_BYTES - len(compile_mapper(properties).map_record(record))
    record["p0"] += "\0" * 5
    record["p1"] += "x" * (room - 5 * len(r"\u0000"))
    mapper = compile_mapper({**properties, "k": {}})
    line = mapper.map_record(record)
    assert len(line) == limits.MAX_OBJECT_BYTES
    assert strict.parse_object(line)
    with pytest.raises(InvalidRecordError, match="an object of 409601 bytes of JSON"):
        mapper.map_record({**record, "p2": "x" * 25_401})


@pytest.mark.parametrize("oversized", ["reject", "truncate"])
def test_size_limit_of_a_number(oversized: str) -> None:
    """A number of less than 32 KB is sent in full; one of 32 KB is invalid, never truncated."""
    mapper = compile_mapper({"n": {"type": "number"}}, options={"oversized_values": oversized})
    at_limit = "0." + "1" * (limits.VALUE_BYTES_LIMIT - 3)
    assert strict.parse_object(mapper.map_record(read_json(f'{{"n":{at_limit}}}')))
    with pytest.raises(InvalidRecordError, match="'n': a value of 32768 bytes"):
        mapper.map_record(read_json(f'{{"n":{at_limit}1}}'))


@given(st.text("xé€😀", min_size=1, max_size=4), st.integers(0, 3))
def test_string_is_truncated_at_a_whole_character(end: str, less: int) -> None:
    """The start of the string is kept, below 32 KB by less than a character."""
    text = "x" * (limits.VALUE_BYTES_LIMIT - less) + end
    mapper = compile_mapper({"s": {"type": "string"}}, options={"oversized_values": "truncate"})
    kept = json.loads(mapper.map_record({"s": text}))["properties"]["s"]
    assert text.startswith(kept)
    size = len(text.encode())
    if size < limits.VALUE_BYTES_LIMIT:
        assert kept == text
    else:
        assert limits.VALUE_BYTES_LIMIT - 4 <= len(kept.encode()) < limits.VALUE_BYTES_LIMIT


def test_each_warning_is_given_once_per_property() -> None:
    """NaN, long and truncated strings are warned of at their first record."""
    warnings: list[str] = []
    mapper = compile_mapper({}, options={"oversized_values": "truncate"}, warnings=warnings)
    for _ in range(3):
        for name in ("a", "b"):
            for value in (math.nan, "x" * 513, "x" * limits.VALUE_BYTES_LIMIT, [math.inf]):
                mapper.map_record({name: value})
    assert len(warnings) == len(set(warnings)) == 6


def test_error_names_stream_id_and_property_but_no_value() -> None:
    """All that a user needs to find the record, and nothing of its content."""
    mapper = compile_mapper({"a": {"properties": {"b": {"type": "string"}}}}, keys=["k"])
    with pytest.raises(InvalidRecordError) as raised:
        mapper.map_record({"k": 5, "a": {"b": "s3cret" * 9999}})
    assert str(raised.value) == (
        "Invalid record: stream 's', object '5', property 'a.b': a value of 59994 bytes; Segment "
        "accepts less than 32768"
    )


@pytest.mark.parametrize(
    "where", ["text", "array", "key", "composite", "digest", "name", "array key"]
)
def test_unpaired_surrogate_makes_the_record_invalid(where: str) -> None:
    """With a reason that can be written, wherever the surrogate is."""
    surrogate = '"\\ud800"'
    text, keys = {
        "text": (f'{{"k":1,"a":{surrogate}}}', ["k"]),
        "array": (f'{{"k":1,"a":[{surrogate}]}}', ["k"]),
        "key": (f'{{"k":{surrogate}}}', ["k"]),
        "composite": (f'{{"k":{surrogate},"l":1}}', ["k", "l"]),
        "digest": (f'{{"a":{surrogate}}}', []),
        "name": (f'{{"k":1,{surrogate}:2}}', ["k"]),
        "array key": (f'{{"k":[{surrogate}]}}', ["k"]),
    }[where]
    with pytest.raises(InvalidRecordError, match=r"surrogate|no letter or digit") as raised:
        compile_mapper({}, keys=keys).map_record(read_json(text))
    assert str(raised.value).encode()


def test_deeply_nested_record_is_sent_or_invalid() -> None:
    """A record as deep as can be read never ends the run."""

    def map_nested(depth: int) -> str | None:
        deep = read_json('{"k":1,"a":' + "[" * depth + "NaN" + "]" * depth + "}")
        try:
            assert strict.parse_object(compile_mapper({}, keys=["k"]).map_record(deep))
        except InvalidRecordError as error:
            return error.reason
        return None

    # A thread has a stack of its own, so that how deep the test runner is does not matter.
    with ThreadPoolExecutor(1) as thread:
        assert thread.submit(map_nested, 100).result() is None
        assert thread.submit(map_nested, 950).result() in (None, "it is nested too deeply")


def test_property_id_of_a_stream_without_keys_can_become_the_key() -> None:
    """The warning offers `__key_properties__`, because a warehouse's id column holds a digest."""
    warnings: list[str] = []
    compile_mapper({"id": {}}, keys=[], warnings=warnings)
    (warning,) = warnings
    assert "set __key_properties__ to [\"id\"] in the stream_maps of 's'" in warning
    compile_mapper({"id": {}}, keys=["x"], warnings=warnings)
    assert "__key_properties__" not in warnings[1]


def test_undeclared_property_keeps_its_name() -> None:
    """A later property with the same name gets a number."""
    warnings: list[str] = []
    mapper = compile_mapper({"b": {}}, warnings=warnings)
    first = read_digits(mapper.map_record({"A": 1}))["properties"]
    second = read_digits(mapper.map_record({"a": 2, "A": 1, "B": 3}))["properties"]
    assert first == {"a": "1"}
    assert second == {"a_2": "2", "a": "1", "b_2": "3"}
    (warning,) = warnings
    assert "so 'B' is sent as b_2, 'a' is sent as a_2." in warning
