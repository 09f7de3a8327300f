"""`--check` says in plain words whether a run would work, and so does its exit code."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

from target_segment_objects.cli import check
from target_segment_objects.sandbox.server import Sandbox
from target_segment_objects.settings import Settings
from tests.support.scripted_server import Reply, ScriptedServer

if TYPE_CHECKING:
    from pathlib import Path

    import pytest

    from tests.support import RunTarget


def found(**config: Any) -> tuple[bool, list[str]]:  # noqa: ANN401 - settings
    """Check in this process; return the verdict and what was said."""
    said: list[str] = []
    settings = Settings.from_config({"write_key": "k", **config})
    return check.check(settings, said.append, user_agent="test"), said


def test_all_is_well(sandbox: Sandbox, tmp_path: Path, run_target: RunTarget) -> None:
    """Exit code 0; a session is started and finished at once, empty; no file is left or made."""
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
    well = done.stdout.splitlines()
    assert well[0].startswith(f"Well: batch files can be written to {spool}, where ")
    assert well[1] == f"Well: rejected records can be appended to {rejects}."
    assert well[2] == (
        f"Well: {sandbox.url} accepts the write key: session {session.sync_id} was started, and "
        "finished at once, empty."
    )
    assert well[3:] == ["All is well."]
    assert list(spool.iterdir()) == []
    assert not rejects.exists()


def test_a_wrong_key_is_told_apart_from_a_wrong_address(
    tmp_path: Path, run_target: RunTarget
) -> None:
    """The address answers, the key is not accepted and is in no message; exit code 1."""
    with Sandbox(tmp_path / "w.duckdb", write_key="right") as sandbox:
        done = run_target("--check", config={"write_key": "wrong-key", "api_url": sandbox.url})
        assert f"Not well: {sandbox.url} answers, but: " in done.stdout
    assert "the write key is not accepted" in done.stdout
    assert done.stdout.splitlines()[-1] == "Something is not well."
    assert "wrong-key" not in done.stdout + done.stderr
    assert done.returncode == 1


def test_no_answer_is_told_after_a_few_tries(run_target: RunTarget) -> None:
    """Where nobody listens, that is said within seconds, whatever max_retries is."""
    began = time.monotonic()
    done = run_target(
        "--check", config={"write_key": "k", "api_url": "http://127.0.0.1:9", "max_retries": 50}
    )
    assert time.monotonic() - began < 30
    assert done.returncode == 1
    assert "Not well: Start: no response from http://127.0.0.1:9" in done.stdout
    assert "3 times" in done.stdout


def test_what_asks_for_a_long_wait_is_not_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    """A Retry-After of ten minutes is for a run, not for a check."""
    monkeypatch.setattr(check, "MOST_WAIT_SECONDS", 0.1)
    with ScriptedServer() as server:
        server.always("start", Reply(503, headers={"Retry-After": "600"}))
        began = time.monotonic()
        is_well, said = found(api_url=server.url)
        assert len(server.requests_to("start")) == 1 + check.MOST_RETRIES
    assert time.monotonic() - began < 10
    assert not is_well
    assert "Segment answered 503, 3 times" in said[-1]


def test_an_address_that_is_something_else_s_is_told() -> None:
    """An answer that is none of the API's: check api_url."""
    with ScriptedServer() as server:
        server.always("start", Reply(404))
        is_well, said = found(api_url=server.url)
    assert not is_well
    assert "is the right api_url" in said[-1]


def test_a_finish_that_fails_is_told_with_what_did_work() -> None:
    """The key is accepted: so much is known when the session was started."""
    with ScriptedServer() as server:
        server.always("finish", Reply(400))
        is_well, said = found(api_url=server.url, max_retries=0)
    assert not is_well
    assert "Not well: the write key is accepted, and session " in said[-1]
    assert "but not finished" in said[-1]


def test_each_thing_is_checked_though_another_is_not_well(sandbox: Sandbox, tmp_path: Path) -> None:
    """Folders that are gone are named; the key is looked at all the same."""
    gone = tmp_path / "gone"
    is_well, said = found(
        api_url=sandbox.url,
        spool_dir=str(gone),
        invalid_records="dead_letter",
        dead_letter_path=str(gone / "rejects.singer"),
    )
    assert not is_well
    spool, rejects, api = said
    assert spool.startswith(f"Not well: Cannot create a folder for batch files in {gone}")
    assert rejects.startswith(f"Not well: Cannot write {gone / 'rejects.singer'}")
    assert api.startswith(f"Well: {sandbox.url} accepts the write key")


def test_a_dead_letter_file_that_is_there_stays_as_it_is(sandbox: Sandbox, tmp_path: Path) -> None:
    """It is opened to append, and nothing is."""
    rejects = tmp_path / "rejects.singer"
    rejects.write_text("before\n")
    is_well, _ = found(
        api_url=sandbox.url, invalid_records="dead_letter", dead_letter_path=str(rejects)
    )
    assert is_well
    assert rejects.read_text() == "before\n"


def test_the_sandbox_can_be_checked(tmp_path: Path, run_target: RunTarget) -> None:
    """With --sandbox, what a run into it needs; no key is asked for."""
    done = run_target("--check", "--sandbox", str(tmp_path / "w.duckdb"))
    assert done.returncode == 0, done.stdout + done.stderr
    assert "All is well." in done.stdout


def test_settings_come_first(run_target: RunTarget) -> None:
    """What is wrong with the settings is told as for a run, and nothing is asked."""
    done = run_target("--check", config={})
    assert done.returncode == 1
    assert "write_key is missing" in done.stderr
    assert done.stdout == ""
