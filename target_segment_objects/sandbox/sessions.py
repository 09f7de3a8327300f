"""Bulk sessions: which call is legal when, and when silence ends one. No I/O.

Rules: a session belongs to the key that started it. Every step is one of `STEPS`. A session is gone
once no call was under way for `silence` seconds. Its parts are ordered by the arrival of their
uploads, and it cannot be finished while one of them is under way: nobody could say what its order
is.

All of this runs on one thread, that of the event loop.
"""

from __future__ import annotations

import secrets
from collections import Counter
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import datetime, timezone
from enum import Enum
from typing import TYPE_CHECKING, Final

from target_segment_objects.sandbox.refusal import RejectedRequestError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from target_segment_objects.sandbox.parts import Part


class State(Enum):
    """What a session is; the value completes the sentence "the session …"."""

    OPEN = "is open"
    FINISHING = "is being finished"
    LOADED = "is already finished: its objects were loaded"
    DISCARDED = "is already finished: its objects were discarded, as it said that something failed"
    EXPIRED = "is expired: it saw no call for too long, and its parts are gone; start another"


class Step(Enum):
    """What happens to a session."""

    UPLOAD = "upload"
    KEEP_ALIVE = "keep-alive"
    FINISH = "finish"
    LOAD = "load"
    DISCARD = "discard"
    FAIL = "fail"
    FALL_SILENT = "fall silent"


STEPS: Final[Mapping[State, Mapping[Step, State]]] = {
    State.OPEN: {
        Step.UPLOAD: State.OPEN,
        Step.KEEP_ALIVE: State.OPEN,
        Step.FINISH: State.FINISHING,
        Step.FALL_SILENT: State.EXPIRED,
    },
    State.FINISHING: {
        Step.KEEP_ALIVE: State.FINISHING,
        Step.LOAD: State.LOADED,
        Step.DISCARD: State.DISCARDED,
        Step.FAIL: State.OPEN,
    },
    State.LOADED: {},
    State.DISCARDED: {},
    State.EXPIRED: {},
}
"""State → step → next state; a step that is not here is refused."""


@dataclass(slots=True)
class Session:
    """One bulk session.

    Attributes:
        sync_id: Its name.
        key: The write key that started it.
        heard: When the last call was answered, on the sessions' clock.
        started: When it was started, for people.
        state: Where it stands.
        calls: How many calls of each kind are under way.
        uploads: How many uploads arrived so far.
        parts: Legal files by the number of their upload.
    """

    sync_id: str
    key: str = field(repr=False)
    heard: float
    started: datetime = field(default_factory=lambda: datetime.now(timezone.utc))
    state: State = State.OPEN
    calls: Counter[Step] = field(default_factory=Counter)
    uploads: int = 0
    parts: dict[int, Part] = field(default_factory=dict)

    def take(self, step: Step) -> None:
        """Go on to the next state.

        Raises:
            RejectedRequestError: The step is not legal now.
        """
        following = STEPS[self.state].get(step)
        if following is None:
            reason = f"the session {self.state.value}"
            raise RejectedRequestError(reason)
        self.state = following

    def ordered(self) -> list[Part]:
        """Give the parts in the order in which their uploads arrived."""
        return [part for _, part in sorted(self.parts.items())]


class Sessions:
    """All sessions that were ever started, by their `sync_id`."""

    def __init__(self, *, silence: float, clock: Callable[[], float]) -> None:
        """Begin with no session.

        Args:
            silence: Seconds without a call after which a session is gone.
            clock: Gives seconds that never go back.
        """
        self._silence = silence
        self._clock = clock
        self._sessions: dict[str, Session] = {}

    def start(self, key: str) -> Session:
        """Open a session for a write key."""
        session = Session(secrets.token_hex(8), key, self._clock())
        self._sessions[session.sync_id] = session
        return session

    @contextmanager
    def call(self, sync_id: str, key: str, step: Step) -> Iterator[Session]:
        """Let a call into its session; while it is under way, the session does not expire.

        Raises:
            RejectedRequestError: No such session of this key, or not legal now.
        """
        session = self._sessions.get(sync_id)
        if session is None or session.key != key:
            reason = "no such session: it must be one that this write key started"
            raise RejectedRequestError(reason)
        if step is Step.FINISH and session.calls[Step.UPLOAD]:
            reason = "an upload of the session is under way: finish when it is answered"
            raise RejectedRequestError(reason)
        session.take(step)
        session.calls[step] += 1
        try:
            yield session
        finally:
            session.calls[step] -= 1
            session.heard = self._clock()

    def expire(self) -> list[Session]:
        """End the sessions that fell silent, and give them: the caller drops their parts."""
        deadline = self._clock() - self._silence
        silent = [
            session
            for session in self.unfinished()
            if not session.calls.total() and session.heard <= deadline
        ]
        for session in silent:
            session.take(Step.FALL_SILENT)
        return silent

    def unfinished(self) -> list[Session]:
        """Give the sessions that are still open."""
        return [session for session in self._sessions.values() if session.state is State.OPEN]
