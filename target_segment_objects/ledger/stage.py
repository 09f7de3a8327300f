"""The stage between the sinks and delivery: forwards what is new or changed.

Objects and STATEs wait in a buffer, in the order in which they arrived, until it is full or a
second old. Then the ledger is asked for all of them at once, and what is not skipped goes on in
that order. So neither an object nor a STATE overtakes another, and a STATE still covers only what
Segment has accepted: a skipped object equals one that it has accepted before.

Batches are made of what is forwarded, so a night with few changes needs few sessions.

The rule for others: `open_stream`, what it returns, `add_state` and `drain` are called by one
thread. `abort` takes no lock.
"""

from __future__ import annotations

import logging
import threading
from collections import Counter
from contextlib import suppress
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Final

from target_segment_objects.exceptions import (
    DeliveryAbortedError,
    LedgerError,
    SegmentObjectsError,
)
from target_segment_objects.ledger.buffer import BufferedStream, LedgerBuffer
from target_segment_objects.ledger.digests import compile_digest, read_ids
from target_segment_objects.ledger.marks import clear_mark
from target_segment_objects.ledger.rewritten import describe_rewritten

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Sequence

    from target_segment_objects.delivery.interface import DeliveryStatus, StreamInfo
    from target_segment_objects.delivery.scheduler import DeliveryScheduler
    from target_segment_objects.ledger.buffer import Section
    from target_segment_objects.ledger.marks import Mark
    from target_segment_objects.ledger.missing_objects import MissingObjectTable
    from target_segment_objects.ledger.object_table import ObjectTable

_MAX_AGE_SECONDS: Final = 1.0
_FOLD_ROWS: Final = 100_000
"""Pending objects from which on a pause of the tap is used to fold them."""

logger = logging.getLogger(__name__)


