"""The timeline: how sessions are grouped, and where their bars are."""

from __future__ import annotations

from datetime import datetime, timedelta, timezone
from typing import TYPE_CHECKING

import pytest

from target_segment_objects.sandbox.activity.sessions import Call, SessionActivity
from target_segment_objects.sandbox.page.timeline import (
    SCALE,
    Bar,
    group_sessions,
    merge_sessions,
)
from target_segment_objects.sandbox.warehouse.database import SessionRow

if TYPE_CHECKING:
    from target_segment_objects.sandbox.page.timeline import SessionGroup

NOON = datetime(2026, 1, 1, 12, tzinfo=timezone.utc)


def at(seconds: float) -> datetime:
    """Return a time after noon."""
    return NOON + timedelta(seconds=seconds)


def build_row(sync_id: str, started: float, ended: float, outcome: str = "loaded") -> SessionRow:
    """Return a session of an earlier run."""
    times = [at(seconds).replace(tzinfo=None) for seconds in (started, ended)]
    return SessionRow(sync_id, outcome, ("users",), 1, 2, 30, 20, times[0], times[1], "")


def draw(*sessions: SessionActivity | SessionRow, now: float = 1000) -> list[SessionGroup]:
    """Draw sessions of this run and of earlier ones."""
    merged = merge_sessions(
        [session for session in sessions if isinstance(session, SessionActivity)],
        [session for session in sessions if isinstance(session, SessionRow)],
    )
    return group_sessions(merged, at(now))


@pytest.mark.parametrize(("pause", "count"), [(30, 1), (30.1, 2)])
def test_a_long_pause_begins_a_group(pause: float, count: int) -> None:
    """Sessions with a pause of more than 30 seconds between them are two loads."""
    groups = draw(build_row("a", 0, 10), build_row("b", 10 + pause, 50))
    assert len(groups) == count
    assert groups[0].sessions[-1].sync_id == "b"  # the newest group is the first


def test_pause_counts_from_the_latest_end() -> None:
    """A short session within a long one does not end the group."""
    assert len(draw(build_row("a", 0, 100), build_row("b", 1, 2), build_row("c", 120, 121))) == 1


def test_bars_share_a_scale() -> None:
    """Bars are at their times on the scale of the group; the load follows the Finish."""
    session = SessionActivity(
        "a",
        at(0),
        state="loaded",
        calls=(
            Call("upload", at(1), at(2), was_accepted=True),
            Call("upload", at(3), at(4)),
            Call("keep-alive", at(5), at(5), was_accepted=True),
            Call("finish", at(6), at(6), was_accepted=True),
        ),
        accepted=at(6),
        load_started=at(6),
        ended=at(8),
    )
    [group] = draw(session, build_row("b", 2, 10))
    assert group.seconds == 10
    first, second = group.sessions
    assert first.bars == (
        Bar("session", 0, 800),
        Bar("upload", 100, 100),
        Bar("rejected", 300, 100),
        Bar("keep-alive", 500, 4),
        Bar("load", 600, 200),
    )
    assert second.bars == (Bar("session", 200, 800),)
    assert (first.open_seconds, first.load_seconds) == (6, 2)


def test_running_session_grows() -> None:
    """A session without an end, and its running upload, last until now."""
    session = SessionActivity("a", at(0), calls=(Call("upload", at(5)),))
    [group] = draw(session, now=10)
    assert group.sessions[0].bars == (Bar("session", 0, SCALE), Bar("upload", 500, 500))
    assert (group.sessions[0].state, group.sessions[0].tone) == ("running", "busy")


def test_states() -> None:
    """A finished session waits, is loading, is loaded; what an earlier run left is not running."""
    [group] = draw(
        SessionActivity("a", at(0), state="accepted", accepted=at(1)),
        SessionActivity("b", at(1), state="accepted", accepted=at(2), load_started=at(2)),
        SessionActivity("e", at(1.5), state="accepted", load_started=at(2), error="full"),
        build_row("c", 2, 3, "open"),
        build_row("d", 3, 4, "expired"),
        now=10,
    )
    assert [(session.label, session.tone) for session in group.sessions] == [
        ("accepted, not loaded yet", "busy"),
        ("loading", "busy"),
        ("could not be loaded", "bad"),
        ("never finished", "bad"),
        ("expired", "bad"),
    ]


def test_session_of_this_run_wins() -> None:
    """A session that is in both sources is shown once, with its calls."""
    kept = SessionActivity("a", at(0), calls=(Call("upload", at(0), at(1)),), ended=at(1))
    [group] = draw(kept, build_row("a", 0, 1))
    assert [len(session.calls) for session in group.sessions] == [1]


def test_bars_stay_inside() -> None:
    """A bar at the very end of an instant keeps its least width inside the scale."""
    [group] = draw(build_row("a", 0, 0), build_row("b", 0, 0))
    for session in group.sessions:
        for bar in session.bars:
            assert 0 <= bar.left <= SCALE - bar.width
