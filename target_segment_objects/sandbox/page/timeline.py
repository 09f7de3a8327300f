"""Sessions as a timeline: which bars to draw, on a scale that sessions of one load share.

Lengths are in thousandths of the width. Pure.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import datetime, timedelta, timezone
from typing import TYPE_CHECKING, Final

from target_segment_objects.sandbox.warehouse.wording import OUTCOME_LABELS

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from target_segment_objects.sandbox.activity.sessions import Call, SessionActivity
    from target_segment_objects.sandbox.warehouse.database import SessionRow

SCALE: Final = 1000.0
_MIN_WIDTH: Final = 4.0
_MAX_GAP: Final = timedelta(seconds=30)
"""A longer pause between two sessions begins another load."""

_STATE_LABELS: Final = {
    **OUTCOME_LABELS,
    "running": "open",
    "accepted": "accepted, not loaded yet",
    "loading": "loading",
    "failed": "could not be loaded",
}
_TONES: Final = {"loaded": "good", "running": "busy", "accepted": "busy", "loading": "busy"}


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
class TimelineSession:
    """A session as the page shows it. What an earlier run of the sandbox did not keep is `None`.

    Attributes:
        sync_id: Its id.
        state: `running`, `accepted`, `loading`, `failed`, or an outcome, see `SessionRow`.
        started: When it was started.
        finished: When its Finish was accepted, or when it ended without one.
        ended: When it was loaded or ended; `None` before.
        load_started: When its load began.
        parts: Number of its parts.
        objects: Number of objects in them.
        raw_bytes: Their uncompressed size.
        gzip_bytes: Their compressed size.
        collections: Names of the collections in them, sorted.
        keep_alives: Number of its Keep Alives.
        error: The error that it was finished with, or why it could not be loaded.
        calls: Its calls.
        bars: What to draw.
    """

    sync_id: str
    state: str
    started: datetime
    finished: datetime | None
    ended: datetime | None
    load_started: datetime | None
    parts: int
    objects: int
    raw_bytes: int
    gzip_bytes: int
    collections: tuple[str, ...]
    keep_alives: int | None
    error: str
    calls: tuple[Call, ...] = ()
    bars: tuple[Bar, ...] = ()

    @property
    def label(self) -> str:
        """What to say of its state."""
        return _STATE_LABELS.get(self.state, self.state)

    @property
    def tone(self) -> str:
        """How to show its state: `good`, `busy` or `bad`."""
        return _TONES.get(self.state, "bad")

    @property
    def open_seconds(self) -> float | None:
        """Seconds from Start to Finish."""
        return None if self.finished is None else (self.finished - self.started).total_seconds()

    @property
    def load_seconds(self) -> float | None:
        """Seconds that its load took."""
        if self.load_started is None or self.ended is None:
            return None
        return (self.ended - self.load_started).total_seconds()


@dataclass(frozen=True, slots=True)
class SessionGroup:
    """Sessions without a long pause between them.

    Attributes:
        started: When the first one was started.
        ended: When the last one ended; now, if one is still running.
        sessions: Them, in the order of their starts.
    """

    started: datetime
    ended: datetime
    sessions: tuple[TimelineSession, ...]

    @property
    def seconds(self) -> float:
        """Seconds from start to end."""
        return (self.ended - self.started).total_seconds()


def merge_sessions(
    kept: Iterable[SessionActivity], ended: Iterable[SessionRow]
) -> list[TimelineSession]:
    """Return the sessions of this run and of earlier runs, in the order of their starts."""
    sessions = {row.sync_id: _convert_row(row) for row in ended}
    sessions |= {session.sync_id: _convert_activity(session) for session in kept}
    return sorted(sessions.values(), key=lambda session: session.started)


def group_sessions(sessions: Sequence[TimelineSession], now: datetime) -> list[SessionGroup]:
    """Group sessions that are in the order of their starts, and draw each group on one scale.

    Args:
        sessions: The sessions.
        now: Where a running session ends for now.

    Returns:
        The groups, the newest first.
    """
    groups: list[list[TimelineSession]] = []
    latest = datetime.min.replace(tzinfo=timezone.utc)
    for session in sessions:
        if not groups or session.started - latest > _MAX_GAP:
            groups.append([])
        groups[-1].append(session)
        latest = max(latest, session.ended or now)
    return [_draw_group(group, now) for group in reversed(groups)]


def _draw_group(sessions: Sequence[TimelineSession], now: datetime) -> SessionGroup:
    started = sessions[0].started
    ended = max(session.ended or now for session in sessions)
    scale = _Scale(started, ended)
    return SessionGroup(
        started,
        ended,
        tuple(replace(session, bars=_draw_session(session, scale, now)) for session in sessions),
    )


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


def _draw_session(session: TimelineSession, scale: _Scale, now: datetime) -> tuple[Bar, ...]:
    bars = [scale.draw_bar("session", session.started, session.ended or now)]
    for call in session.calls:
        if call.step in {"upload", "keep-alive"}:
            is_rejected = call.ended is not None and not call.was_accepted
            kind = "rejected" if is_rejected else call.step
            bars.append(scale.draw_bar(kind, call.started, call.ended or now))
    if session.load_started is not None:
        bars.append(scale.draw_bar("load", session.load_started, session.ended or now))
    return tuple(bars)


def _convert_activity(session: SessionActivity) -> TimelineSession:
    state = {"open": "running"}.get(session.state, session.state)
    if state == "accepted" and session.load_started is not None:
        state = "failed" if session.error else "loading"
    return TimelineSession(
        sync_id=session.sync_id,
        state=state,
        started=session.started,
        finished=session.accepted or session.ended,
        ended=session.ended,
        load_started=session.load_started,
        parts=session.parts,
        objects=session.objects,
        raw_bytes=session.raw_bytes,
        gzip_bytes=session.gzip_bytes,
        collections=tuple(sorted(session.collections)),
        keep_alives=session.keep_alives,
        error=session.error,
        calls=session.calls,
    )


def _convert_row(row: SessionRow) -> TimelineSession:
    ended = row.ended.replace(tzinfo=timezone.utc)
    return TimelineSession(
        sync_id=row.sync_id,
        state=row.outcome,
        started=row.started.replace(tzinfo=timezone.utc),
        finished=ended,
        ended=ended,
        load_started=None,
        parts=row.parts,
        objects=row.objects,
        raw_bytes=row.raw_bytes,
        gzip_bytes=row.gzip_bytes,
        collections=row.collections,
        keep_alives=None,
        error=row.error,
    )
