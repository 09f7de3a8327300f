"""Records as objects: every row of the documentation, and what must hold for any record."""

from __future__ import annotations

import json
import math
import random
import re
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
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
from target_segment_objects.mapping.mapper import MappingOptions, RecordMapper
from target_segment_objects.mapping.naming import CollectionResolver
from target_segment_objects.mapping.validation import RecordValidator
from target_segment_objects.sandbox import objects as strict
from target_segment_objects.singer.reader import MessageReader

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    Record = dict[str, Any]

PAGE = Path(__file__).parents[2] / "docs" / "mapping.md"
WRITE = msgspec.json.Encoder(decimal_format="number").encode


def read(text: str | bytes) -> Any:  # noqa: ANN401 - JSON of any shape
    """Return JSON as the target reads it."""
    line = text.encode() if isinstance(text, str) else text
    return MessageReader().deserialize_json(line)


def compiled(
    properties: dict[str, Any],
    *,
    keys: Sequence[str] = (),
    options: dict[str, Any] | None = None,
    warnings: list[str] | None = None,
) -> RecordMapper:
    """Return the mapping of the stream `s`."""
    return RecordMapper(
        "s",
        "s",
        {"type": "object", "properties": properties},
        keys,
        options=MappingOptions(**(options or {})),
        warn=(warnings if warnings is not None else []).append,
    )


def digits(line: bytes | str) -> Any:  # noqa: ANN401 - JSON of any shape
    """Return JSON with its numbers as the text that they are."""
    return json.loads(line, parse_int=lambda t: f"int {t}", parse_float=lambda t: f"float {t}")


# The documentation


@dataclass(frozen=True)
class Row:
    """A row of a table on the page.

    Attributes:
        line: Its line on the page, for the name of the test.
        cells: Heading to text; a text of many characters is written out.
    """

    line: int
    cells: dict[str, str]

    def __getitem__(self, heading: str) -> str:
        """Return a cell without its marks of code."""
        return self.cells.get(heading, "").strip("`")

    def json(self, heading: str) -> Any:  # noqa: ANN401 - JSON of any shape
        """Return a cell's JSON as the target reads it; an empty object if there is none."""
        return read(self[heading] or "{}")

    @property
    def warns(self) -> bool:
        """Whether the note speaks of a warning, or of a line in the log."""
        return bool(re.search("warning|logged", self.cells["Note"]))


def rows(*headings: str) -> list[Any]:
    """Return the rows of every table that begins with these headings."""
    columns: list[str] = []
    found = []
    for number, text in enumerate(PAGE.read_text(encoding="utf-8").splitlines(), 1):
        if not text.startswith("|"):
            columns = []
            continue
        cells = [cell.strip() for cell in text.strip("|").split("|")]
        if not columns:
            columns = cells
        elif columns[: len(headings)] == list(headings) and not text.startswith("|---"):
            long = re.compile(r"(.)…(\d+)")
            cells = [long.sub(lambda m: m[1] * int(m[2]), cell) for cell in cells]
            assert len(cells) == len(columns), f"{PAGE}:{number}"
            row = Row(number, dict(zip(columns, cells, strict=True)))
            found.append(pytest.param(row, id=f"line {number}"))
    return found


def in_full(declared: Any) -> Any:  # noqa: ANN401 - a schema, or a part of one
    """Return a schema of which the page writes a type's name for `{"type": name}`."""
    if isinstance(declared, str):
        return {"type": declared}
    if isinstance(declared, list) and all(isinstance(name, str) for name in declared):
        return {"type": declared}
    schema = dict(declared)
    for keyword in ("anyOf", "oneOf"):
        if keyword in schema:
            schema[keyword] = [in_full(variant) for variant in schema[keyword]]
    if "properties" in schema:
        schema["properties"] = {k: in_full(v) for k, v in schema["properties"].items()}
    return schema


def test_every_table_of_the_page_is_tested() -> None:
    """No table has headings that no test knows, and each test has rows."""
    known = [("Declared", "Record"), ("Stream", "Settings"), ("Keys", "Record")]
    found = [row for headings in known for row in rows(*headings)]
    lines = [line for line in PAGE.read_text(encoding="utf-8").splitlines() if line[:1] == "|"]
    headers_and_rules = 2 * sum(line.startswith("|---") for line in lines)
    assert len(found) == len(lines) - headers_and_rules > 90


