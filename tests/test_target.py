"""What the target does with each kind of message, and the SDK's own expectations of a target."""

from __future__ import annotations

import gzip
import io
import json
from contextlib import redirect_stdout
from typing import TYPE_CHECKING, Any

import pytest
from singer_sdk.exceptions import RecordsWithoutSchemaException
from singer_sdk.testing import SuiteConfig, TargetTestRunner
from singer_sdk.testing.suites import target_tests
from singer_sdk.testing.target_tests import (
    TargetMultipleStateMessages,
    TargetRecordMissingRequiredProperty,
)

from target_segment_objects.exceptions import InvalidRecordError
from target_segment_objects.sinks import SegmentObjectsSink
from target_segment_objects.target import KeyPropertyMissingError, TargetSegmentObjects
from tests.support import record_line, schema_line, state_line

if TYPE_CHECKING:
    from pathlib import Path

    from singer_sdk.testing.templates import TargetTestTemplate

    from target_segment_objects.sandbox.server import Sandbox

USERS = schema_line("users", {"id": {"type": "integer"}, "name": {"type": ["string", "null"]}})


def load(sandbox: Sandbox, *lines: str, **config: Any) -> tuple[int, list[Any]]:  # noqa: ANN401 - settings
    """Run the target in this process; return its exit code and the STATEs that it told."""
    target = TargetSegmentObjects(config={"write_key": "k", "api_url": sandbox.url, **config})
    with redirect_stdout(io.StringIO()) as told:
        code = target.run(io.BytesIO("".join(f"{line}\n" for line in lines).encode()))
    return code, [json.loads(line) for line in told.getvalue().splitlines()]


# The SDK's standard suite


def close_input(runner: TargetTestRunner) -> None:
    """Close the file that the SDK's runner leaves open."""
    if runner.input_filepath is not None:
        runner.target_input.close()


@pytest.mark.parametrize("test", target_tests.tests, ids=lambda test: test.name)
def test_the_sdk_s_standard_suite(sandbox: Sandbox, test: type[TargetTestTemplate]) -> None:
    """Every test that the SDK has for targets passes, against the sandbox."""
    runner = TargetTestRunner(
        TargetSegmentObjects, config={"write_key": "k", "api_url": sandbox.url}
    )
    test().run(SuiteConfig(), None, runner)
    close_input(runner)


def test_a_record_without_a_required_property_is_refused(sandbox: Sandbox) -> None:
    """The suite's list leaves this out; what a schema asks for is taken seriously."""
    runner = TargetTestRunner(
        TargetSegmentObjects, config={"write_key": "k", "api_url": sandbox.url}
    )
    with pytest.raises(InvalidRecordError, match="asks for the property"):
        TargetRecordMissingRequiredProperty().run(SuiteConfig(), None, runner)
    close_input(runner)


def test_state_messages_of_the_sdk_s_suite_come_out_in_order_and_end_with_the_last(
    sandbox: Sandbox,
) -> None:
    """The SDK's file of many STATEs, which its own list leaves out: a promise kept, in order."""
    file = TargetMultipleStateMessages().singer_filepath
    lines = file.read_text(encoding="utf-8").splitlines()
    said = [json.loads(line)["value"] for line in lines if json.loads(line)["type"] == "STATE"]
    for batch_size in (1, 2, 100):
        code, told = load(sandbox, *lines, batch_size_rows=batch_size)
        assert code == 0
        assert told[-1] == said[-1]
        assert [state for state in said if state in told] == told


# Records that cannot be sent


def test_a_missing_key_is_known_by_the_sdk_s_name_too(sandbox: Sandbox) -> None:
    """Whoever catches the SDK's error catches ours; it says which property."""
    target = TargetSegmentObjects(config={"write_key": "k", "api_url": sandbox.url})
    lines = f"{USERS}\n{record_line('users', {'name': 'x'})}\n".encode()
    with pytest.raises(KeyPropertyMissingError, match="property 'id': the key property is missing"):
        target.process_lines(io.BytesIO(lines))  # type: ignore[arg-type]  # as our reader has it
    target.process_endofpipe()


def test_a_record_before_its_schema_is_the_sdk_s_error(sandbox: Sandbox) -> None:
    """With the line's number, and without the record."""
    target = TargetSegmentObjects(config={"write_key": "k", "api_url": sandbox.url})
    lines = record_line("users", {"id": 1}).encode()
    with pytest.raises(RecordsWithoutSchemaException, match="line 1 of the input"):
        target.process_lines(io.BytesIO(lines))  # type: ignore[arg-type]  # as our reader has it
    target.process_endofpipe()


