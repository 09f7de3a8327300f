"""Collects what the messages of a run show of how its streams were read. No I/O.

Messages name a stream as the tap does; stream maps make one or several streams of it, which have
their own names. What is collected is for the latter.
"""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from xxhash import xxh3_64_digest

from target_segment_objects.ledger.deletion_rules import Activation, RunReading, StreamReading
from target_segment_objects.ledger.parent_streams import ParentSearch

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping


@dataclass(slots=True)
class _Source:
    """What was read of a stream of the tap."""

    versions: set[Any] = field(default_factory=set)
    activations: list[Activation] = field(default_factory=list)


@dataclass(slots=True)
class _Stream:
    """What was read of a stream after stream maps."""

    collection: str
    sources: set[str] = field(default_factory=set)
    mappings: set[str] = field(default_factory=set)
    is_filtered: bool = False
    has_lost_ids: bool = False


class InputEvidence:
    """The evidence of one run.

    Args:
        full_table_streams: The setting of this name: names as the tap or stream maps have them.
    """

    def __init__(self, full_table_streams: Collection[str]) -> None:
        self._listed = frozenset(full_table_streams)
        self._sources: defaultdict[str, _Source] = defaultdict(_Source)
        self._streams: dict[str, _Stream] = {}
        self._parents = ParentSearch()
        self._state: Any = None
        self._read_at_state: int | None = None

    def add_schema(
        self, source: str, name: str, *, collection: str, mapping: str, is_filtered: bool
    ) -> None:
        """Note a SCHEMA message, once for each stream that stream maps make of it.

        Args:
            source: The stream, as the tap names it.
            name: Its name after stream maps.
            collection: The collection of its objects.
            mapping: What its ids and properties depend on: names, types, key and settings.
            is_filtered: Whether a stream map filters it.
        """
        self._read_at_state = None  # the tap has begun a stream: what it read of it is not known
        self._parents.add_schema(source)
        stream = self._streams.setdefault(name, _Stream(collection))
        stream.sources.add(source)
        stream.mappings.add(mapping)
        stream.is_filtered = stream.is_filtered or is_filtered

    def add_version(self, source: str, version: object) -> bool:
        """Note the version that a message names; return whether it is a new one of the run.

        What is not an integer is none.
        """
        if not isinstance(version, int) or version in self._sources[source].versions:
            return False
        self._sources[source].versions.add(version)
        return True

    def add_activation(
        self, source: str, version: object, records_before: Mapping[str, int]
    ) -> None:
        """Note an ACTIVATE_VERSION message, and how many records of each stream came before it."""
        self._read_at_state = None
        if isinstance(version, int):
            before = records_before.get(source, 0)
            self._sources[source].activations.append(Activation(version, before))
            self._parents.add_activation(source, records_before)

    def add_reject(self, stream: str, object_id: str | None) -> None:
        """Note a record that cannot be sent."""
        if object_id is None and stream in self._streams:
            self._streams[stream].has_lost_ids = True

    def add_state(self, state: object, records_read: int) -> None:
        """Note a STATE, and how many records of all streams came before it."""
        self._state, self._read_at_state = state, records_read
        self._parents.add_state(state)

    def list_names(self, source: str) -> list[str]:
        """Return the streams that stream maps make of a stream of the tap."""
        return [name for name, stream in self._streams.items() if source in stream.sources]

    def list_versions(self, name: str) -> list[Any]:
        """Return the versions that messages have named of a stream, in order."""
        sources = self._streams[name].sources
        return sorted({version for each in sources for version in self._sources[each].versions})

    def get_fingerprint(self, name: str) -> bytes:
        """Return the fingerprint of a stream's mapping so far."""
        return _fingerprint(self._streams[name])

    def is_partitioned(self, name: str) -> bool:
        """Return whether a stream is perhaps read in parts: a version was activated repeatedly.

        At the first run, taps of Singer and PipelineWise do that, too.
        """
        return any(
            len(self._sources[source].activations) > 1 for source in self._streams[name].sources
        )

    def summarize(self, records: Mapping[str, int], *, ended_well: bool) -> RunReading:
        """Return how the run has read its input; `records` are those of each stream of the tap."""
        partitioned = _find_partitioned(self._state)
        return RunReading(
            {
                name: self._summarize_stream(name, stream, records, partitioned)
                for name, stream in self._streams.items()
            },
            ended_well=ended_well,
            ends_with_state=self._read_at_state == sum(records.values()),
        )

    def _summarize_stream(
        self, name: str, stream: _Stream, records: Mapping[str, int], partitioned: set[str]
    ) -> StreamReading:
        source = min(stream.sources)
        read = self._sources[source]
        return StreamReading(
            collection=stream.collection,
            fingerprint=_fingerprint(stream),
            records=records.get(source, 0),
            versions=frozenset(read.versions),
            activations=tuple(read.activations),
            is_filtered=stream.is_filtered,
            is_merged=len(stream.sources) > 1,
            has_lost_ids=stream.has_lost_ids,
            is_partitioned=source in partitioned,
            parent=self._parents.find_parent(source, records),
            is_listed=not self._listed.isdisjoint({name, source}),
        )


def _fingerprint(stream: _Stream) -> bytes:
    return xxh3_64_digest("\n".join(sorted(stream.mappings)).encode())


def _find_partitioned(state: object) -> set[str]:
    """Return the streams that a STATE of the SDK has partitions of."""
    bookmarks = state.get("bookmarks") if isinstance(state, dict) else None
    if not isinstance(bookmarks, dict):
        return set()
    return {
        str(name)
        for name, bookmark in bookmarks.items()
        if isinstance(bookmark, dict) and bookmark.get("partitions")
    }
