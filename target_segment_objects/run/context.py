"""What the target and its sinks share during a run: settings, statistics, names, delivery."""

from __future__ import annotations

import functools
from pathlib import Path
from typing import TYPE_CHECKING

from target_segment_objects.delivery.scheduler import DeliveryScheduler
from target_segment_objects.delivery.spool import Spool
from target_segment_objects.exceptions import RejectLimitError, SegmentObjectsError
from target_segment_objects.mapping.naming import CollectionResolver, shorten_name, to_path_name
from target_segment_objects.mapping.properties.collection import CollectionProperties
from target_segment_objects.mapping.properties.memory import PropertyMemory
from target_segment_objects.mapping.stream_state import StreamState
from target_segment_objects.mapping.warehouse.warnings import describe_collection_count
from target_segment_objects.plurals import format_count
from target_segment_objects.reporting.log_handlers import escape_unprintable
from target_segment_objects.run.deletion_notes import DeletionNotes, LedgerDeletionNotes

if TYPE_CHECKING:
    import logging
    from collections.abc import Callable

    from target_segment_objects.delivery.interface import Delivery
    from target_segment_objects.delivery.uploader import SessionReport
    from target_segment_objects.ledger.opening import OpenLedger
    from target_segment_objects.reporting.stats import RunStats
    from target_segment_objects.run.output import RejectedRecord, RunOutput
    from target_segment_objects.settings import Settings


