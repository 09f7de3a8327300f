"""The batches of a run, from open to delivered: bookkeeping alone, without a thread or a lock.

A collection has one open batch at a time. Its closed batches wait in their order, and only the
first of them may be under way. The rule for others: one thread at a time uses it.
"""

from __future__ import annotations

import time
from collections import Counter, deque
from typing import TYPE_CHECKING, Final

from target_segment_objects.delivery.batch import Batch

if TYPE_CHECKING:
    from target_segment_objects.delivery.spool import Spool

QUEUED_BATCHES_PER_SESSION: Final = 2
"""Closed batches, those under way included, for each session that may run at once.

So many may always wait, however large they are. Beyond them, the two limits below apply.
"""

MAX_QUEUED_BYTES: Final = 64_000_000
"""Compressed bytes of the closed batches of all collections."""

MAX_QUEUED_PER_COLLECTION: Final = 100
"""Closed batches of one collection: reading on serves the others, whose objects come later."""


class BatchQueue:
    """The batches of all collections.

    Attributes:
        open_batches: The open batch of each collection that has one, oldest first.
        outstanding: Collection to the number of objects that were added and are not delivered.
        closed_count: The number of closed batches that are not delivered.
    """

    def __init__(self, spool: Spool, *, max_file_bytes: int, max_parallel_sessions: int) -> None:
        self.open_batches: dict[str, Batch] = {}
        self.outstanding: Counter[str] = Counter()
        self.closed_count = 0
        self._closed_bytes = 0
        self._spool = spool
        self._max_file_bytes = max_file_bytes
        self._max_queued = QUEUED_BATCHES_PER_SESSION * max_parallel_sessions
        self._opened_at: dict[Batch, float] = {}  # of each batch not delivered, oldest first
        self._closed: dict[str, deque[Batch]] = {}  # the first may be under way
        self._runnable: deque[str] = deque()  # collections whose first closed batch nobody took

    @property
    def oldest_seconds(self) -> float | None:
        """The age of the oldest batch that is not delivered; None when all are."""
        return next((self.measure_age(batch) for batch in self._opened_at), None)

    def measure_age(self, batch: Batch) -> float:
        """Return the seconds since a batch was opened."""
        return time.monotonic() - self._opened_at[batch]

    def has_room(self, collection: str) -> bool:
        """Return whether one more batch of a collection may wait on disk."""
        return self.closed_count < self._max_queued or (
            self._closed_bytes < MAX_QUEUED_BYTES
            and len(self._closed.get(collection, ())) < MAX_QUEUED_PER_COLLECTION
        )

    def open_batch(self, collection: str) -> Batch:
        """Open the next batch of a collection that has none open."""
        batch = Batch(collection, self._spool, max_file_bytes=self._max_file_bytes)
        self.open_batches[collection] = batch
        self._opened_at[batch] = time.monotonic()
        return batch

    def close_batch(self, collection: str) -> bool:
        """Close a collection's open batch, and queue it behind its earlier ones.

        Returns:
            Whether `take_batch` has one more to return.

        Raises:
            SpoolError: The batch cannot be written.
        """
        batch = self.open_batches.pop(collection)
        batch.close()
        queue = self._closed.setdefault(collection, deque())
        queue.append(batch)
        self.closed_count += 1
        self._closed_bytes += batch.gzip_bytes
        if len(queue) > 1:
            return False
        self._runnable.append(collection)
        return True

    def take_batch(self) -> Batch | None:
        """Return a closed batch that can be delivered now; None if there is none."""
        return self._closed[self._runnable.popleft()][0] if self._runnable else None

    def remove_batch(self, batch: Batch) -> bool:
        """Forget a batch that is delivered; return whether `take_batch` has one more to return."""
        queue = self._closed[batch.collection]
        queue.popleft()
        del self._opened_at[batch]
        self.outstanding[batch.collection] -= batch.objects
        self.closed_count -= 1
        self._closed_bytes -= batch.gzip_bytes
        if not queue:
            del self._closed[batch.collection]
            return False
        self._runnable.append(batch.collection)
        return True