def test_an_invalid_record_ends_the_run_after_what_came_before_is_delivered(
    sandbox: Sandbox,
) -> None:
    """By default: exit code 1, STATE for what landed, nothing of what came after."""
    code, told = load(
        sandbox,
        USERS,
        record_line("users", {"id": 1}),
        state_line({"at": 1}),
        record_line("users", {"id": None}),
        record_line("users", {"id": 2}),
        state_line({"at": 2}),
    )
    assert (code, told) == (1, [{"at": 1}])
    assert [row["id"] for row in sandbox.warehouse.rows("users")] == ["1"]


def test_dead_letters_are_replayed_once_the_cause_is_mended(
    sandbox: Sandbox, tmp_path: Path
) -> None:
    """The run goes on and its STATE passes over them; the file is Singer input as it stands."""
    file = tmp_path / "rejects.singer"
    name = "n" * 32 * 1024
    settings = {"invalid_records": "dead_letter", "dead_letter_path": str(file)}
    code, told = load(
        sandbox,
        USERS,
        record_line("users", {"id": 1, "name": name}),
        record_line("users", {"id": 2, "name": "short"}),
        record_line("users", {"id": "three"}),
        state_line({"at": 3}),
        **settings,
    )
    assert (code, told) == (0, [{"at": 3}])
    assert [row["id"] for row in sandbox.warehouse.rows("users")] == ["2"]
    lines = file.read_text(encoding="utf-8").splitlines()
    rejected = [json.loads(line) for line in lines]
    assert [message["type"] for message in rejected] == ["SCHEMA", "RECORD", "RECORD"]
    assert rejected[1]["record"] == {"id": 1, "name": name}
    assert "32768 bytes" in rejected[1]["rejected"]["reason"]
    assert rejected[1]["rejected"]["field"] == "name"
    code, _ = load(sandbox, *lines[:2], oversized_values="truncate")
    assert code == 0
    assert {row["id"] for row in sandbox.warehouse.rows("users")} == {"1", "2"}