@pytest.mark.parametrize("row", [*rows("Declared", "Record", "Sent"),
                                 *rows("Declared", "Record", "Settings", "Sent")])  # fmt: skip
def test_what_is_sent(row: Row) -> None:
    """The page's names and values are what the mapping makes, digit by digit."""
    warnings: list[str] = []
    properties = {name: in_full(schema) for name, schema in row.json("Declared").items()}
    what, _, reason = row["Sent"].partition(": ")
    if what == "stream refused":
        with pytest.raises(UnmappableStreamError, match=re.escape(reason)):
            compiled(properties)
        return
    mapping = compiled(properties, options=row.json("Settings"), warnings=warnings)
    if what == "invalid":
        with pytest.raises(InvalidRecordError, match=re.escape(reason)):
            mapping.map_record(row.json("Record"))
    else:
        line = mapping.map_record(row.json("Record"))
        assert digits(line)["properties"] == digits(row["Sent"])
        assert strict.parse_object(line)
    assert len(warnings) == row.warns


@pytest.mark.parametrize("row", rows("Stream", "Settings", "Collection"))
def test_which_collection(row: Row) -> None:
    """The page's streams go to the page's collections."""
    chosen = row.json("Settings")
    told: list[str] = []
    collections = CollectionResolver(
        chosen.get("collection_map", {}),
        pluralize=chosen.get("pluralize_collections", False),
        log=told.append,
    )
    *before, last = [stream.strip("`") for stream in row["Stream"].split(", ")]
    for stream in before:
        collections.resolve(stream)
    what, _, reason = row["Collection"].partition(": ")
    if what == "refused":
        with pytest.raises(UnmappableStreamError, match=re.escape(reason)):
            collections.resolve(last)
    else:
        assert collections.resolve(last) == what
    assert len(told) == row.warns


@pytest.mark.parametrize("row", rows("Keys", "Record", "Id"))
def test_which_id(row: Row) -> None:
    """The page's keys make the page's ids."""
    keys = [] if row["Keys"] == "none" else [key.strip("`") for key in row["Keys"].split(", ")]
    mapping = compiled({}, keys=keys)
    what, _, reason = row["Id"].partition(": ")
    if what == "invalid":
        with pytest.raises(InvalidRecordError, match=re.escape(reason)):
            mapping.map_record(row.json("Record"))
    else:
        assert strict.parse_object(mapping.map_record(row.json("Record"))).id == row["Id"]


@pytest.mark.parametrize("row", rows("Declared", "Record", "SDK", "Here"))
def test_which_verdict(row: Row) -> None:
    """Validation departs from the SDK's as the page says, and only where it says so."""
    properties = {name: in_full(schema) for name, schema in row.json("Declared").items()}
    schema, record = {"properties": properties}, row.json("Record")
    try:
        JSONSchemaValidator(schema).validate(record)
        sdk = "accepts"
    except InvalidRecord:
        sdk = "refuses"
    except (ArithmeticError, InvalidJSONSchema, referencing.exceptions.Unresolvable):
        sdk = "fails"
    try:
        RecordValidator("s", schema).validate(record)
        here = "accepts"
    except InvalidRecordError:
        here = "refuses"
    assert (sdk, here) == (row["SDK"], row["Here"])


# What must hold for any record

# Few characters, so that names meet often; and any text that leaves a name.
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
    """Draw what a schema declares and a record that is valid to it, with more than it declares."""
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


def leaves_of(
    properties: dict[str, Any], record: Record, above: tuple[str, ...] = ()
) -> Iterator[tuple[tuple[str, ...], Any, object]]:
    """Yield path, schema and value of each leaf of a record."""
    for name, value in record.items():
        schema = properties.get(name)
        below = schema.get("properties") if isinstance(schema, dict) else None
        if below:
            yield from leaves_of(below, value, (*above, name))
        else:
            yield (*above, name), schema, value


def alone(path: tuple[str, ...], value: object) -> Record:
    """Return a record that has one leaf only."""
    for name in reversed(path):
        value = {name: value}
    assert isinstance(value, dict)
    return value


