"""Sessions as a timeline: which bars to draw, on a scale that sessions of one load share.

Lengths are in thousandths of the width. Pure.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta, timezone
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from target_segment_objects.sandbox.session_record import SessionRecord

SCALE: Final = 1000.0
_MIN_WIDTH: Final = 4.0
_MAX_GAP: Final = timedelta(seconds=30)
"""A longer pause between two sessions begins another load."""

MISSING_STATES: Final = frozenset({"error", "expired", "failed", "open"})
"""States of sessions whose objects are not in the warehouse, and will not be."""

_UNFINISHED_STATES: Final = frozenset({"expired", "open", "running"})
"""States of sessions that have no Finish: nothing happens between their last call and their end."""


@dataclass(frozen=True, slots=True)
class Bar:
    """A bar of a session.

    Attributes:
        kind: `session`, `upload`, `rejected`, `keep-alive` or `load`.
        left: Where it begins.
        width: How long it is.
    """

    kind: str
    left: float
    width: float


@dataclass(frozen=True, slots=True)
class DrawnSession:
    """A session and its bars."""

    record: SessionRecord
    bars: tuple[Bar, ...]


@dataclass(frozen=True, slots=True)
class SessionGroup:
    """Sessions without a long pause between them.

    Attributes:
        started: When the first one was started.
        ended: When something last happened in them.
        sessions: The sessions, the newest first.
    """

    started: datetime
    ended: datetime
    sessions: tuple[DrawnSession, ...]

    @property
    def seconds(self) -> float:
        """Seconds from start to end."""
        return (self.ended - self.started).total_seconds()


def merge_sessions(
    shown: Iterable[SessionRecord], ended: Iterable[SessionRecord]
) -> list[SessionRecord]:
    """Return the sessions of this run and of earlier runs, in the order of their starts."""
    sessions = {session.sync_id: session for session in (*ended, *shown)}
    return sorted(sessions.values(), key=lambda session: session.started)


def group_sessions(sessions: Sequence[SessionRecord], now: datetime) -> list[SessionGroup]:
    """Group sessions that are in the order of their starts, and draw each group on one scale.

    A session lasts until something last happened in it: one that is never finished would else make
    all others too small to see. The newest group is the first.
    """
    groups: list[list[SessionRecord]] = []
    latest = datetime.min.replace(tzinfo=timezone.utc)
    for session in sessions:
        if not groups or session.started - latest > _MAX_GAP:
            groups.append([])
        groups[-1].append(session)
        latest = max(latest, find_last_activity(session, now))
    return [_draw_group(group, now) for group in reversed(groups)]


def _draw_group(sessions: Sequence[SessionRecord], now: datetime) -> SessionGroup:
    started = sessions[0].started
    ended = max(find_last_activity(session, now) for session in sessions)
    scale = _Scale(started, ended)
    return SessionGroup(
        started,
        ended,
        tuple(
            DrawnSession(session, _draw_session(session, scale, now))
            for session in reversed(sessions)
        ),
    )


def find_last_activity(session: SessionRecord, now: datetime) -> datetime:
    """Return when something last happened in a session: now, while it is loaded or has a call."""
    if session.state not in _UNFINISHED_STATES:
        return session.settled or now
    # The calls of an earlier run are not known.
    return max((call.ended or now for call in session.calls), default=session.started)


class _Scale:
    """Turns times into lengths."""

    def __init__(self, started: datetime, ended: datetime) -> None:
        self._started = started
        self._seconds = max((ended - started).total_seconds(), 0.001)

    def draw_bar(self, kind: str, started: datetime, ended: datetime) -> Bar:
        left = (started - self._started).total_seconds() / self._seconds * SCALE
        width = (ended - started).total_seconds() / self._seconds * SCALE
        left = min(max(left, 0), SCALE - _MIN_WIDTH)
        return Bar(kind, round(left, 1), round(min(max(width, _MIN_WIDTH), SCALE - left), 1))


def _draw_session(session: SessionRecord, scale: _Scale, now: datetime) -> tuple[Bar, ...]:
    end = find_last_activity(session, now)
    bars = [scale.draw_bar("session", session.started, end)]
    for call in session.calls:
        if call.step in {"upload", "keep-alive"}:
            is_rejected = call.ended is not None and not call.was_accepted
            kind = "rejected" if is_rejected else call.step
            bars.append(scale.draw_bar(kind, call.started, call.ended or now))
    if session.load_started is not None:
        bars.append(scale.draw_bar("load", session.load_started, end))
    return tuple(bars)
