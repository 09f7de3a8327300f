"""Progress: one line on a terminal, and a line each minute in a log."""

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

from target_segment_objects.reporting.progress import Progress, ProgressSnapshot, format_snapshot
from tests.support import RUN_SECONDS, TARGET, record_line, schema_line, state_line, wait_for

if TYPE_CHECKING:
    from pathlib import Path

    from target_segment_objects.sandbox.server import Sandbox
    from tests.support.terminal import Terminal

pytestmark = pytest.mark.slow  # most of them start a process or wait

USERS = schema_line("users", {"id": {"type": "integer"}})
LOG_LINE = re.compile(r"\d\d:\d\d:\d\d .*")

posix_only = pytest.mark.skipif(os.name != "posix", reason="Windows has no such terminals")


def user_lines(first: int, last: int) -> list[str]:
    """Return RECORD messages of the stream `users`."""
    return [record_line("users", {"id": number}) for number in range(first, last)]


def start_on_terminal(sandbox: Sandbox, folder: Path, **options: Any) -> Terminal:  # noqa: ANN401 - as Terminal has them
    """Start the target on a terminal, with batches of ten objects."""
    from tests.support.terminal import Terminal  # noqa: PLC0415 - POSIX only

    settings = {"WRITE_KEY": "k", "API_URL": sandbox.url, "BATCH_SIZE_ROWS": "10"}
    environment = {f"TARGET_SEGMENT_OBJECTS_{name}": value for name, value in settings.items()}
    environment |= options.pop("environment", {})
    return Terminal([*TARGET, "--config=ENV"], folder=folder, environment=environment, **options)


@posix_only
def test_a_terminal_shows_one_line_of_progress_below_whole_log_lines(
    sandbox: Sandbox, tmp_path: Path
) -> None:
    """It shows records, objects, sessions, rate and the oldest batch; it is removed at the end."""
    with start_on_terminal(sandbox, tmp_path) as terminal:
        terminal.write_lines(USERS, *user_lines(0, 25))
        progress = re.compile(
            r"25 read, 20 sent, (reading|waiting for the tap), 0:\d\d, [\d,]+ records/s, "
            r"oldest batch \d+ s"
        )
        wait_for(lambda: any(map(progress.fullmatch, terminal.seen)))
        wait_for(lambda: terminal.lines and progress.fullmatch(terminal.lines[-1]))
        assert terminal.has_cursor
        terminal.write_lines(*user_lines(25, 45))
        wait_for(lambda: any(seen.startswith("45 read") for seen in terminal.seen))
        assert sum("records/s" in shown for shown in terminal.lines) == 1
        assert terminal.close_input() == 0
        shown = terminal.lines
    table = next(at for at, line in enumerate(shown) if line.startswith("collection"))
    assert len(shown[:table]) > 5
    for log_line in shown[:table]:
        assert LOG_LINE.fullmatch(log_line), log_line
        assert "records/s" not in log_line
    assert shown[table].split() == [
        *("collection", "read", "sent", "rejected", "not", "delivered", "bytes", "gzipped"),
        *("sessions", "seconds", "objects/s"),
    ]
    assert shown[table + 1].split()[:4] == ["users", "45", "45", "0"]
    assert shown[table + 2].startswith("45 records read, 45 objects sent in ")
    assert len(shown) == table + 3


@posix_only
def test_state_on_the_same_terminal_has_lines_of_its_own(sandbox: Sandbox, tmp_path: Path) -> None:
    """STATE and the progress line do not mix."""
    with start_on_terminal(sandbox, tmp_path, output=True) as terminal:
        for number in range(10):
            terminal.write_lines(
                USERS, *user_lines(number * 10, number * 10 + 10), state_line({"at": number})
            )
            wait_for(lambda at=number: f'{{"at":{at}}}' in terminal.seen)  # type: ignore[misc]  # mypy cannot infer a lambda with a default
        wait_for(lambda: any(seen.startswith("100 read") for seen in terminal.seen))
        assert terminal.close_input() == 0
        shown = terminal.lines
    states = [line for line in shown if line.startswith("{")]
    assert states == [f'{{"at":{number}}}' for number in range(10)]
    assert sum("records/s" in line for line in shown) == 0


