"""The table of a session's legal transitions, without HTTP."""

from __future__ import annotations

from itertools import product

import pytest

from target_segment_objects.sandbox.api.sessions import (
    TRANSITIONS,
    Session,
    SessionRegistry,
    State,
    Step,
)
from target_segment_objects.sandbox.errors import RejectedRequestError


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


def test_repr_hides_the_write_key() -> None:
    """The repr of a session does not contain its write key."""
    assert "s3cret" not in repr(Session("name", "s3cret", 0.0))
