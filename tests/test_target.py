"""What the target does with each kind of message, and the standard suite of the SDK."""

from __future__ import annotations

import gc
import io
import json
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
from target_segment_objects.target import TargetSegmentObjects
from tests.support import record_line, schema_line
from tests.support.in_process import USERS, run_target_in_process
from tests.support.two_decoders import run_and_collect

if TYPE_CHECKING:
    from pathlib import Path

    from singer_sdk.testing.templates import TargetTestTemplate

    from target_segment_objects.sandbox.server import Sandbox

# The standard suite of the SDK


def close_input(runner: TargetTestRunner) -> None:
    """Close the file that the SDK's test runner leaves open."""
    if runner.input_filepath is not None:
        runner.target_input.close()


@pytest.mark.parametrize("test", target_tests.tests, ids=lambda test: test.name)
def test_standard_suite_of_the_sdk(sandbox: Sandbox, test: type[TargetTestTemplate]) -> None:
    """Every standard target test of the SDK passes against the sandbox."""
    runner = TargetTestRunner(
        TargetSegmentObjects, config={"write_key": "k", "api_url": sandbox.url}
    )
    test().run(SuiteConfig(), None, runner)
    close_input(runner)


def test_record_without_a_required_property_is_refused(sandbox: Sandbox) -> None:
    """The SDK's test for `required`, which its own list omits, passes."""
    runner = TargetTestRunner(
        TargetSegmentObjects, config={"write_key": "k", "api_url": sandbox.url}
    )
    with pytest.raises(InvalidRecordError, match="requires the property"):
        TargetRecordMissingRequiredProperty().run(SuiteConfig(), None, runner)
    close_input(runner)


def test_state_messages_are_written_in_order(
    sandbox: Sandbox,
) -> None:
    """The SDK's file of many STATEs, which its own list omits: in order, and the last one last."""
    file = TargetMultipleStateMessages().singer_filepath
    lines = file.read_text(encoding="utf-8").splitlines()
    expected = [json.loads(line)["value"] for line in lines if json.loads(line)["type"] == "STATE"]
    for batch_size in (1, 2, 100):
        code, states = run_target_in_process(sandbox, *lines, batch_size_rows=batch_size)
        assert code == 0
        assert states[-1] == expected[-1]
        assert [state for state in expected if state in states] == states


# Messages


def test_record_before_its_schema_is_the_sdks_exception(sandbox: Sandbox) -> None:
    """A record before its SCHEMA raises the SDK's exception, with the number of the line."""
    target = TargetSegmentObjects(config={"write_key": "k", "api_url": sandbox.url})
    lines = record_line("users", {"id": 1}).encode()
    with pytest.raises(RecordsWithoutSchemaException, match="line 1 of the input"):
        target.process_lines(io.BytesIO(lines))  # type: ignore[arg-type]  # our reader reads bytes
    target.process_endofpipe()


def test_two_streams_can_share_a_collection(sandbox: Sandbox) -> None:
    """Two streams mapped to one collection keep the order of their records across batches."""
    schemas = [
        schema_line(name, {"id": {"type": "integer"}, "n": {"type": "integer"}})
        for name in ("eu", "us")
    ]
    records = [record_line(("eu", "us")[n % 2], {"id": 1, "n": n}) for n in range(9)]
    code, _ = run_target_in_process(
        sandbox,
        *schemas,
        *records,
        collection_map={"eu": "orders", "us": "orders"},
        batch_size_rows=2,
    )
    assert code == 0
    assert [row["n"] for row in sandbox.warehouse.rows("orders")] == [8]


def test_activate_version_is_logged_once_per_stream(
    sandbox: Sandbox, caplog: pytest.LogCaptureFixture
) -> None:
    """Segment has no delete: one warning, however often the tap activates a version."""
    version = '{"type": "ACTIVATE_VERSION", "stream": "users", "version": 1}'
    code, _ = run_target_in_process(
        sandbox, USERS, version, record_line("users", {"id": 1}), version
    )
    assert code == 0
    assert caplog.text.count("Segment has no delete") == 1


def test_record_metadata_becomes_properties(sandbox: Sandbox) -> None:
    """With `add_record_metadata`, the `_sdc_` properties are sent."""
    record = {"id": 1, "_sdc_deleted_at": "2024-01-31T00:00:00Z"}
    run_target_in_process(sandbox, USERS, record_line("users", record), add_record_metadata=True)
    columns = sandbox.warehouse.columns("users")
    assert columns["sdc_deleted_at"].startswith("TIMESTAMP")
    assert "sdc_extracted_at" not in columns  # the tap did not send it, and a null makes no column
    assert columns["sdc_sequence"] == "BIGINT"


DELETED_AT = {"type": ["null", "string"], "format": "date-time"}
DELETIONS: list[dict[str, Any]] = [
    {"id": 1, "_sdc_deleted_at": None},
    {"id": 2, "_sdc_deleted_at": "2024-01-31T00:00:00Z"},
    {"id": 3, "_sdc_deleted_at": "2024-01-31T00:00:00Z"},
]


