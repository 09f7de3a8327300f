"""The record of sessions: their calls, parts and loads, and how many are kept."""

from __future__ import annotations

from datetime import datetime, timedelta, timezone

import pytest

from target_segment_objects.sandbox.activity.sessions import MAX_CALLS, MAX_SESSIONS, SessionLog


class TickingClock:
    """A clock that goes on by a second each time it is read."""

    def __init__(self) -> None:
        """Start in 2026."""
        self.now = datetime(2026, 1, 1, tzinfo=timezone.utc)

    def __call__(self) -> datetime:
        """Return the time."""
        self.now += timedelta(seconds=1)
        return self.now


def test_a_session_from_start_to_load() -> None:
    """Its calls have their times and sizes; its state changes with Finish and load."""
    log = SessionLog(TickingClock())
    log.start_session("a")
    with log.running_call("a", "upload") as part:
        [running] = log.take_snapshot()[0].calls
        assert running.ended is None
        part.objects, part.raw_bytes, part.gzip_bytes = 3, 300, 30
        part.collections = frozenset({"users"})
    with log.running_call("a", "keep-alive"):
        pass
    log.accept_session("a")
    with log.running_load("a"):
        loading = log.find_session("a")
        assert loading is not None
        assert (loading.state, loading.load_started is None) == ("accepted", False)
    session = log.find_session("a")
    assert session is not None
    assert (session.parts, session.keep_alives, session.objects) == (1, 1, 3)
    assert (session.raw_bytes, session.gzip_bytes, session.state) == (300, 30, "loaded")
    assert session.collections == {"users"}
    upload, keep_alive = session.calls
    assert (upload.objects, upload.was_accepted, keep_alive.was_accepted) == (3, True, True)
    assert upload.ended is not None
    assert session.started < upload.started < upload.ended < keep_alive.started
    assert session.accepted is not None
    assert session.load_started is not None
    assert session.ended is not None
    assert session.accepted < session.load_started < session.ended


def test_a_rejected_call_and_a_failed_load() -> None:
    """A rejected call is kept but counts no part; a session whose load failed stays accepted."""
    log = SessionLog(TickingClock())
    log.start_session("a")
    with pytest.raises(ValueError, match="bad"), log.running_call("a", "upload"):
        raise ValueError("bad")
    log.accept_session("a")
    with pytest.raises(ValueError, match="full"), log.running_load("a"):
        raise ValueError("full")
    session = log.find_session("a")
    assert session is not None
    assert (session.parts, session.state, session.ended) == (0, "accepted", None)
    assert session.error == "full"
    assert [call.was_accepted for call in session.calls] == [False]


def test_load_that_is_faster_than_the_finish() -> None:
    """A session that was loaded before its acceptance is reported stays loaded."""
    log = SessionLog(TickingClock())
    log.start_session("a")
    with log.running_load("a"):
        pass
    log.accept_session("a")
    session = log.find_session("a")
    assert session is not None
    assert session.state == "loaded"


def test_sessions_and_calls_are_bounded() -> None:
    """Of too many sessions, the oldest that has ended is dropped; of calls, the oldest."""
    log = SessionLog(TickingClock())
    for number in range(MAX_SESSIONS):
        log.start_session(str(number))
    log.end_session("7", "expired")
    log.start_session("new")
    log.start_session("newer")
    kept = {session.sync_id for session in log.take_snapshot()}
    assert len(kept) == MAX_SESSIONS
    assert {"0", "7"}.isdisjoint(kept)
    for _ in range(MAX_CALLS + 1):
        with log.running_call("new", "keep-alive"):
            pass
    session = log.find_session("new")
    assert session is not None
    assert (len(session.calls), session.keep_alives) == (MAX_CALLS, MAX_CALLS + 1)


def test_an_unknown_session_is_ignored() -> None:
    """What is reported of a session that is not kept changes nothing."""
    log = SessionLog(TickingClock())
    with log.running_call("?", "upload"):
        log.end_session("?", "loaded")
    assert log.take_snapshot() == []
