"""Runs with a ledger: what a second run of the same input sends, for each way into the target."""

from __future__ import annotations

import gzip
import io
import json
import tracemalloc
from contextlib import redirect_stdout
from typing import TYPE_CHECKING, Any

import pytest

from target_segment_objects.cli.load import load_input
from target_segment_objects.target import TargetSegmentObjects
from tests.support import record_line, schema_line, state_line
from tests.support.in_process import USERS, run_target_in_process
from tests.support.scripted_server import Reply, ScriptedServer

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from target_segment_objects.sandbox.server import Sandbox
    from tests.support import RunTarget

UNTYPED_USERS = schema_line(
    "users", {"id": {"type": "integer"}, "name": {"not": {"type": "array"}}}
)
"""A SCHEMA that no types express."""


def user(number: int, name: str = "x", stream: str = "users") -> str:
    """Return a RECORD."""
    return record_line(stream, {"id": number, "name": name})


def plain_input(folder: Path, name: str) -> tuple[list[str], dict[str, Any]]:
    """Return records that are decoded with types; the second has a name."""
    del folder
    return [USERS, user(1), user(2, name), user(3), state_line(1)], {}


def untyped_input(folder: Path, name: str) -> tuple[list[str], dict[str, Any]]:
    """Return records that are decoded untyped."""
    del folder
    return [UNTYPED_USERS, user(1), user(2, name), user(3), state_line(1)], {}


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


