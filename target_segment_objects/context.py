"""What the target and its sinks share during a run: settings, statistics, names, delivery."""

from __future__ import annotations

import functools
import shlex
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

from target_segment_objects.deleted_rows import DeletedRows, describe_options
from target_segment_objects.delivery.scheduler import DeliveryScheduler
from target_segment_objects.delivery.spool import Spool
from target_segment_objects.exceptions import RejectLimitError, SegmentObjectsError
from target_segment_objects.mapping.naming import CollectionResolver, shorten_name, to_path_name
from target_segment_objects.mapping.properties.collection import (
    CollectionProperties,
    PropertyMemory,
    SentProperty,
)
from target_segment_objects.mapping.schema import PropertyType
from target_segment_objects.mapping.stream_state import StreamState
from target_segment_objects.mapping.warehouse.warnings import describe_collection_count
from target_segment_objects.plurals import format_count
from target_segment_objects.reporting.log_handlers import escape_unprintable

if TYPE_CHECKING:
    import logging
    from collections.abc import Callable

    from target_segment_objects.delivery.interface import Delivery
    from target_segment_objects.delivery.uploader import SessionReport
    from target_segment_objects.ledger.stream_memory import StreamMemory
    from target_segment_objects.outlets import Outlets, RejectedRecord
    from target_segment_objects.reporting.stats import RunStats
    from target_segment_objects.settings import Settings


