"""`--dry-run`: all that a run does, but with nobody at the other end; and an account of it.

Records are read, mapped, validated and put into batch files by the very code of a real run, and
its delivery hands these to sessions by the very rules. Only what would make the calls makes none.
So the account's numbers are those of a run: objects, sessions, bytes as they would be sent. STATE
and dead-letter file stay as they are. A record that cannot be sent is counted, and reading goes on.
"""

from __future__ import annotations

import itertools
from collections import Counter
from dataclasses import dataclass, field
from decimal import Decimal
from functools import cached_property
from typing import IO, TYPE_CHECKING, Any, Final

import click
import msgspec

from target_segment_objects.delivery.scheduler import DeliveryScheduler
from target_segment_objects.mapping import naming
from target_segment_objects.mapping.schema import PropertyType
from target_segment_objects.reporting.progress import ProgressSnapshot
from target_segment_objects.reporting.summary import CollectionStats
from target_segment_objects.sinks import SegmentObjectsSink
from target_segment_objects.target import TargetSegmentObjects

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

    from target_segment_objects.delivery.uploader import SessionReport
    from target_segment_objects.exceptions import InvalidRecordError
    from target_segment_objects.mapping.mapper import PropertyMapping
    from target_segment_objects.segment.api import BulkApi

NO_KEY: Final = "dry-run"
"""Stands for the write key where none is set: nobody sees it."""

_REASONS: Final = 20  # that are kept apart of a stream; the rest is counted together
_OTHER_REASONS: Final = "further reasons"
_DECODER: Final = msgspec.json.Decoder(float_hook=Decimal)
_TYPES: Final[dict[type, str]] = {bool: "boolean", int: "integer", float: "number"}


class NullApi:
    """Takes sessions and files as Segment would, and sends nothing."""

    def __init__(self) -> None:
        """Begin without a session."""
        self._numbers = itertools.count(1)

    def start(self) -> str:
        """Begin a session."""
        return f"dry-run-{next(self._numbers)}"

    def upload(self, sync_id: str, file: Path) -> str:  # noqa: ARG002 - it is not sent
        """Take a file."""
        return sync_id

    def keep_alive(self, sync_id: str) -> None:
        """Take note."""

    def finish(self, sync_id: str, error: str = "") -> None:
        """End a session."""

    def abort_session(self, sync_id: str, error: str) -> None:
        """End a session."""


@dataclass(slots=True)
class StreamPlan:
    """What a stream becomes.

    Attributes:
        source: The tap's stream that it is made of; stream maps may call it otherwise.
        collection: The collection of its objects.
        key_properties: What makes the id.
        sent: Its declared properties by their names, those of all its SCHEMAs.
        reasons: Why records cannot be sent, with how many.
    """

    source: str
    collection: str
    key_properties: tuple[str, ...]
    sent: dict[str, PropertyMapping] = field(default_factory=dict)
    reasons: Counter[str] = field(default_factory=Counter)


@dataclass(frozen=True, slots=True)
class DryRunReport:
    """What a run would do.

    Attributes:
        streams: Each stream's name to what it becomes.
        collections: Each collection's name to its numbers.
        columns: Each collection's properties that have a value, to the type of the first: as a
            warehouse makes its columns.
    """

    streams: dict[str, StreamPlan] = field(default_factory=dict)
    collections: dict[str, CollectionStats] = field(default_factory=dict)
    columns: dict[str, dict[str, type]] = field(default_factory=dict)

    def note(self, collection: str, line: bytes) -> None:
        """Look at an object for properties that had no value so far."""
        columns = self.columns.setdefault(collection, {})
        for name, value in _DECODER.decode(line)["properties"].items():
            if value is not None and name not in columns:
                columns[name] = float if isinstance(value, Decimal) else type(value)


class _NotedDelivery(DeliveryScheduler):
    """Delivery that looks at each object."""

    def __init__(self, api: BulkApi, *args: Any, account: DryRunReport, **options: Any) -> None:  # noqa: ANN401 - as Delivery has them
        super().__init__(api, *args, **options)
        self._account = account

    def add_object(self, collection: str, line: bytes) -> None:
        self._account.note(collection, line)
        super().add_object(collection, line)


