"""Which rows are gone at the source: the decision alone, without I/O or a clock.

A run that did not see an object shows nothing by itself: most runs read a part of a table. Taps say
that a table was read completely in different ways, and some messages of partial reads look alike.
So a stream is judged only when the run shows that all of its rows came:

1. The run ended well, and its input ends with a STATE: no SCHEMA, version or record comes after it.
   A pipe does not say that a tap died.
2. The stream, its key and its stream maps are those of its last run.
3. No stream map filters it or merges it with another, and no rejected record lacks an id.
4. No message names a version that an earlier run had: an incremental stream repeats its version,
   and so does a tap that resumes an interrupted table.
5. The tap activated a version once: after the records, as the taps of Singer and PipelineWise do,
   or before them, as the SDK's taps do. These do so for each partition and each parent, too; a
   stream that was ever read in partitions, or that was read in the course of another stream, is not
   judged by that. A version between the records shows nothing. Or: the user states in
   `full_table_streams` that each run reads the whole table, and a record of it came. A SCHEMA alone
   does not say that the tap has read the table.
6. All other streams of the collection are judged, too: an object may be theirs.

An object is gone when `deleted_after_runs` judged runs in a row did not see it. Any other run of
its stream, and any run that sees it, starts the count again. A run that comes too soon after the
last one that counted may be a retry: it is not counted, and does not start the count again.

A table that was read as empty may have been emptied, or the tap may have lost the permission to
read it. Only the user knows: `exceeds_limit` refuses to mark even one of its objects.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping

IGNORE: Final = "ignore"
MARK: Final = "mark"

UNGUARDED_MARKS: Final = 100
"""So many objects may be marked without a look at `deleted_limit_percent`."""

KEPT_VERSIONS: Final = 20
"""Of each stream. A tap resumes the newest; more are kept for a STATE that was set back."""


_OLD_VERSION: Final = (
    "its version is that of an earlier run: it is incremental or log-based, or resumes an "
    "interrupted table"
)


@dataclass(frozen=True, slots=True)
class DeletionOptions:
    """The user's settings for rows that are gone.

    Attributes:
        deleted_records: "ignore", "report" or "mark".
        full_table_streams: Streams of which each run reads the whole table.
        after_runs: Complete runs in a row that must miss an object before it is marked.
        hours_between_runs: Hours between two of them, from start to start, if both are to count.
        limit_percent: The part of a collection that a run may mark.
        accept_deletes: Whether this run may mark more.
    """

    deleted_records: str = "report"
    full_table_streams: tuple[str, ...] = ()
    after_runs: int = 2
    hours_between_runs: float = 4
    limit_percent: float = 10
    accept_deletes: bool = False


@dataclass(frozen=True, slots=True)
class Activation:
    """An ACTIVATE_VERSION message.

    Attributes:
        version: The version.
        records_before: Records of the stream that came before it in this run.
    """

    version: int
    records_before: int


@dataclass(frozen=True, slots=True)
class StreamReading:
    """How a run has read a stream, named as after stream maps.

    Attributes:
        collection: The collection of its objects.
        fingerprint: Of its schema, its key and its stream maps.
        records: Records that came.
        versions: All versions that its messages have named, those of records included.
        activations: Its ACTIVATE_VERSION messages.
        is_filtered: Whether a stream map filters it.
        is_merged: Whether stream maps make it of several streams.
        has_lost_ids: Whether a record was rejected whose id is not known.
        is_partitioned: Whether the last STATE has partitions of it.
        parent: A stream of the tap in whose course it was perhaps read; None if there is none.
        is_listed: Whether `full_table_streams` has it.
    """

    collection: str
    fingerprint: bytes
    records: int = 0
    versions: frozenset[Any] = frozenset()
    activations: tuple[Activation, ...] = ()
    is_filtered: bool = False
    is_merged: bool = False
    has_lost_ids: bool = False
    is_partitioned: bool = False
    parent: str | None = None
    is_listed: bool = False


@dataclass(frozen=True, slots=True)
class StreamHistory:
    """What earlier runs have left of a stream.

    Attributes:
        fingerprint: That of its last run.
        versions: The versions of its last runs.
        was_partitioned: Whether a run has read it in partitions.
        was_judged: Whether its last run was one that judged it.
    """

    fingerprint: bytes
    versions: tuple[Any, ...] = ()
    was_partitioned: bool = False
    was_judged: bool = False


@dataclass(frozen=True, slots=True)
class RunReading:
    """How a run has read its input.

    Attributes:
        streams: Its streams, by their names after stream maps.
        ended_well: Whether the input was read to its end without a failure.
        ends_with_state: Whether a STATE came after all SCHEMAs, records and versions.
    """

    streams: Mapping[str, StreamReading]
    ended_well: bool
    ends_with_state: bool


def judge_run(
    run: RunReading,
    histories: Mapping[str, StreamHistory],
    streams_of_collections: Mapping[str, Collection[str]],
) -> dict[str, str | None]:
    """Return for each stream of a run why it was perhaps not read completely; None if it was."""
    doubts = {
        name: _find_doubt(run) or _find_stream_doubt(stream, histories.get(name))
        for name, stream in run.streams.items()
    }
    return {
        name: doubts[name]
        or _find_shared_doubt(name, streams_of_collections[stream.collection], doubts)
        for name, stream in run.streams.items()
    }


def count_missing_runs(previous: int, *, was_judged: bool, is_retry: bool = False) -> int:
    """Return the number of judged runs in a row that did not see an object.

    Args:
        previous: The number before this run; 0 if the last run saw it.
        was_judged: Whether the last run of its stream judged the stream, too.
        is_retry: Whether too little time has passed since the last run that counted.
    """
    if not was_judged or not previous:
        return 1
    return previous if is_retry else previous + 1


def exceeds_limit(
    count: int, known: int | None, limit_percent: float, *, of_empty_streams: int = 0
) -> bool:
    """Return whether so many objects of a collection are too many to be marked in a run.

    Args:
        count: Objects to mark that no earlier run has marked.
        known: Objects of the collection that are not marked; None if that is not known, and then
            any number is too many.
        limit_percent: The setting `deleted_limit_percent`.
        of_empty_streams: How many of them are of streams without a record; any is too many.
    """
    if known is None:
        return count > 0
    if of_empty_streams:
        return True
    return count > UNGUARDED_MARKS and count * 100 > known * limit_percent


def _find_doubt(run: RunReading) -> str | None:
    if not run.ended_well:
        return "the run did not end well"
    return None if run.ends_with_state else "the input does not end with a STATE"


def _find_stream_doubt(stream: StreamReading, history: StreamHistory | None) -> str | None:
    if history is None:
        return "it is its first run with this ledger"
    doubts = (
        (
            stream.fingerprint != history.fingerprint,
            "its schema, its key or the settings of its mapping have changed",
        ),
        (stream.is_filtered, "stream_maps filters it"),
        (stream.is_merged, "stream_maps makes it of several streams"),
        (stream.has_lost_ids, "a rejected record has no id"),
        (not stream.versions.isdisjoint(history.versions), _OLD_VERSION),
    )
    doubt = next((reason for is_doubtful, reason in doubts if is_doubtful), None)
    return doubt if doubt or _is_trusted(stream) else _find_version_doubt(stream, history)


def _is_trusted(stream: StreamReading) -> bool:
    """Return whether the user says that the table was read, and the input does not object."""
    return stream.is_listed and stream.records > 0


def _find_version_doubt(stream: StreamReading, history: StreamHistory) -> str | None:
    activations = stream.activations
    if not activations:
        return (
            "no record of it came"
            if stream.is_listed
            else "the tap activates no version of it, and full_table_streams does not name it"
        )
    if len(activations) > 1:
        return "the tap activates a version more than once"
    records_before = activations[0].records_before
    if records_before == stream.records > 0:
        return None
    if records_before:
        return "the tap activates a version between its records"
    return _find_part_doubt(stream, history)


def _find_part_doubt(stream: StreamReading, history: StreamHistory) -> str | None:
    """Return why a version before the records may be that of a part of the stream."""
    if stream.is_partitioned or history.was_partitioned:
        return "the tap reads it in partitions, and full_table_streams does not name it"
    if stream.parent is not None:
        return (
            f"the tap reads it for rows of stream '{stream.parent}', perhaps not for all, and "
            "full_table_streams does not name it"
        )
    return None


def _find_shared_doubt(
    name: str, others: Collection[str], doubts: Mapping[str, str | None]
) -> str | None:
    for other in sorted(others):
        if other != name and doubts.get(other, "it is absent"):
            return f"stream '{other}' of the same collection was not read completely"
    return None
