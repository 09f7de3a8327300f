"""Stream maps and flattening of the SDK, which are applied before the mapping."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tests.support import record_line, schema_line
from tests.support.in_process import USERS, run_target_in_process

if TYPE_CHECKING:
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


def test_flattening_yields_the_same_columns(sandbox: Sandbox) -> None:
    """`flattening_enabled` joins names with two underscores, which snake case folds."""
    schema = schema_line(
        "u",
        {
            "id": {"type": "integer"},
            "home": {"type": "object", "properties": {"street": {"type": "string"}}},
        },
    )
    record = record_line("u", {"id": 1, "home": {"street": "x"}})
    for flattened in (False, True):
        code, _ = run_target_in_process(
            sandbox, schema, record, flattening_enabled=flattened, flattening_max_depth=3
        )
        assert code == 0
    (row,) = sandbox.warehouse.rows("u")
    assert set(row) == {"id", "home_street"}
