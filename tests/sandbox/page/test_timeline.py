"""The timeline: how sessions are grouped, and where their bars are."""

from __future__ import annotations

from datetime import datetime, timedelta, timezone
from typing import TYPE_CHECKING

import pytest

from target_segment_objects.sandbox.page.rendering import SEVERITIES
from target_segment_objects.sandbox.page.timeline import (
    SCALE,
    Bar,
    group_sessions,
    merge_sessions,
)
from target_segment_objects.sandbox.session_record import Call, SessionRecord
from target_segment_objects.sandbox.wording import STATE_LABELS

if TYPE_CHECKING:
    from target_segment_objects.sandbox.page.timeline import SessionGroup

NOON = datetime(2026, 1, 1, 12, tzinfo=timezone.utc)


def at(seconds: float) -> datetime:
    """Return a time after noon."""
    return NOON + timedelta(seconds=seconds)


def build_record(
    sync_id: str, started: float, ended: float | None = None, **fields: object
) -> SessionRecord:
    """Return a session of this run, which runs if it has no end."""
    return SessionRecord(
        sync_id=sync_id,
        started=at(started),
        ended=None if ended is None else at(ended),
        **fields,  # type: ignore[arg-type]  # fields of any type
    )


def build_row(sync_id: str, started: float, ended: float, outcome: str = "loaded") -> SessionRecord:
    """Return a session of an earlier run."""
    return build_record(sync_id, started, ended, outcome=outcome)


def draw(*sessions: SessionRecord, now: float = 1000) -> list[SessionGroup]:
    """Draw sessions."""
    return group_sessions(merge_sessions(sessions, ()), at(now))


@pytest.mark.parametrize(("pause", "count"), [(30, 1), (30.1, 2)])
def test_a_long_pause_begins_a_group(pause: float, count: int) -> None:
    """Sessions with a pause of more than 30 seconds between them are two loads."""
    groups = draw(build_row("a", 0, 10), build_row("b", 10 + pause, 50))
    assert len(groups) == count
    assert groups[0].sessions[0].record.sync_id == "b"  # the newest is the first


def test_pause_counts_from_the_latest_end() -> None:
    """A short session within a long one does not end the group."""
    assert len(draw(build_row("a", 0, 100), build_row("b", 1, 2), build_row("c", 120, 121))) == 1


def test_bars_share_a_scale() -> None:
    """Bars are at their times on the scale of the group; the load follows the Finish."""
    session = build_record(
        "a",
        0,
        6,
        outcome="loaded",
        calls=(
            Call("upload", at(1), at(2), was_accepted=True),
            Call("upload", at(3), at(4)),
            Call("keep-alive", at(5), at(5), was_accepted=True),
            Call("finish", at(6), at(6), was_accepted=True),
        ),
        load_started=at(6),
        loaded=at(8),
    )
    [group] = draw(session, build_row("b", 2, 10))
    assert group.seconds == 10
    second, first = group.sessions
    assert first.bars == (
        Bar("session", 0, 800),
        Bar("upload", 100, 100),
        Bar("rejected", 300, 100),
        Bar("keep-alive", 500, 4),
        Bar("load", 600, 200),
    )
    assert second.bars == (Bar("session", 200, 800),)
    assert (session.open_seconds, session.load_seconds) == (6, 2)


@pytest.mark.parametrize("outcome", ["open", "expired", ""])
def test_session_that_is_never_finished(outcome: str) -> None:
    """It lasts until its last call, and so does not make the bars of the others too small."""
    idle = build_record(
        "a",
        0,
        3600 if outcome else None,
        outcome=outcome,
        calls=(Call("upload", at(1), at(2), was_accepted=True),),
    )
    later, first = draw(idle, build_row("b", 0, 4), build_row("c", 600, 604), now=3600)
    assert [session.record.sync_id for session in later.sessions] == ["c"]
    assert later.sessions[0].bars == (Bar("session", 0, SCALE),)
    assert (first.seconds, [session.record.sync_id for session in first.sessions]) == (
        4,
        ["b", "a"],
    )
    assert first.sessions[1].bars == (Bar("session", 0, 500), Bar("upload", 250, 250))


def test_session_of_an_earlier_run_without_calls() -> None:
    """One that was never finished there is a point at its start: when it was used is not known."""
    [group] = draw(build_row("a", 0, 3600, "open"), build_row("b", 0, 10))
    assert group.seconds == 10
    assert group.sessions[1].bars == (Bar("session", 0, 4),)


def test_running_session_grows() -> None:
    """A session without an end, and its running upload, last until now."""
    session = build_record("a", 0, calls=(Call("upload", at(5)),))
    [group] = draw(session, now=10)
    assert group.sessions[0].bars == (Bar("session", 0, SCALE), Bar("upload", 500, 500))
    assert (session.state, SEVERITIES[session.state]) == ("running", "busy")


def test_states() -> None:
    """A finished session waits, is loading, is loaded; what an earlier run left is not running."""
    [group] = draw(
        build_record("a", 0, 1),
        build_record("b", 1, 2, load_started=at(2)),
        build_record("e", 1.5, 2, load_started=at(2), error="full"),
        build_row("c", 2, 3, "open"),
        build_row("d", 3, 4, "expired"),
        now=10,
    )
    states = [session.record.state for session in reversed(group.sessions)]
    assert [(STATE_LABELS[state], SEVERITIES.get(state, "bad")) for state in states] == [
        ("accepted, not loaded yet", "busy"),
        ("loading", "busy"),
        ("could not be loaded", "bad"),
        ("never finished", "bad"),
        ("expired", "bad"),
    ]


def test_session_of_this_run_wins() -> None:
    """A session that is in both sources is shown once, with its calls."""
    shown = build_record("a", 0, 1, outcome="loaded", calls=(Call("upload", at(0), at(1)),))
    [session] = merge_sessions([shown], [build_row("a", 0, 1)])
    assert len(session.calls) == 1


def test_bars_stay_inside() -> None:
    """A bar at the very end of an instant keeps its least width inside the scale."""
    [group] = draw(build_row("a", 0, 0), build_row("b", 0, 0))
    for session in group.sessions:
        for bar in session.bars:
            assert 0 <= bar.left <= SCALE - bar.width