@pytest.mark.parametrize("as_batch_file", [False, True], ids=["RECORD", "BATCH"])
@pytest.mark.parametrize(
    "properties", [{}, {"_sdc_deleted_at": DELETED_AT}], ids=["undeclared", "declared"]
)
def test_deletion_time_of_the_tap_is_always_sent(
    sandbox: Sandbox, tmp_path: Path, properties: dict[str, Any], *, as_batch_file: bool
) -> None:
    """`_sdc_deleted_at` is sent without `add_record_metadata`, so that deletions are visible."""
    schema = schema_line("users", {"id": {"type": "integer"}, **properties})
    lines = [record_line("users", record) for record in DELETIONS]
    if as_batch_file:
        file = tmp_path / "deletions.jsonl"
        file.write_text("".join(f"{json.dumps(record)}\n" for record in DELETIONS))
        encoding = {"format": "jsonl", "compression": "none"}
        message = {"type": "BATCH", "stream": "users", "encoding": encoding}
        lines = [json.dumps({**message, "manifest": [str(file)]})]
    code, _ = run_target_in_process(sandbox, schema, *lines)
    assert code == 0
    assert sandbox.warehouse.columns("users")["sdc_deleted_at"].startswith("TIMESTAMP")
    rows = {row["id"]: row["sdc_deleted_at"] is not None for row in sandbox.warehouse.rows("users")}
    assert rows == {"1": False, "2": True, "3": True}


def test_deletion_time_is_decoded_with_types(tmp_path: Path) -> None:
    """Also where the schema declares it."""
    schema = schema_line("users", {"id": {"type": "integer"}, "_sdc_deleted_at": DELETED_AT})
    records = [record_line("users", row) for row in DELETIONS]
    lines = [f"{line}\n".encode() for line in (schema, *records)]
    outcome = run_and_collect(lines, SegmentObjectsSink, tmp_path)
    assert outcome.untyped_records == {"users": 0}
    assert sum(len(file.splitlines()) for file in outcome.files) == 3


def test_deleted_row_without_key_properties_keeps_its_id(sandbox: Sandbox) -> None:
    """The time of deletion is not part of the digest, so it reaches the object of the row."""
    schema = schema_line("log", {"line": {"type": "string"}}, key_properties=())
    deleted = {"line": "x", "_sdc_deleted_at": "2024-01-31T00:00:00Z"}
    run_target_in_process(
        sandbox, schema, record_line("log", {"line": "x"}), record_line("log", deleted)
    )
    (row,) = sandbox.warehouse.rows("log")
    assert row["sdc_deleted_at"] is not None


def test_omitted_metadata_of_the_tap_is_logged_once(
    sandbox: Sandbox, caplog: pytest.LogCaptureFixture
) -> None:
    """Other `_sdc_` properties of the SDK's list are not sent, and one warning names them."""
    integer = {"type": ["null", "integer"]}
    declared = {"id": {"type": "integer"}, "_sdc_sequence": integer, "_sdc_lsn": integer}
    schema = json.loads(schema_line("users", declared))
    schema["schema"]["required"] = ["id", "_sdc_sequence"]
    record = record_line("users", {"id": 1, "_sdc_sequence": 7, "_sdc_lsn": 8})
    code, _ = run_target_in_process(
        sandbox, json.dumps(schema), record, record, json.dumps(schema), record
    )
    assert code == 0
    assert set(sandbox.warehouse.columns("users")) == {"id", "sdc_lsn"}
    assert caplog.text.count("the tap's metadata (_sdc_sequence) is not sent") == 1
    assert "add_record_metadata" in caplog.text


def test_digest_id_ignores_record_metadata(sandbox: Sandbox) -> None:
    """Without key properties, the same row has the same id on every run."""
    schema = schema_line("log", {"text": {"type": "string"}}, key_properties=())
    for _ in range(2):
        run_target_in_process(
            sandbox, schema, record_line("log", {"text": "x"}), add_record_metadata=True
        )
    assert sandbox.warehouse.count("log") == 1


