"""Bulk sessions: which call is legal in which state, and when an idle session expires. No I/O.

- A session belongs to the write key that started it.
- Every state change is in `TRANSITIONS`. Any other is rejected.
- A session expires after `idle_timeout` seconds without a call. A call that is still running keeps
  it alive.
- Parts are ordered by the arrival of their uploads. Finish is rejected while an upload is running,
  because the order of the parts is not known yet.

The registry also keeps what the page shows of the sessions of this run. Calls are made on the
thread of the event loop. Loads are reported, and records are listed, on any thread.
"""

from __future__ import annotations

import secrets
import threading
from collections import Counter, OrderedDict
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from datetime import datetime, timezone
from enum import Enum
from typing import TYPE_CHECKING, Final

from target_segment_objects.sandbox.errors import RejectedRequestError
from target_segment_objects.sandbox.session_record import LOADED, Call, SessionRecord

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from target_segment_objects.sandbox.uploads import Part

MAX_SESSIONS: Final = 500
"""Sessions that are shown: the newest ones, and before them those that have not ended."""

MAX_CALLS: Final = 200
"""Calls of a session that are kept: the newest ones. All are counted."""


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
    """What the API must know of a session, beside its record.

    Attributes:
        record: What everyone else knows of it.
        write_key: The write key that started it.
        last_seen: When its last call was answered, on the registry's clock.
        state: Its state.
        running_calls: Number of running calls by kind.
        upload_count: Number of uploads that have arrived.
        parts: Accepted files by the number of their upload.
    """

    record: SessionRecord
    write_key: str = field(repr=False)
    last_seen: float
    state: State = State.OPEN
    running_calls: Counter[Step] = field(default_factory=Counter)
    upload_count: int = 0
    parts: dict[int, Part] = field(default_factory=dict)

    @property
    def sync_id(self) -> str:
        """Its id."""
        return self.record.sync_id

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


@dataclass(slots=True)
class RunningCall:
    """A call while it is running.

    Attributes:
        session: Its session.
        upload_number: Number of the upload, if it is one.
        part: The file that it has uploaded. Whoever has checked the file sets it.
    """

    session: Session
    upload_number: int
    part: Part | None = None


def read_utc_clock() -> datetime:
    """Return the time in UTC."""
    return datetime.now(timezone.utc)


