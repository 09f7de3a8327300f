"""Records that cannot be sent: the end of the run, or the dead-letter file."""

from __future__ import annotations

import io
import json
from typing import TYPE_CHECKING

import pytest

from target_segment_objects.cli.load import load_input
from target_segment_objects.outlets import KeyPropertyMissingError
from target_segment_objects.target import TargetSegmentObjects
from tests.support import record_line, state_line
from tests.support.in_process import USERS, run_target_in_process

if TYPE_CHECKING:
    from pathlib import Path

    from target_segment_objects.sandbox.server import Sandbox


def test_missing_key_is_the_sdks_exception(sandbox: Sandbox) -> None:
    """A missing key can be caught as the SDK's exception, and names the property."""
    target = TargetSegmentObjects(config={"write_key": "k", "api_url": sandbox.url})
    lines = f"{USERS}\n{record_line('users', {'name': 'x'})}\n".encode()
    with pytest.raises(KeyPropertyMissingError, match="property 'id': the key property is missing"):
        target.process_lines(io.BytesIO(lines))  # type: ignore[arg-type]  # our reader reads bytes
    target.process_endofpipe()


def test_invalid_record_ends_the_run(
    sandbox: Sandbox,
) -> None:
    """By default, everything before the invalid record is delivered and the exit code is 1."""
    code, states = run_target_in_process(
        sandbox,
        USERS,
        record_line("users", {"id": 1}),
        state_line({"at": 1}),
        record_line("users", {"id": None}),
        record_line("users", {"id": 2}),
        state_line({"at": 2}),
    )
    assert (code, states) == (1, [{"at": 1}])
    assert [row["id"] for row in sandbox.warehouse.rows("users")] == ["1"]


def test_dead_letters_can_be_replayed(sandbox: Sandbox, tmp_path: Path) -> None:
    """The run continues, its STATE covers the rejected records, and the file is Singer input."""
    file = tmp_path / "rejects.singer"
    name = "n" * 32 * 1024
    settings = {"invalid_records": "dead_letter", "dead_letter_path": str(file)}
    code, states = run_target_in_process(
        sandbox,
        USERS,
        record_line("users", {"id": 1, "name": name}),
        record_line("users", {"id": 2, "name": "short"}),
        record_line("users", {"id": "three"}),
        state_line({"at": 3}),
        **settings,
    )
    assert (code, states) == (0, [{"at": 3}])
    assert [row["id"] for row in sandbox.warehouse.rows("users")] == ["2"]
    lines = file.read_text(encoding="utf-8").splitlines()
    rejected = [json.loads(line) for line in lines]
    assert [message["type"] for message in rejected] == ["SCHEMA", "RECORD", "RECORD"]
    assert rejected[1]["record"] == {"id": 1, "name": name}
    assert "32768 bytes" in rejected[1]["rejected"]["reason"]
    assert rejected[1]["rejected"]["field"] == "name"
    code, _ = run_target_in_process(sandbox, *lines[:2], oversized_values="truncate")
    assert code == 0
    assert {row["id"] for row in sandbox.warehouse.rows("users")} == {"1", "2"}


def test_dead_letter_file_cannot_be_its_own_input(
    sandbox: Sandbox, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """A run that reads and appends to the same file is refused before a line is read."""
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
        assert load_input(target, lines) == 1
    assert "dead_letter_path is the file that is read" in caplog.text


def test_dead_letters_are_counted_at_the_end(
    sandbox: Sandbox, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """The last log line has the number of rejected records and the file."""
    file = tmp_path / "rejects.singer"
    run_target_in_process(
        sandbox,
        USERS,
        record_line("users", {"id": None}),
        record_line("users", {"id": None}),
        invalid_records="dead_letter",
        dead_letter_path=str(file),
    )
    assert f"2 invalid records are in {file}" in caplog.text
