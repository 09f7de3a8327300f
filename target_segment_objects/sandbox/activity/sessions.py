"""The sessions of the API as they happened: their calls, their parts, and when they were loaded.

A session of an earlier run of the sandbox is in the warehouse only.
"""

from __future__ import annotations

import threading
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import datetime, timezone
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

MAX_SESSIONS: Final = 500
"""Sessions that are kept: the newest ones, and before them those that have not ended."""

MAX_CALLS: Final = 200
"""Calls of a session that are kept: the newest ones. All are counted."""


@dataclass(slots=True)
class PartFacts:
    """What a call has uploaded: nothing, if it is not an accepted upload.

    Attributes:
        objects: Number of objects.
        raw_bytes: Uncompressed size.
        gzip_bytes: Compressed size.
        collections: Names of the collections in it.
    """

    objects: int = 0
    raw_bytes: int = 0
    gzip_bytes: int = 0
    collections: frozenset[str] = frozenset()


@dataclass(frozen=True, slots=True)
class Call:
    """A call that was made for a session.

    Attributes:
        step: `upload`, `keep-alive` or `finish`.
        started: When it arrived; UTC.
        ended: When it was answered; `None` while it is running.
        was_accepted: Whether it was successful.
        objects: Number of objects of an accepted upload.
        gzip_bytes: Their compressed size.
    """

    step: str
    started: datetime
    ended: datetime | None = None
    was_accepted: bool = False
    objects: int = 0
    gzip_bytes: int = 0


@dataclass(frozen=True, slots=True)
class SessionActivity:
    """A session at one time.

    Attributes:
        sync_id: Its id.
        started: When it was started; UTC.
        state: `open`; `accepted` after its Finish, until it is loaded; or an outcome, see
            `SessionRow`.
        calls: Its newest calls, in the order of their arrival.
        parts: Number of its accepted uploads.
        objects: Number of objects in them.
        raw_bytes: Their uncompressed size.
        gzip_bytes: Their compressed size.
        collections: Names of the collections in them.
        keep_alives: Number of its Keep Alives.
        accepted: When its Finish was accepted.
        load_started: When its load began.
        ended: When it was loaded, discarded or expired.
        error: The error that it was finished with, or why it could not be loaded.
    """

    sync_id: str
    started: datetime
    state: str = "open"
    calls: tuple[Call, ...] = ()
    parts: int = 0
    objects: int = 0
    raw_bytes: int = 0
    gzip_bytes: int = 0
    collections: frozenset[str] = frozenset()
    keep_alives: int = 0
    accepted: datetime | None = None
    load_started: datetime | None = None
    ended: datetime | None = None
    error: str = ""


class SessionLog:
    """Keeps the newest sessions. What is reported of a session that is not kept is ignored."""

    def __init__(self, clock: Callable[[], datetime] | None = None) -> None:
        """Create a log without sessions.

        Args:
            clock: Returns the time in UTC.
        """
        self._clock = clock or _read_clock
        self._lock = threading.Lock()
        self._sessions: dict[str, SessionActivity] = {}

    def start_session(self, sync_id: str) -> None:
        """Keep a new session, and drop an old one if there are too many."""
        with self._lock:
            if len(self._sessions) >= MAX_SESSIONS:
                ended = (key for key, session in self._sessions.items() if session.ended)
                del self._sessions[next(ended, next(iter(self._sessions)))]
            self._sessions[sync_id] = SessionActivity(sync_id, self._clock())

    @contextmanager
    def running_call(self, sync_id: str, step: str) -> Iterator[PartFacts]:
        """Keep a call while it is running. If it raises, it was rejected.

        Yields:
            The part that it uploads, which the caller describes.
        """
        call, part = Call(step, self._clock()), PartFacts()
        self._change(sync_id, lambda session: _add_call(session, call))
        try:
            yield part
        except BaseException:
            rejected = replace(call, ended=self._clock())
            self._change(sync_id, lambda session: _replace_call(session, call, rejected))
            raise
        accepted = replace(
            call,
            ended=self._clock(),
            was_accepted=True,
            objects=part.objects,
            gzip_bytes=part.gzip_bytes,
        )
        self._change(
            sync_id, lambda session: _count_call(_replace_call(session, call, accepted), step, part)
        )

    def accept_session(self, sync_id: str) -> None:
        """Keep that a session is finished. Its load may have begun, or even ended, before this."""
        now = self._clock()

        def accept(session: SessionActivity) -> SessionActivity:
            state = "accepted" if session.ended is None else session.state
            return replace(session, state=state, accepted=now)

        self._change(sync_id, accept)

    @contextmanager
    def running_load(self, sync_id: str) -> Iterator[None]:
        """Keep that a session is being loaded, and then that it is loaded.

        If the load raises, the session stays accepted: the next sandbox loads it.
        """
        now = self._clock()
        self._change(sync_id, lambda session: replace(session, load_started=now))
        try:
            yield
        except BaseException as error:
            reason = str(error)
            self._change(sync_id, lambda session: replace(session, error=reason))
            raise
        self.end_session(sync_id, "loaded")

    def end_session(self, sync_id: str, outcome: str, error: str = "") -> None:
        """Keep how a session ended.

        Args:
            sync_id: Its id.
            outcome: An outcome, see `SessionRow`.
            error: The error that it was finished with, or why it could not be loaded.
        """
        now = self._clock()
        self._change(
            sync_id, lambda session: replace(session, state=outcome, error=error, ended=now)
        )

    def take_snapshot(self) -> list[SessionActivity]:
        """Return the sessions as they are now, in the order of their starts."""
        with self._lock:
            return list(self._sessions.values())

    def find_session(self, sync_id: str) -> SessionActivity | None:
        """Return a session as it is now, if it is kept."""
        with self._lock:
            return self._sessions.get(sync_id)

    def _change(self, sync_id: str, change: Callable[[SessionActivity], SessionActivity]) -> None:
        with self._lock:
            session = self._sessions.get(sync_id)
            if session is not None:
                self._sessions[sync_id] = change(session)


def _add_call(session: SessionActivity, call: Call) -> SessionActivity:
    return replace(session, calls=(*session.calls, call)[-MAX_CALLS:])


def _replace_call(session: SessionActivity, call: Call, ended: Call) -> SessionActivity:
    # By identity: two calls may be equal.
    return replace(session, calls=tuple(ended if kept is call else kept for kept in session.calls))


def _count_call(session: SessionActivity, step: str, part: PartFacts) -> SessionActivity:
    return replace(
        session,
        parts=session.parts + (step == "upload"),
        keep_alives=session.keep_alives + (step == "keep-alive"),
        objects=session.objects + part.objects,
        raw_bytes=session.raw_bytes + part.raw_bytes,
        gzip_bytes=session.gzip_bytes + part.gzip_bytes,
        collections=session.collections | part.collections,
    )


def _read_clock() -> datetime:
    return datetime.now(timezone.utc)
