"""What a run does about rows that are gone at the source: collect, decide, report, mark."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, Protocol

from target_segment_objects.exceptions import DeletedLimitError
from target_segment_objects.ledger.deletion_evidence import InputEvidence, StreamShape
from target_segment_objects.ledger.deletion_rules import exceeds_limit
from target_segment_objects.plurals import format_count

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from target_segment_objects.ledger.deletion_rules import Verdict
    from target_segment_objects.ledger.marks import Mark
    from target_segment_objects.ledger.missing_objects import MissingCounts, MissingObjects

IGNORE: Final = "ignore"
MARK: Final = "mark"

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class DeletionOptions:
    """The user's settings for rows that are gone.

    Attributes:
        deleted_records: "ignore", "report" or "mark".
        full_table_streams: Streams of which each run reads the whole table.
        after_runs: Complete runs in a row that must miss an object before it is marked.
        hours_between_runs: Hours between two of them, from start to start, if both are to count.
        limit_percent: The part of a collection that a run may mark.
        accepts_deletes: Whether this run may mark more.
    """

    deleted_records: str = "report"
    full_table_streams: tuple[str, ...] = ()
    after_runs: int = 2
    hours_between_runs: float = 4
    limit_percent: float = 10
    accepts_deletes: bool = False


class MarkingStage(Protocol):
    """What passes objects on to delivery."""

    def flush(self) -> None:
        """Look up and pass on everything that was added."""

    def add_marks(self, collection: str, marks: Sequence[Mark]) -> None:
        """Add objects that mark others as deleted, or clear their marks."""


class RunDeletions:
    """Follows the messages of a run; at the end, counts what is gone, and has it marked."""

    def __init__(
        self,
        missing: MissingObjects,
        options: DeletionOptions,
        *,
        now: str,
        stage: MarkingStage,
        on_missing: Callable[[str, int, int | None], None],
        on_cleared: Callable[[str, int], None],
    ) -> None:
        """Begin with no message.

        Args:
            missing: The missing objects of the ledger.
            options: The user's settings.
            now: The time of the run, as it is sent.
            stage: Adds the marks to delivery.
            on_missing: Takes a collection, and how many of its objects are missing and marked.
            on_cleared: Takes a collection, and of how many rejected rows the mark is cleared.
        """
        self._missing = missing
        self._options = options
        self._now = now
        self._stage = stage
        self._on_missing = on_missing
        self._on_cleared = on_cleared
        self._evidence = InputEvidence(options.full_table_streams)
        self._fingerprints: dict[str, bytes] = {}

    # Messages

    def add_schema(
        self, *, source: str, name: str, collection: str, mapping: str, is_filtered: bool
    ) -> None:
        """Note a SCHEMA message, once for each stream that stream maps make of it.

        Args:
            source: The stream, as the tap names it.
            name: Its name after stream maps.
            collection: The collection of its objects.
            mapping: What its ids and properties depend on: names, types, key and settings.
            is_filtered: Whether a stream map filters it.

        Raises:
            LedgerError: The ledger cannot be written.
        """
        shape = StreamShape(source, name, collection, mapping, is_filtered)
        self._fingerprints[name] = self._evidence.add_schema(shape)
        self._record_reading(name)

    def add_record_version(self, source: str, version: object) -> None:
        """Note the version of a RECORD message. Not all records need to be noted."""
        if self._evidence.add_version(source, version):
            for name in self._evidence.names_of(source):
                self._record_reading(name)

    def add_activation(
        self, source: str, version: object, records_before: Mapping[str, int]
    ) -> None:
        """Note an ACTIVATE_VERSION message.

        Args:
            source: The stream, as the tap names it.
            version: Its version.
            records_before: Records of each stream that came before it, as the tap names it.
        """
        self._evidence.add_version(source, version)
        self._evidence.add_activation(source, version, records_before)
        for name in self._evidence.names_of(source):
            self._record_reading(name)

    def add_state(self, state: object, records_read: int) -> None:
        """Note a STATE, and how many records came before it."""
        self._evidence.add_state(state, records_read)

    def add_reject(self, stream: str, collection: str, object_id: str | None) -> None:
        """Note a record that cannot be sent: its row is at the source."""
        self._evidence.add_reject(stream, object_id)
        if object_id is not None:
            self._missing.add_seen_id(collection, object_id)

    # The end of the input

    def finish(self, records: Mapping[str, int], *, ended_well: bool) -> None:
        """Count what is gone, and add the marks to delivery.

        Args:
            records: Records that came of each stream, as the tap names it.
            ended_well: Whether the input was read to its end without a failure.

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
        run = self._evidence.summarize(records, ended_well=ended_well)
        verdicts, counts = self._missing.count(run, self._now)
        self._log_doubts(verdicts)
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
        if options.deleted_records != MARK or options.accepts_deletes:
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

    def _log_doubts(self, verdicts: Mapping[str, Verdict]) -> None:
        """Log why streams were not judged: for those of a user who asked for it, visibly."""
        level = logging.INFO if self._options.deleted_records == MARK else logging.DEBUG
        for name, verdict in sorted(verdicts.items()):
            if verdict.reason is not None:
                logger.log(
                    level, "Stream '%s' is not checked for deleted rows: %s.", name, verdict.reason
                )

    def _record_reading(self, name: str) -> None:
        self._missing.record_reading(
            name,
            self._fingerprints[name],
            self._evidence.versions_of(name),
            is_partitioned=self._evidence.is_partitioned(name),
        )
