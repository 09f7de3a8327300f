"""Which batch goes when, and when a STATE may go out.

What Segment keeps of an id is what it was told last, and a STATE is a promise. So there are four
laws:

1. **Order.** For each collection, objects reach Segment in the order in which they were added. A
   collection has one open batch at a time, whichever streams and schemas feed it, and one session
   at a time, whichever tries and repetitions that takes.
2. **Promise.** A STATE goes out as soon as every object that was added before it has been answered
   202 by Finish, and never otherwise; never twice the same in a row, never an older one after a
   newer. Objects are numbered as they come; a STATE stands at a number, and may go when no batch
   that began before it is outstanding.
3. **Flow.** Adding goes on while sessions upload. Sessions of different collections run side by
   side. What waits on disk is bounded: with too many batches handed over, adding waits.
4. **Failure.** After a failure nothing new is begun; what is under way is finished, and its STATEs
   go out where law 2 allows. A session is finished whatever happens: with a blank error, or with
   one that says what happened.

The rule for others: `add_object`, `add_state` and `drain` come from one thread. `abort` takes no
lock, so that it works whatever a signal has interrupted.
"""

from __future__ import annotations

import logging
import threading
import time
from collections import deque
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from target_segment_objects.delivery.spool import Batch
from target_segment_objects.exceptions import (
    DeliveryAbortedError,
    SegmentObjectsError,
    SessionExpiredError,
)
from target_segment_objects.segment.session import DEFAULT_KEEP_ALIVE_INTERVAL_SECONDS, Session

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from target_segment_objects.delivery.spool import Spool
    from target_segment_objects.segment.api import BulkApi

MAX_SESSION_RETRIES: Final = 3
"""Times that a session which Segment lost is begun again from its first part."""

QUEUED_BATCHES_PER_SESSION: Final = 2
"""Batches handed over, counted with those under way, for each session that may run at once."""

ABORT_DEADLINE_SECONDS: Final = 5.0
"""For the last words of all open sessions when the user will not wait for delivery."""

_IN_A_HURRY: Final = {"wait_seconds": 1.0}  # for what a session has under way

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class DeliveryOptions:
    """What the user may choose of delivery.

    Attributes:
        batch_size_rows: Objects in a batch.
        batch_max_age_seconds: Age of a batch's first object at which the batch is handed over.
        max_file_bytes: Uncompressed bytes at which a batch goes on in a further file.
        keep_alive_seconds: Silence in an open session after which Keep Alive is sent.
        max_parallel_sessions: Sessions of different collections at once.
    """

    batch_size_rows: int = 100_000
    batch_max_age_seconds: float = 300
    max_file_bytes: int = 100_000_000
    keep_alive_seconds: float = DEFAULT_KEEP_ALIVE_INTERVAL_SECONDS
    max_parallel_sessions: int = 4


@dataclass(frozen=True, slots=True)
class SessionReport:
    """What one finished session delivered.

    Attributes:
        collection: The collection of its objects.
        sync_id: What Segment calls the session.
        part_ids: What Segment calls its files, in order.
        objects: Its number of objects.
        raw_bytes: Bytes of JSON lines.
        gzip_bytes: Bytes as they were sent.
        seconds: From before Start until Finish was answered.
    """

    collection: str
    sync_id: str
    part_ids: tuple[str, ...]
    objects: int
    raw_bytes: int
    gzip_bytes: int
    seconds: float


@dataclass(frozen=True, slots=True)
class DeliveryStatus:
    """How delivery stands at a moment.

    Attributes:
        sessions: Its number of open sessions.
        outstanding: Collection to objects that were added and are not delivered.
        oldest_seconds: Age of the oldest batch that is not delivered; None when all are.
    """

    sessions: int
    outstanding: Mapping[str, int]
    oldest_seconds: float | None


@dataclass(slots=True)
class _Outstanding:
    """A batch that is not delivered yet."""

    batch: Batch
    first_number: int
    opened: float


