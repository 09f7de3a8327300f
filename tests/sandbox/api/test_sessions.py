"""The table of a session's legal transitions, without HTTP."""

from __future__ import annotations

from contextlib import ExitStack
from itertools import product

import pytest
from hypothesis import given
from hypothesis import strategies as st

from target_segment_objects.sandbox.api.sessions import (
    TRANSITIONS,
    Session,
    SessionRegistry,
    State,
    Step,
)
from target_segment_objects.sandbox.errors import RejectedRequestError
from tests.support.frozen_clock import FrozenClock


@pytest.mark.parametrize(
    ("state", "step"), list(product(State, Step)), ids=lambda value: value.name.lower()
)
def test_step_not_in_the_table_is_rejected(state: State, step: Step) -> None:
    """A legal step leads to the next state; any other is rejected with the current state."""
    session = Session("name", "key", 0.0, state=state)
    next_state = TRANSITIONS[state].get(step)
    if next_state is None:
        with pytest.raises(RejectedRequestError, match=r"the session (is|has)"):
            session.transition(step)
    else:
        session.transition(step)
    assert session.state is (next_state or state)


def test_session_that_is_being_finished() -> None:
    """It can be kept alive, but not finished again; if the Finish fails, it is open again."""
    sessions = SessionRegistry(idle_timeout=1, clock=lambda: 0.0)
    sync_id = sessions.start_session("key").sync_id
    with sessions.running_call(sync_id, "key", Step.FINISH) as session:
        with sessions.running_call(sync_id, "key", Step.KEEP_ALIVE):
            assert session.state is State.FINISHING
        for step in (Step.FINISH, Step.UPLOAD):
            with (
                pytest.raises(RejectedRequestError, match="is being finished"),
                sessions.running_call(sync_id, "key", step),
            ):
                pass
        session.transition(Step.FAIL)
    with sessions.running_call(sync_id, "key", Step.FINISH):
        pass


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
    assert "s3cret" not in repr(Session("name", "s3cret", 0.0))