class LedgerStage:
    """Delivery of what the ledger does not know to be in Segment already.

    Args:
        delivery: Delivers what is new or changed; its journal is `objects`.
        objects: The ledger's objects.
        missing: Those of them that are gone at the source.
        ignored_properties: The names, as they are sent, of properties that do not count.
        on_unchanged: Takes a collection and the number of objects that were skipped.
        log_warning: Logs a warning about a stream.
    """

    def __init__(
        self,
        delivery: DeliveryScheduler,
        objects: ObjectTable,
        missing: MissingObjectTable,
        *,
        ignored_properties: Collection[str],
        on_unchanged: Callable[[str, int], None],
        log_warning: Callable[[str, str], None],
    ) -> None:
        self._delivery = delivery
        self._objects = objects
        self._missing = missing
        self._ignored = frozenset(ignored_properties)
        self._on_unchanged = on_unchanged
        self._log_warning = log_warning
        self._streams: dict[int, StreamInfo] = {}
        self._buffer = LedgerBuffer()
        self._flush_lock = threading.Lock()  # of the thread that forwards; may be held for long
        self._failure: SegmentObjectsError | None = None
        self._age_thread: threading.Thread | None = None
        self._closed = threading.Event()

    def open_stream(self, stream: StreamInfo) -> Callable[[Sequence[bytes]], None]:
        """Return what adds the JSON of some of the stream's objects, in order; at each SCHEMA."""
        ignored = self._ignored.intersection(name for name, _ in stream.properties)
        opened = BufferedStream(
            self._objects.register_stream(stream),
            stream.collection,
            compile_digest(ignored),
            self._delivery.open_stream(stream),
        )
        self._streams[opened.number] = stream
        add_lines = self._buffer.add_lines

        def add_objects(lines: Sequence[bytes]) -> None:
            if self._age_thread is None:
                self._start_age_thread()
            if add_lines(opened, lines):
                self.flush()

        return add_objects

    def add_state(self, state: Any) -> None:  # noqa: ANN401 - STATE is any JSON
        """Add a STATE's value, which covers every object added so far."""
        if self._buffer.add_state(state):
            return
        with self._flush_lock:  # what has left the buffer is forwarded first
            self._raise_failure()
            self._delivery.add_state(state)

    def get_status(self) -> DeliveryStatus:
        """Return a snapshot; may be called from any thread, at any time."""
        status = self._delivery.get_status()
        return replace(status, outstanding=self._buffer.count_lines() + Counter(status.outstanding))

    def drain(self) -> None:
        """Deliver everything that was added, stop, and bring the ledger up to date.

        Raises:
            SegmentObjectsError: The first failure; what else was under way has been finished.
        """
        self._closed.set()
        if self._age_thread is not None:
            self._age_thread.join()
        failure: SegmentObjectsError | None = None
        with suppress(SegmentObjectsError):  # delivery raises it again
            self.flush()
        try:
            self._delivery.drain()
        except SegmentObjectsError as error:
            failure = error
        try:
            self._warn_rewritten()
            self._objects.end(is_complete=failure is None)
            self._missing.forget_returned()
        except LedgerError as error:
            failure = failure or error
        if failure is not None:
            raise failure

    def add_marks(self, collection: str, marks: Sequence[Mark]) -> None:
        """Add objects that mark others as deleted, or clear their marks, after all others.

        Raises:
            SegmentObjectsError: The ledger or delivery has failed; delivery knows of it.
        """
        self.flush()
        with self._flush_lock:
            try:
                changed = self._objects.record_chunk(
                    collection,
                    [mark.id for mark in marks],
                    [mark.digest for mark in marks],
                    [mark.stream for mark in marks],
                )
                # What was recorded, and nothing else.
                self._delivery.add_objects(
                    collection, [marks[position].line for position in changed]
                )
            except SegmentObjectsError as failure:
                self._fail(failure)
                raise

    def abort(self, reason: str) -> None:
        """Finish every open session with an error, and leave the rest; takes seconds at most."""
        self._closed.set()
        self._delivery.abort(reason)

    # Forwarding

    def _start_age_thread(self) -> None:
        self._age_thread = threading.Thread(target=self._watch_age, name="ledger-age", daemon=True)
        self._age_thread.start()

    def _watch_age(self) -> None:
        """Forward what waits, once a second, even while the tap is silent."""
        while not self._closed.wait(_MAX_AGE_SECONDS):
            try:
                self.flush()
                self._fold_in_pause()
            except SegmentObjectsError:
                return  # delivery knows
            except Exception as bug:  # the objects would wait for ever
                logger.critical("Unexpected error in the ledger.", exc_info=True)
                self._fail(DeliveryAbortedError(f"Delivery was stopped by {bug!r}"))
                return

    def flush(self) -> None:
        """Forward what is in the buffer.

        Raises:
            SegmentObjectsError: The ledger or delivery has failed; delivery knows of it.
        """
        with self._flush_lock:
            self._raise_failure()
            try:
                self._forward(self._buffer.take())
            except SegmentObjectsError as failure:
                self._fail(failure)
                raise

    def _warn_rewritten(self) -> None:
        """Warn of streams of which nearly all known objects have changed."""
        for number, changed, known in self._objects.find_rewritten():
            stream = self._streams[number]
            warning = describe_rewritten(
                stream,
                changed,
                known,
                ignored=self._ignored,
                has_new_mapping=self._missing.readings.has_new_mapping(stream.name),
            )
            self._log_warning(stream.name, warning)

    def _fold_in_pause(self) -> None:
        """Fold during the run when much has been sent, and nothing is under way."""
        with self._flush_lock:
            if self._objects.pending_count >= _FOLD_ROWS and self._objects.is_settled:
                self._objects.fold_pending()

    # Under the flush lock

    def _forward(self, sections: list[Section]) -> None:
        groups: dict[str, list[Section]] = {}
        for section in sections:
            groups.setdefault(section.stream.collection, []).append(section)
        for collection, group in groups.items():
            self._skip_unchanged(collection, group)
        for section in sections:
            self._buffer.release(section.stream.collection, len(section.lines))
            section.stream.forward(section.lines)
            for state in section.states:
                self._delivery.add_state(state)

    def _skip_unchanged(self, collection: str, sections: list[Section]) -> None:
        """Remove from a collection's sections what Segment has already."""
        lines: list[bytes] = []
        digests: list[bytes] = []
        streams: list[int] = []
        for section in sections:
            lines += section.lines
            digests += map(section.stream.digest_line, section.lines)
            streams += [section.stream.number] * len(section.lines)
        ids = read_ids(lines)
        changed = self._objects.record_chunk(collection, ids, digests, streams)
        returned = self._missing.take_returned(collection, [ids[each] for each in changed])
        for position in changed if returned else ():
            if ids[position] in returned:
                lines[position] = clear_mark(lines[position])
        unchanged = len(lines) - len(changed)
        if not unchanged and not returned:
            return
        start, positions = 0, iter(changed)
        next_changed = next(positions, None)
        for section in sections:
            end = start + len(section.lines)
            section.lines = []
            while next_changed is not None and next_changed < end:
                section.lines.append(lines[next_changed])
                next_changed = next(positions, None)
            start = end
        self._buffer.release(collection, unchanged)
        self._on_unchanged(collection, unchanged)

    # Failure

    def _fail(self, failure: SegmentObjectsError) -> None:
        """End delivery; nothing is forwarded any more, no STATE either."""
        self._failure = self._failure or failure
        self._delivery.fail(failure)

    def _raise_failure(self) -> None:
        if self._failure is not None:
            raise self._failure
