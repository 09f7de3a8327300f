"""`.env`, which can say where the write key and the records go.

| asset | attack | what holds |
|---|---|---|
| write key, records | a `.env` in a folder above | it is not read |
| write key | HTTPS_PROXY, REQUESTS_CA_BUNDLE in a `.env` | only our variables are taken |
| write key, records | a `.env` or a link that another user has written or may write | refused |
| write key, records | a line of ours that cannot be read, which may set the sandbox | refused |
| the run | a `.env` that is a pipe or has no end | refused at once |
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import pytest
from singer_sdk.exceptions import ConfigValidationError

from target_segment_objects.settings.environment import load_environment
from tests.support import record_line, schema_line

if TYPE_CHECKING:
    from pathlib import Path

    from tests.support import RunTarget

PREFIX = "TARGET_SEGMENT_OBJECTS_"
LINES = [schema_line("users", {"id": {"type": "integer"}}), record_line("users", {"id": 1})]
needs_posix = pytest.mark.skipif(not hasattr(os, "geteuid"), reason="Windows has no such modes")


@pytest.fixture
def dotenv(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A `.env` in the current folder that only its owner can write."""
    monkeypatch.chdir(tmp_path)
    file = tmp_path / ".env"
    file.write_text(f"{PREFIX}API_URL=https://foreign.example\n")
    file.chmod(0o600)
    return file


def find_refusal(*, with_settings: bool = True) -> str:
    """Return why the `.env` is refused; nothing of it may be used then."""
    found = load_environment()
    assert found.variables == os.environ
    with pytest.raises(ConfigValidationError) as caught:
        found.describe_file_use(with_settings=with_settings)
    return str(caught.value)


def test_file_of_a_folder_above_is_not_read(dotenv: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Only the current folder's file is."""
    folder = dotenv.parent / "a" / "b"
    folder.mkdir(parents=True)
    monkeypatch.chdir(folder)
    assert load_environment().variables == os.environ


def test_only_our_variables_are_taken(dotenv: Path) -> None:
    """No proxy and no certificates: what they are for is decided by the process."""
    with dotenv.open("a") as file:
        file.write("HTTPS_PROXY=http://10.0.0.1\nREQUESTS_CA_BUNDLE=ca.pem\nLOGLEVEL=DEBUG\n")
    expected = {**os.environ, f"{PREFIX}API_URL": "https://foreign.example"}
    assert load_environment().variables == expected


@needs_posix
@pytest.mark.parametrize("mode", [0o620, 0o602, 0o666])
def test_file_that_others_may_write_is_refused(dotenv: Path, mode: int) -> None:
    """The message has the command that fixes it."""
    dotenv.chmod(mode)
    assert find_refusal() == (
        f"{dotenv} cannot be used: other users may write it. Run: chmod go-w {dotenv}."
    )


@needs_posix
@pytest.mark.parametrize("is_link", [False, True])
def test_file_of_another_user_is_refused(
    dotenv: Path, monkeypatch: pytest.MonkeyPatch, *, is_link: bool
) -> None:
    """So is a link of another user to a file of ours; root's are accepted."""
    owned = dotenv
    if is_link:
        dotenv.rename(dotenv.with_name("mine"))
        dotenv.symlink_to("mine")
    if os.geteuid() == 0:
        os.chown(owned, 12345, -1, follow_symlinks=False)
    else:
        user = os.geteuid() + 1
        monkeypatch.setattr(os, "geteuid", lambda: user)
    assert "it belongs to another user" in find_refusal()


def test_own_link_is_followed(dotenv: Path) -> None:
    """A link to a file of one's own, or of a mounted secret, is fine."""
    dotenv.rename(dotenv.with_name("mine"))
    dotenv.symlink_to("mine")
    assert f"{PREFIX}API_URL" in load_environment().variables


@needs_posix
def test_unused_file_is_not_refused(dotenv: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Settings are not asked for, or the process has them, or there are none of ours."""
    dotenv.chmod(0o666)
    assert load_environment().describe_file_use(with_settings=False) is None
    with monkeypatch.context() as process:
        process.setenv(f"{PREFIX}API_URL", "https://segment.example")
        assert load_environment().describe_file_use(with_settings=True) is None
    dotenv.write_text("POSTGRES_PASSWORD=secret\n")
    assert load_environment().describe_file_use(with_settings=True) is None


@pytest.mark.parametrize("line", ["SANDBOX warehouse.duckdb", "SANDBOX='warehouse.duckdb"])
def test_line_of_ours_that_cannot_be_read_is_refused(dotenv: Path, line: str) -> None:
    """Else the records would go to the real service. The line itself is not repeated."""
    with dotenv.open("a") as file:
        file.write(f"{PREFIX}{line}\n")
    reason = f"line 2 is not like {PREFIX}NAME=value"
    assert find_refusal(with_settings=False) == f"{dotenv} cannot be used: {reason}."


@needs_posix
def test_pipe_is_refused(dotenv: Path) -> None:
    """It would wait for its writer."""
    dotenv.unlink()
    os.mkfifo(dotenv)
    assert "it is not a regular file" in find_refusal()


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (f"{PREFIX}SANDBOX=w.duckdb\n".encode("utf-16"), "it is not UTF-8 text"),
        (b"#" * 1_000_001, "it has more than 1,000,000 bytes"),
    ],
)
def test_content_that_is_no_text_is_refused(dotenv: Path, content: bytes, reason: str) -> None:
    """What it sets is not known."""
    dotenv.write_bytes(content)
    assert reason in find_refusal(with_settings=False)


@needs_posix
@pytest.mark.slow
def test_refused_file_ends_the_run(dotenv: Path, run_target: RunTarget) -> None:
    """The run ends before anything is read, with the code of a usage error; --help works."""
    dotenv.chmod(0o666)
    done = run_target("--config=ENV", lines=LINES)
    assert done.returncode == 2
    assert "other users may write it" in done.stderr
    assert "Traceback" not in done.stderr
    assert run_target("--help").returncode == 0
    assert run_target("--about").returncode == 0