class SessionRegistry:
    """All sessions that were ever started, by `sync_id`.

    Args:
        idle_timeout: Seconds without a call after which a session expires.
        clock: Returns seconds. Must be monotonic.
        utc_clock: Returns the time in UTC.
    """

    def __init__(
        self,
        *,
        idle_timeout: float,
        clock: Callable[[], float],
        utc_clock: Callable[[], datetime] = read_utc_clock,
    ) -> None:
        self._idle_timeout = idle_timeout
        self._clock = clock
        self._utc_clock = utc_clock
        self._sessions: dict[str, Session] = {}
        # Open sessions without a running call, ordered by `last_seen`: every call looks for those
        # that expire, and must not search all sessions.
        self._idle: OrderedDict[str, Session] = OrderedDict()
        self._shown: dict[str, Session] = {}
        self._lock = threading.Lock()  # guards `_shown`, and the records, which two threads replace

    def start_session(self, write_key: str) -> Session:
        """Start a session for a write key."""
        record = SessionRecord(
            sync_id=secrets.token_hex(8), started=self._utc_clock(), keep_alives=0
        )
        session = Session(record, write_key, self._clock())
        self._sessions[session.sync_id] = self._idle[session.sync_id] = session
        with self._lock:
            if len(self._shown) >= MAX_SESSIONS:
                self._hide_oldest()
            self._shown[session.sync_id] = session
        return session

    @contextmanager
    def running_call(self, sync_id: str, write_key: str, step: Step) -> Iterator[RunningCall]:
        """Apply a call to its session, which does not expire while the call is running.

        A Finish that raises leaves the session open.

        Raises:
            RejectedRequestError: The write key has no such session, or the call is not legal now.
        """
        session = self._sessions.get(sync_id)
        if session is None or session.write_key != write_key:
            raise RejectedRequestError(
                "no such session: this write key has not started one with this sync_id"
            )
        if step is Step.FINISH and session.running_calls[Step.UPLOAD]:
            raise RejectedRequestError(
                "an upload of the session is still running: finish after its response"
            )
        session.transition(step)
        session.running_calls[step] += 1
        session.upload_count += step is Step.UPLOAD
        self._idle.pop(sync_id, None)
        running = RunningCall(session, session.upload_count)
        call = Call(step.value, self._utc_clock())
        self._replace(session, calls=(*session.record.calls, call)[-MAX_CALLS:])
        try:
            yield running
        except BaseException:
            # Not if its request was cancelled just after it was accepted.
            if step is Step.FINISH and session.state is State.FINISHING:
                session.transition(Step.FAIL)
            self._end_call(session, call, replace(call, ended=self._utc_clock()))
            raise
        else:
            self._accept_call(running, call)
        finally:
            session.running_calls[step] -= 1
            session.last_seen = self._clock()
            if session.state is State.OPEN and not session.running_calls.total():
                self._idle[sync_id] = session

    def accept_session(self, session: Session) -> None:
        """Record that a session is finished. Its load may have begun, or even ended, before."""
        session.transition(Step.ACCEPT)
        session.parts.clear()  # the loader has them
        self._replace(session, ended=self._utc_clock())

    def discard_session(self, session: Session, error: str) -> None:
        """Record that a session is finished with an error."""
        session.transition(Step.DISCARD)
        self._replace(session, outcome="error", ended=self._utc_clock(), error=error)

    def expire_idle(self) -> list[Session]:
        """Expire the idle sessions and return them. The caller deletes their parts."""
        deadline = self._clock() - self._idle_timeout
        expired = []
        while self._idle and next(iter(self._idle.values())).last_seen <= deadline:
            _, session = self._idle.popitem(last=False)
            session.transition(Step.EXPIRE)
            self._replace(session, outcome="expired", ended=self._utc_clock())
            expired.append(session)
        return expired

    @contextmanager
    def running_load(self, sync_id: str) -> Iterator[None]:
        """Record that a session is being loaded, and then that it is loaded.

        If the load raises, the session stays accepted. One of an earlier run is ignored.
        """
        session = self._sessions.get(sync_id)
        if session is None:
            yield
            return
        self._replace(session, load_started=self._utc_clock())
        try:
            yield
        except BaseException as error:
            self._replace(session, error=str(error))
            raise
        self._replace(session, outcome=LOADED, loaded=self._utc_clock(), error="")

    def list_open(self) -> list[SessionRecord]:
        """Return the sessions that are still open, as they are if the sandbox is stopped now."""
        return [
            replace(session.record, outcome="open", ended=self._utc_clock())
            for session in [*self._sessions.values()]
            if session.state is State.OPEN
        ]

    def list_records(self) -> list[SessionRecord]:
        """Return the sessions that are shown as they are now, in the order of their starts."""
        with self._lock:
            return [session.record for session in self._shown.values()]

    def _hide_oldest(self) -> None:
        ended = (key for key, session in self._shown.items() if session.record.outcome)
        session = self._shown.pop(next(ended, next(iter(self._shown))))
        session.record = replace(session.record, calls=())

    def _accept_call(self, running: RunningCall, call: Call) -> None:
        session, part = running.session, running.part
        accepted = replace(call, ended=self._utc_clock(), was_accepted=True)
        if part is not None:
            accepted = replace(accepted, objects=part.objects, gzip_bytes=part.gzip_bytes)
            session.parts[running.upload_number] = part
            record = session.record
            self._replace(
                session,
                parts=record.parts + 1,
                objects=record.objects + part.objects,
                raw_bytes=record.raw_bytes + part.raw_bytes,
                gzip_bytes=record.gzip_bytes + part.gzip_bytes,
                collections=tuple(sorted({*record.collections, *part.columns})),
            )
        if call.step == Step.KEEP_ALIVE.value:
            self._replace(session, keep_alives=(session.record.keep_alives or 0) + 1)
        self._end_call(session, call, accepted)

    def _end_call(self, session: Session, call: Call, ended: Call) -> None:
        # By identity: two calls may be equal.
        calls = tuple(ended if kept is call else kept for kept in session.record.calls)
        self._replace(session, calls=calls)

    def _replace(self, session: Session, **changes: object) -> None:
        """Change fields of a record. Each is written by one thread, and so may be read before."""
        with self._lock:
            session.record = replace(session.record, **changes)  # type: ignore[arg-type]  # fields of any type
