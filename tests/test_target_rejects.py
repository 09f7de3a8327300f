"""Records that cannot be sent: the end of the run, or the dead-letter file."""

from __future__ import annotations

import datetime
import gc
import io
import json
import tracemalloc
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from target_segment_objects.cli.load import load_input
from target_segment_objects.run.key_error import KeyPropertyMissingError
from target_segment_objects.target import TargetSegmentObjects
from tests.support import record_line, state_line
from tests.support.in_process import USERS, run_target_in_process

if TYPE_CHECKING:
    from target_segment_objects.sandbox.server import Sandbox
    from tests.support import RunTarget


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


def test_documented_replay_works_with_the_same_configuration(
    sandbox: Sandbox, tmp_path: Path, run_target: RunTarget
) -> None:
    """The renamed file is loaded, its age is logged, and new rejects go to a new file."""
    rejects, replay = tmp_path / "rejects.singer", tmp_path / "replay.singer"
    config = {
        "write_key": "k",
        "api_url": sandbox.url,
        "invalid_records": "dead_letter",
        "dead_letter_path": str(rejects),
        "oversized_values": "truncate",
    }
    time = datetime.datetime.now(tz=datetime.timezone.utc) - datetime.timedelta(days=3, hours=1)
    lines = [USERS]
    for user in ({"id": 1}, {"id": None}, {"id": 2}, {"id": 3}):
        message = json.loads(record_line("users", user))
        message["rejected"] = {"reason": "x", "field": None, "at": time.isoformat()}
        lines.append(json.dumps(message, separators=(",", ":")))
    rejects.write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")
    rejects.rename(replay)
    for mode in (("--dry-run",), ()):
        done = run_target(*mode, "--input", str(replay), config=config)
        assert done.returncode == 0, done.stderr
        assert "Stream 'users': 4 replayed records were rejected 3 days ago." in done.stderr
    assert {row["id"] for row in sandbox.warehouse.rows("users")} == {"1", "2", "3"}
    _, again = map(json.loads, rejects.read_text(encoding="utf-8").splitlines())
    assert again["record"] == {"id": None}
    assert again["rejected"]["at"] == time.isoformat(timespec="seconds")


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
        assert load_input(target, lines) == 2
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


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs /dev/full")
def test_full_disk_is_reported_once(
    sandbox: Sandbox, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Not once more when the file is closed; and nothing says that the records are in the file."""
    link = tmp_path / "rejects.singer"
    link.symlink_to("/dev/full")
    invalid = record_line("users", {"id": None})
    code, states = run_target_in_process(
        sandbox,
        *(USERS, invalid, state_line(1), *[invalid] * 1000, state_line(2)),
        invalid_records="dead_letter",
        dead_letter_path=str(link),
    )
    assert (code, states) == (1, [])
    errors = [record.message for record in caplog.records if record.levelname == "ERROR"]
    reason = f"Cannot write {link}: No space left on device. "
    assert errors == [f"{reason}Free some space there, or set dead_letter_path to another file."]
    assert "invalid record" not in caplog.text


# The limit of rejected records


def run_with_limit(
    sandbox: Sandbox, path: Path, limit: int | str | None, ids: str
) -> tuple[int, list[Any], int]:
    """Load users, of which those with the id `x` are invalid; a STATE follows each record.

    Returns:
        The exit code, the last STATE, and the number of dead letters.
    """
    lines = [USERS]
    for number, user_id in enumerate(ids, start=1):
        user = {"id": None if user_id == "x" else number}
        lines += [record_line("users", user), state_line({"at": number})]
    code, states = run_target_in_process(
        sandbox,
        *lines,
        invalid_records="dead_letter",
        dead_letter_path=str(path),
        max_invalid_records=limit,
    )
    return code, states[-1:], path.read_bytes().count(b'"rejected"')


@pytest.mark.parametrize(
    ("limit", "ids"),
    [(None, "xxxx"), (2, "x.x."), ("50%", "x.x."), ("100%", "xxxx")],
    ids=["none", "number", "percentage", "all"],
)
def test_rejected_records_up_to_the_limit(
    sandbox: Sandbox, tmp_path: Path, limit: int | str | None, ids: str
) -> None:
    """A run that does not reject more than `max_invalid_records` is a success."""
    result = run_with_limit(sandbox, tmp_path / "rejects.singer", limit, ids)
    assert result == (0, [{"at": 4}], ids.count("x"))


def test_run_ends_when_the_number_is_exceeded(
    sandbox: Sandbox, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Nothing after the record that is one too many is read, and the STATE stays before it."""
    code, states, dead_letters = run_with_limit(sandbox, tmp_path / "rejects.singer", 1, ".x.x.x")
    assert (code, states, dead_letters) == (1, [{"at": 3}], 2)
    assert {row["id"] for row in sandbox.warehouse.rows("users")} == {"1", "3"}
    assert caplog.text.count("2 of 4 records are invalid, more than max_invalid_records") == 1


def test_run_fails_at_the_end_when_the_percentage_is_exceeded(
    sandbox: Sandbox, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """A run of few records is read to the end; everything valid is delivered, and it fails."""
    code, states, dead_letters = run_with_limit(sandbox, tmp_path / "rejects.singer", "50%", "xx.x")
    assert (code, states, dead_letters) == (1, [{"at": 4}], 3)
    assert sandbox.warehouse.count("users") == 1
    assert "3 of 4 records are invalid, more than max_invalid_records allows (50%)" in caplog.text


def test_dry_run_reports_the_limit_at_the_end(run_target: RunTarget, tmp_path: Path) -> None:
    """A dry run reads to the end, and its exit code is the one that a run would have."""
    invalid = record_line("users", {"id": None})
    done = run_target(
        "--dry-run",
        lines=[USERS, *[invalid] * 5],
        config={
            "invalid_records": "dead_letter",
            "dead_letter_path": str(tmp_path / "rejects.singer"),
            "max_invalid_records": 2,
        },
    )
    assert done.returncode == 1
    assert "5 of 5 records are invalid, more than max_invalid_records allows (2)" in done.stderr


def test_rejected_records_are_not_kept(sandbox: Sandbox, tmp_path: Path) -> None:
    """Their memory is free at once, not at the next garbage collection."""
    source = tmp_path / "input.singer"
    with source.open("w") as file:
        file.write(f"{USERS}\n")
        for _ in range(60):
            record = {"id": "none", "name": "n" * 1_000_000}
            file.write(f"{record_line('users', record)}\n")
    target = TargetSegmentObjects(
        config={
            "write_key": "k",
            "api_url": sandbox.url,
            "invalid_records": "dead_letter",
            "dead_letter_path": str(tmp_path / "rejects.singer"),
        }
    )
    gc.collect()
    gc.disable()
    tracemalloc.start()
    try:
        with source.open("rb") as lines:
            assert load_input(target, lines) == 0
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
        gc.enable()
    assert target.stats.records_rejected == 60
    assert peak < 20_000_000  # all of them have 60,000,000