def test_log_and_metrics_count_what_is_unchanged(
    sandbox: Sandbox, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Records read are the sum of what was sent, unchanged, rejected and not delivered."""
    caplog.set_level("INFO", logger="target-segment-objects")
    ledger = str(tmp_path / "ledger.sqlite")
    for name in ("y", "z"):
        caplog.clear()
        lines, config = rejected_input(tmp_path, name)
        run_target_in_process(sandbox, *lines, ledger_path=ledger, **config)
    assert "4 records read, 1 object sent in 1 session, 2 unchanged, 1 rejected, 0" in caplog.text
    assert "Collection users: 4 read, 1 sent, 2 unchanged, 1 rejected, 0 not" in caplog.text
    metrics = [
        json.loads(line.partition("METRIC: ")[2])
        for line in caplog.messages
        if line.startswith("METRIC: ")
    ]
    for metric in metrics:
        if metric["metric"] in {"batch_count", "job_duration"}:
            tags = metric["tags"]
            assert (tags["objects_read"], tags["objects_sent"]) == (4, 1)
            assert (tags["objects_unchanged"], tags["objects_rejected"]) == (2, 1)


def test_a_failed_run_counts_what_waited(
    sandbox: Sandbox, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """What was read and neither sent nor known is not delivered, also what was in the buffer."""
    caplog.set_level("INFO", logger="target-segment-objects")
    lines, _ = plain_input(tmp_path, "y")
    with ScriptedServer() as server:
        config = {"ledger_path": str(tmp_path / "ledger.sqlite"), "api_url": server.url}
        run_target_in_process(sandbox, *lines[:2], **config)
        server.always("start", Reply(400))
        code, states = run_target_in_process(sandbox, *lines, **config)
    assert (code, states) == (1, [])
    assert "3 read, 0 sent, 1 unchanged, 0 rejected, 2 not delivered" in caplog.text


@pytest.mark.parametrize("output_format", ["text", "json"])
def test_dry_run_reads_the_ledger(
    sandbox: Sandbox, run_target: RunTarget, tmp_path: Path, output_format: str
) -> None:
    """It says how many objects would be sent, in how many calls, and leaves the ledger as it is."""
    path = tmp_path / "ledger.sqlite"
    lines, _ = plain_input(tmp_path, "y")
    run_target_in_process(sandbox, *lines, ledger_path=str(path))
    before = path.read_bytes()
    lines, _ = plain_input(tmp_path, "z")
    config = {"api_url": sandbox.url, "ledger_path": str(path)}
    result = run_target("--dry-run", "--format", output_format, lines=lines, config=config)
    assert result.returncode == 0
    if output_format == "text":
        assert "With the ledger: 1 of 3 objects would be sent, in 3 calls." in result.stdout
        assert "never has a value" not in result.stdout
    else:
        totals = json.loads(result.stdout)["totals"]
        assert (totals["objects"], totals["objects_unchanged"]) == (1, 2)
    assert path.read_bytes() == before
    assert [file.name for file in tmp_path.glob("ledger*")] == ["ledger.sqlite"]


def test_check_opens_the_ledger(sandbox: Sandbox, run_target: RunTarget, tmp_path: Path) -> None:
    """It says what the ledger knows; one that a run could not use fails the check."""
    path = tmp_path / "ledger.sqlite"
    config = {"write_key": "k", "api_url": sandbox.url, "ledger_path": str(path)}
    result = run_target("--check", config=config)
    assert (result.returncode, path.exists()) == (0, False)
    assert f"OK: The ledger {path} can be created" in result.stdout
    path.write_text("something else" * 100, encoding="utf-8")
    result = run_target("--check", config=config)
    assert result.returncode == 1
    assert f"FAILED: {path} is not a ledger, or it is damaged" in result.stdout


@pytest.mark.parametrize(
    "build_input",
    [
        plain_input,
        untyped_input,
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


@pytest.mark.parametrize("keywords", [{}, {"minProperties": 1}], ids=["typed", "untyped"])
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


def test_states_in_the_buffer_are_bounded(sandbox: Sandbox, tmp_path: Path) -> None:
    """A tap that writes one after each record, with all bookmarks, takes no memory for each."""
    source = tmp_path / "input.singer"
    with source.open("w") as file:
        file.write(f"{USERS}\n")
        for number in range(1500):
            file.write(f"{record_line('users', {'id': number})}\n")
            bookmarks = {f"stream_{name}": {"at": number, "name": f"{name}"} for name in range(100)}
            file.write(f"{state_line({'bookmarks': bookmarks, 'number': number})}\n")
    config = {"write_key": "k", "api_url": sandbox.url, "ledger_path": str(tmp_path / "l.sqlite")}
    target = TargetSegmentObjects(config=config)
    with redirect_stdout(io.StringIO()) as stdout:
        tracemalloc.start()
        with source.open("rb") as lines:
            assert load_input(target, lines) == 0
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
    assert peak < 15_000_000  # all STATEs have more than 45,000,000
    assert json.loads(stdout.getvalue().splitlines()[-1])["number"] == 1499


def build_table(rows: int, name: str = "x", **metadata: str) -> list[str]:
    """Return a complete table with some metadata in each row."""
    text = {"type": "string"}
    schema = schema_line(
        "users", {"id": {"type": "integer"}, "name": text, **dict.fromkeys(metadata, text)}
    )
    records = [
        record_line("users", {"id": number, "name": name, **metadata}) for number in range(rows)
    ]
    return [schema, *records, state_line(1)]


@pytest.mark.parametrize("setting", [{}, {"ledger_ignored_properties": ["_sdc_run", "seen"]}])
def test_metadata_of_the_reading_does_not_count(
    sandbox: Sandbox, tmp_path: Path, setting: dict[str, Any]
) -> None:
    """That of the SDK and of file taps never counts; what the user names counts neither."""
    config = {
        "ledger_path": str(tmp_path / "ledger.sqlite"),
        "add_record_metadata": True,
        **setting,
    }
    for day in ("1", "2"):
        metadata = dict.fromkeys(
            ("_sdc_last_modified", "_sdc_source_lineno", "_sdc_source_file", "_sdc_batched_at"),
            day,
        )
        for name in setting.get("ledger_ignored_properties", ()):
            metadata[name] = day
        lines = build_table(3, **metadata)
        assert run_target_in_process(sandbox, *lines, **config) == (0, [1])
    assert sum(session.objects for session in sandbox.warehouse.sessions()) == 3


@pytest.mark.parametrize(
    ("lines", "expected"),
    [
        (build_table(120, _sdc_run="2"), "120 of 120"),
        (build_table(110, name="y", _sdc_run="1"), "perhaps sdc_run. Name a property"),
        (build_table(110, name="y"), "the settings of its mapping have changed since the last run"),
        (build_table(109, name="y", _sdc_run="1"), "109 of 120"),
        (build_table(100, name="y", _sdc_run="1"), None),
        (build_table(120, _sdc_run="1"), None),
    ],
    ids=["metadata", "names the property", "changed mapping", "91 %", "83 %", "unchanged"],
)
def test_stream_that_changes_as_a_whole_gets_a_warning(
    sandbox: Sandbox,
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
    lines: list[str],
    expected: str | None,
) -> None:
    """If nearly all objects that the ledger knows have changed, it says so and what may be why."""
    ledger = str(tmp_path / "ledger.sqlite")
    first = build_table(120, _sdc_run="1")
    assert run_target_in_process(sandbox, *first, ledger_path=ledger) == (0, [1])
    caplog.clear()
    assert run_target_in_process(sandbox, *lines, ledger_path=ledger) == (0, [1])
    warnings = [r.getMessage() for r in caplog.records if r.levelname == "WARNING"]
    assert len(warnings) == (expected is not None)
    assert expected is None or expected in warnings[0]


@pytest.mark.parametrize("config", [{}, {"type_changes": "new_property"}], ids=str)
@pytest.mark.parametrize(
    ("first", "second", "expected"),
    [
        (
            ({"amount": "number"}, {"amount": 5.5}),
            ({"amount": "string"}, {"amount": "x"}),
            "amount",
        ),
        (({}, {"a_b": "x"}), ({"a": {"b": "string"}}, {"a": {"b": "y"}}), "a_b"),
    ],
    ids=["type", "name"],
)
def test_what_was_not_sent_is_not_remembered(
    sandbox: Sandbox,
    tmp_path: Path,
    config: dict[str, Any],
    first: tuple[dict[str, Any], dict[str, Any]],
    second: tuple[dict[str, Any], dict[str, Any]],
    expected: str,
) -> None:
    """A run ends at a record, and what was read together with it leaves no name and no type."""
    settings = {"ledger_path": str(tmp_path / "ledger.sqlite"), **config}
    lines = [
        _declare(first[0]),
        record_line("s", {"id": None}),
        record_line("s", {"id": 2, **first[1]}),
    ]
    assert run_target_in_process(sandbox, *lines, **settings)[0] == 1
    lines = [_declare(second[0]), record_line("s", {"id": 2, **second[1]})]
    assert run_target_in_process(sandbox, *lines, **settings)[0] == 0
    (row,) = sandbox.warehouse.rows("s")
    assert row.keys() == {"id", expected}


def _declare(types: dict[str, Any]) -> str:
    """Return a SCHEMA; an object has its properties in place of its type."""

    def build(declared: Any) -> dict[str, Any]:  # noqa: ANN401 - a type, or an object
        if isinstance(declared, dict):
            inner = {name: build(each) for name, each in declared.items()}
            return {"type": "object", "properties": inner}
        return {"type": declared}

    return schema_line("s", {"id": {"type": "integer"}, **build(types)["properties"]})
