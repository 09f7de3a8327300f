"""`--check` reports whether a run could use its folders and its write key."""

from __future__ import annotations

import re
import time
from typing import TYPE_CHECKING, Any

import pytest

from target_segment_objects import limits
from target_segment_objects.cli import check
from target_segment_objects.sandbox.server import Sandbox
from target_segment_objects.settings import Settings
from tests.support.scripted_server import Reply, ScriptedServer

if TYPE_CHECKING:
    from pathlib import Path

    from tests.support import RunTarget

pytestmark = pytest.mark.slow  # most of them start a process or wait


def check_settings(free: int = 10**12, **config: Any) -> tuple[bool, list[str]]:  # noqa: ANN401 - settings
    """Run the checks in this process. Return whether they passed, and the lines.

    Args:
        free: Free space of the disk, in bytes.
        **config: Settings.
    """
    lines: list[str] = []
    settings = Settings.from_config({"write_key": "k", **config})
    passed = check.run_checks(
        settings, lines.append, user_agent="test", measure_free_bytes=lambda _: free
    )
    return passed, lines


@pytest.mark.parametrize(
    ("free", "expected"),
    [
        pytest.param(64_000, "FAILED: Cannot write batch files to", id="64 KB"),
        pytest.param(99_999_999, "FAILED: Cannot write batch files to", id="below one batch"),
        pytest.param(100_000_000, "OK: Batch files can be written to", id="one batch"),
    ],
)
def test_free_space_is_compared_with_what_a_batch_may_need(
    sandbox: Sandbox, tmp_path: Path, free: int, expected: str
) -> None:
    """Below the size of one batch file the check fails; the message says what is needed."""
    passed, lines = check_settings(
        free=free, api_url=sandbox.url, spool_dir=str(tmp_path), max_file_bytes=100_000_000
    )
    assert lines[0].startswith(expected)
    assert passed is expected.startswith("OK")
    if not passed:
        assert "one batch may need 100 MB" in lines[0]
        assert "Free some space" in lines[0]


def test_space_for_all_waiting_batches_is_only_advised(sandbox: Sandbox, tmp_path: Path) -> None:
    """A run with several sessions may need more than one batch; most need less."""
    settings = {"api_url": sandbox.url, "spool_dir": str(tmp_path), "max_parallel_sessions": 4}
    passed, lines = check_settings(free=899_999_999, **settings)
    assert passed
    assert "(900 MB free; 9 batches at the same time may need 900 MB)" in lines[0]
    assert "at the same time" not in check_settings(free=900_000_000, **settings)[1][0]


def test_small_batches_need_less_space() -> None:
    """A batch of one object is at most one object."""
    settings = Settings.from_config({"write_key": "k", "batch_size_rows": 1})
    assert check.estimate_batch_bytes(settings) == limits.MAX_OBJECT_BYTES


def test_many_objects_in_small_files_need_the_space_of_all_files() -> None:
    """max_file_bytes bounds a file, not a batch: its files stay until its session ends."""
    settings = Settings.from_config({"write_key": "k", "max_file_bytes": 500_000})
    assert check.estimate_batch_bytes(settings) == 100_000 * check.TYPICAL_OBJECT_BYTES


def test_check_passes_and_leaves_nothing_behind(
    sandbox: Sandbox, tmp_path: Path, run_target: RunTarget
) -> None:
    """Exit code 0; one session is started and finished empty; no file is left or created."""
    spool, rejects = tmp_path / "spool", tmp_path / "rejects.singer"
    spool.mkdir()
    done = run_target(
        "--check",
        config={
            "write_key": "k",
            "api_url": sandbox.url,
            "spool_dir": str(spool),
            "invalid_records": "dead_letter",
            "dead_letter_path": str(rejects),
        },
    )
    assert done.returncode == 0, done.stderr
    (session,) = sandbox.warehouse.sessions()
    assert (session.outcome, session.objects, session.parts) == ("loaded", 0, 0)
    folder, rejects_file, *rest = done.stdout.splitlines()
    assert folder.startswith(f"OK: Batch files can be written to {spool} (")
    assert re.search(r"\([\d,.]+ [MG]B free.*\)\.$", folder)
    assert rejects_file == f"OK: Rejected records can be written to {rejects}."
    assert rest == [
        (
            f"OK: {sandbox.url} accepts the write key (sent as base64 of 'write_key:'): session "
            f"{session.sync_id} was started and finished empty."
        ),
        "Check passed.",
    ]
    assert list(spool.iterdir()) == []
    assert not rejects.exists()


