"""Log lines: printable whatever the tap sends, short on a terminal, else in the SDK's format."""

from __future__ import annotations

import io
import json
import logging
import os
import re
from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from target_segment_objects.reporting.log_handlers import (
    LoggingConfigError,
    escape_unprintable,
    find_log_level,
    set_up_log_handlers,
)
from tests.support import TARGET, record_line, schema_line

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from target_segment_objects.sandbox.server import Sandbox
    from tests.support import RunTarget

pytestmark = pytest.mark.slow  # most of them start a process or wait

FORGED = "users\n2026-01-01 00:00:00,000 | INFO     | forged"
COLOURED = "\x1b[31mred\x1b[0m"
posix_only = pytest.mark.skipif(os.name != "posix", reason="Windows has no pseudo-terminals")


@pytest.fixture
def logger() -> Iterator[logging.Logger]:
    """A logger of its own, with a handler that writes to a string."""
    logger = logging.getLogger("log-handlers-of-a-test")
    logger.propagate = False
    handler = logging.StreamHandler(io.StringIO())
    logger.addHandler(handler)
    set_up_log_handlers(None)
    yield logger
    logger.removeHandler(handler)


def read_log(logger: logging.Logger) -> str:
    """Return what the logger's handler has written."""
    handler = logger.handlers[0]
    assert isinstance(handler, logging.StreamHandler)
    written: str = handler.stream.getvalue()
    return written


# Escaping


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        pytest.param("plain, ü, 日本, 👍", "plain, ü, 日本, 👍", id="printable"),
        pytest.param("a\nb\r\nc\td", r"a\nb\r\nc\td", id="line breaks and tabs"),
        pytest.param("\x1b[31m", r"\u001b[31m", id="escape sequence"),
        pytest.param("\x00\x07\x7f\x9b", r"\u0000\u0007\u007f\u009b", id="control characters"),
        pytest.param("\u2028\u2029\x85", r"\u2028\u2029\u0085", id="Unicode line breaks"),
        pytest.param("a\u202eb", r"a\u202eb", id="direction of text"),
        pytest.param("\ud800", r"\ud800", id="lone surrogate"),
        pytest.param("\U000e0001", r"\udb40\udc01", id="not printable, beyond 16 bits"),
        pytest.param(r"C:\new", r"C:\new", id="backslash"),
    ],
)
def test_what_is_not_printable_is_escaped(text: str, expected: str) -> None:
    """The escapes are those of JSON."""
    assert escape_unprintable(text) == expected


@given(st.text(st.characters()))
def test_escaped_text_is_one_printable_line(text: str) -> None:
    """Any text becomes printable, can be encoded, and inside JSON it means the same."""
    escaped = escape_unprintable(text)
    assert escaped.isprintable()
    assert len(escaped.encode().splitlines()) <= 1
    quoted = json.dumps(text, ensure_ascii=False)
    assert json.loads(escape_unprintable(quoted)) == text


def test_a_message_cannot_forge_a_log_line(logger: logging.Logger) -> None:
    """Line breaks and escape sequences are escaped in the message and in its arguments."""
    logger.warning("Stream '%s': %s", FORGED, COLOURED)
    logger.warning(f"Stream '{FORGED}'")  # noqa: G004 - messages may be complete
    assert "\x1b" not in read_log(logger)
    assert len(read_log(logger).splitlines()) == 2
    assert read_log(logger).startswith(r"Stream 'users\n2026-01-01 00:00:00,000 | INFO")


def test_a_traceback_keeps_its_lines(logger: logging.Logger) -> None:
    """Only other characters of a traceback are escaped."""
    try:
        raise ValueError(COLOURED)  # noqa: TRY301 - there is no function to raise it
    except ValueError:
        logger.exception("Unexpected error.")
    lines = read_log(logger).splitlines()
    assert lines[:2] == ["Unexpected error.", "Traceback (most recent call last):"]
    assert lines[-1] == r"ValueError: \u001b[31mred\u001b[0m"


