"""What a run does about rows that are gone at the source, at its end: decide, report, mark."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

from target_segment_objects.exceptions import DeletedLimitError
from target_segment_objects.ledger.deletion_rules import IGNORE, MARK, exceeds_limit
from target_segment_objects.ledger.file import format_now
from target_segment_objects.plurals import format_count

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from target_segment_objects.ledger.deletion_rules import DeletionOptions, RunReading
    from target_segment_objects.ledger.missing_objects import MissingCounts, MissingObjectTable
    from target_segment_objects.ledger.stage import LedgerStage

logger = logging.getLogger(__name__)


class DeletionCheck:
    """Counts what is gone, and has it marked.

    Args:
        missing: The missing objects of the ledger.
        options: The user's settings.
        stage: Adds the marks to delivery.
        on_missing: Takes a collection, and how many of its objects are missing and marked.
        on_cleared: Takes a collection, and of how many rejected rows the mark is cleared.
    """

    def __init__(
        self,
        missing: MissingObjectTable,
        options: DeletionOptions,
        stage: LedgerStage,
        *,
        on_missing: Callable[[str, int, int | None], None],
        on_cleared: Callable[[str, int], None],
    ) -> None:
        self._missing = missing
        self._options = options
        self._stage = stage
        self._on_missing = on_missing
        self._on_cleared = on_cleared
        self._now = format_now()  # the time of the run, as it is sent

    def finish(self, run: RunReading) -> None:
        """Count what is gone, and add the marks to delivery.

        Raises:
            DeletedLimitError: Too many objects are gone; none was marked.
            SegmentObjectsError: The ledger or delivery has failed.
        """
        self._stage.flush()  # now, all objects of the input are seen
        for collection, marks in self._missing.take_rejected().items():
            self._stage.add_marks(collection, marks)
            self._on_cleared(collection, len(marks))
        if self._options.deleted_records == IGNORE:
            return
        doubts, counts = self._missing.count(run, self._now)
        self._log_doubts(doubts)
        too_many = self._find_too_many(counts)
        for collection, count in counts.items():
            marked = None
            if self._options.deleted_records == MARK:
                marked = 0 if too_many else self._mark_collection(collection)
            self._on_missing(collection, count.missing, marked)
        if too_many:
            raise DeletedLimitError(too_many)

    def _mark_collection(self, collection: str) -> int:
        self._missing.record_marks(collection, self._now)
        marked = 0
        for marks in self._missing.list_marks(collection):
            self._stage.add_marks(collection, marks)
            marked += len(marks)
        return marked

    def _find_too_many(self, counts: Mapping[str, MissingCounts]) -> str | None:
        """Return what to say when too many objects are gone; None when all may be marked."""
        options = self._options
        if options.deleted_records != MARK or options.accept_deletes:
            return None
        for collection, count in counts.items():
            if exceeds_limit(
                count.due,
                count.known,
                options.limit_percent,
                of_empty_streams=count.due_of_empty,
            ):
                reason = (
                    "and no record came of a stream that had some"
                    if count.due_of_empty
                    else f"more than deleted_limit_percent allows ({options.limit_percent:g})"
                )
                return (
                    f"{count.due:,} of {format_count(count.known, 'object')} of collection "
                    f"{collection} are gone at the source, {reason}. This run marks no object. "
                    "Check the source, the tap and its permissions. If the rows were deleted, run "
                    "once with --accept-deletes."
                )
        return None

    def _log_doubts(self, doubts: Mapping[str, str | None]) -> None:
        """Log why streams were not judged: for those of a user who asked for it, visibly."""
        level = logging.INFO if self._options.deleted_records == MARK else logging.DEBUG
        for name, doubt in sorted(doubts.items()):
            if doubt is not None:
                logger.log(level, "Stream '%s' is not checked for deleted rows: %s.", name, doubt)