def test_a_wrong_write_key_is_not_reported_as_a_wrong_url(
    tmp_path: Path, run_target: RunTarget
) -> None:
    """The URL is reachable, the write key is refused and not shown; exit code 1."""
    with Sandbox(tmp_path / "w.duckdb", write_key="right") as sandbox:
        done = run_target("--check", config={"write_key": "wrong-key", "api_url": sandbox.url})
        start = f"FAILED: {sandbox.url} is reachable, but it refuses the write key. Start: Segment "
        assert start in done.stdout
    assert "the write key is not accepted" in done.stdout
    assert done.stdout.splitlines()[-1] == "Check failed."
    assert "wrong-key" not in done.stdout + done.stderr
    assert done.returncode == 1


def test_no_response_is_reported_after_a_few_attempts(run_target: RunTarget) -> None:
    """The failure is reported within seconds, whatever max_retries is."""
    began = time.monotonic()
    done = run_target(
        "--check", config={"write_key": "k", "api_url": "http://127.0.0.1:9", "max_retries": 50}
    )
    assert time.monotonic() - began < 30
    assert done.returncode == 1
    assert "FAILED: Start: no response from http://127.0.0.1:9" in done.stdout
    assert "3 times" in done.stdout


def test_a_long_retry_after_is_not_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    """A check waits for seconds, also if Segment asks for ten minutes."""
    monkeypatch.setattr(check, "MAX_WAIT_SECONDS", 0.1)
    with ScriptedServer() as server:
        server.always("start", Reply(503, headers={"Retry-After": "600"}))
        began = time.monotonic()
        passed, lines = check_settings(api_url=server.url)
        assert len(server.requests_to("start")) == 1 + check.MAX_RETRIES
    assert time.monotonic() - began < 10
    assert not passed
    assert "Segment answered 503, 3 times" in lines[-2]


def test_a_url_that_is_not_segment_is_reported() -> None:
    """A response that the API does not give: check api_url."""
    with ScriptedServer() as server:
        server.always("start", Reply(404))
        passed, lines = check_settings(api_url=server.url)
    assert not passed
    assert "Is this api_url that of Segment's Objects Bulk API?" in lines[-2]


def test_a_failed_finish_is_reported_with_what_succeeded() -> None:
    """When a session was started, the write key is accepted."""
    with ScriptedServer() as server:
        server.always("finish", Reply(400))
        passed, lines = check_settings(api_url=server.url, max_retries=0)
    assert not passed
    assert f"FAILED: {server.url} accepts the write key and started session " in lines[-2]
    assert "but could not finish it" in lines[-2]


def test_every_check_runs_when_one_fails(sandbox: Sandbox, tmp_path: Path) -> None:
    """Missing folders are named; the write key is checked, too."""
    gone = tmp_path / "gone"
    passed, lines = check_settings(
        api_url=sandbox.url,
        spool_dir=str(gone),
        invalid_records="dead_letter",
        dead_letter_path=str(gone / "rejects.singer"),
    )
    assert not passed
    spool, rejects, api, verdict = lines
    assert spool.startswith(f"FAILED: Cannot create a folder for batch files in {gone}")
    assert rejects.startswith(f"FAILED: Cannot write {gone / 'rejects.singer'}")
    assert api.startswith(f"OK: {sandbox.url} accepts the write key")
    assert verdict == "Check failed."


def test_an_existing_dead_letter_file_is_not_changed(sandbox: Sandbox, tmp_path: Path) -> None:
    """It is opened for appending, and nothing is written."""
    rejects = tmp_path / "rejects.singer"
    rejects.write_text("before\n")
    passed, _ = check_settings(
        api_url=sandbox.url, invalid_records="dead_letter", dead_letter_path=str(rejects)
    )
    assert passed
    assert rejects.read_text() == "before\n"


def test_the_sandbox_can_be_checked(tmp_path: Path, run_target: RunTarget) -> None:
    """With --sandbox, no write key is needed."""
    done = run_target("--check", "--sandbox", str(tmp_path / "w.duckdb"))
    assert done.returncode == 0, done.stdout + done.stderr
    assert "Check passed." in done.stdout


def test_invalid_settings_are_reported_first(run_target: RunTarget) -> None:
    """They are reported as for a run, and nothing is checked."""
    done = run_target("--check", config={})
    assert done.returncode == 2
    assert "write_key is missing" in done.stderr
    assert done.stdout == ""