def test_a_malformed_log_call_does_not_end_a_run(
    logger: logging.Logger, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Logging reports it as always."""
    monkeypatch.setattr(logging, "raiseExceptions", False)
    logger.warning("%d", "no number")


def test_names_of_a_tap_do_not_control_the_log(sandbox: Sandbox, run_target: RunTarget) -> None:
    """Every line of a run's log, and of a dry run's report, is printable."""
    stream = f"{FORGED}{COLOURED}"
    lines = [
        schema_line(stream, {"id": {"type": "integer"}}),
        record_line(stream, {"id": 1}),
        record_line(stream, {"id": f"{COLOURED}\n"}),
    ]
    config = {"write_key": "k", "api_url": sandbox.url}
    for options in ((), ("--dry-run",)):
        done = run_target(*options, lines=lines, config=config)
        assert done.returncode == 1
        assert "forged" in done.stderr + done.stdout
        for line in (done.stderr + done.stdout).split("\n"):
            assert line.isprintable(), line
            assert not line.startswith("2026-01-01")


# Formats


@posix_only
def test_a_terminal_has_short_lines_and_no_metrics(sandbox: Sandbox, tmp_path: Path) -> None:
    """The time, the level unless it is INFO, and the message; each session has one line."""
    from tests.support.terminal import Terminal  # noqa: PLC0415 - POSIX only

    environment = {
        "TARGET_SEGMENT_OBJECTS_WRITE_KEY": "k",
        "TARGET_SEGMENT_OBJECTS_API_URL": sandbox.url,
        "TARGET_SEGMENT_OBJECTS_TYPO": "1",
    }
    arguments = [*TARGET, "--config=ENV"]
    with Terminal(arguments, folder=tmp_path, environment=environment) as terminal:
        terminal.write_lines(
            schema_line("users", {"id": {"type": "integer"}}), record_line("users", {"id": 1})
        )
        assert terminal.close_input() == 0
    table = next(n for n, line in enumerate(terminal.lines) if line.startswith("collection"))
    log = terminal.lines[:table]
    assert all(re.match(r"\d\d:\d\d:\d\d \S", line) for line in log)
    assert any(re.match(r"\d\d:\d\d:\d\d WARNING: Unknown", line) for line in log)
    (session,) = (row.sync_id for row in sandbox.warehouse.sessions())
    assert sum(session in line for line in log) == 1
    assert b"METRIC" not in terminal.raw


@posix_only
@pytest.mark.parametrize("has_colors", [True, False], ids=["colors", "NO_COLOR"])
def test_warnings_and_errors_are_colored_on_a_terminal(tmp_path: Path, *, has_colors: bool) -> None:
    """Red and yellow; no color with NO_COLOR."""
    from tests.support.terminal import Terminal  # noqa: PLC0415 - POSIX only

    environment = {
        "TARGET_SEGMENT_OBJECTS_WRITE_KEY": "k",
        "TARGET_SEGMENT_OBJECTS_TYPO": "1",
        "NO_COLOR": "" if has_colors else "1",
    }
    arguments = [*TARGET, "--config=ENV"]
    with Terminal(arguments, folder=tmp_path, environment=environment) as terminal:
        terminal.write_lines("{broken")
        assert terminal.close_input() == 1
    written = terminal.raw.decode()
    time = r"\d\d:\d\d:\d\d"
    assert bool(re.search(rf"\x1b\[33m{time} WARNING: Unknown .*\x1b\[0m\r", written)) == has_colors
    assert bool(re.search(rf"\x1b\[1;31m{time} ERROR: Line 1 .*\x1b\[0m\r", written)) == has_colors
    assert "ERROR: Line 1 " in terminal.lines[-1]


@posix_only
def test_the_sdks_line_on_variables_is_not_shown_on_a_terminal(tmp_path: Path) -> None:
    """It says that variables are skipped, which the target has just read itself."""
    from tests.support.terminal import Terminal  # noqa: PLC0415 - POSIX only

    environment = {"TARGET_SEGMENT_OBJECTS_WRITE_KEY": "k"}
    arguments = [*TARGET, "--config=ENV"]
    with Terminal(arguments, folder=tmp_path, environment=environment) as terminal:
        assert terminal.close_input() == 0
    assert "0 records read" in " ".join(terminal.lines)
    assert b"Skipping parse" not in terminal.raw


def test_elsewhere_the_format_is_the_sdks(sandbox: Sandbox, run_target: RunTarget) -> None:
    """Time, level, logger and message, and METRIC lines."""
    done = run_target(config={"write_key": "k", "api_url": sandbox.url})
    pattern = re.compile(r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d,\d{3} \| [A-Z]+ +\| \S+ +\| .*")
    assert all(pattern.fullmatch(line) for line in done.stderr.splitlines())
    assert "METRIC: {" in done.stderr


# Log level and logging configuration


@pytest.mark.parametrize("level", ["debug", "INFO", "Warning", "ERROR", "CRITICAL", ""])
def test_log_levels_are_accepted(level: str) -> None:
    """In upper or lower case; an empty variable is not set."""
    find_log_level({"TARGET_SEGMENT_OBJECTS_LOGLEVEL": level, "LOGLEVEL": "INFO"})


def test_the_own_variable_hides_the_general_one() -> None:
    """The SDK reads `LOGLEVEL` only if the target's own variable is not set."""
    find_log_level({"TARGET_SEGMENT_OBJECTS_LOGLEVEL": "INFO", "LOGLEVEL": "LOUD"})
    with pytest.raises(LoggingConfigError, match=r"^LOGLEVEL cannot be 'LOUD'"):
        find_log_level({"LOGLEVEL": "LOUD"})


@pytest.mark.parametrize("option", ["--about", "--check"])
def test_an_unknown_log_level_is_a_usage_error(
    run_target: RunTarget, environment: dict[str, str], option: str
) -> None:
    """One line names the variable, the level and the levels that exist; exit code 2."""
    variables = {**environment, "TARGET_SEGMENT_OBJECTS_LOGLEVEL": "LOUD"}
    done = run_target(option, environment=variables)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr == (
        "Error: TARGET_SEGMENT_OBJECTS_LOGLEVEL cannot be 'LOUD': it must be DEBUG, INFO, WARNING "
        "or ERROR.\n"
    )


@pytest.mark.parametrize(
    "content",
    [
        pytest.param("}", id="not YAML"),
        pytest.param("", id="empty"),
        pytest.param("version: 3", id="other version"),
        pytest.param("version: 1\nroot: {handlers: [none]}", id="unknown handler"),
        pytest.param(None, id="a folder"),
    ],
)
def test_an_unusable_logging_configuration_is_a_usage_error(
    run_target: RunTarget, environment: dict[str, str], tmp_path: Path, content: str | None
) -> None:
    """One line names the variable, the file and the reason; exit code 2."""
    path = tmp_path / "logging.yml"
    if content is None:
        path.mkdir()
    else:
        path.write_text(content, encoding="utf-8")
    done = run_target("--about", environment={**environment, "SINGER_SDK_LOG_CONFIG": str(path)})
    assert (done.returncode, done.stdout) == (2, "")
    (line,) = done.stderr.splitlines()
    assert line.startswith(f"Error: SINGER_SDK_LOG_CONFIG cannot be '{path}': ")