def holds(sent: object, value: object) -> bool:
    """Return whether the value can be had again from what was sent for it."""
    if value is None or isinstance(value, (bool, int, Decimal)):
        if isinstance(sent, str):
            sent = read(f'{{"v":{sent}}}')["v"]
        return bool(sent == value) and isinstance(sent, bool) == isinstance(value, bool)
    if isinstance(value, str):
        return sent in (value, value.replace(" ", "T", 1))
    return isinstance(sent, str) and bool(read(f'{{"v":{sent}}}')["v"] == value)


@given(streams())
@settings(suppress_health_check=[HealthCheck.too_slow])
def test_no_value_of_a_valid_record_is_lost(stream: tuple[dict[str, Any], Record]) -> None:
    """Each leaf is under one name, the same as when it comes alone, and can be had again."""
    properties, record = stream
    found = list(leaves_of(properties, record))
    assume(found)
    mapping = compiled(properties)
    line = mapping.map_record(read(WRITE(record)))
    sent = read(line)["properties"]
    assert len(strict.parse_object(line).properties) == len(sent) == len(found)
    names = set()
    for path, schema, value in found:
        single = read(mapping.map_record(read(WRITE(alone(path, value)))))["properties"]
        ((name, again),) = single.items()
        names.add(name)
        assert sent[name] == again
        assert holds(again, value)
        if schema is None or schema == {}:
            assert again is None or isinstance(again, str)
    assert names == set(sent)


@given(streams(), st.randoms(use_true_random=False))
@example(({"b": {"type": "object", "properties": {"x": {}}},
           "b_c": {"type": "object", "properties": {"y": {}}}},
          {"b": {"c_d": 1}, "b_c": {"d": 2}}), random.Random(1))  # fmt: skip  # noqa: S311
@settings(suppress_health_check=[HealthCheck.too_slow])
def test_the_order_of_a_records_keys_changes_nothing(
    stream: tuple[dict[str, Any], Record], dice: random.Random
) -> None:
    """Neither a name nor a value nor, without a key, the id."""
    properties, record = stream
    assume(any(True for _ in leaves_of(properties, record)))

    def shuffled(value: Any) -> Any:  # noqa: ANN401 - a record, or a part of one
        if not isinstance(value, dict):
            return value
        items = list(value.items())
        dice.shuffle(items)
        return {name: shuffled(below) for name, below in items}

    lines = []
    for one in (record, shuffled(record)):
        line = digits(compiled(properties).map_record(read(WRITE(one))))
        lines.append(line)
    free_form = [
        name for name, text in lines[0]["properties"].items() if str(text)[:1] in ("{", "[")
    ]
    for line in lines:
        for name in free_form:  # these are written in the order that they have
            line["properties"].pop(name)
    assert lines[0] == lines[1]


@given(streams())
@settings(suppress_health_check=[HealthCheck.too_slow])
def test_the_same_input_gives_the_same_bytes(stream: tuple[dict[str, Any], Record]) -> None:
    """A mapping compiled anew, and one that has seen the record before, write the same line."""
    properties, record = stream
    assume(any(True for _ in leaves_of(properties, record)))
    text = WRITE(record)
    mapping = compiled(properties)
    lines = {mapping.map_record(read(text)), mapping.map_record(read(text))}
    assert lines == {compiled(properties).map_record(read(text))}


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
def test_what_is_sent_is_always_taken(
    properties: dict[str, Any], record: Record, places: list[int], options: dict[str, str]
) -> None:
    """Whatever comes, a line is one that the strict sandbox takes, or there is a reason why not."""
    keys = [list(record)[place % len(record)] for place in places]
    warnings: list[str] = []
    try:
        mapping = compiled(
            read(json.dumps(properties)), keys=keys, options=options, warnings=warnings
        )
        line = mapping.map_record(read(json.dumps(record)))
    except (InvalidRecordError, UnmappableStreamError) as refused:
        assert str(refused).encode()  # noqa: PT017 - it can be written to any log
    else:
        one = strict.parse_object(line)
        assert len(one.properties) > 0 or options["null_properties"] == "omit"
        assert b"\n" not in line
    assert len(set(warnings)) == len(warnings)
    assert "\n".join(warnings).encode() is not None


KEYS: dict[str, st.SearchStrategy[Any]] = {
    "integer": st.integers(-20, 20) | INTEGERS,
    "number": st.integers(-3, 3) | DECIMALS | st.sampled_from([Decimal("1.0"), Decimal("0.10")]),
    "boolean": st.booleans(),
    "string": st.text("_%25F5ab", min_size=1, max_size=4) | st.text(min_size=1),
    "array": st.lists(st.text('_%",[]', max_size=2), max_size=2),
}


