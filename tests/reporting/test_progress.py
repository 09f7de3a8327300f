"""How far a run is: on a terminal as a person sees it, and in a log."""

from __future__ import annotations

import io
import logging
import os
import re
import signal
import subprocess
import sys
import threading
from typing import TYPE_CHECKING, Any

import pytest

from target_segment_objects.reporting.progress import Progress, ProgressSnapshot, describe
from tests.support import RUN_SECONDS, TARGET, record_line, schema_line, state_line, wait_for

if TYPE_CHECKING:
    from pathlib import Path

    from target_segment_objects.sandbox.server import Sandbox
    from tests.support.terminal import Terminal

USERS = schema_line("users", {"id": {"type": "integer"}})
LOG_LINE = re.compile(r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d,\d{3} \| [A-Z]+ +\| \S+ +\| .*")

posix_only = pytest.mark.skipif(os.name != "posix", reason="Windows has no such terminals")


def users(first: int, last: int) -> list[str]:
    """Return RECORDs of the stream `users`."""
    return [record_line("users", {"id": number}) for number in range(first, last)]


def on_terminal(sandbox: Sandbox, folder: Path, **options: Any) -> Terminal:  # noqa: ANN401 - as Terminal has them
    """Start the target on a terminal, with batches of ten."""
    from tests.support.terminal import Terminal  # noqa: PLC0415 - POSIX only

    settings = {"WRITE_KEY": "k", "API_URL": sandbox.url, "BATCH_SIZE_ROWS": "10"}
    environment = {f"TARGET_SEGMENT_OBJECTS_{name}": value for name, value in settings.items()}
    environment |= options.pop("environment", {})
    return Terminal([*TARGET, "--config=ENV"], folder=folder, environment=environment, **options)


@posix_only
def test_a_terminal_shows_one_line_of_progress_below_whole_log_lines(
    sandbox: Sandbox, tmp_path: Path
) -> None:
    """Records, objects, sessions, rate and the oldest batch, up to date; in the end it is gone."""
    with on_terminal(sandbox, tmp_path) as terminal:
        terminal.say(USERS, *users(0, 25))
        line = re.compile(
            r"25 records read, 20 objects sent, 0 sessions open, [\d,]+ records/s, "
            r"oldest batch \d+ s"
        )
        wait_for(lambda: any(map(line.fullmatch, terminal.seen)))
        wait_for(lambda: terminal.lines and line.fullmatch(terminal.lines[-1]))
        assert terminal.has_cursor
        terminal.say(*users(25, 45))
        wait_for(lambda: any(seen.startswith("45 records read") for seen in terminal.seen))
        assert sum("records/s" in shown for shown in terminal.lines) == 1
        assert terminal.end() == 0
        shown = terminal.lines
    table = next(at for at, one in enumerate(shown) if one.startswith("collection"))
    assert len(shown[:table]) > 5
    for one in shown[:table]:
        assert LOG_LINE.fullmatch(one), one
        assert "records/s" not in one
    assert shown[table].split() == [
        *("collection", "read", "sent", "rejected", "bytes", "gzipped"),
        *("sessions", "seconds", "objects/s"),
    ]
    assert shown[table + 1].split()[:4] == ["users", "45", "45", "0"]
    assert len(shown) == table + 2


@posix_only
def test_state_on_the_same_terminal_stands_on_lines_of_its_own(
    sandbox: Sandbox, tmp_path: Path
) -> None:
    """Neither STATE nor the line of progress is torn by the other."""
    with on_terminal(sandbox, tmp_path, output=True) as terminal:
        for number in range(10):
            terminal.say(USERS, *users(number * 10, number * 10 + 10), state_line({"at": number}))
            wait_for(lambda at=number: f'{{"at":{at}}}' in terminal.seen)  # type: ignore[misc]  # mypy cannot infer a lambda with a default
        wait_for(lambda: any(seen.startswith("100 records read") for seen in terminal.seen))
        assert terminal.end() == 0
        shown = terminal.lines
    assert [one for one in shown if one.startswith("{")] == [f'{{"at":{n}}}' for n in range(10)]
    assert sum("records/s" in one for one in shown) == 0


@posix_only
def test_a_terminal_shows_metrics_only_to_who_has_set_up_logging(
    sandbox: Sandbox, tmp_path: Path
) -> None:
    """METRIC lines are for programs; a logging configuration is the user's own word."""
    config = tmp_path / "logging.yml"
    config.write_text(
        "version: 1\n"
        "disable_existing_loggers: false\n"
        "formatters: {plain: {format: '%(message)s'}}\n"
        "handlers: {console: {class: logging.StreamHandler, formatter: plain}}\n"
        "root: {level: INFO, handlers: [console]}\n"
    )
    shown = []
    for environment in ({}, {"SINGER_SDK_LOG_CONFIG": str(config)}):
        with on_terminal(sandbox, tmp_path, environment=environment) as terminal:
            terminal.say(USERS, *users(0, 15))
            assert terminal.end() == 0
        shown.append(sum("METRIC: " in line for line in terminal.lines))
        assert any("is finished: collection users" in line for line in terminal.lines)
    assert shown == [0, 5]  # records, two sessions, the collection, the run


@posix_only
def test_a_quiet_run_shows_nothing_on_a_terminal(sandbox: Sandbox, tmp_path: Path) -> None:
    """With the log level WARNING there is neither progress nor summary."""
    quiet = {"TARGET_SEGMENT_OBJECTS_LOGLEVEL": "WARNING"}
    with on_terminal(sandbox, tmp_path, environment=quiet) as terminal:
        terminal.say(USERS, *users(0, 25))
        assert terminal.end() == 0
    assert terminal.raw == b""
    assert sandbox.warehouse.count("users") == 25


@posix_only
def test_a_dumb_terminal_gets_plain_lines(sandbox: Sandbox, tmp_path: Path) -> None:
    """No escape sequence goes to a terminal that says that it knows none."""
    with on_terminal(sandbox, tmp_path, environment={"TERM": "dumb"}) as terminal:
        terminal.say(USERS, *users(0, 25))
        assert terminal.end() == 0
    assert b"\x1b" not in terminal.raw
    assert b"Collection users: 25 read, 25 sent" in terminal.raw


@posix_only
def test_a_problem_is_told_below_what_was_done(sandbox: Sandbox, tmp_path: Path) -> None:
    """The line of progress is gone when a run fails, and the last line is the problem."""
    with on_terminal(sandbox, tmp_path) as terminal:
        terminal.say(USERS, *users(0, 15))
        wait_for(lambda: any(seen.startswith("15 records read") for seen in terminal.seen))
        terminal.say("no message")
        assert terminal.end() == 1
    assert "Line 17 of the input is not a Singer message" in terminal.lines[-1]
    assert all("records/s" not in one for one in terminal.lines)


@posix_only
def test_a_signal_on_a_terminal_ends_with_the_table(sandbox: Sandbox, tmp_path: Path) -> None:
    """What was read is delivered; the line of progress is gone, and the cursor is there."""
    with on_terminal(sandbox, tmp_path) as terminal:
        terminal.say(USERS, *users(0, 15))
        wait_for(lambda: any(seen.startswith("15 records read") for seen in terminal.seen))
        terminal.process.send_signal(signal.SIGINT)
        assert terminal.process.wait(20) == 130
        terminal.end()
    assert any("Stopped reading after 16 lines" in line for line in terminal.lines)
    assert all("records/s" not in line for line in terminal.lines)
    assert terminal.lines[-1].split()[:3] == ["users", "15", "15"]
    assert terminal.has_cursor


@posix_only
def test_a_terminal_that_is_closed_ends_no_run(sandbox: Sandbox, tmp_path: Path) -> None:
    """Who left a run behind finds everything delivered, and its STATE written."""
    states = tmp_path / "state.json"
    with states.open("wb") as output, on_terminal(sandbox, tmp_path, output=output) as terminal:
        terminal.say(USERS, *users(0, 15))
        wait_for(lambda: any(seen.startswith("15 records read") for seen in terminal.seen))
        terminal.hang_up()
        terminal.say(*users(15, 45), state_line({"at": 45}))
        assert terminal.end() == 0
    assert sandbox.warehouse.count("users") == 45
    assert states.read_text() == '{"at":45}\n'


def test_a_run_without_a_terminal_does_not_import_what_draws(sandbox: Sandbox) -> None:
    """Nobody waits for rich who sees nothing of it."""
    script = (
        "import sys\n"
        "from target_segment_objects.cli.command import build_command\n"
        "try:\n"
        "    build_command()(['--config=ENV'])\n"
        "except SystemExit as ending:\n"
        "    print(ending.code, 'rich' in sys.modules)\n"
    )
    environment = os.environ | {
        "TARGET_SEGMENT_OBJECTS_WRITE_KEY": "k",
        "TARGET_SEGMENT_OBJECTS_API_URL": sandbox.url,
    }
    done = subprocess.run(
        [sys.executable, "-c", script],
        input="\n".join([USERS, *users(0, 5)]),
        capture_output=True,
        text=True,
        env=environment,
        timeout=RUN_SECONDS,
        check=False,
    )
    assert done.stdout == "0 False\n", done.stderr


# In a log


class Run:
    """A run that is as far as a test says."""

    def __init__(self) -> None:
        """Begin before the first record."""
        self.at = ProgressSnapshot(0, 0, 0, None)

    def look(self) -> ProgressSnapshot:
        """Return how far it is."""
        return self.at


def lines_of(caplog: pytest.LogCaptureFixture) -> list[str]:
    """Return what was logged of the progress."""
    return [one.message for one in caplog.records if one.message.startswith("So far:")]


def test_a_log_gets_a_line_at_each_interval_in_which_something_happened(
    caplog: pytest.LogCaptureFixture,
) -> None:
    """A tap that is silent fills no log; the thread ends with the context."""
    caplog.set_level(logging.INFO)
    run = Run()
    logger = logging.getLogger("progress-of-a-test")
    with Progress(run.look, io.StringIO(), logger, log_seconds=0.02):
        wait_for(lambda: len(lines_of(caplog)) == 1)
        run.at = ProgressSnapshot(1200, 1000, 2, 48.2)
        wait_for(lambda: len(lines_of(caplog)) == 2)
        run.at = ProgressSnapshot(1200, 1000, 2, 49.9)  # only older
        assert not threading.Event().wait(0.2)
        assert len(lines_of(caplog)) == 2
    assert re.fullmatch(
        r"So far: 1,200 records read, 1,000 objects sent, 2 sessions open, [\d,]+ records/s, "
        r"oldest batch 48 s\.",
        lines_of(caplog)[1],
    )
    assert "progress" not in {thread.name for thread in threading.enumerate()}


def test_a_log_has_no_line_before_the_first_minute(caplog: pytest.LogCaptureFixture) -> None:
    """A short run logs its end only."""
    caplog.set_level(logging.INFO)
    with Progress(Run().look, io.StringIO(), logging.getLogger("progress-of-a-test")):
        assert not threading.Event().wait(0.1)
    assert lines_of(caplog) == []


def test_a_line_says_one_session_and_no_oldest_batch() -> None:
    """What there is not is not told."""
    assert describe(ProgressSnapshot(1, 0, 1, None), 0.4) == (
        "1 records read, 0 objects sent, 1 session open, 0 records/s"
    )