def test_changed_schema_keeps_the_order(sandbox: Sandbox) -> None:
    """Records before a changed SCHEMA are delivered before those after it."""
    changed = schema_line(
        "users", {"id": {"type": "integer"}, "name": {"type": "string"}, "age": {"type": "integer"}}
    )
    code, _ = run_target_in_process(
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


def test_undeclared_property_keeps_its_name_after_a_changed_schema(sandbox: Sandbox) -> None:
    """Also if the new SCHEMA declares a property that would have the same name."""
    integer = {"type": "integer"}
    code, _ = run_target_in_process(
        sandbox,
        USERS,
        record_line("users", {"id": 1, "userId": "a"}),
        schema_line("users", {"id": integer, "user_id": {"type": "string"}}),
        record_line("users", {"id": 2, "user_id": "b", "userId": "c"}),
        schema_line("users", {"id": integer}),
        record_line("users", {"id": 3, "userId": "d", "user_id": "e"}),
    )
    assert code == 0
    rows = sandbox.warehouse.rows("users")
    assert [row["user_id"] for row in rows] == ["a", "c", "d"]
    assert [row["user_id_2"] for row in rows] == [None, "b", "e"]


def test_streams_of_one_collection_have_names_of_their_own(sandbox: Sandbox) -> None:
    """So the names do not depend on which stream comes first."""
    integer = {"type": "integer"}
    schemas = [schema_line(stream, {"id": integer}) for stream in ("de", "fr")]
    code, _ = run_target_in_process(
        sandbox,
        *schemas,
        record_line("de", {"id": 1, "userId": "a"}),
        record_line("fr", {"id": 2, "user_id": "b"}),
        collection_map={"de": "shop", "fr": "shop"},
    )
    assert code == 0
    assert [row["user_id"] for row in sandbox.warehouse.rows("shop")] == ["a", "b"]


@pytest.mark.parametrize("name", ['12" disk', "12\\disk", "12\tdisk", "12\ud800disk"], ids=ascii)
def test_any_name_of_a_property_or_stream_is_loaded(sandbox: Sandbox, name: str) -> None:
    """Quotes, backslashes, control characters and unpaired surrogates separate words."""
    schema = schema_line(name, {"id": {"type": "integer"}, name: {"type": "string"}})
    record = record_line(name, {"id": 1, name: "x"})
    code, _ = run_target_in_process(sandbox, schema, record, record)
    assert code == 0
    (row,) = sandbox.warehouse.rows("one_two_disk")
    assert row["_12_disk"] == "x"


@pytest.mark.parametrize("validate", [True, False], ids=["validated", "not validated"])
def test_schema_nested_too_deeply_ends_the_run(
    sandbox: Sandbox, caplog: pytest.LogCaptureFixture, *, validate: bool
) -> None:
    """The message names stream and property; the records before it are delivered."""
    deep: dict[str, Any] = {"type": "integer"}
    for _ in range(240):
        deep = {"type": "object", "properties": {"a": deep}}
    code, _ = run_target_in_process(
        sandbox,
        USERS,
        record_line("users", {"id": 1}),
        schema_line("deep", {"id": {"type": "integer"}, "tree": deep}),
        validate_records=validate,
    )
    assert code == 1
    assert sandbox.warehouse.count("users") == 1
    assert "Stream 'deep': the property 'tree' is nested too deeply" in caplog.text
    assert "Traceback" not in caplog.text


def test_violation_at_json_text_does_not_stop_the_load(
    sandbox: Sandbox, caplog: pytest.LogCaptureFixture
) -> None:
    """The records are sent, with one warning for the property."""
    integers = {"type": ["null", "array"], "items": {"type": ["integer"]}}
    values: list[object] = [[1, 2], [None], "{1,2}", [[3]]]
    code, _ = run_target_in_process(
        sandbox,
        schema_line("users", {"id": {"type": "integer"}, "tags": integers}),
        *(record_line("users", {"id": id_, "tags": tags}) for id_, tags in enumerate(values)),
    )
    assert code == 0
    rows = sandbox.warehouse.rows("users")
    assert [row["tags"] for row in rows] == ["[1,2]", "[null]", "{1,2}", "[[3]]"]
    assert caplog.text.count("'tags' has values that do not match its schema") == 1


def test_unusual_records_are_loaded_unchanged(sandbox: Sandbox) -> None:
    """Types follow the schema, no value is truncated, and no two ids or names collide."""
    schema = schema_line(
        "Odd-Names",
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
    unusual = "\u0001 \u2028 \U0001f600"
    keys = [(1, "2_3"), (1, "2%5F3"), (12, "_3"), (1, "2")]
    records = [
        record_line(
            "Odd-Names",
            {
                "a": a,
                "b": b,
                "whole": 10,
                "userId": "camel",
                "user_id": "snake",
                "Prénom": "Zoë",
                "名前": "山田",
                "text": unusual,
            },
        )
        for a, b in keys
    ]
    code, _ = run_target_in_process(sandbox, schema, *records)
    assert code == 0
    rows = sandbox.warehouse.rows("odd_names")
    assert len(rows) == len(keys)
    assert sandbox.warehouse.columns("odd_names")["whole"] == "DOUBLE"
    assert sandbox.warehouse.losses() == []
    for row in rows:
        assert (row["user_id"], row["user_id_2"]) == ("snake", "camel")
        assert (row["prenom"], row["ming_qian"], row["text"]) == ("Zoë", "山田", unusual)


def test_sinks_of_earlier_schemas_are_not_kept(sandbox: Sandbox) -> None:
    """A tap may write a SCHEMA with other content again and again."""
    lines = "".join(
        f"{schema_line('users', {'id': {}, f'p{number % 7}': {}})}\n"
        f"{record_line('users', {'id': str(number)})}\n"
        for number in range(50)
    )
    target = TargetSegmentObjects(config={"write_key": "k", "api_url": sandbox.url})
    target.process_lines(io.BytesIO(lines.encode()))  # type: ignore[arg-type]  # our reader reads bytes
    gc.collect()
    sinks = [item for item in gc.get_objects() if isinstance(item, SegmentObjectsSink)]
    assert len([sink for sink in sinks if sink.config == target.config]) == 1
    target.process_endofpipe()
    assert sandbox.warehouse.count("users") == 50
