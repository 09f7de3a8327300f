"""The rules of sessions and their records, without HTTP."""

from __future__ import annotations

from contextlib import ExitStack
from datetime import datetime, timedelta, timezone
from itertools import product
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from target_segment_objects.sandbox.errors import RejectedRequestError
from target_segment_objects.sandbox.session_record import SessionRecord
from target_segment_objects.sandbox.sessions import (
    MAX_CALLS,
    MAX_SESSIONS,
    TRANSITIONS,
    Session,
    SessionRegistry,
    State,
    Step,
)
from target_segment_objects.sandbox.uploads import Part
from target_segment_objects.sandbox.warehouse.column_types import ColumnType
from tests.support.frozen_clock import FrozenClock

NOON = datetime(2026, 1, 1, 12, tzinfo=timezone.utc)
PART = Part(Path("part"), {"users": {"a": ColumnType.STRING}}, 3, 300, 30)


def make_session(write_key: str = "key", state: State = State.OPEN) -> Session:
    """Return a session by itself."""
    return Session(SessionRecord(sync_id="name", started=NOON), write_key, 0.0, state=state)


def open_registry() -> SessionRegistry:
    """Return a registry whose times go on by a second each time that its clock is read."""
    times = (NOON + timedelta(seconds=number) for number in range(100_000))
    return SessionRegistry(idle_timeout=1, clock=lambda: 0.0, utc_clock=times.__next__)


@pytest.mark.parametrize(
    ("state", "step"), list(product(State, Step)), ids=lambda value: value.name.lower()
)
def test_step_not_in_the_table_is_rejected(state: State, step: Step) -> None:
    """A legal step leads to the next state; any other is rejected with the current state."""
    session = make_session(state=state)
    next_state = TRANSITIONS[state].get(step)
    if next_state is None:
        with pytest.raises(RejectedRequestError, match=r"the session (is|has)"):
            session.transition(step)
    else:
        session.transition(step)
    assert session.state is (next_state or state)


def test_session_that_is_being_finished() -> None:
    """It can be kept alive, but not finished again. Only a Finish that fails opens it again.

    One whose request ends after the acceptance, however it ends, does not.
    """
    sessions = open_registry()
    sync_id = sessions.start_session("key").sync_id
    finish = sessions.running_call(sync_id, "key", Step.FINISH)
    session = finish.__enter__().session
    with sessions.running_call(sync_id, "key", Step.KEEP_ALIVE):
        assert session.state is State.FINISHING
    for step in (Step.FINISH, Step.UPLOAD):
        with (
            pytest.raises(RejectedRequestError, match="is being finished"),
            sessions.running_call(sync_id, "key", step),
        ):
            pass
    assert not finish.__exit__(OSError, OSError("full"), None)
    finish = sessions.running_call(sync_id, "key", Step.FINISH)
    again = finish.__enter__().session
    sessions.accept_session(again)
    assert not finish.__exit__(OSError, OSError("cancelled"), None)
    assert again.state is State.ACCEPTED


@given(
    steps=st.lists(
        st.one_of(
            st.just(("start", 0)),
            st.tuples(st.sampled_from(["begin", "end"]), st.integers(0, 4)),
            st.tuples(st.just("wait"), st.integers(1, 10)),
        ),
        max_size=40,
    )
)
def test_idle_sessions_expire_and_no_others(steps: list[tuple[str, int]]) -> None:
    """After any calls, in any order and at once, those without a call for long enough expire."""
    clock = FrozenClock()
    sessions = SessionRegistry(idle_timeout=10, clock=clock)
    started: list[Session] = []
    running: dict[int, list[ExitStack]] = {}
    for step, number in steps:
        if step == "start":
            started.append(sessions.start_session("key"))
        elif step == "wait":
            clock.now += number
        elif number < len(started) and started[number].state is State.OPEN:
            calls = running.setdefault(number, [])
            if step == "begin":
                calls.append(call := ExitStack())
                sync_id = started[number].sync_id
                call.enter_context(sessions.running_call(sync_id, "key", Step.KEEP_ALIVE))
            elif calls:
                calls.pop().close()
        expected = [
            session.sync_id
            for number, session in enumerate(started)
            if session.state is State.OPEN
            and not running.get(number)
            and clock.now - session.last_seen >= 10
        ]
        assert sorted(session.sync_id for session in sessions.expire_idle()) == sorted(expected)


