"""What the messages of a run say of rows that are gone at the source.

Without a ledger, Segment has no way to find or delete such rows, and the log says so. With one, it
is noted; at the end of the input, the ledger decides.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from target_segment_objects.exceptions import InvalidRecordError
    from target_segment_objects.ledger.deletion_check import DeletionCheck
    from target_segment_objects.ledger.opening import OpenLedger
    from target_segment_objects.mapping.naming import CollectionResolver
    from target_segment_objects.reporting.stats import RunStats
    from target_segment_objects.run.output import MappedStream


class DeletionNotes:
    """Takes the messages of a run without a ledger, and notes nothing."""

    def __init__(self, log_warning: Callable[[str, str], None]) -> None:
        self._log_warning = log_warning

    def add_schema(self, mapped: MappedStream, config: Mapping[str, Any]) -> None:
        """Note a stream's mapping, at each SCHEMA; `config` has the stream maps.

        Raises:
            LedgerError: The ledger cannot be written.
        """

    def add_record_version(self, source: str, message: Mapping[str, Any]) -> None:
        """Note the version that a RECORD message names. Not all records need to be noted."""

    def add_activation(self, source: str, version: object) -> None:  # noqa: ARG002 - of the interface
        """Note an ACTIVATE_VERSION message: only with a ledger can it have an effect."""
        self._log_warning(
            source,
            f"Stream '{source}': the tap replaces all its rows by a new version, but Segment has "
            "no delete. Rows that are gone at the source stay in Segment. With a ledger "
            "(ledger_path), the target finds them, and can mark them as deleted.",
        )

    def add_state(self, state: object) -> None:
        """Note a STATE."""

    def add_reject(self, error: InvalidRecordError) -> None:
        """Note a record that a stream cannot send: its row is at the source."""

    def finish(self, *, ended_well: bool) -> None:
        """Find what is gone, and have it marked; called before the last objects are delivered.

        Args:
            ended_well: Whether the input was read to its end without a failure.

        Raises:
            DeletedLimitError: Too many objects are gone; none was marked.
            SegmentObjectsError: The ledger or delivery has failed.
        """


class LedgerDeletionNotes(DeletionNotes):
    """Notes the messages of a run with a ledger."""

    def __init__(
        self,
        ledger: OpenLedger,
        check: DeletionCheck,
        stats: RunStats,
        collections: CollectionResolver,
        log_warning: Callable[[str, str], None],
    ) -> None:
        super().__init__(log_warning)
        self._evidence = ledger.evidence
        self._missing = ledger.missing
        self._check = check
        self._stats = stats
        self._collections = collections

    def add_schema(self, mapped: MappedStream, config: Mapping[str, Any]) -> None:
        """Note the mapping, and record durably that the stream is read."""
        properties = sorted((each.name, each.type) for each in mapped.mapper.properties)
        settings, is_filtered = _read_stream_maps(mapped.source, config)
        self._evidence.add_schema(
            mapped.source,
            mapped.name,
            collection=mapped.mapper.collection,
            mapping=json.dumps([mapped.key_properties, properties, settings], default=str),
            is_filtered=is_filtered,
        )
        self._record_reading(mapped.name)

    def add_record_version(self, source: str, message: Mapping[str, Any]) -> None:
        """Note the version, and record it durably if it is a new one."""
        if "version" in message and self._evidence.add_version(source, message["version"]):
            self._record_readings(source)

    def add_activation(self, source: str, version: object) -> None:
        """Note the version, and what came before it."""
        self._evidence.add_version(source, version)
        self._evidence.add_activation(source, version, self._count_read())
        self._record_readings(source)

    def add_state(self, state: object) -> None:
        """Note the STATE, and how many records came before it."""
        self._evidence.add_state(state, self._stats.records_read)

    def add_reject(self, error: InvalidRecordError) -> None:
        """Note the object as one that the input has."""
        self._evidence.add_reject(error.stream, error.object_id)
        if error.object_id is not None:
            collection = self._collections.resolve(error.stream)
            self._missing.add_rejected(collection, error.object_id)

    def finish(self, *, ended_well: bool) -> None:
        """Have the ledger decide."""
        self._check.finish(self._evidence.summarize(self._count_read(), ended_well=ended_well))

    def _record_readings(self, source: str) -> None:
        for name in self._evidence.list_names(source):
            self._record_reading(name)

    def _record_reading(self, name: str) -> None:
        self._missing.readings.record(
            name,
            self._evidence.get_fingerprint(name),
            self._evidence.list_versions(name),
            is_partitioned=self._evidence.is_partitioned(name),
        )

    def _count_read(self) -> dict[str, int]:
        return {name: stream.read for name, stream in self._stats.streams.items()}


def _read_stream_maps(source: str, config: Mapping[str, Any]) -> tuple[dict[str, Any], bool]:
    """Return the settings of stream maps, and whether a stream is filtered by them."""
    if not config:  # of rows from Python, which are loaded without the SDK
        return {}, False
    from target_segment_objects.singer.stream_maps import (  # noqa: PLC0415 - imports the SDK
        STREAM_MAP_SETTINGS,
        has_filter,
    )

    settings = {name: config.get(name) for name in STREAM_MAP_SETTINGS}
    return settings, has_filter(config.get("stream_maps") or {}, source)