class RunContext:
    """The parts of one run.

    Attributes:
        settings: The settings.
        stats: What was read, sent and rejected so far.
        collections: Which stream goes to which collection.
        delivery: What delivers the objects.
        deleted_rows: What finds rows that are gone at the source, with a ledger.
    """

    def __init__(
        self,
        settings: Settings,
        outlets: Outlets,
        stats: RunStats,
        *,
        on_failure: Callable[[], None],
        logger: logging.Logger,
        accepts_deletes: bool = False,
        adopt_command: str = "",
    ) -> None:
        """Prepare a run; nothing is sent or written yet.

        Args:
            settings: The settings.
            outlets: Where the results go.
            stats: Takes the counts.
            on_failure: Called once when delivery fails, by the thread that met the failure.
            logger: The target's logger.
            accepts_deletes: Whether to mark more objects as deleted than the settings allow.
            adopt_command: The command that has a ledger adopt the write key.

        Raises:
            LedgerError: The ledger cannot be used.
        """
        self.settings = settings
        self.stats = stats
        self.collections = CollectionResolver(
            settings.collection_map, pluralize=settings.pluralize_collections, log=logger.info
        )
        self._stream_states: dict[str, StreamState] = {}
        self._properties: dict[str, CollectionProperties] = {}
        self._property_memory = PropertyMemory(
            type_changes=settings.type_changes,
            log_info=lambda stream, message: logger.getChild(stream).info("%s", message),
            log_warning=self.log_warning,
        )
        self._outlets = outlets
        self._has_failed_limit = False
        self._has_many_collections = False
        self._logger = logger
        self._spool = Spool(settings.spool_dir)
        self._close_ledger: Callable[[], object] = lambda: None
        self._stream_memory: StreamMemory | None = None
        self.deleted_rows = DeletedRows(stats, self.collections, self.log_warning)
        self._accepts_deletes = accepts_deletes
        self._adopt_command = adopt_command
        self.delivery = self._create_delivery(
            functools.partial(
                DeliveryScheduler,
                outlets.api,
                self._spool,
                write_state=outlets.write_state,
                on_failure=on_failure,
                options=settings.delivery,
            )
        )

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
        """Count a record that cannot be sent, and hand it to the outlet for it.

        Raises:
            InvalidRecordError: It ends the run.
            RejectLimitError: It is one too many.
        """
        stream = rejected.error.stream
        self.stats.count_rejected(stream, self.collections.resolve(stream))
        self._outlets.reject_record(rejected)
        if self._outlets.stops_at_reject_limit:
            self.check_reject_limit()

    def check_reject_limit(self, *, at_end: bool = False) -> None:
        """Fail, once, if more records were rejected than `max_invalid_records` allows.

        Args:
            at_end: Whether the input was read to its end.

        Raises:
            RejectLimitError: More records were rejected.
        """
        limit, stats = self.settings.reject_limit, self.stats
        if limit is None or self._has_failed_limit or not self._exceeds_reject_limit(at_end=at_end):
            return
        self._has_failed_limit = True
        msg = (
            f"{stats.records_rejected} of {format_count(stats.records_read, 'record')} are "
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
            self.deleted_rows.finish(ended_well=ended_well and is_within_limit)
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
        self._close_ledger()
        self._spool.close()
        self._outlets.close()

    def abort(self, reason: str) -> None:
        """Finish open sessions with an error, within seconds, and close what is open."""
        self.delivery.abort(reason)
        self.close()

    def _create_delivery(self, create: Callable[..., DeliveryScheduler]) -> Delivery:
        """Return delivery, with a ledger before it where the settings have one."""
        if self.settings.ledger_path is None:
            return create(on_session_finished=self._count_session)
        from target_segment_objects.ledger.opening import (  # noqa: PLC0415 - most runs have none
            LedgerOptions,
            open_ledger_stage,
        )

        use, settings = self._outlets.ledger, self.settings
        opened = open_ledger_stage(
            LedgerOptions(
                Path(self.settings.ledger_path),
                use.destination or settings.api_url,
                settings.write_key if use.checks_key else None,
                settings.resend_after_days,
                tuple(map(self._name_property, settings.ignored_properties)),
                describe_options(settings, accepts_deletes=self._accepts_deletes),
                adopt_command=self._adopt_command,
                copy=self._spool.new_path().with_suffix(".sqlite") if use.is_read_only else None,
            ),
            create,
            on_session_finished=self._count_session,
            on_unchanged=self.stats.count_unchanged,
            on_missing=self.stats.count_missing,
            on_cleared=self.stats.count_cleared,
            log_warning=self.log_warning,
        )
        self._stream_memory, self.deleted_rows.ledger = opened.memory, opened.deletions
        self._close_ledger = opened.stage.close
        self.stats.uses_ledger = True
        return opened.stage

    def _name_property(self, name: str) -> str:
        """Return the name in Segment that a property of a record gets unless another has it."""
        return shorten_name(to_path_name((name,)), self.settings.mapping.max_name_length)

    def _open_properties(self, collection: str) -> CollectionProperties:
        """Return the properties of a collection, with what the ledger remembers of them."""
        memory = self._property_memory
        if self._stream_memory is not None:
            memory = self._add_ledger(memory, self._stream_memory, collection)
        max_name_length = self.settings.mapping.max_name_length
        return CollectionProperties(collection, memory, max_name_length=max_name_length)

    def _add_ledger(
        self, memory: PropertyMemory, ledger: StreamMemory, collection: str
    ) -> PropertyMemory:
        """Return a memory that lasts for all runs with the ledger."""
        path = shlex.quote(self.settings.ledger_path or "")

        def save(prop: SentProperty) -> None:
            type_name = None if prop.type is None else prop.type.value
            ledger.save_property(
                prop.stream, collection, prop.path, name=prop.name, type_name=type_name
            )

        return msgspec.structs.replace(
            memory,
            known=[
                SentProperty(
                    prop.stream,
                    prop.path,
                    prop.name,
                    PropertyType(prop.type) if prop.type else None,
                )
                for prop in ledger.read_properties(collection)
            ],
            save=save,
            advice=(
                "If the column itself was changed or dropped, run `segment-objects-ledger forget "
                f"{path} {collection} --only types`."
            ),
        )

    def _count_session(self, report: SessionReport) -> None:
        self.stats.add_session(report)
        self._outlets.log_session(report)