class RunContext:
    """The parts of one run.

    Attributes:
        settings: The settings.
        stats: What was read, sent and rejected so far.
        collections: Which stream goes to which collection.
        delivery: What delivers the objects.
        deletion_notes: What messages say of rows that are gone at the source.

    Args:
        settings: The settings.
        output: Where the results go.
        stats: Takes the counts.
        on_failure: Called once when delivery fails, by the thread that met the failure.
        logger: The target's logger.

    Raises:
        LedgerError: The ledger cannot be used.
    """

    def __init__(
        self,
        settings: Settings,
        output: RunOutput,
        stats: RunStats,
        *,
        on_failure: Callable[[], None],
        logger: logging.Logger,
    ) -> None:
        self.settings = settings
        self.stats = stats
        self.collections = CollectionResolver(
            settings.collection_map, pluralize=settings.pluralize_collections, log=logger.info
        )
        self._stream_states: dict[str, StreamState] = {}
        self._properties: dict[str, CollectionProperties] = {}
        self._output = output
        self._has_failed_limit = False
        self._has_many_collections = False
        self._logger = logger
        self._spool = Spool(settings.spool_dir)
        self._ledger = self._open_ledger()
        self.deletion_notes = DeletionNotes(self.log_warning)
        self.delivery: Delivery
        self.delivery = scheduler = DeliveryScheduler(
            output.api,
            self._spool,
            write_state=output.write_state,
            journal=None if self._ledger is None else self._ledger.objects,
            on_session_finished=self._count_session,
            on_failure=on_failure,
            options=settings.delivery,
        )
        if self._ledger is not None:
            self.delivery, self.deletion_notes = self._add_ledger(self._ledger, scheduler)

    def get_stream_state(self, stream: str) -> StreamState:
        """Return what the mapping of a stream, named as after stream maps, remembers.

        Raises:
            UnmappableStreamError: The stream has no name in Segment, or another has the same.
            LedgerError: The ledger cannot be read.
        """
        if stream not in self._stream_states:
            log = functools.partial(self.log_warning, stream)
            collection = self.collections.resolve(stream)
            if collection not in self._properties:
                self._properties[collection] = self._open_properties(collection)
            self._stream_states[stream] = StreamState(stream, log, self._properties[collection])
        return self._stream_states[stream]

    def resolve_collection(self, stream: str) -> str:
        """Return the collection of a stream, named as after stream maps.

        Raises:
            UnmappableStreamError: The stream has no name in Segment, or another has the same.
        """
        collection = self.collections.resolve(stream)
        too_many = describe_collection_count(self.collections.count)
        if too_many and not self._has_many_collections:
            self._has_many_collections = True
            self.log_warning(stream, f"Stream '{stream}': {too_many}")
        return collection

    def log_warning(self, stream: str, message: str) -> None:
        """Log a warning about a stream once, and keep it with the stream's statistics."""
        warnings = self.stats.streams[stream].warnings
        if message not in warnings:
            warnings.append(message)
            self._logger.getChild(escape_unprintable(stream)).warning("%s", message)

    def reject_record(self, rejected: RejectedRecord) -> None:
        """Count a record that cannot be sent, and hand it to the output.

        Raises:
            InvalidRecordError: It ends the run.
            RejectLimitError: It is one too many.
        """
        stream = rejected.error.stream
        self.stats.count_rejected(stream, self.collections.resolve(stream))
        self._output.reject_record(rejected)
        if self._output.stops_at_reject_limit:
            self.check_reject_limit()

    def check_reject_limit(self, *, at_end: bool = False) -> None:
        """Fail, once, if more records were rejected than `max_invalid_records` allows.

        Raises:
            RejectLimitError: More records were rejected.
        """
        limit, stats = self.settings.reject_limit, self.stats
        if limit is None or self._has_failed_limit or not self._exceeds_reject_limit(at_end=at_end):
            return
        self._has_failed_limit = True
        verb = "is" if stats.records_rejected == 1 else "are"
        msg = (
            f"{stats.records_rejected} of {format_count(stats.records_read, 'record')} {verb} "
            f"invalid, more than max_invalid_records allows ({limit.setting}). Fix the cause at "
            "the source or in stream_maps, or raise the limit."
        )
        raise RejectLimitError(msg)

    def deliver_rest(self, *, ended_well: bool) -> None:
        """Find what is gone at the source, and deliver everything that was added.

        Args:
            ended_well: Whether the input was read to its end without a failure.

        Raises:
            SegmentObjectsError: The first failure, of delivery before others.
        """
        problem = None
        is_within_limit = not self._exceeds_reject_limit(at_end=True)
        try:
            self.deletion_notes.finish(ended_well=ended_well and is_within_limit)
        except SegmentObjectsError as error:
            problem = error
        self.delivery.drain()
        self.check_reject_limit(at_end=True)
        if problem is not None:
            raise problem

    def _exceeds_reject_limit(self, *, at_end: bool) -> bool:
        limit, stats = self.settings.reject_limit, self.stats
        rejected = stats.records_rejected
        return (
            limit is not None
            and rejected > 0
            and limit.is_exceeded(rejected, stats.records_read, at_end=at_end)
        )

    def close(self) -> None:
        """Close what is open, and remove the batch files."""
        if self._ledger is not None:
            self._ledger.objects.close()
        self._spool.close()
        self._output.close()

    def abort(self, reason: str) -> None:
        """Finish open sessions with an error, within seconds, and close what is open."""
        self.delivery.abort(reason)
        self.close()

    def _open_ledger(self) -> OpenLedger | None:
        settings, binding = self.settings, self._output.ledger
        if settings.ledger_path is None:
            return None
        # Not at the start: most runs have no ledger.
        from target_segment_objects.ledger.deletion_rules import DeletionOptions  # noqa: PLC0415
        from target_segment_objects.ledger.file import Destination  # noqa: PLC0415
        from target_segment_objects.ledger.opening import open_ledger  # noqa: PLC0415

        self.stats.uses_ledger = True
        return open_ledger(
            Path(settings.ledger_path),
            Destination(
                binding.destination or settings.api_url,
                settings.write_key if binding.checks_key else None,
                binding.adopt_command,
            ),
            resend_after_days=settings.resend_after_days,
            ignored_properties=tuple(map(self._name_property, settings.ignored_properties)),
            deletions=DeletionOptions(
                settings.deleted_records,
                settings.full_table_streams,
                settings.deleted_after_runs,
                settings.deleted_hours_between_runs,
                settings.deleted_limit_percent,
                accept_deletes=binding.accept_deletes,
            ),
            copy=self._spool.new_path().with_suffix(".sqlite") if binding.is_read_only else None,
        )

    def _add_ledger(
        self, ledger: OpenLedger, scheduler: DeliveryScheduler
    ) -> tuple[Delivery, DeletionNotes]:
        """Return delivery with the ledger before it, and what notes the messages for it."""
        stats = self.stats
        stage, check = ledger.open_stage(
            scheduler,
            on_unchanged=stats.count_unchanged,
            on_missing=stats.count_missing,
            on_cleared=stats.count_cleared,
            log_warning=self.log_warning,
        )
        notes = LedgerDeletionNotes(ledger, check, stats, self.collections, self.log_warning)
        return stage, notes

    def _name_property(self, name: str) -> str:
        """Return the name in Segment that a property of a record gets unless another has it."""
        return shorten_name(to_path_name((name,)), self.settings.mapping.max_name_length)

    def _open_properties(self, collection: str) -> CollectionProperties:
        """Return the properties of a collection, with what the ledger remembers of them."""
        return CollectionProperties(
            collection,
            PropertyMemory() if self._ledger is None else self._ledger.memory,
            type_changes=self.settings.type_changes,
            log_info=lambda stream, message: self._logger.getChild(stream).info("%s", message),
            log_warning=self.log_warning,
            max_name_length=self.settings.mapping.max_name_length,
        )

    def _count_session(self, report: SessionReport) -> None:
        self.stats.add_session(report)
        self._output.log_session(report)
