"""Bulk sessions: which call is legal in which state, and when an idle session expires. No I/O.

- A session belongs to the write key that started it.
- Every state change is in `TRANSITIONS`. Any other is rejected.
- A session expires after `idle_timeout` seconds without a call. A call that is still running keeps
  it alive.
- Parts are ordered by the arrival of their uploads. Finish is rejected while an upload is running,
  because the order of the parts is not known yet.

All of this runs on the thread of the event loop.
"""

from __future__ import annotations

import secrets
from collections import Counter, OrderedDict
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import datetime, timezone
from enum import Enum
from typing import TYPE_CHECKING, Final

from target_segment_objects.sandbox.errors import RejectedRequestError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from target_segment_objects.sandbox.api.parts import Part


class State(Enum):
    """State of a session. The value completes the sentence "the session …"."""

    OPEN = "is open"
    FINISHING = "is being finished"
    ACCEPTED = "is already finished: its objects were accepted"
    DISCARDED = "is already finished with an error: its objects were discarded"
    EXPIRED = "has expired: it had no call for too long, and its parts were deleted. Start another"


class Step(Enum):
    """What happens to a session: a call, or its outcome."""

    UPLOAD = "upload"
    KEEP_ALIVE = "keep-alive"
    FINISH = "finish"
    ACCEPT = "accept"
    DISCARD = "discard"
    FAIL = "fail"
    EXPIRE = "expire"


TRANSITIONS: Final[Mapping[State, Mapping[Step, State]]] = {
    State.OPEN: {
        Step.UPLOAD: State.OPEN,
        Step.KEEP_ALIVE: State.OPEN,
        Step.FINISH: State.FINISHING,
        Step.EXPIRE: State.EXPIRED,
    },
    State.FINISHING: {
        Step.KEEP_ALIVE: State.FINISHING,
        Step.ACCEPT: State.ACCEPTED,
        Step.DISCARD: State.DISCARDED,
        Step.FAIL: State.OPEN,
    },
    State.ACCEPTED: {},
    State.DISCARDED: {},
    State.EXPIRED: {},
}
"""State → step → next state. A step that is not here is rejected."""


@dataclass(slots=True)
class Session:
    """One bulk session.

    Attributes:
        sync_id: Its id.
        write_key: The write key that started it.
        last_seen: When its last call was answered, on the registry's clock.
        started: When it was started, in UTC.
        state: Its state.
        running_calls: Number of running calls by kind.
        upload_count: Number of uploads that have arrived.
        parts: Accepted files by the number of their upload.
    """

    sync_id: str
    write_key: str = field(repr=False)
    last_seen: float
    started: datetime = field(default_factory=lambda: datetime.now(timezone.utc))
    state: State = State.OPEN
    running_calls: Counter[Step] = field(default_factory=Counter)
    upload_count: int = 0
    parts: dict[int, Part] = field(default_factory=dict)

    def transition(self, step: Step) -> None:
        """Change to the next state.

        Raises:
            RejectedRequestError: The step is not legal in the current state.
        """
        next_state = TRANSITIONS[self.state].get(step)
        if next_state is None:
            reason = f"the session {self.state.value}"
            raise RejectedRequestError(reason)
        self.state = next_state

    def ordered_parts(self) -> list[Part]:
        """Return the parts in the order in which their uploads arrived."""
        return [part for _, part in sorted(self.parts.items())]


class SessionRegistry:
    """All sessions that were ever started, by `sync_id`."""

    def __init__(self, *, idle_timeout: float, clock: Callable[[], float]) -> None:
        """Create a registry without sessions.

        Args:
            idle_timeout: Seconds without a call after which a session expires.
            clock: Returns seconds. Must be monotonic.
        """
        self._idle_timeout = idle_timeout
        self._clock = clock
        self._sessions: dict[str, Session] = {}
        # Open sessions without a running call, ordered by `last_seen`: every call looks for those
        # that expire, and must not search all sessions.
        self._idle: OrderedDict[str, Session] = OrderedDict()

    def start_session(self, write_key: str) -> Session:
        """Start a session for a write key."""
        session = Session(secrets.token_hex(8), write_key, self._clock())
        self._sessions[session.sync_id] = self._idle[session.sync_id] = session
        return session

    @contextmanager
    def running_call(self, sync_id: str, write_key: str, step: Step) -> Iterator[Session]:
        """Apply a call to its session, which does not expire while the call is running.

        Raises:
            RejectedRequestError: The write key has no such session, or the call is not legal now.
        """
        session = self._sessions.get(sync_id)
        if session is None or session.write_key != write_key:
            reason = "no such session: this write key has not started one with this sync_id"
            raise RejectedRequestError(reason)
        if step is Step.FINISH and session.running_calls[Step.UPLOAD]:
            reason = "an upload of the session is still running: finish after its response"
            raise RejectedRequestError(reason)
        session.transition(step)
        session.running_calls[step] += 1
        self._idle.pop(sync_id, None)
        try:
            yield session
        finally:
            session.running_calls[step] -= 1
            session.last_seen = self._clock()
            if session.state is State.OPEN and not session.running_calls.total():
                self._idle[sync_id] = session

    def expire_idle(self) -> list[Session]:
        """Expire the idle sessions and return them. The caller deletes their parts."""
        deadline = self._clock() - self._idle_timeout
        expired = []
        while self._idle and next(iter(self._idle.values())).last_seen <= deadline:
            _, session = self._idle.popitem(last=False)
            session.transition(Step.EXPIRE)
            expired.append(session)
        return expired

    def open_sessions(self) -> list[Session]:
        """Return the sessions that are still open."""
        return [session for session in self._sessions.values() if session.state is State.OPEN]