@given(st.data())
def test_no_two_keys_share_an_id(data: st.DataObject) -> None:
    """By the types that the schema gives the keys: other keys are other ids, equal ones one."""
    types = data.draw(st.lists(st.sampled_from(sorted(KEYS)), min_size=1, max_size=3))
    properties = {f"k{place}": {"type": name} for place, name in enumerate(types)}
    mapping = compiled(properties, keys=list(properties))
    values = st.tuples(*(KEYS[name] for name in types))
    one, other = data.draw(values), data.draw(values)
    ids = []
    for key in (one, other):
        record = read(WRITE(dict(zip(properties, key, strict=True))))
        ids.append(strict.parse_object(mapping.map_record(record)).id)
    assert (ids[0] == ids[1]) == (one == other)


# Ids, limits and warnings, one by one


def test_a_long_id_is_its_digest() -> None:
    """At 100 characters it stays; at 101 it is 64 hexadecimal digits, two for two ids."""
    mapping = compiled({}, keys=["k"])
    ids = [
        strict.parse_object(mapping.map_record({"k": text})).id
        for text in ("é" * 100, "é" * 101, "é" * 102)
    ]
    assert ids[0] == "é" * 100
    assert all(re.fullmatch("[0-9a-f]{64}", one) for one in ids[1:])
    assert ids[1] != ids[2]


@pytest.mark.parametrize(
    ("record", "reason"),
    [
        ({"b": 1}, "missing"),
        ({"a": None}, "null"),
        ({"a": ""}, "empty"),
        ({"a": math.nan}, "not a"),
    ],
)
@pytest.mark.parametrize("keys", [["a"], ["b", "a"]])
def test_a_key_without_a_value(record: Record, reason: str, keys: list[str]) -> None:
    """The record is invalid, and the key is named."""
    with pytest.raises(MissingKeyError, match=f"'a': the key property is {reason}") as raised:
        compiled({}, keys=keys).map_record({"b": 1, **record})
    assert raised.value.field == "a"


@pytest.mark.parametrize(("keys", "warned"), [(["id"], 0), (["id", "x"], 1), (["x"], 1), ([], 1)])
def test_a_property_id_that_is_not_the_key(keys: list[str], warned: int) -> None:
    """It is sent, and told once, whether the schema declares it or not."""
    for properties in ({"id": {"type": "integer"}}, {"ID": {"type": "integer"}}, {}):
        warnings: list[str] = []
        name = next(iter(properties), "id")
        renamed = [name if key == "id" else key for key in keys]
        mapping = compiled(properties, keys=renamed, warnings=warnings)
        for _ in range(2):
            line = mapping.map_record({name: 7, "x": 8})
        assert "id" in dict(strict.parse_object(line).properties)
        assert len(warnings) == warned


def test_an_object_at_the_limit_and_one_past() -> None:
    """An object of 409,600 bytes of JSON is sent; one byte more makes the record invalid."""
    names = [f"p{number}" for number in range(16)]
    properties = {name: {"type": "string"} for name in names}
    record = dict.fromkeys(names, "x" * 25_400)
    room = limits.MAX_OBJECT_BYTES - len(compiled(properties).map_record(record))
    record["p0"] += "\0" * 5
    record["p1"] += "x" * (room - 5 * len(r"\u0000"))
    mapping = compiled({**properties, "k": {}})
    line = mapping.map_record(record)
    assert len(line) == limits.MAX_OBJECT_BYTES
    assert strict.parse_object(line)
    with pytest.raises(InvalidRecordError, match="an object of 409601 bytes of JSON"):
        mapping.map_record({**record, "p2": "x" * 25_401})


@pytest.mark.parametrize("oversized", ["reject", "truncate"])
def test_a_number_at_the_limit_and_one_past(oversized: str) -> None:
    """A number of less than 32 KB is sent whole; one of 32 KB is refused, never cut."""
    mapping = compiled({"n": {"type": "number"}}, options={"oversized_values": oversized})
    at_limit = "0." + "1" * (limits.VALUE_BYTES_LIMIT - 3)
    assert strict.parse_object(mapping.map_record(read(f'{{"n":{at_limit}}}')))
    with pytest.raises(InvalidRecordError, match="'n': a value of 32768 bytes"):
        mapping.map_record(read(f'{{"n":{at_limit}1}}'))


