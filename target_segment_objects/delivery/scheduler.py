"""Which batch is delivered when, and by which thread.

Segment keeps what it was sent last for an id, and a STATE tells the tap where to resume. So there
are four invariants:

1. **Order.** For each collection, objects reach Segment in the order in which they were added. A
   collection has one open batch at a time, whichever streams and schemas feed it, and one session
   at a time, however many attempts it takes.
2. **Guarantee.** A STATE is written as soon as Segment has accepted (202) every object that was
   added before it, and never otherwise. `checkpoints` decides; the scheduler only writes.
3. **Backpressure.** Adding goes on while sessions upload. Sessions of different collections run
   side by side, also when the tap writes one collection after the other in long blocks. What waits
   on disk is bounded: while too much waits, no batch is opened.
4. **Failure.** After a failure nothing new is started. What is under way is finished, and its
   STATEs are written where invariant 2 allows. Every session is finished: with a blank error, or
   with one that says what failed.

The rule for others: `add_objects`, `add_state` and `drain` are called by one thread. `abort` takes
no lock, so that it works whatever a signal has interrupted.
"""

from __future__ import annotations

import functools
import logging
import threading
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from target_segment_objects.delivery.batch_queue import BatchQueue
from target_segment_objects.delivery.checkpoints import Checkpoint, Checkpoints
from target_segment_objects.delivery.interface import DeliveryStatus
from target_segment_objects.delivery.uploader import BatchUploader
from target_segment_objects.exceptions import DeliveryAbortedError, SegmentObjectsError
from target_segment_objects.segment.session import DEFAULT_KEEP_ALIVE_INTERVAL_SECONDS

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from target_segment_objects.delivery.batch import Batch
    from target_segment_objects.delivery.interface import Journal, StreamInfo
    from target_segment_objects.delivery.spool import Spool
    from target_segment_objects.delivery.uploader import SessionReport
    from target_segment_objects.segment.api import BulkApi

_MIN_AGE_WAIT_SECONDS: Final = 0.01  # so that the age thread never spins

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class DeliveryOptions:
    """The user's settings for delivery.

    Attributes:
        batch_size_rows: Objects in a batch.
        batch_max_age_seconds: Age of a batch's first object at which the batch is closed.
        max_file_bytes: Uncompressed bytes of one batch file.
        keep_alive_seconds: Silence in an open session after which Keep Alive is sent.
        max_parallel_sessions: Sessions of different collections at once.
    """

    batch_size_rows: int = 100_000
    batch_max_age_seconds: float = 300
    max_file_bytes: int = 100_000_000
    keep_alive_seconds: float = DEFAULT_KEEP_ALIVE_INTERVAL_SECONDS
    max_parallel_sessions: int = 4