class DryRun(TargetSegmentObjects):
    """The target with nobody at the other end."""

    @cached_property
    def account(self) -> DryRunReport:
        """What a run would do, as far as this one came."""
        return DryRunReport()

    @cached_property
    def delivery(self) -> DeliveryScheduler:
        """What makes batches, and sessions with nobody."""
        return _NotedDelivery(
            NullApi(),
            self._spool,
            account=self.account,
            write_state=self._write_state_message,
            on_session_finished=self._session_finished,
            on_failure=self._stop_reading,
            options=self.settings.delivery,
        )

    @cached_property
    def _dead_letters(self) -> None:
        """No file: what is rejected is counted."""

    def run(self, file_input: IO[bytes] | None) -> int:
        """Read to the end, and show what would have become of it.

        Args:
            file_input: Where messages come from; None for standard input.

        Returns:
            The exit code that a run would have.
        """
        code = super().run(file_input)
        if self.stats.records_rejected and self.settings.invalid_records == "fail":
            self.logger.error(
                "%d record(s) cannot be sent. A run would end at the first of them "
                '(invalid_records is "fail").',
                self.stats.records_rejected,
            )
            return code or 1
        return code

    def _process_schema_message(self, message_dict: dict[str, Any]) -> None:
        super()._process_schema_message(message_dict)
        source = message_dict["stream"]
        for stream_map in self.mapper.stream_maps[source]:
            sink = self._sinks_active.get(stream_map.stream_alias)
            if isinstance(sink, SegmentObjectsSink):
                self._describe(source, sink)

    def _describe(self, source: str, sink: SegmentObjectsSink) -> None:
        mapping = sink.mapper
        becoming = self.account.streams.setdefault(
            sink.stream_name, StreamPlan(source, mapping.collection, ())
        )
        becoming.key_properties = tuple(sink.key_properties)
        becoming.sent.update((one.name, one) for one in mapping.properties)

    def _reject(self, error: InvalidRecordError, stream: str, line: bytes) -> None:  # noqa: ARG002 - it goes nowhere
        self._count_reject(error)
        where = "" if error.field is None else f"property '{error.field}': "
        reasons = self.account.streams[error.stream].reasons
        reason = f"{where}{error.reason}"
        if reason not in reasons and len(reasons) >= _REASONS:
            reason = _OTHER_REASONS
        reasons[reason] += 1

    def _write_state_message(self, state: Any) -> None:  # noqa: ANN401 - STATE is any JSON
        """Write none: nothing has landed."""

    def _session_finished(self, report: SessionReport) -> None:
        self.stats.add_session(report)

    def _look(self) -> ProgressSnapshot:
        looked = super()._look()
        return ProgressSnapshot(looked.read, looked.sent, 0, looked.oldest_seconds, "mapped")

    def _measure_end(self, seconds: float, *, is_complete: bool) -> None:
        """Measure nothing: it is no run."""

    def _tell_end(self, seconds: float) -> None:  # noqa: ARG002 - it is no run
        self.account.collections.update(
            self.stats.get_collections(self.delivery.get_status().outstanding)
        )
        click.echo("\n".join(self._report()), err=True)

    def _report(self) -> Iterator[str]:
        for stream, becoming in self.account.streams.items():
            yield from self._of_stream(stream, becoming)
        totals = self.account.collections.values()
        raw, packed = (sum(getattr(one, name) for one in totals) for name in _SIZES)
        yield (
            f"Dry run: nothing was sent. {self.stats.records_read:,} records of "
            f"{len(self.account.streams):,} streams; "
            f"{sum(one.sent for one in totals):,} objects for {len(totals):,} collections, "
            f"{self.stats.records_rejected:,} rejected; "
            f"{sum(one.sessions for one in totals):,} sessions, "
            f"{raw:,} bytes ({packed:,} gzipped)."
        )

    def _of_stream(self, stream: str, becoming: StreamPlan) -> Iterator[str]:
        counts = self.stats.streams[stream]
        total = self.account.collections.get(becoming.collection, CollectionStats())
        columns = self.account.columns.get(becoming.collection, {})
        source = "" if becoming.source == stream else f" (of stream {becoming.source})"
        yield f"Stream {stream}{source} becomes the collection {becoming.collection}"
        yield (
            f"  {self.stats.streams[becoming.source].read:,} records read, "
            f"{counts.rejected:,} rejected"
        )
        yield (
            f"  {total.sent:,} objects in the collection, {total.sessions:,} session(s), "
            f"{total.raw_bytes:,} bytes ({total.gzip_bytes:,} gzipped)"
        )
        yield f"  id: {_id_rule(becoming.key_properties)}"
        yield from _properties(becoming.sent, columns, self._others(becoming))
        yield from _listed("warnings", counts.warnings)
        reasons = becoming.reasons.most_common()
        yield from _listed(
            "rejects", [f"{count:,} record(s): {reason}" for reason, count in reasons]
        )
        yield ""

    def _others(self, becoming: StreamPlan) -> set[str]:
        """Return what other streams declare of the same collection."""
        streams = self.account.streams.values()
        shared = [one.sent for one in streams if one.collection == becoming.collection]
        return {name for sent in shared for name in sent} - becoming.sent.keys()


_SIZES: Final = ("raw_bytes", "gzip_bytes")


def without_key(config: dict[str, Any]) -> dict[str, Any]:
    """Return a configuration that does for a dry run."""
    return config if config.get("write_key") else {**config, "write_key": NO_KEY}


def _id_rule(key_properties: tuple[str, ...]) -> str:
    if not key_properties:
        return "a digest of the record, which has no key properties"
    names = " and ".join(naming.format_path((key,)) for key in key_properties)
    return names if len(key_properties) == 1 else f"{names}, joined by _"


def _properties(
    sent: Mapping[str, PropertyMapping], columns: Mapping[str, type], others: set[str]
) -> Iterator[str]:
    """Yield a line for each property: its name, its type, and what is remarkable."""
    rows = []
    for name, one in sent.items():
        label = naming.format_path(one.path)
        remarks = [] if label == name else [f"from {label}"]
        if name not in columns:
            remarks.append("never has a value")
        rows.append((name, _type(one.type, columns.get(name)), ", ".join(remarks)))
    for name, seen in columns.items():
        if name not in sent and name not in others:
            rows.append((name, _type(None, seen), "not in the schema"))
    if not rows:
        return
    yield "  properties:"
    width, type_width = (max(len(row[column]) for row in rows) for column in (0, 1))
    for name, kind, remark in rows:
        yield f"    {name:{width}}  {kind:{type_width}}  {remark}".rstrip()


def _type(kind: PropertyType | None, seen: type | None) -> str:
    """Return the type of a property: that of its first value, which a warehouse's column gets."""
    if seen in _TYPES:
        return _TYPES[seen]
    if seen is None and kind is not None:
        return kind.value
    return (
        PropertyType.TIMESTAMP.value
        if kind is PropertyType.TIMESTAMP
        else PropertyType.STRING.value
    )


def _listed(heading: str, lines: list[str]) -> Iterator[str]:
    if lines:
        yield f"  {heading}:"
        for line in lines:
            yield f"    {line}"