@posix_only
def test_a_terminal_shows_metrics_only_with_a_logging_configuration(
    sandbox: Sandbox, tmp_path: Path
) -> None:
    """METRIC lines are for programs; a logging configuration is not overridden."""
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
        with start_on_terminal(sandbox, tmp_path, environment=environment) as terminal:
            terminal.write_lines(USERS, *user_lines(0, 15))
            assert terminal.close_input() == 0
        shown.append(sum("METRIC: " in line for line in terminal.lines))
        assert any("finished: collection users" in line for line in terminal.lines)
    assert shown == [0, 6]  # records, two sessions, the stream, the collection, the run


@posix_only
def test_a_quiet_run_shows_nothing_on_a_terminal(sandbox: Sandbox, tmp_path: Path) -> None:
    """With the log level WARNING there is neither progress nor summary."""
    quiet = {"TARGET_SEGMENT_OBJECTS_LOGLEVEL": "WARNING"}
    with start_on_terminal(sandbox, tmp_path, environment=quiet) as terminal:
        terminal.write_lines(USERS, *user_lines(0, 25))
        assert terminal.close_input() == 0
    assert terminal.raw == b""
    assert sandbox.warehouse.count("users") == 25


@posix_only
def test_a_dumb_terminal_gets_plain_lines(sandbox: Sandbox, tmp_path: Path) -> None:
    """A terminal without escape sequences gets log lines."""
    with start_on_terminal(sandbox, tmp_path, environment={"TERM": "dumb"}) as terminal:
        terminal.write_lines(USERS, *user_lines(0, 25))
        assert terminal.close_input() == 0
    assert b"\x1b" not in terminal.raw
    assert b"Collection users: 25 read, 25 sent" in terminal.raw


@posix_only
def test_the_error_is_the_last_line(sandbox: Sandbox, tmp_path: Path) -> None:
    """The progress line is removed when a run fails, and the error comes last."""
    with start_on_terminal(sandbox, tmp_path) as terminal:
        terminal.write_lines(USERS, *user_lines(0, 15))
        wait_for(lambda: any(seen.startswith("15 read") for seen in terminal.seen))
        terminal.write_lines("no message")
        assert terminal.close_input() == 1
    assert "Line 17 of the input is not a Singer message" in terminal.lines[-1]
    assert all("records/s" not in line for line in terminal.lines)


@posix_only
def test_a_signal_on_a_terminal_ends_with_the_table(sandbox: Sandbox, tmp_path: Path) -> None:
    """What was read is delivered; the progress line is removed, and the cursor is visible."""
    with start_on_terminal(sandbox, tmp_path) as terminal:
        terminal.write_lines(USERS, *user_lines(0, 15))
        wait_for(lambda: any(seen.startswith("15 read") for seen in terminal.seen))
        terminal.process.send_signal(signal.SIGINT)
        assert terminal.process.wait(20) == 130
        terminal.close_input()
    assert any("Stopped reading after 16 lines" in line for line in terminal.lines)
    assert all("records/s" not in line for line in terminal.lines)
    assert terminal.lines[-2].split()[:3] == ["users", "15", "15"]
    assert terminal.lines[-1].startswith("15 records read, 15 objects sent")
    assert terminal.has_cursor


@posix_only
def test_a_run_goes_on_when_its_terminal_is_closed(sandbox: Sandbox, tmp_path: Path) -> None:
    """Everything is delivered, and STATE is written."""
    states = tmp_path / "state.json"
    with (
        states.open("wb") as output,
        start_on_terminal(sandbox, tmp_path, output=output) as terminal,
    ):
        terminal.write_lines(USERS, *user_lines(0, 15))
        wait_for(lambda: any(seen.startswith("15 read") for seen in terminal.seen))
        terminal.close()
        terminal.write_lines(*user_lines(15, 45), state_line({"at": 45}))
        assert terminal.close_input() == 0
    assert sandbox.warehouse.count("users") == 45
    assert states.read_text() == '{"at":45}\n'


