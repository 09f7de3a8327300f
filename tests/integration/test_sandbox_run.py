"""A run with `--sandbox`: the report on the warehouse, and then the errors of the run."""

from __future__ import annotations

import os
import signal
import subprocess
import urllib.request
from contextlib import contextmanager
from typing import IO, TYPE_CHECKING

import pytest

from tests.support import RUN_SECONDS, TARGET, record_line, schema_line, state_line, wait_for

if TYPE_CHECKING:
    from collections.abc import Iterator
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


@contextmanager
def open_run(
    tmp_path: Path, environment: dict[str, str]
) -> Iterator[tuple[subprocess.Popen[str], str]]:
    """Run the target with `--open` until it prints its address; kill it at the end."""
    browser = tmp_path / "browser"
    browser.write_text(f'#!/bin/sh\necho "{{noise}}"\necho "$1" >> {tmp_path}/opened\n')
    browser.chmod(0o755)
    with subprocess.Popen(
        [*TARGET, "--sandbox", str(tmp_path / "w.duckdb"), "--open"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        encoding="utf-8",
        env={**environment, "BROWSER": str(browser)},
    ) as process:
        try:
            yield process, read_until(process.stderr, "Sandbox: ")
        finally:
            process.kill()


def read_until(stream: IO[str] | None, start: str) -> str:
    """Read lines until one begins with a text, and return the rest of that line."""
    assert stream is not None
    while line := stream.readline():
        if line.startswith(start):
            return line.removeprefix(start).strip()
    pytest.fail(f"no line begins with {start!r}")


def get_page(url: str) -> str:
    """Get a page of the sandbox."""
    with urllib.request.urlopen(url, timeout=30) as response:  # noqa: S310 - the sandbox's address
        return str(response.read().decode())


@pytest.mark.skipif(os.name == "nt", reason="the browser is a shell script")
@pytest.mark.parametrize(
    ("last_line", "code"),
    [
        pytest.param(state_line({"at": 1}), 0, id="complete"),
        pytest.param("{broken", 1, id="failed"),
    ],
)
def test_open_serves_the_page_until_ctrl_c(
    tmp_path: Path, environment: dict[str, str], last_line: str, code: int
) -> None:
    """The page is there during and after the load; then the exit code is that of the load."""
    with open_run(tmp_path, environment) as (process, url):
        assert "Nothing was sent yet." in get_page(url)
        wait_for((tmp_path / "opened").exists)
        assert process.stdin is not None
        process.stdin.write(f"{USERS}\n{record_line('users', {'id': 1})}\n{last_line}\n")
        process.stdin.close()
        process.stdin = None
        report = read_until(process.stderr, "All accepted objects were loaded (1)")
        assert "no value was lost" in report
        read_until(process.stderr, "Still serving ")
        assert "All accepted objects were loaded (1)" in get_page(url)
        process.send_signal(signal.SIGINT)
        out, err = process.communicate(timeout=RUN_SECONDS)
    assert process.returncode == code
    assert out == ('{"at":1}\n' if code == 0 else "")
    assert "Traceback" not in err
    assert (tmp_path / "opened").read_text().startswith(f"{url.partition('?')[0]}?token=")


@pytest.mark.skipif(os.name == "nt", reason="the browser is a shell script")
def test_stopped_load_is_not_served(tmp_path: Path, environment: dict[str, str]) -> None:
    """Who stops the load with Ctrl-C need not stop the page, too."""
    with open_run(tmp_path, environment) as (process, _):
        process.send_signal(signal.SIGINT)
        process.wait(RUN_SECONDS)
    assert process.returncode == 128 + signal.SIGINT


@pytest.mark.parametrize(
    "options",
    [
        pytest.param((), id="no sandbox"),
        pytest.param(("--sandbox", "w.duckdb", "--check"), id="check"),
        pytest.param(("--sandbox", "w.duckdb", "--dry-run"), id="dry run"),
    ],
)
def test_open_needs_a_load_into_a_sandbox(run_target: RunTarget, options: tuple[str, ...]) -> None:
    """Elsewhere there is no page to open."""
    done = run_target("--open", *options)
    assert done.returncode == 2
    assert "cannot be used together" in done.stderr or "--open can only be used" in done.stderr
