"""The settings of flattening, which are those of every target of the SDK."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest

from tests.support import record_line, schema_line
from tests.support.in_process import run_target_in_process
from tests.support.two_decoders import DECODERS, run_and_collect

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from target_segment_objects.sandbox.server import Sandbox

ADDRESS: dict[str, Any] = {"type": "object", "properties": {"city": {"type": "string"}}}
NULLABLE: dict[str, Any] = {**ADDRESS, "type": ["object", "null"]}
LONG = "a_property_with_a_long_name"

CASES: dict[str, tuple[dict[str, Any], list[dict[str, Any]], list[dict[str, Any]]]] = {
    "a null after an object": (
        {"properties": {"address": NULLABLE}},
        [{"address": {"city": "Bonn"}}, {"address": None}],
        [{"address_city": "Bonn"}, {"address_city": None}],
    ),
    "a null inside an object": (
        {"properties": {"a": {"type": "object", "properties": {"b": NULLABLE}}}},
        [{"a": {"b": {"city": "Bonn"}}}, {"a": {"b": None}}],
        [{"a_b_city": "Bonn"}, {"a_b_city": None}],
    ),
    "any type": (
        {"properties": {"any": {}}},
        [{"any": 5}, {"any": {"x": 1}}, {"any": None}],
        [{"any": "5"}, {"any": '{"x":1}'}, {"any": None}],
    ),
    "any value": (
        {"properties": {"any": True, "address": ADDRESS}},
        [{"any": 5, "address": {"city": "Bonn"}}],
        [{"any": "5", "address_city": "Bonn"}],
    ),
    "a required object": (
        {"properties": {"address": ADDRESS}, "required": ["address"]},
        [{"address": {"city": "Bonn"}}],
        [{"address_city": "Bonn"}],
    ),
    "an object or null": (
        {"properties": {"address": {"anyOf": [ADDRESS, {"type": "null"}]}}},
        [{"address": {"city": "Bonn"}}, {"address": None}],
        [{"address_city": "Bonn"}, {"address_city": None}],
    ),
    "null or an object": (
        {"properties": {"address": {"oneOf": [{"type": "null"}, ADDRESS]}}},
        [{"address": {"city": "Bonn"}}, {"address": None}],
        [{"address_city": "Bonn"}, {"address_city": None}],
    ),
    "a null where no other properties are allowed": (
        {"properties": {"address": NULLABLE}, "additionalProperties": False},
        [{"address": {"city": "Bonn"}}, {"address": None}],
        [{"address_city": "Bonn"}, {"address_city": None}],
    ),
    "a reference": (
        {"properties": {"address": {"$ref": "#/$defs/a"}}, "$defs": {"a": NULLABLE}},
        [{"address": {"city": "Bonn"}}, {"address": None}],
        [{"address_city": "Bonn"}, {"address_city": None}],
    ),
    "an object without a type": (
        {"properties": {"address": {"properties": {"city": {"type": "string"}}}}},
        [{"address": {"city": "Bonn"}}],
        [{"address_city": "Bonn"}],
    ),
    "names that the SDK takes for one": (
        {"properties": {"a": ADDRESS, "a__city": {"type": "string"}}},
        [{"a": {"city": "Bonn"}, "a__city": "Ulm"}],
        [{"a_city": "Bonn", "a_city_2": "Ulm"}],
    ),
    "objects that are not declared": (
        {"properties": {"free": {"type": ["object", "null"]}}},
        [{"free": {"x": 1}, "other": {"y": {"z": 2}}}, {"free": None, "other": None}],
        [{"free": '{"x":1}', "other": '{"y":{"z":2}}'}, {"free": None, "other": None}],
    ),
}
ANY_DEPTH: list[dict[str, Any]] = [
    {"flattening_enabled": True, "flattening_max_depth": 3},
    {"flattening_enabled": True},
    {"flattening_enabled": True, "flattening_max_depth": 3, "flattening_separator": "__"},
    {"flattening_enabled": False, "flattening_max_depth": 0},
    {},
]


def build_lines(schema: dict[str, Any], records: Sequence[dict[str, Any]]) -> list[bytes]:
    """Return the messages of a stream whose key is `id`, with the ids 1, 2 and so on."""
    message = json.loads(schema_line("s", {}))
    message["schema"] = {"type": "object", **schema}
    message["schema"]["properties"] = {"id": {"type": "integer"}, **schema["properties"]}
    lines = [
        json.dumps(message),
        *(record_line("s", {"id": number, **record}) for number, record in enumerate(records, 1)),
    ]
    return [f"{line}\n".encode() for line in lines]


def read_properties(files: Sequence[bytes]) -> list[dict[str, Any]]:
    """Return what was sent, without the id."""
    lines = [json.loads(line)["properties"] for file in files for line in file.splitlines()]
    return [{name: value for name, value in line.items() if name != "id"} for line in lines]


@pytest.mark.parametrize("config", ANY_DEPTH, ids=str)
@pytest.mark.parametrize("name", CASES)
def test_objects_are_flattened_in_one_way(
    name: str, config: dict[str, Any], tmp_path: Path
) -> None:
    """Whether flattening is enabled or not, each shape of a schema gives the same objects."""
    schema, records, expected = CASES[name]
    lines = build_lines(schema, records)
    for decoder in DECODERS:
        outcome = run_and_collect(lines, decoder, tmp_path, **config)
        assert (outcome.code, outcome.rejected) == (0, [])
        assert read_properties(outcome.files) == expected


def test_null_clears_what_the_object_had(sandbox: Sandbox) -> None:
    """A later null of the same id leaves no stale value, and no property of the object's name."""
    schema = schema_line("s", {"id": {"type": "integer"}, "address": NULLABLE})
    code, _ = run_target_in_process(
        sandbox,
        schema,
        record_line("s", {"id": 1, "address": {"city": "Bonn"}}),
        record_line("s", {"id": 1, "address": None}),
        flattening_enabled=True,
        flattening_max_depth=3,
    )
    assert code == 0
    (row,) = sandbox.warehouse.rows("s")
    assert row == {"id": "1", "address_city": None}