def test_a_run_without_a_terminal_does_not_import_rich(sandbox: Sandbox) -> None:
    """It is slow to import, and nothing of it would be shown."""
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
        input="\n".join([USERS, *user_lines(0, 5)]),
        capture_output=True,
        text=True,
        env=environment,
        timeout=RUN_SECONDS,
        check=False,
    )
    assert done.stdout == "0 False\n", done.stderr


# In a log


class FakeRun:
    """A run whose progress the test sets."""

    def __init__(self) -> None:
        self.snapshot = ProgressSnapshot(0, 0, 0, 0, None)

    def get_snapshot(self) -> ProgressSnapshot:
        """Return the current progress."""
        return self.snapshot


def find_progress_lines(caplog: pytest.LogCaptureFixture) -> list[str]:
    """Return the logged progress lines."""
    return [record.message for record in caplog.records if record.message.startswith("Progress:")]


def test_a_log_gets_a_line_for_each_interval_with_changes(
    caplog: pytest.LogCaptureFixture,
) -> None:
    """A silent tap adds no lines; the thread ends with the context."""
    caplog.set_level(logging.INFO)
    run = FakeRun()
    logger = logging.getLogger("progress-of-a-test")
    with Progress(run.get_snapshot, io.StringIO(), logger, log_interval_seconds=0.02):
        wait_for(lambda: len(find_progress_lines(caplog)) == 1)
        run.snapshot = ProgressSnapshot(1200, 1000, 2, 1_250_000, 48.2)
        wait_for(lambda: len(find_progress_lines(caplog)) == 2)
        run.snapshot = ProgressSnapshot(1200, 1000, 2, 1_250_000, 49.9)  # only older
        assert not threading.Event().wait(0.2)
        assert len(find_progress_lines(caplog)) == 2
    assert re.fullmatch(
        r"Progress: 1,200 read, 1,000 sent, 2 sessions uploading \(1\.2 MB so far\), 0:00, "
        r"[\d,]+ records/s, oldest batch 48 s\.",
        find_progress_lines(caplog)[1],
    )
    assert "progress" not in {thread.name for thread in threading.enumerate()}


def test_a_log_has_no_line_before_the_first_minute(caplog: pytest.LogCaptureFixture) -> None:
    """A short run logs its end only."""
    caplog.set_level(logging.INFO)
    with Progress(FakeRun().get_snapshot, io.StringIO(), logging.getLogger("progress-of-a-test")):
        assert not threading.Event().wait(0.1)
    assert find_progress_lines(caplog) == []


@pytest.mark.parametrize(
    ("snapshot", "rate", "expected"),
    [
        pytest.param(
            ProgressSnapshot(1, 0, 1, 0, None),
            0.4,
            "1 read, 0 sent, 1 session uploading (0.0 MB so far), 1:05, 0 records/s",
            id="uploading",
        ),
        pytest.param(
            ProgressSnapshot(9, 0, 0, 0, 2.0),
            3.0,
            "9 read, 0 sent, reading, 1:05, 3 records/s, oldest batch 2 s",
            id="reading",
        ),
        pytest.param(
            ProgressSnapshot(9, 9, 0, 0, None),
            0.0,
            "9 read, 9 sent, waiting for the tap, 1:05, 0 records/s",
            id="waiting",
        ),
    ],
)
def test_progress_says_what_the_run_is_doing(
    snapshot: ProgressSnapshot, rate: float, expected: str
) -> None:
    """A long upload does not look like a hang: the bytes and the time grow."""
    assert format_snapshot(snapshot, rate, 65.9) == expected


def test_progress_fits_80_columns() -> None:
    """Large numbers leave out the last parts, not what the run is doing."""
    snapshot = ProgressSnapshot(123_456_789, 123_000_000, 20, 12_345_600_000, 299.0)
    line = format_snapshot(snapshot, 45_678.0, 4000.0, width=80)
    assert line == (
        "123,456,789 read, 123,000,000 sent, 20 sessions uploading (12,345.6 MB so far)"
    )
    whole = format_snapshot(snapshot, 45_678.0, 4000.0)
    assert whole == f"{line}, 1:06:40, 45,678 records/s, oldest batch 299 s"