class DeliveryScheduler:
    """Delivers objects of many collections: each collection in order, different ones in parallel.

    Objects wait in batch files until a batch is full or old; then a session uploads it, in another
    thread. A STATE, any JSON, is written when Segment has accepted all objects before it. After a
    failure nothing new is started, what is under way is finished, and the next call raises it.

    Args:
        api: Makes the calls.
        spool: Where batch files wait.
        write_state: Writes a STATE's value; called in order, by one thread at a time.
        journal: Records what is sent; its errors end delivery. None if nothing does.
        on_session_finished: Called with each session that Segment accepted (202), by the thread
            that ran it, before a STATE is written. Its errors end delivery.
        on_failure: Called once, at the first failure, by the thread that met it: a reader that
            waits for the tap must be woken.
        options: The user's settings.
    """

    def __init__(
        self,
        api: BulkApi,
        spool: Spool,
        *,
        write_state: Callable[[Any], None],
        journal: Journal | None = None,
        on_session_finished: Callable[[SessionReport], None] = lambda _: None,
        on_failure: Callable[[], None] = lambda: None,
        options: DeliveryOptions | None = None,
    ) -> None:
        self._write_state = write_state
        self._journal = journal
        self._on_session_finished = on_session_finished
        self._on_failure = on_failure
        options = self._options = options or DeliveryOptions()
        self._uploader = BatchUploader(api, keep_alive_seconds=options.keep_alive_seconds)
        self._lock = threading.RLock()
        self._changed = threading.Condition(self._lock)
        self._age_changed = threading.Condition(self._lock)  # wakes the age thread alone
        # The lock guards everything below.
        self._checkpoints = Checkpoints()
        self._batches = BatchQueue(
            spool,
            max_file_bytes=options.max_file_bytes,
            max_parallel_sessions=options.max_parallel_sessions,
        )
        self._active_count = 0
        self._failure: SegmentObjectsError | None = None
        self._workers: list[threading.Thread] = []
        self._age_thread: threading.Thread | None = None
        self._closed = False

    # Adding: the caller's thread

    def open_stream(self, stream: StreamInfo) -> Callable[[Sequence[bytes]], None]:
        """Return what adds the JSON of some of the stream's objects: see `add_objects`."""
        return functools.partial(self.add_objects, stream.collection)

    def add_object(self, collection: str, line: bytes) -> None:
        """Add an object's JSON: see `add_objects`."""
        self.add_objects(collection, (line,))

    def add_objects(self, collection: str, lines: Sequence[bytes]) -> None:
        """Add the JSON of objects to their collection's batch, and queue each batch that is full.

        It waits while too much is queued.

        Raises:
            SegmentObjectsError: Delivery has failed; nothing can be added any more.
        """
        with self._lock:
            self._batches.outstanding[collection] += len(lines)
            batch_size = self._options.batch_size_rows
            start = 0
            while start < len(lines):
                if self._failure is not None:
                    raise self._failure
                batch = self._batches.open_batches.get(collection) or self._open_batch(collection)
                end = start + batch_size - batch.objects
                try:
                    batch.add_lines(lines[start:end])
                    if batch.objects >= batch_size:
                        self._enqueue_batch(collection)
                except SegmentObjectsError as failure:
                    self.fail(failure)
                    raise
                start = end

    def add_state(self, state: Any) -> None:  # noqa: ANN401 - STATE is any JSON
        """Add a STATE's value, which covers every object added so far."""
        with self._changed, self._propagate_failure():
            self._write_checkpoint(self._checkpoints.add_state(state))

    def get_status(self) -> DeliveryStatus:
        """Return a snapshot; may be called from any thread, at any time."""
        with self._changed:
            return DeliveryStatus(
                self._active_count,
                +self._batches.outstanding,
                self._batches.oldest_seconds,
                self._uploader.uploaded_bytes,
            )

    def drain(self) -> None:
        """Deliver everything that was added, and stop.

        Raises:
            SegmentObjectsError: The first failure; what else was under way has been finished.
        """
        with self._changed:
            with suppress(SegmentObjectsError), self._propagate_failure():  # raised below
                for collection in list(self._batches.open_batches):
                    self._enqueue_batch(collection)
            while self._active_count if self._failure else self._batches.closed_count:
                self._changed.wait()
            self._closed = True
            self._notify_all_threads()
        for thread in (*self._workers, self._age_thread):
            if thread is not None:
                thread.join()
        if self._failure is not None:
            raise self._failure

    def abort(self, reason: str) -> None:
        """Finish every open session with an error, and leave the rest; takes seconds at most."""
        self._uploader.abort_sessions(reason)

    # Batches: from open to queued

    def _open_batch(self, collection: str) -> Batch:
        """Open a collection's next batch, as soon as there is room for it in the queue."""
        while not self._batches.has_room(collection) and self._failure is None:
            self._changed.wait()
        if self._failure is not None:
            raise self._failure
        batch = self._batches.open_batch(collection)
        self._checkpoints.open_batch(batch)
        if self._age_thread is None:
            self._age_thread = _start_thread(self._watch_batch_age, "batch-age")
        elif len(self._batches.open_batches) == 1:
            self._age_changed.notify()  # it had nothing to wait for
        return batch

    def _enqueue_batch(self, collection: str) -> None:
        """Close a collection's open batch, and have it delivered after its earlier ones.

        It never waits, and so never lets another thread change the open batches meanwhile.
        """
        if self._batches.close_batch(collection):
            self._call_worker()

    def _call_worker(self) -> None:
        """Have a worker take one more batch."""
        if len(self._workers) < self._options.max_parallel_sessions:
            name = f"delivery-{len(self._workers) + 1}"
            self._workers.append(_start_thread(self._run_worker, name))
        self._changed.notify_all()

    def _watch_batch_age(self) -> None:
        """Queue each batch that reaches its maximum age, even while the tap is silent."""
        with self._age_changed:
            while not self._closed and self._failure is None:
                with suppress(SegmentObjectsError), self._propagate_failure():
                    seconds = self._enqueue_aged_batches()
                    self._age_changed.wait(seconds)

    def _enqueue_aged_batches(self) -> float | None:
        """Queue the batches that have reached their maximum age.

        Returns:
            The seconds until the next one does; None if no batch is open.
        """
        for collection, batch in list(self._batches.open_batches.items()):
            age = self._batches.measure_age(batch)
            remaining = self._options.batch_max_age_seconds - age
            if remaining > 0:
                return max(_MIN_AGE_WAIT_SECONDS, remaining)
            self._enqueue_batch(collection)
        return None

    # Delivery: the workers' threads

    def _run_worker(self) -> None:
        while (batch := self._take_batch()) is not None:
            try:
                self._deliver_batch(batch)
            except SegmentObjectsError as failure:
                self.fail(failure)
            except Exception as bug:  # a dead thread would be waited for for ever
                if not self._uploader.is_aborted:  # else its session was closed under it
                    logger.critical("Unexpected error in delivery.", exc_info=True)
                self.fail(DeliveryAbortedError(f"Delivery was stopped by {bug!r}"))
            finally:
                with self._changed:
                    self._active_count -= 1
                    self._changed.notify_all()

    def _take_batch(self) -> Batch | None:
        """Wait for a batch to deliver; None when there is nothing more to do."""
        with self._changed:
            while self._failure is None and not self._uploader.is_aborted:
                if (batch := self._batches.take_batch()) is not None:
                    self._active_count += 1
                    return batch
                if self._closed:
                    break
                self._changed.wait()
            return None

    def _deliver_batch(self, batch: Batch) -> None:
        if self._journal is not None:
            self._journal.commit()
        report = self._uploader.upload_batch(batch)
        batch.delete()
        self._on_session_finished(report)
        if self._journal is not None:
            self._journal.mark_accepted(batch.collection, batch.objects)
        with self._changed:
            if self._batches.remove_batch(batch):
                self._call_worker()
            self._write_checkpoint(self._checkpoints.mark_delivered(batch))

    def _write_checkpoint(self, checkpoint: Checkpoint | None) -> None:
        """Write a STATE under the lock, which keeps STATEs in order."""
        if checkpoint is not None:
            self._write_state(checkpoint.state)

    # Failure

    @contextmanager
    def _propagate_failure(self) -> Iterator[None]:
        """Let every thread know of an error that ends delivery."""
        try:
            yield
        except SegmentObjectsError as failure:
            self.fail(failure)
            raise

    def fail(self, failure: SegmentObjectsError) -> None:
        """End delivery because of an error; only the first one counts."""
        with self._changed:
            if self._failure is not None:
                return
            self._failure = failure
            self._notify_all_threads()
        self._on_failure()

    def _notify_all_threads(self) -> None:
        self._changed.notify_all()
        self._age_changed.notify_all()


def _start_thread(run: Callable[[], None], name: str) -> threading.Thread:
    thread = threading.Thread(target=run, name=name, daemon=True)
    thread.start()
    return thread