def test_repr_hides_the_write_key() -> None:
    """The repr of a session does not contain its write key."""
    assert "s3cret" not in repr(make_session("s3cret"))


# Records


def test_a_session_from_start_to_load() -> None:
    """Its calls have their times and sizes; its state changes with Finish and load."""
    sessions = open_registry()
    session = sessions.start_session("key")
    with sessions.running_call(session.sync_id, "key", Step.UPLOAD) as call:
        [running] = sessions.list_records()[0].calls
        assert running.ended is None
        call.part = PART
    with sessions.running_call(session.sync_id, "key", Step.KEEP_ALIVE):
        assert session.record.state == "running"
    with sessions.running_call(session.sync_id, "key", Step.FINISH):
        sessions.accept_session(session)
    assert session.record.state == "accepted"
    with sessions.running_load(session.sync_id):
        assert (session.record.state, session.record.settled) == ("loading", None)
    [record] = sessions.list_records()
    assert (record.parts, record.keep_alives, record.objects) == (1, 1, 3)
    assert (record.raw_bytes, record.gzip_bytes, record.state) == (300, 30, "loaded")
    assert record.collections == ("users",)
    upload, keep_alive, finish = record.calls
    assert (upload.objects, upload.gzip_bytes) == (3, 30)
    assert all(call.was_accepted for call in record.calls)
    times = [record.started, upload.started, upload.ended, keep_alive.started, keep_alive.ended]
    times += [finish.started, record.ended, finish.ended, record.load_started, record.loaded]
    assert times == [NOON + timedelta(seconds=number) for number in range(10)]
    assert record.settled == record.loaded


def test_a_rejected_call_and_a_failed_load() -> None:
    """A rejected call is kept but counts no part; a session whose load failed stays accepted."""
    sessions = open_registry()
    session = sessions.start_session("key")
    with (
        pytest.raises(ValueError, match="bad"),
        sessions.running_call(session.sync_id, "key", Step.UPLOAD),
    ):
        raise ValueError("bad")
    with sessions.running_call(session.sync_id, "key", Step.FINISH):
        sessions.accept_session(session)
    with pytest.raises(ValueError, match="full"), sessions.running_load(session.sync_id):
        raise ValueError("full")
    record = session.record
    assert (record.parts, record.state, record.outcome, record.settled) == (0, "failed", "", None)
    assert record.error == "full"
    assert [call.was_accepted for call in record.calls] == [False, True]
    with sessions.running_load(session.sync_id):
        pass
    assert (session.record.state, session.record.error) == ("loaded", "")


def test_load_that_is_faster_than_the_finish() -> None:
    """A session that was loaded before its acceptance is noted stays loaded."""
    sessions = open_registry()
    session = sessions.start_session("key")
    with sessions.running_call(session.sync_id, "key", Step.FINISH):
        with sessions.running_load(session.sync_id):
            assert session.record.state == "loading"
        sessions.accept_session(session)
    assert session.record.state == "loaded"


def test_sessions_and_calls_are_bounded() -> None:
    """Of too many sessions, the oldest that has ended is dropped; of calls, the oldest."""
    sessions = open_registry()
    started = [sessions.start_session("key") for _ in range(MAX_SESSIONS)]
    with sessions.running_call(started[7].sync_id, "key", Step.FINISH):
        sessions.discard_session(started[7], "no")
    new = [sessions.start_session("key") for _ in range(2)]
    shown = {record.sync_id for record in sessions.list_records()}
    assert len(shown) == MAX_SESSIONS
    assert {started[0].sync_id, started[7].sync_id}.isdisjoint(shown)
    assert started[7].record.calls == ()
    for _ in range(MAX_CALLS + 1):
        with sessions.running_call(new[0].sync_id, "key", Step.KEEP_ALIVE):
            pass
    record = new[0].record
    assert (len(record.calls), record.keep_alives) == (MAX_CALLS, MAX_CALLS + 1)


def test_load_of_a_session_of_an_earlier_run() -> None:
    """It is in the warehouse only."""
    sessions = open_registry()
    with sessions.running_load("?"):
        pass
    assert sessions.list_records() == []