class DeliveryScheduler:
    """Takes objects and STATEs in the tap's order, and keeps the four laws."""

    def __init__(
        self,
        api: BulkApi,
        spool: Spool,
        *,
        write_state: Callable[[Any], None],
        on_session_finished: Callable[[SessionReport], None] = lambda _: None,
        on_failure: Callable[[], None] = lambda: None,
        options: DeliveryOptions | None = None,
    ) -> None:
        """Prepare to deliver; threads start when there is something to do.

        Args:
            api: Makes the calls.
            spool: Where batch files wait.
            write_state: Writes a STATE's value; called in order, by one thread at a time.
            on_session_finished: Called with each session that Segment accepted (202), by the
                thread that ran it.
            on_failure: Told once of the first failure, by the thread that met it: whoever waits
                for the tap to speak must be woken.
            options: What the user chose.
        """
        self._api = api
        self._spool = spool
        self._write_state = write_state
        self._on_session_finished = on_session_finished
        self._on_failure = on_failure
        self._options = options or DeliveryOptions()
        self._batch_size = self._options.batch_size_rows
        self._lock = threading.RLock()
        self._changed = threading.Condition(self._lock)
        # All below is touched only while `_changed` is held, but for what `abort` reads.
        self._number = 0
        self._begun_at = -1  # the first number of the batch that began last
        self._open: dict[str, _Outstanding] = {}
        self._outstanding: dict[Batch, _Outstanding] = {}  # in the order of their first numbers
        self._lanes: dict[str, deque[Batch]] = {}
        self._runnable: deque[str] = deque()
        self._waiting = 0
        self._states: deque[tuple[int, Any]] = deque()
        self._latest_state: Any = None
        self._failure: SegmentObjectsError | None = None
        self._workers: list[threading.Thread] = []
        self._clock: threading.Thread | None = None
        self._closed = False
        self._aborted = False
        self._sessions: set[Session] = set()

    # Taking

    def add_object(self, collection: str, line: bytes) -> None:
        """Add an object's JSON to its collection's batch, and hand that over when it is full.

        Raises:
            SegmentObjectsError: DeliveryScheduler has failed; nothing can be added any more.
        """
        with self._lock:  # once for each object: this is on the hot path
            if self._failure is not None:
                raise self._failure
            batch = (self._open.get(collection) or self._begin(collection)).batch
            try:
                batch.add(line)
                self._number += 1
                if batch.objects >= self._batch_size:
                    self._hand_over(collection)
            except SegmentObjectsError as failure:
                self._fail(failure)
                raise

    def add_state(self, state: Any) -> None:  # noqa: ANN401 - STATE is any JSON
        """Take a STATE's value, which vouches for every object added so far."""
        with self._changed:
            if state == self._latest_state:
                return
            self._latest_state = state
            if self._states and self._begun_at < self._states[-1][0]:
                self._states.pop()  # no batch began since: never could it go out without this one
            self._states.append((self._number, state))
            with self._failing():
                self._release_states()

    def get_status(self) -> DeliveryStatus:
        """Return how delivery stands; may be called from any thread, at any time."""
        with self._changed:
            outstanding: dict[str, int] = {}
            for entry in self._outstanding.values():
                name = entry.batch.collection
                outstanding[name] = outstanding.get(name, 0) + entry.batch.objects
            oldest = next(iter(self._outstanding.values()), None)
            age = None if oldest is None else time.monotonic() - oldest.opened
            return DeliveryStatus(len(self._sessions), outstanding, age)

    def drain(self) -> None:
        """Deliver all that was added, and end.

        Raises:
            SegmentObjectsError: What failed first; what else was under way has been finished.
        """
        with self._changed:
            with suppress(SegmentObjectsError), self._failing():  # raised below
                for collection in list(self._open):
                    self._hand_over(collection)
            while self._is_busy():
                self._changed.wait()
            self._closed = True
            self._changed.notify_all()
        for thread in (*self._workers, self._clock):
            if thread is not None:
                thread.join()
        self._raise_failure()

    def abort(self, reason: str) -> None:
        """Finish every open session with an error, and leave the rest; takes seconds at most."""
        self._aborted = True
        deadline = time.monotonic() + ABORT_DEADLINE_SECONDS
        endings = [
            threading.Thread(target=session.abort, args=(reason,), kwargs=_IN_A_HURRY, daemon=True)
            for session in list(self._sessions)
        ]
        for ending in endings:
            ending.start()
        for ending in endings:
            ending.join(max(0.0, deadline - time.monotonic()))

    def _is_busy(self) -> bool:
        return bool(self._sessions if self._failure else self._waiting)

    # Batches

    def _begin(self, collection: str) -> _Outstanding:
        batch = Batch(collection, self._spool, max_file_bytes=self._options.max_file_bytes)
        entry = _Outstanding(batch, self._number, time.monotonic())
        self._open[collection] = entry
        self._outstanding[batch] = entry
        self._begun_at = self._number
        self._changed.notify_all()  # the clock may have had nothing to wait for
        if self._clock is None:
            self._clock = threading.Thread(target=self._watch_age, name="batch-age", daemon=True)
            self._clock.start()
        return entry

    def _hand_over(self, collection: str) -> None:
        """Queue a collection's open batch behind those handed over before, and wait for room."""
        batch = self._open.pop(collection).batch
        batch.close()
        lane = self._lanes.setdefault(collection, deque())
        lane.append(batch)
        self._waiting += 1
        if len(lane) == 1:
            self._make_runnable(collection)
        most = QUEUED_BATCHES_PER_SESSION * self._options.max_parallel_sessions
        while self._waiting > most and self._failure is None:
            self._changed.wait()
        self._raise_failure()

    def _make_runnable(self, collection: str) -> None:
        self._runnable.append(collection)
        if len(self._workers) < self._options.max_parallel_sessions:
            worker = threading.Thread(
                target=self._work, name=f"delivery-{len(self._workers) + 1}", daemon=True
            )
            self._workers.append(worker)
            worker.start()
        self._changed.notify_all()

    def _watch_age(self) -> None:
        """Hand over each batch as it comes of age, though the tap be silent."""
        with self._changed:
            while not self._closed and self._failure is None:
                due = time.monotonic() - self._options.batch_max_age_seconds
                old = [name for name, entry in self._open.items() if entry.opened <= due]
                with suppress(SegmentObjectsError), self._failing():
                    for collection in old:
                        if collection in self._open:  # `_hand_over` may wait, and others go on
                            self._hand_over(collection)
                opened = min((entry.opened for entry in self._open.values()), default=None)
                self._changed.wait(None if opened is None else max(0.01, opened - due))

    # Delivering

    def _work(self) -> None:
        while (batch := self._next_batch()) is not None:
            try:
                self._deliver(batch)
            except SegmentObjectsError as failure:
                self._fail(failure)
            except Exception as bug:  # a dead thread would be waited for for ever
                if not self._aborted:  # else the session was ended under the worker's hands
                    logger.critical("Delivery met a bug of its own.", exc_info=True)
                self._fail(DeliveryAbortedError(f"Delivery was stopped by {bug!r}"))

    def _next_batch(self) -> Batch | None:
        with self._changed:
            while True:
                if self._failure is not None or self._aborted:
                    return None
                if self._runnable:
                    return self._lanes[self._runnable.popleft()][0]
                if self._closed:
                    return None
                self._changed.wait()

    def _deliver(self, batch: Batch) -> None:
        report = self._in_a_session(batch)
        batch.delete()
        self._on_session_finished(report)
        with self._changed:
            lane = self._lanes[batch.collection]
            lane.popleft()
            if lane:
                self._make_runnable(batch.collection)
            else:
                del self._lanes[batch.collection]
            del self._outstanding[batch]
            self._waiting -= 1
            self._release_states()
            self._changed.notify_all()

    def _in_a_session(self, batch: Batch) -> SessionReport:
        """Deliver a batch in one session, begun again when Segment loses it."""
        for repeats_left in range(MAX_SESSION_RETRIES, 0, -1):
            try:
                return self._once(batch)
            except SessionExpiredError as lost:
                if self._aborted:
                    raise
                logger.warning(
                    "%s. Segment does not know the session any more: its %d part(s) are sent "
                    "again in a new one (%d more tries).",
                    lost,
                    len(batch.files),
                    repeats_left,
                )
        return self._once(batch)

    def _once(self, batch: Batch) -> SessionReport:
        began = time.monotonic()
        session = Session(self._api, keep_alive_seconds=self._options.keep_alive_seconds)
        with self._counted(session), session:
            for file in batch.files:
                if self._aborted:
                    raise DeliveryAbortedError("Delivery was stopped")
                session.upload(file.path)
        return SessionReport(
            batch.collection,
            session.sync_id,
            tuple(session.part_ids),
            batch.objects,
            batch.raw_bytes,
            batch.gzip_bytes,
            time.monotonic() - began,
        )

    @contextmanager
    def _counted(self, session: Session) -> Iterator[None]:
        with self._changed:
            self._sessions.add(session)
        try:
            yield
        finally:
            with self._changed:
                self._sessions.discard(session)
                self._changed.notify_all()

    # Promises and failures

    def _release_states(self) -> None:
        """Write the newest STATE that every object before it allows."""
        oldest = next(iter(self._outstanding.values()), None)
        delivered = self._number if oldest is None else oldest.first_number
        released = None
        while self._states and self._states[0][0] <= delivered:
            released = self._states.popleft()
        if released is not None:
            self._write_state(released[1])

    @contextmanager
    def _failing(self) -> Iterator[None]:
        """Let an error that ends delivery be known to every thread."""
        try:
            yield
        except SegmentObjectsError as failure:
            self._fail(failure)
            raise

    def _fail(self, failure: SegmentObjectsError) -> None:
        with self._changed:
            if self._failure is not None:
                return
            self._failure = failure
            self._changed.notify_all()
        self._on_failure()

    def _raise_failure(self) -> None:
        if self._failure is not None:
            raise self._failure