@given(st.text("xé€😀", min_size=1, max_size=4), st.integers(0, 3))
def test_a_text_is_cut_at_a_whole_character(end: str, less: int) -> None:
    """What is left is the beginning of the text, below 32 KB by less than a character."""
    text = "x" * (limits.VALUE_BYTES_LIMIT - less) + end
    mapping = compiled({"s": {"type": "string"}}, options={"oversized_values": "truncate"})
    left = json.loads(mapping.map_record({"s": text}))["properties"]["s"]
    assert text.startswith(left)
    size = len(text.encode())
    if size < limits.VALUE_BYTES_LIMIT:
        assert left == text
    else:
        assert limits.VALUE_BYTES_LIMIT - 4 <= len(left.encode()) < limits.VALUE_BYTES_LIMIT


def test_each_warning_comes_once_per_property() -> None:
    """NaN, long and cut texts are told at their first record, for each property."""
    warnings: list[str] = []
    mapping = compiled({}, options={"oversized_values": "truncate"}, warnings=warnings)
    for _ in range(3):
        for name in ("a", "b"):
            for value in (math.nan, "x" * 513, "x" * limits.VALUE_BYTES_LIMIT, [math.inf]):
                mapping.map_record({name: value})
    assert len(warnings) == len(set(warnings)) == 6


def test_a_reason_names_stream_id_and_property_but_no_value() -> None:
    """All that a user needs to find the record, and nothing of what it says."""
    mapping = compiled({"a": {"properties": {"b": {"type": "string"}}}}, keys=["k"])
    with pytest.raises(InvalidRecordError) as raised:
        mapping.map_record({"k": 5, "a": {"b": "s3cret" * 9999}})
    assert str(raised.value) == (
        "Invalid record: stream 's', object '5', property 'a.b': a value of 59994 bytes; Segment "
        "accepts less than 32768"
    )


@pytest.mark.parametrize(
    "where", ["text", "array", "key", "composite", "digest", "name", "array key"]
)
def test_half_a_surrogate_is_an_invalid_record(where: str) -> None:
    """With a reason that can be written, wherever the half stands."""
    half = '"\\ud800"'
    text, keys = {
        "text": (f'{{"k":1,"a":{half}}}', ["k"]),
        "array": (f'{{"k":1,"a":[{half}]}}', ["k"]),
        "key": (f'{{"k":{half}}}', ["k"]),
        "composite": (f'{{"k":{half},"l":1}}', ["k", "l"]),
        "digest": (f'{{"a":{half}}}', []),
        "name": (f'{{"k":1,{half}:2}}', ["k"]),
        "array key": (f'{{"k":[{half}]}}', ["k"]),
    }[where]
    with pytest.raises(InvalidRecordError, match=r"surrogate|no letter or digit") as raised:
        compiled({}, keys=keys).map_record(read(text))
    assert str(raised.value).encode()


def test_deep_nesting_ends_no_run() -> None:
    """What can be read can be sent, or is an invalid record."""

    def map_nested(depth: int) -> str | None:
        deep = read('{"k":1,"a":' + "[" * depth + "NaN" + "]" * depth + "}")
        try:
            assert strict.parse_object(compiled({}, keys=["k"]).map_record(deep))
        except InvalidRecordError as error:
            return error.reason
        return None

    # A thread has a stack of its own, so that how deep the test runner is does not matter.
    with ThreadPoolExecutor(1) as thread:
        assert thread.submit(map_nested, 100).result() is None
        assert thread.submit(map_nested, 950).result() in (None, "it is nested too deeply")


def test_an_undeclared_property_keeps_its_name_for_the_run() -> None:
    """What comes later gives way, whatever it is called."""
    warnings: list[str] = []
    mapping = compiled({"b": {}}, warnings=warnings)
    first = digits(mapping.map_record({"A": 1}))["properties"]
    second = digits(mapping.map_record({"a": 2, "A": 1, "B": 3}))["properties"]
    assert first == {"a": "1"}
    assert second == {"a_2": "2", "a": "1", "b_2": "3"}
    (warning,) = warnings
    assert "so 'B' is sent as b_2, 'a' is sent as a_2." in warning
