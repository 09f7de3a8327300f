"""Stream maps of the SDK, which are applied before the mapping."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest

from tests.support import record_line, schema_line, state_line
from tests.support.in_process import USERS, run_target_in_process

if TYPE_CHECKING:
    from pathlib import Path

    from target_segment_objects.sandbox.server import Sandbox


def test_stream_maps_are_applied_before_the_mapping(sandbox: Sandbox) -> None:
    """Stream maps rename, filter, choose keys, and drop or compute properties."""
    schema = schema_line(
        "Users",
        {"id": {"type": "integer"}, "email": {"type": "string"}, "age": {"type": "integer"}},
    )
    maps = {
        "Users": {
            "__alias__": "people",
            "__key_properties__": ["email"],
            "__filter__": "age > 17",
            "age": "__NULL__",
            "double": "int(id * 2)",
        }
    }
    code, _ = run_target_in_process(
        sandbox,
        schema,
        record_line("Users", {"id": 1, "email": "a@example.com", "age": 30}),
        record_line("Users", {"id": 2, "email": "b@example.com", "age": 3}),
        stream_maps=maps,
    )
    assert code == 0
    assert sandbox.warehouse.collections() == ["people"]
    (row,) = sandbox.warehouse.rows("people")
    assert row["id"] == "a@example.com"
    assert row["double"] == 2
    assert "age" not in row


def test_stream_map_can_duplicate_a_stream(sandbox: Sandbox) -> None:
    """With `__source__`, the same record goes to two streams, each with its own collection."""
    code, _ = run_target_in_process(
        sandbox,
        USERS,
        record_line("users", {"id": 1, "name": "x"}),
        stream_maps={"users": {}, "copies": {"__source__": "users", "name": "__NULL__"}},
    )
    assert code == 0
    assert sandbox.warehouse.collections() == ["copies", "users"]


def test_failing_expression_ends_the_run_like_an_invalid_record(
    sandbox: Sandbox, caplog: pytest.LogCaptureFixture
) -> None:
    """By default, everything before the record is delivered, and no value of it is logged."""
    code, states = run_target_in_process(
        sandbox,
        USERS,
        record_line("users", {"id": 1, "name": "12"}),
        state_line({"at": 1}),
        record_line("users", {"id": 2, "name": "Ada"}),
        state_line({"at": 2}),
        stream_maps={"users": {"name": "int(name)"}},
    )
    assert (code, states) == (1, [{"at": 1}])
    assert [row["id"] for row in sandbox.warehouse.rows("users")] == ["1"]
    assert "stream 'users', property 'name'" in caplog.text
    assert "Ada" not in caplog.text
    assert "Traceback" not in caplog.text


def test_record_with_a_failing_expression_becomes_a_dead_letter(
    sandbox: Sandbox, tmp_path: Path
) -> None:
    """With `invalid_records: dead_letter`, the record is rejected as the tap wrote it."""
    file = tmp_path / "rejects.singer"
    code, states = run_target_in_process(
        sandbox,
        USERS,
        record_line("users", {"id": 1, "name": "Ada"}),
        record_line("users", {"id": 2, "name": "12"}),
        state_line({"at": 2}),
        stream_maps={"users": {"name": "int(name)"}},
        invalid_records="dead_letter",
        dead_letter_path=str(file),
    )
    assert (code, states) == (0, [{"at": 2}])
    assert [row["name"] for row in sandbox.warehouse.rows("users")] == [12]
    _, rejected = map(json.loads, file.read_text(encoding="utf-8").splitlines())
    assert rejected["record"] == {"id": 1, "name": "Ada"}
    assert rejected["rejected"]["field"] == "name"
    assert "ValueError" in rejected["rejected"]["reason"]


@pytest.mark.parametrize(
    ("stream_map", "message"),
    [
        ({"id": None}, "Removing key property 'id'"),
        ({"__key_properties__": ["nope"]}, "Property 'nope' was not detected"),
        ({"__alias__": "users +"}, "users +"),
        ({"__alias__": "1 + 'a'"}, "unsupported operand"),
        ({"__alias__": "5"}, "__alias__ in stream_maps must be a string, and not 5"),
    ],
    ids=["removed key", "unknown key", "alias syntax", "alias type", "number as alias"],
)
def test_stream_map_that_does_not_fit_its_stream_ends_the_run(
    sandbox: Sandbox,
    caplog: pytest.LogCaptureFixture,
    stream_map: dict[str, Any],
    message: str,
) -> None:
    """A stream map that the SDK refuses at the SCHEMA ends the run with a message of one line."""
    code, _ = run_target_in_process(sandbox, USERS, stream_maps={"users": stream_map})
    assert code == 1
    assert message in caplog.text
    assert "Stream 'users': " in caplog.text
    assert "Traceback" not in caplog.text


ADDRESS: dict[str, Any] = {
    "type": ["object", "null"],
    "properties": {"city": {"type": ["string", "null"]}, "zip": {"type": ["integer", "null"]}},
}


@pytest.mark.parametrize(
    ("stream_map", "expected"),
    [
        ({"home": None, "house": "home"}, {"house_city": "Bonn", "house_zip": 7, "price": 2.5}),
        ({"price": "__NULL__", "cost": "price"}, {"home_city": "Bonn", "home_zip": 7, "cost": 2.5}),
        (
            {"home": "str(home['city'])", "house": "home", "price": "str(price)", "cost": "price"},
            {"home": "Bonn", "house_city": "Bonn", "house_zip": 7, "price": "2.5", "cost": 2.5},
        ),
        ({"home": "home", "id": "id", "__else__": None}, {"home_city": "Bonn", "home_zip": 7}),
        (
            {"__source__": "u", "home": None, "price": None, "house": "home"},
            {"house_city": "Bonn", "house_zip": 7},
        ),
    ],
    ids=["object", "number", "changed", "chosen", "duplicate"],
)
@pytest.mark.parametrize("flattening", [{}, {"flattening_enabled": True}], ids=str)
@pytest.mark.parametrize("has_definitions", [False, True])
def test_renamed_property_keeps_its_type(
    sandbox: Sandbox,
    stream_map: dict[str, Any],
    expected: dict[str, Any],
    flattening: dict[str, Any],
    has_definitions: bool,  # noqa: FBT001 - a parameter
) -> None:
    """Whatever the order of the stream map, and whether its schema is a definition or not."""
    properties = {"id": {"type": "integer"}, "home": ADDRESS, "price": {"type": "number"}}
    schema = json.loads(schema_line("u", properties))
    if has_definitions:
        schema["schema"]["$defs"] = {"address": ADDRESS}
        properties["home"] = {"$ref": "#/$defs/address"}
        schema["schema"]["properties"] = properties
    name = "copies" if "__source__" in stream_map else "u"
    code, _ = run_target_in_process(
        sandbox,
        json.dumps(schema),
        record_line("u", {"id": 1, "home": {"city": "Bonn", "zip": 7}, "price": 2.5}),
        record_line("u", {"id": 1, "home": {"city": "Bonn", "zip": 7}, "price": 2.5}),
        stream_maps={name: stream_map},
        **flattening,
    )
    assert code == 0
    assert sandbox.warehouse.rows(name) == [{"id": "1", **expected}]
