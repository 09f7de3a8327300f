"""What the messages of a run say of rows that are gone at the source.

With a ledger, it is noted there; at the end of the input, the ledger decides. Without one, Segment
has no way to find or delete such rows, and the log says so.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from target_segment_objects.singer.stream_maps import STREAM_MAP_SETTINGS, has_filter

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from target_segment_objects.exceptions import InvalidRecordError
    from target_segment_objects.ledger.deletion_check import DeletionOptions, RunDeletions
    from target_segment_objects.mapping.naming import CollectionResolver
    from target_segment_objects.outlets import MappedStream
    from target_segment_objects.reporting.stats import RunStats
    from target_segment_objects.settings import Settings


class DeletedRows:
    """Notes the messages of a run.

    Attributes:
        ledger: What decides; None without a ledger.
    """

    def __init__(
        self,
        stats: RunStats,
        collections: CollectionResolver,
        log_warning: Callable[[str, str], None],
    ) -> None:
        """Begin without a message and without a ledger.

        Args:
            stats: Has the number of records read.
            collections: Which stream goes to which collection.
            log_warning: Logs a warning about a stream, once.
        """
        self.ledger: RunDeletions | None = None
        self._stats = stats
        self._collections = collections
        self._log_warning = log_warning

    def add_schema(self, mapped: MappedStream, config: Mapping[str, Any]) -> None:
        """Note a stream's mapping, at each SCHEMA.

        Args:
            mapped: The stream and its mapping.
            config: The configuration, which has the stream maps.
        """
        if self.ledger is None:
            return
        properties = sorted((each.name, each.type) for each in mapped.mapper.properties)
        settings = {name: config.get(name) for name in STREAM_MAP_SETTINGS}
        self.ledger.add_schema(
            source=mapped.source,
            name=mapped.name,
            collection=mapped.mapper.collection,
            mapping=json.dumps([mapped.key_properties, properties, settings], default=str),
            is_filtered=has_filter(config.get("stream_maps") or {}, mapped.source),
        )

    def add_record_version(self, source: str, message: Mapping[str, Any]) -> None:
        """Note the version that a RECORD message names."""
        if self.ledger is not None and "version" in message:
            self.ledger.add_record_version(source, message["version"])

    def add_activation(self, source: str, version: object) -> None:
        """Note an ACTIVATE_VERSION message: only with a ledger can it have an effect."""
        if self.ledger is not None:
            self.ledger.add_activation(source, version, self._count_read())
            return
        self._log_warning(
            source,
            f"Stream '{source}': the tap replaces all its rows by a new version, but Segment has "
            "no delete. Rows that are gone at the source stay in Segment. With a ledger "
            "(ledger_path), the target finds them, and can mark them as deleted.",
        )

    def add_state(self, state: object) -> None:
        """Note a STATE."""
        if self.ledger is not None:
            self.ledger.add_state(state, self._stats.records_read)

    def add_reject(self, error: InvalidRecordError) -> None:
        """Note a record that a stream cannot send: its row is at the source."""
        if self.ledger is not None:
            collection = self._collections.resolve(error.stream)
            self.ledger.add_reject(error.stream, collection, error.object_id)

    def finish(self, *, ended_well: bool) -> None:
        """Find what is gone, and have it marked; called before the last objects are delivered.

        Args:
            ended_well: Whether the input was read to its end without a failure.

        Raises:
            DeletedLimitError: Too many objects are gone; none was marked.
            SegmentObjectsError: The ledger or delivery has failed.
        """
        if self.ledger is not None:
            self.ledger.finish(self._count_read(), ended_well=ended_well)

    def _count_read(self) -> dict[str, int]:
        return {name: stream.read for name, stream in self._stats.streams.items()}


def describe_options(settings: Settings, *, accepts_deletes: bool) -> DeletionOptions:
    """Return the user's settings for rows that are gone.

    Args:
        settings: The settings of the run.
        accepts_deletes: Whether the run may mark more objects than the settings allow.
    """
    # Not at the start: most runs have no ledger.
    from target_segment_objects.ledger.deletion_check import DeletionOptions  # noqa: PLC0415

    return DeletionOptions(
        settings.deleted_records,
        settings.full_table_streams,
        settings.deleted_after_runs,
        settings.deleted_hours_between_runs,
        settings.deleted_limit_percent,
        accepts_deletes=accepts_deletes,
    )
