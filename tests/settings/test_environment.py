"""The variables of a run: every option and setting sees those of `.env`, too."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import pytest

from target_segment_objects.settings.environment import load_environment
from tests.support import record_line, schema_line

if TYPE_CHECKING:
    from pathlib import Path

    from target_segment_objects.sandbox.server import Sandbox
    from tests.support import RunTarget

PREFIX = "TARGET_SEGMENT_OBJECTS_"
LINES = [schema_line("users", {"id": {"type": "integer"}}), record_line("users", {"id": 1})]


def write_dotenv(folder: Path, content: str | bytes) -> Path:
    """Write a `.env` that only its owner can write, and return its path."""
    file = folder / ".env"
    file.write_bytes(content.encode() if isinstance(content, str) else content)
    file.chmod(0o600)
    return file


@pytest.mark.slow
@pytest.mark.parametrize("arguments", [("--config=ENV",), ("--config", "config.json")])
def test_sandbox_of_the_file_keeps_records_from_the_real_service(
    sandbox: Sandbox,
    run_target: RunTarget,
    environment: dict[str, str],
    tmp_path: Path,
    arguments: tuple[str, ...],
) -> None:
    """The records go to the sandbox, wherever the key is; the log names the file, not the key."""
    key = "a-write-key"
    (tmp_path / "config.json").write_text(f'{{"write_key": "{key}", "api_url": "{sandbox.url}"}}')
    file = write_dotenv(
        tmp_path,
        f"{PREFIX}SANDBOX=own.duckdb\n{PREFIX}WRITE_KEY={key}\n{PREFIX}API_URL={sandbox.url}\n",
    )
    done = run_target(*arguments, lines=LINES, environment=environment)
    assert done.returncode == 0, done.stderr
    assert sandbox.peak_concurrency == 0
    assert (tmp_path / "own.duckdb").exists()
    assert f"Variables from {file}: {PREFIX}SANDBOX" in done.stderr
    assert key not in done.stderr


@pytest.mark.slow
def test_log_level_of_the_file(
    run_target: RunTarget, environment: dict[str, str], tmp_path: Path
) -> None:
    """It is in force, and checked, as one of the process."""
    write_dotenv(tmp_path, f"{PREFIX}LOGLEVEL=warning\n")
    done = run_target("--dry-run", lines=LINES, environment=environment)
    assert done.returncode == 0
    assert "INFO" not in done.stderr
    write_dotenv(tmp_path, f"{PREFIX}LOGLEVEL=loud\n")
    done = run_target("--dry-run", lines=LINES, environment=environment)
    assert (done.returncode, done.stderr) == (
        2,
        f"Error: {PREFIX}LOGLEVEL cannot be 'loud': it must be DEBUG, INFO, WARNING or ERROR.\n",
    )


@pytest.mark.slow
def test_option_of_the_file_is_checked(
    run_target: RunTarget, environment: dict[str, str], tmp_path: Path
) -> None:
    """A value that the option does not take is a usage error."""
    write_dotenv(tmp_path, f"{PREFIX}ACCEPT_DELETES=perhaps\n")
    done = run_target("--dry-run", lines=LINES, environment=environment)
    assert done.returncode == 2
    assert "Invalid value for '--accept-deletes'" in done.stderr


def test_process_wins_and_stays_as_it_is(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An empty variable of the process wins, too: it turns off what the file sets."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv(f"{PREFIX}SANDBOX", "")
    monkeypatch.setenv(f"{PREFIX}MAX_RETRIES", "1")
    write_dotenv(
        tmp_path, f"{PREFIX}SANDBOX=a\n{PREFIX}MAX_RETRIES=2\nexport {PREFIX}SPOOL_DIR='b c'\n"
    )
    before = dict(os.environ)
    found = load_environment()
    assert os.environ == before
    assert found.file_names == (f"{PREFIX}SPOOL_DIR",)
    assert found.variables == {**before, f"{PREFIX}SPOOL_DIR": "b c"}
    assert "b c" not in repr(found)


def test_byte_order_mark_is_skipped(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Windows editors write it, before the first name."""
    monkeypatch.chdir(tmp_path)
    write_dotenv(tmp_path, b"\xef\xbb\xbfTARGET_SEGMENT_OBJECTS_WRITE_KEY=k\r\n")
    assert load_environment().variables[f"{PREFIX}WRITE_KEY"] == "k"


def test_folder_is_no_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A virtual environment is often called so."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / ".env").mkdir()
    assert load_environment().file is None


def test_malformed_lines_of_others_are_skipped(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """The file may be written for another program."""
    monkeypatch.chdir(tmp_path)
    write_dotenv(tmp_path, f"what is this\n'=x\n{PREFIX}MAX_RETRIES=2\n")
    found = load_environment()
    assert found.variables[f"{PREFIX}MAX_RETRIES"] == "2"
    assert (found.problem, caplog.text) == (None, "")