def test_the_dead_letter_file_cannot_be_its_own_input(
    sandbox: Sandbox, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Reading what is appended would never end: that is told before a line is read."""
    file = tmp_path / "rejects.singer"
    file.write_text(f"{USERS}\n", encoding="utf-8")
    target = TargetSegmentObjects(
        config={
            "write_key": "k",
            "api_url": sandbox.url,
            "invalid_records": "dead_letter",
            "dead_letter_path": str(file),
        }
    )
    with file.open("rb") as lines:
        assert target.run(lines) == 1
    assert "dead_letter_path is the file that is read" in caplog.text


def test_dead_letters_are_counted_in_the_end(
    sandbox: Sandbox, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """How many, and where."""
    file = tmp_path / "rejects.singer"
    load(
        sandbox,
        USERS,
        record_line("users", {"id": None}),
        record_line("users", {"id": None}),
        invalid_records="dead_letter",
        dead_letter_path=str(file),
    )
    assert f"2 invalid record(s) are in {file}" in caplog.text


# Stream maps go first


def test_stream_maps_rename_filter_and_choose_keys_before_the_mapping(sandbox: Sandbox) -> None:
    """`__alias__`, `__key_properties__`, `__filter__`, dropped and computed properties."""
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
    code, _ = load(
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


def test_a_stream_map_may_make_two_streams_of_one(sandbox: Sandbox) -> None:
    """`__source__`: the same record goes to both, each with its own collection."""
    code, _ = load(
        sandbox,
        USERS,
        record_line("users", {"id": 1, "name": "x"}),
        stream_maps={"users": {}, "copies": {"__source__": "users", "name": "__NULL__"}},
    )
    assert code == 0
    assert sandbox.warehouse.collections() == ["copies", "users"]


def test_flattening_of_the_sdk_gives_the_same_columns(sandbox: Sandbox) -> None:
    """`flattening_enabled` joins by two underscores, which snake case folds."""
    schema = schema_line(
        "u",
        {
            "id": {"type": "integer"},
            "home": {"type": "object", "properties": {"street": {"type": "string"}}},
        },
    )
    record = record_line("u", {"id": 1, "home": {"street": "x"}})
    for flattened in (False, True):
        code, _ = load(
            sandbox, schema, record, flattening_enabled=flattened, flattening_max_depth=3
        )
        assert code == 0
    (row,) = sandbox.warehouse.rows("u")
    assert set(row) == {"id", "home_street"}


def test_two_streams_share_a_collection_in_the_order_of_their_records(sandbox: Sandbox) -> None:
    """At the user's word: the last record of either wins, whatever batch it was in."""
    schemas = [
        schema_line(name, {"id": {"type": "integer"}, "n": {"type": "integer"}})
        for name in ("eu", "us")
    ]
    records = [record_line(("eu", "us")[n % 2], {"id": 1, "n": n}) for n in range(9)]
    code, _ = load(
        sandbox,
        *schemas,
        *records,
        collection_map={"eu": "orders", "us": "orders"},
        batch_size_rows=2,
    )
    assert code == 0
    assert [row["n"] for row in sandbox.warehouse.rows("orders")] == [8]


# BATCH, ACTIVATE_VERSION, metadata


def batch_line(stream: str, *files: Path, **encoding: str) -> str:
    """Return a BATCH message."""
    return json.dumps(
        {
            "type": "BATCH",
            "stream": stream,
            "encoding": {"format": "jsonl", "compression": "none", **encoding},
            "manifest": [file.as_uri() for file in files],
        }
    )


def test_the_records_of_a_batch_file_keep_their_place_among_the_others(
    sandbox: Sandbox, tmp_path: Path
) -> None:
    """What was pending goes first, what follows last; gzipped or not, in the manifest's order."""
    plain, gzipped = tmp_path / "1.jsonl", tmp_path / "2.jsonl.gz"
    plain.write_text('{"id": 1, "name": "batch"}\n{"id": 2, "name": "batch"}\n')
    gzipped.write_bytes(gzip.compress(b'{"id": 2, "name": "later"}\n{"id": 3, "name": "batch"}\n'))
    code, told = load(
        sandbox,
        USERS,
        record_line("users", {"id": 1, "name": "before"}),
        batch_line("users", plain),
        batch_line("users", gzipped, compression="gzip"),
        record_line("users", {"id": 3, "name": "after"}),
        state_line({"at": "end"}),
        batch_size_rows=2,
    )
    assert (code, told[-1]) == (0, {"at": "end"})
    rows = {row["id"]: row["name"] for row in sandbox.warehouse.rows("users")}
    assert rows == {"1": "batch", "2": "later", "3": "after"}


def test_a_parquet_file_becomes_records(sandbox: Sandbox, tmp_path: Path) -> None:
    """With the extra: the same validation and mapping as of a RECORD."""
    pyarrow = pytest.importorskip("pyarrow")
    parquet = pytest.importorskip("pyarrow.parquet")
    file = tmp_path / "users.parquet"
    parquet.write_table(pyarrow.table({"id": [1, 2], "name": ["a", None]}), file)
    code, _ = load(sandbox, USERS, batch_line("users", file, format="parquet"))
    assert code == 0
    rows = {row["id"]: row["name"] for row in sandbox.warehouse.rows("users")}
    assert rows == {"1": "a", "2": None}


def test_records_of_batch_files_are_validated_and_may_be_dead_letters(
    sandbox: Sandbox, tmp_path: Path
) -> None:
    """A rejected one becomes a RECORD line of the dead-letter file."""
    file, rejects = tmp_path / "1.jsonl", tmp_path / "rejects.singer"
    file.write_text('{"id": 1}\n{"id": "two"}\n')
    code, _ = load(
        sandbox,
        USERS,
        batch_line("users", file),
        invalid_records="dead_letter",
        dead_letter_path=str(rejects),
    )
    assert code == 0
    _, record = map(json.loads, rejects.read_text(encoding="utf-8").splitlines())
    assert (record["stream"], record["record"]) == ("users", {"id": "two"})


@pytest.mark.parametrize(
    "broken",
    ['{"secret', '{"id": 2},"record":{"id": 3}'],
    ids=["by itself", "but not within a message"],
)
def test_a_broken_line_of_a_batch_file_is_told_with_its_place(
    sandbox: Sandbox, tmp_path: Path, caplog: pytest.LogCaptureFixture, broken: str
) -> None:
    """The record's number among the message's, and the message's line; never the content."""
    file = tmp_path / "1.jsonl"
    file.write_text(f'{{"id": 1}}\n{broken}\n')
    code, _ = load(sandbox, USERS, batch_line("users", file))
    assert code == 1
    assert "Record 2 of the BATCH files of stream 'users' (line 2 of the input)" in caplog.text
    assert "secret" not in caplog.text
    assert [row["id"] for row in sandbox.warehouse.rows("users")] == ["1"]


def test_records_of_batch_files_take_the_fast_way_too(
    sandbox: Sandbox, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """All but the first, which makes the sink, and the one that the fast way does not know."""
    seen = []
    slow = SegmentObjectsSink.process_record

    def process_record(self: SegmentObjectsSink, record: Any, context: Any) -> None:  # noqa: ANN401
        seen.append(record["id"])
        slow(self, record, context)

    monkeypatch.setattr(SegmentObjectsSink, "process_record", process_record)
    file = tmp_path / "1.jsonl"
    lines = [{"id": n, "name": f"{n}"} for n in range(9)]
    lines[5]["undeclared"] = True
    file.write_text("".join(f"{json.dumps(line)}\n" for line in lines))
    code, _ = load(sandbox, USERS, batch_line("users", file), state_line({}))
    assert code == 0
    assert seen == [0, 5]
    rows = {row["id"]: row["name"] for row in sandbox.warehouse.rows("users")}
    assert rows == {f"{n}": f"{n}" for n in range(9)}


def test_a_batch_file_that_is_missing_ends_the_run_with_its_name(
    sandbox: Sandbox, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Exit code 1; what came before is delivered, and nothing behind it is promised."""
    code, told = load(
        sandbox,
        USERS,
        record_line("users", {"id": 1}),
        state_line({"at": 1}),
        batch_line("users", tmp_path / "gone.jsonl"),
        state_line({"at": 2}),
    )
    assert (code, told) == (1, [{"at": 1}])
    assert "gone.jsonl cannot be read: No such file or directory" in caplog.text


def test_activate_version_is_told_once_a_stream(
    sandbox: Sandbox, caplog: pytest.LogCaptureFixture
) -> None:
    """Segment has no delete: one clear line, however often the tap says it."""
    version = '{"type": "ACTIVATE_VERSION", "stream": "users", "version": 1}'
    code, _ = load(sandbox, USERS, version, record_line("users", {"id": 1}), version)
    assert code == 0
    assert caplog.text.count("Segment has no delete") == 1


def test_record_metadata_arrives_as_properties(sandbox: Sandbox) -> None:
    """With `add_record_metadata`, `_sdc_deleted_at` says what the tap knows of deletions."""
    record = {"id": 1, "_sdc_deleted_at": "2024-01-31T00:00:00Z"}
    load(sandbox, USERS, record_line("users", record))
    assert set(sandbox.warehouse.columns("users")) == {"id"}
    load(sandbox, USERS, record_line("users", record), add_record_metadata=True)
    columns = sandbox.warehouse.columns("users")
    assert columns["sdc_deleted_at"].startswith("TIMESTAMP")
    assert "sdc_extracted_at" not in columns  # the tap did not say when: a null makes no column
    assert columns["sdc_sequence"] == "BIGINT"


def test_the_id_of_a_stream_without_keys_does_not_hang_on_the_metadata(sandbox: Sandbox) -> None:
    """The same row is the same object on every run, though the times in it differ."""
    schema = schema_line("log", {"text": {"type": "string"}}, key_properties=())
    for _ in range(2):
        load(sandbox, schema, record_line("log", {"text": "x"}), add_record_metadata=True)
    assert sandbox.warehouse.count("log") == 1


def test_a_changed_schema_keeps_the_order(sandbox: Sandbox) -> None:
    """The SDK would deliver the old sink's rows after the new one's."""
    changed = schema_line(
        "users", {"id": {"type": "integer"}, "name": {"type": "string"}, "age": {"type": "integer"}}
    )
    code, _ = load(
        sandbox,
        USERS,
        record_line("users", {"id": 1, "name": "old"}),
        changed,
        record_line("users", {"id": 1, "name": "new", "age": 3}),
        record_line("users", {"id": 2, "name": "x"}),
        batch_size_rows=2,
    )
    assert code == 0
    assert [row["name"] for row in sandbox.warehouse.rows("users")] == ["new", "x"]


def test_hard_records_land_whole(sandbox: Sandbox) -> None:
    """Types as the schema says, nothing cut, nothing merged that was apart."""
    schema = schema_line(
        "Hard-Ones",
        {
            "a": {"type": "integer"},
            "b": {"type": "string"},
            "whole": {"type": "number"},
            "userId": {"type": "string"},
            "user_id": {"type": "string"},
            "Prénom": {"type": "string"},
            "名前": {"type": "string"},
            "text": {"type": "string"},
        },
        key_properties=("a", "b"),
    )
    nul = "\u0000 \u2028 \U0001f600"
    keys = [(1, "2_3"), (1, "2%5F3"), (12, "_3"), (1, "2")]
    records = [
        record_line(
            "Hard-Ones",
            {
                "a": a,
                "b": b,
                "whole": 10,
                "userId": "camel",
                "user_id": "snake",
                "Prénom": "Zoë",
                "名前": "山田",
                "text": nul,
            },
        )
        for a, b in keys
    ]
    code, _ = load(sandbox, schema, *records)
    assert code == 0
    rows = sandbox.warehouse.rows("hard_ones")
    assert len(rows) == len(keys)
    assert sandbox.warehouse.columns("hard_ones")["whole"] == "DOUBLE"
    assert sandbox.warehouse.losses() == []
    for row in rows:
        assert (row["user_id"], row["user_id_2"]) == ("snake", "camel")
        assert (row["prenom"], row["ming_qian"], row["text"]) == ("Zoë", "山田", nul)