@pytest.mark.parametrize(
    ("depth", "first", "second"),
    [
        (0, {"a": '{"b":{"city":"Bonn"}}'}, {"a": None}),
        (1, {"a_b": '{"city":"Bonn"}'}, {"a_b": None}),
        (2, {"a_b_city": "Bonn"}, {"a_b_city": None}),
    ],
)
def test_objects_below_the_depth_are_json_text(
    depth: int, first: dict[str, Any], second: dict[str, Any], tmp_path: Path
) -> None:
    """The records are decoded with types, and a null clears what was sent of the object."""
    schema = {"properties": {"a": {"type": ["object", "null"], "properties": {"b": NULLABLE}}}}
    bonn: dict[str, Any] = {"a": {"b": {"city": "Bonn"}}}
    records = [bonn, {"a": None}, bonn]
    outcome = run_and_collect(
        build_lines(schema, records),
        DECODERS[0],
        tmp_path,
        flattening_enabled=True,
        flattening_max_depth=depth,
    )
    assert outcome.code == 0
    assert outcome.untyped_records == {"s": 0}
    assert read_properties(outcome.files) == [first, second, first]


def test_stream_maps_come_first(tmp_path: Path) -> None:
    """Objects that a stream map renames or copies are flattened under their new names."""
    schema = {
        "properties": {"home": ADDRESS, "work": {"type": "object", "properties": {"at": ADDRESS}}}
    }
    record = {"home": {"city": "Bonn"}, "work": {"at": {"city": "Ulm"}}}
    outcome = run_and_collect(
        build_lines(schema, [record, record]),
        DECODERS[0],
        tmp_path,
        flattening_enabled=True,
        flattening_max_depth=1,
        stream_maps={"s": {"town": "home['city']", "job": "work", "work": None}},
    )
    assert outcome.untyped_records == {"s": 2}
    assert read_properties(outcome.files) == 2 * [
        {"home_city": "Bonn", "town": "Bonn", "job_at": '{"city":"Ulm"}'}
    ]


def test_long_names_are_shortened(tmp_path: Path) -> None:
    """Declared or not, in the same way in each run, and one warning says so."""
    address = {"type": "object", "properties": {LONG: {"type": "string"}, "b": {"type": "string"}}}
    lines = build_lines(
        {"properties": {"a": address, LONG: {"type": "string"}}},
        [{"a": {LONG: "x", "b": "y"}, LONG: "z", f"{LONG}_2": "u"}] * 2,
    )
    config: dict[str, Any] = {"flattening_enabled": True, "flattening_max_key_length": 25}
    outcomes = [run_and_collect(lines, decoder, tmp_path, **config) for decoder in DECODERS]
    assert outcomes[0] == outcomes[1]
    assert read_properties(outcomes[0].files) == 2 * [
        {
            "a_a_property_w_crnttxgzyr": "x",
            "a_b": "y",
            "a_property_wit_hvyagqujce": "z",
            "a_property_wit_wwzokeidta": "u",
        }
    ]
    assert [text for text in outcomes[0].warnings if "flattening_max_key_length" in text]
