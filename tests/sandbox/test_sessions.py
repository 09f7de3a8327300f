"""The table of a session's legal steps, without HTTP."""

from __future__ import annotations

from itertools import product

import pytest

from target_segment_objects.sandbox.refusal import RejectedRequestError
from target_segment_objects.sandbox.sessions import STEPS, Session, Sessions, State, Step


@pytest.mark.parametrize(("state", "step"), list(product(State, Step)))
def test_every_step_is_in_the_table_or_refused(state: State, step: Step) -> None:
    """A legal step leads to the next state; any other is refused by the name of the state."""
    session = Session("name", "key", 0.0, state=state)
    following = STEPS[state].get(step)
    if following is None:
        with pytest.raises(RejectedRequestError, match="the session is"):
            session.take(step)
    else:
        session.take(step)
    assert session.state is (following or state)


def test_a_session_that_is_being_finished() -> None:
    """It can be kept alive, but not finished again; if that fails, it is open again."""
    sessions = Sessions(silence=1, clock=lambda: 0.0)
    sync_id = sessions.start("key").sync_id
    with sessions.call(sync_id, "key", Step.FINISH) as session:
        with sessions.call(sync_id, "key", Step.KEEP_ALIVE):
            assert session.state is State.FINISHING
        for step in (Step.FINISH, Step.UPLOAD):
            with (
                pytest.raises(RejectedRequestError, match="is being finished"),
                sessions.call(sync_id, "key", step),
            ):
                pass
        session.take(Step.FAIL)
    with sessions.call(sync_id, "key", Step.FINISH):
        pass


def test_no_key_and_no_content_is_shown() -> None:
    """What is printed of a session does not have its write key."""
    assert "s3cret" not in repr(Session("name", "s3cret", 0.0))
