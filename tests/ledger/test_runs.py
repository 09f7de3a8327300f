"""Runs with a ledger: what a second run of the same input sends, for each way into the target."""

from __future__ import annotations

import gzip
import json
from typing import TYPE_CHECKING, Any

import pytest

from tests.support import record_line, schema_line, state_line
from tests.support.in_process import USERS, run_target_in_process

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from target_segment_objects.sandbox.server import Sandbox

SLOW_USERS = schema_line("users", {"id": {"type": "integer"}, "name": {"not": {"type": "array"}}})
"""A SCHEMA that the fast path does not support."""


def user(number: int, name: str = "x", stream: str = "users") -> str:
    """Return a RECORD."""
    return record_line(stream, {"id": number, "name": name})


def plain_input(folder: Path, name: str) -> tuple[list[str], dict[str, Any]]:
    """Return records that take the fast path; the second has a name."""
    del folder
    return [USERS, user(1), user(2, name), user(3), state_line(1)], {}


def slow_input(folder: Path, name: str) -> tuple[list[str], dict[str, Any]]:
    """Return records that take the slow path."""
    del folder
    return [SLOW_USERS, user(1), user(2, name), user(3), state_line(1)], {}


def batch_input(folder: Path, name: str) -> tuple[list[str], dict[str, Any]]:
    """Return a BATCH message, and write its file."""
    file = folder / "batch.jsonl.gz"
    records = [{"id": number, "name": name if number == 2 else "x"} for number in (1, 2, 3)]
    file.write_bytes(gzip.compress("".join(f"{json.dumps(r)}\n" for r in records).encode()))
    batch = {
        "type": "BATCH",
        "stream": "users",
        "encoding": {"format": "jsonl", "compression": "gzip"},
        "manifest": [file.as_uri()],
    }
    return [USERS, json.dumps(batch), state_line(1)], {}


def mapped_input(folder: Path, name: str) -> tuple[list[str], dict[str, Any]]:
    """Return records that stream maps filter and change."""
    lines, _ = plain_input(folder, name)
    maps = {"users": {"name": "record['name'].upper()", "__filter__": "record['id'] > 0"}}
    return [*lines[:-1], user(-1), lines[-1]], {"stream_maps": maps}


def shared_input(folder: Path, name: str) -> tuple[list[str], dict[str, Any]]:
    """Return two streams of one collection."""
    del folder
    lines = [USERS, USERS.replace("users", "members"), user(1), user(2, name, "members"), user(3)]
    return [*lines, state_line(1)], {"collection_map": {"users": "people", "members": "people"}}


def keyless_input(folder: Path, name: str) -> tuple[list[str], dict[str, Any]]:
    """Return records without key properties."""
    lines, config = plain_input(folder, name)
    schema = {**json.loads(USERS), "key_properties": []}
    return [json.dumps(schema), *lines[1:]], config


def rejected_input(folder: Path, name: str) -> tuple[list[str], dict[str, Any]]:
    """Return records of which one is rejected."""
    lines, _ = plain_input(folder, name)
    config = {"invalid_records": "dead_letter", "dead_letter_path": str(folder / "rejects.jsonl")}
    return [*lines[:-1], user(None), lines[-1]], config  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "build_input",
    [
        plain_input,
        slow_input,
        batch_input,
        mapped_input,
        shared_input,
        keyless_input,
        rejected_input,
    ],
    ids=lambda build: build.__name__.removesuffix("_input"),
)
def test_second_run_sends_what_changed(
    sandbox: Sandbox,
    tmp_path: Path,
    build_input: Callable[[Path, str], tuple[list[str], dict[str, Any]]],
) -> None:
    """The same input sends nothing; a changed record alone is sent. STATE is always written."""
    # Without a key, a value that returns is a record that Segment still has.
    last = 4 if build_input is keyless_input else 5
    for name, sent in (("y", 3), ("y", 3), ("z", 4), ("z", 4), ("y", last)):
        lines, config = build_input(tmp_path, name)
        result = run_target_in_process(
            sandbox, *lines, ledger_path=str(tmp_path / "ledger.sqlite"), **config
        )
        assert result == (0, [1])
        assert sum(session.objects for session in sandbox.warehouse.sessions()) == sent


@pytest.mark.parametrize("keywords", [{}, {"minProperties": 1}], ids=["fast path", "slow path"])
def test_order_of_the_properties_does_not_matter(
    sandbox: Sandbox, tmp_path: Path, keywords: dict[str, Any]
) -> None:
    """Some taps write the properties of a SCHEMA in another order in each run."""
    address = {"street": {"type": "string"}, "city": {"type": "string"}}
    schemas = []
    for names in (["id", "name", "address"], ["address", "name", "id"]):
        city_first = names[0] == "address"
        nested = dict(reversed(address.items())) if city_first else address
        types = {
            "id": {"type": "integer"},
            "name": {"type": "string"},
            "address": {"type": ["object", "null"], "properties": nested},
        }
        message = json.loads(schema_line("users", {name: types[name] for name in names}))
        message["schema"] |= keywords
        schemas.append(json.dumps(message))
    record = {"id": 1, "name": "x", "address": {"street": "s", "city": "c"}}
    for schema in (*schemas, *schemas):
        lines = [schema, record_line("users", record), record_line("users", record | {"id": 2})]
        ledger = str(tmp_path / "ledger.sqlite")
        assert run_target_in_process(sandbox, *lines, ledger_path=ledger) == (0, [])
        assert sum(session.objects for session in sandbox.warehouse.sessions()) == 2
