"""A run with `--sandbox`: the report on the warehouse, and then the errors of the run."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.support import record_line, schema_line

if TYPE_CHECKING:
    from pathlib import Path

    from tests.support import RunTarget

pytestmark = pytest.mark.slow  # most of them start a process or wait

USERS = schema_line("users", {"id": {"type": "integer"}, "n": {"type": "integer"}})


def test_error_of_the_run_is_the_last_line(tmp_path: Path, run_target: RunTarget) -> None:
    """The report says what was loaded, and the reason of the failure comes after it."""
    done = run_target(
        "--sandbox",
        str(tmp_path / "w.duckdb"),
        lines=[USERS, record_line("users", {"id": 1}), "{broken", record_line("users", {"id": 2})],
    )
    assert done.returncode == 1
    assert "All accepted objects were loaded (1)" in done.stderr
    last_line = done.stderr.splitlines()[-1]
    assert "ERROR" in last_line
    assert "line 3" in last_line.lower()


def test_run_without_objects_does_not_claim_that_nothing_was_lost(
    tmp_path: Path, run_target: RunTarget
) -> None:
    """A run that failed before anything was sent has an empty warehouse, and its error last."""
    done = run_target(
        "--sandbox",
        str(tmp_path / "w.duckdb"),
        lines=[USERS, record_line("users", {"id": None, "n": 1})],
    )
    assert done.returncode == 1
    assert "The warehouse is empty: no objects were accepted." in done.stderr
    assert "lost" not in done.stderr
    assert "ERROR" in done.stderr.splitlines()[-1]


def test_report_names_the_rejected_records_after_the_warehouse(
    tmp_path: Path, run_target: RunTarget
) -> None:
    """With a dead-letter file, the warning about it is the last line."""
    done = run_target(
        "--sandbox",
        str(tmp_path / "w.duckdb"),
        lines=[USERS, record_line("users", {"id": 1}), record_line("users", {"id": "x"})],
        config={
            "invalid_records": "dead_letter",
            "dead_letter_path": str(tmp_path / "rejects.singer"),
        },
    )
    assert done.returncode == 0
    assert "All accepted objects were loaded (1), and no value was lost." in done.stderr
    assert "1 invalid record is in" in done.stderr.splitlines()[-1]
