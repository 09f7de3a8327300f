"""A run with `--sandbox`: the report on the warehouse, and then the errors of the run."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import urllib.request
from contextlib import contextmanager
from pathlib import Path
from typing import IO, TYPE_CHECKING

import pytest

from tests.support import RUN_SECONDS, TARGET, record_line, schema_line, state_line, wait_for

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.support import RunTarget

pytestmark = pytest.mark.slow  # most of them start a process or wait

posix_only = pytest.mark.skipif(os.name != "posix", reason="Windows has no pseudo-terminals")
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


@posix_only
@pytest.mark.parametrize("columns", [80, 40])
def test_verdict_is_on_the_last_screen_of_a_terminal(tmp_path: Path, columns: int) -> None:
    """After the rows and the table: what was lost, what is where, the file, what to try next."""
    from tests.support.terminal import Terminal  # noqa: PLC0415 - POSIX only

    arguments = [*TARGET, "--sandbox", "w.duckdb"]
    environment = {"PATH": os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])}
    with Terminal(
        arguments, folder=tmp_path, environment=environment, output=True, size=(columns, 24)
    ) as terminal:
        for number in range(100):
            stream = f"table_{chr(97 + number // 26)}{chr(97 + number % 26)}"
            terminal.write_lines(
                schema_line(stream, {"id": {"type": "integer"}, "s": {"type": "string"}}),
                record_line(stream, {"id": 1, "s": "x" * 600}),
            )
        terminal.write_lines(state_line({"at": 1}))
        assert terminal.close_input() == 0
        screen = " ".join(" ".join(terminal.lines).split())
    if columns == 80:
        assert "100 records read, 100 objects sent in 100 sessions, 0 rejected" in screen
    assert "1 STATE message not shown; redirect standard output to a file to keep STATE." in screen
    assert "All accepted objects were loaded (100); 100 values changed, see above." in screen
    assert "table_aa.s, 1 value: cut off after 512 characters" in screen
    assert "100 objects in 100 collections: table_aa 1, " in screen
    assert "The warehouse is w.duckdb. Look inside:" in screen
    unwrapped = "".join(terminal.lines)
    for command in (
        "  segment-objects-sandbox show w.duckdb",
        "  segment-objects-sandbox serve --open --warehouse w.duckdb",
        '.sql("FROM table_aa").show()',
    ):
        assert command in unwrapped
    for hidden in (b'{"at":1}', b"Skipping parse"):
        assert hidden not in terminal.raw


@posix_only
def test_state_is_written_where_standard_output_is_a_file(tmp_path: Path) -> None:
    """Only a terminal does not show it."""
    from tests.support.terminal import Terminal  # noqa: PLC0415 - POSIX only

    arguments = [*TARGET, "--sandbox", "w.duckdb"]
    with (
        (tmp_path / "state.json").open("wb") as output,
        Terminal(arguments, folder=tmp_path, output=output) as terminal,
    ):
        terminal.write_lines(USERS, record_line("users", {"id": 1}), state_line({"at": 1}))
        assert terminal.close_input() == 0
    assert (tmp_path / "state.json").read_text() == '{"at":1}\n'
    assert b"STATE" not in terminal.raw


@posix_only
def test_error_of_the_run_comes_after_the_verdict_on_a_terminal(tmp_path: Path) -> None:
    """Why the run failed is the last line, with the verdict above it on the same screen."""
    from tests.support.terminal import Terminal  # noqa: PLC0415 - POSIX only

    arguments = [*TARGET, "--sandbox", "w.duckdb"]
    with Terminal(arguments, folder=tmp_path, output=True, size=(80, 24)) as terminal:
        terminal.write_lines(USERS, record_line("users", {"id": 1}), "{broken")
        assert terminal.close_input() == 1
        screen = terminal.lines
    verdict = screen.index("All accepted objects were loaded (1), and no value was lost.")
    assert screen[verdict + 2] == "The warehouse is w.duckdb. Look inside:"
    assert " ERROR: Line 3 of the input is not a Singer message" in "".join(screen[-3:])


@posix_only
def test_rejected_records_are_in_red_above_the_verdict(tmp_path: Path) -> None:
    """The sandbox does not know of them, so its verdict alone would not say that they are lost."""
    from tests.support.terminal import Terminal  # noqa: PLC0415 - POSIX only

    config = {"invalid_records": "dead_letter", "dead_letter_path": "rejects.singer"}
    (tmp_path / "config.json").write_text(json.dumps(config))
    arguments = [*TARGET, "--config", "config.json", "--sandbox", "w.duckdb"]
    with Terminal(arguments, folder=tmp_path, output=True, size=(80, 24)) as terminal:
        terminal.write_lines(USERS, record_line("users", {"id": 1}), record_line("users", {}))
        assert terminal.close_input() == 0
        screen = terminal.lines
    assert b"\x1b[1;31m2 records read, 1 object sent in 1 session, 1 rejected, " in terminal.raw
    assert "All accepted objects were loaded (1), and no value was lost." in screen
    assert "WARNING: 1 invalid record is in rejects.singer." in screen[-1]


@posix_only
def test_verdict_of_an_open_page_ends_with_its_address(tmp_path: Path) -> None:
    """The commands that would not work while the file is open are left out."""
    from tests.support.terminal import Terminal  # noqa: PLC0415 - POSIX only

    arguments = [*TARGET, "--sandbox", "w.duckdb", "--open"]
    with Terminal(
        arguments, folder=tmp_path, environment={"BROWSER": "true"}, output=True
    ) as terminal:
        terminal.write_lines(USERS, record_line("users", {"id": 1}), state_line({"at": 1}))
        assert terminal.process.stdin is not None
        terminal.process.stdin.close()
        wait_for(lambda: any(line.startswith("Still serving ") for line in terminal.lines))
        terminal.process.send_signal(signal.SIGINT)
        assert terminal.process.wait(RUN_SECONDS) == 0
        *_, result, content, file, command, address = terminal.lines
    assert result == "All accepted objects were loaded (1), and no value was lost."
    assert content == "1 object in 1 collection: users 1."
    assert file == "The warehouse is w.duckdb. Look inside:"
    assert command.endswith("segment-objects-sandbox show w.duckdb")
    assert address.startswith("Still serving http://127.0.0.1:")
    assert b'{"at":1}' not in terminal.raw


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
