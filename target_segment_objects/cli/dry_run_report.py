"""The report of a dry run: what it holds, and how the details of a stream are shown as text."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

from target_segment_objects.mapping import naming
from target_segment_objects.mapping.schema import PropertyType
from target_segment_objects.mapping.warehouse.names import to_column_name
from target_segment_objects.plurals import format_count
from target_segment_objects.reporting.log_handlers import escape_unprintable
from target_segment_objects.reporting.stats import CollectionStats
from target_segment_objects.reporting.tables import align_rows

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from typing_extensions import Self

    from target_segment_objects.mapping.mapper import RecordMapper
    from target_segment_objects.mapping.properties.property_mapping import PropertyMapping
    from target_segment_objects.reporting.stats import RunStats

_MAX_DETAILED_STREAMS: Final = 5
"""Of more streams, only those with warnings have details, unless the user asks for all."""

_TYPE_NAMES: Final[dict[type, str]] = {bool: "boolean", int: "integer", float: "number"}


@dataclass(slots=True)
class StreamPlan:
    """What a run would do with a stream.

    Attributes:
        source: The tap's stream that it is made of; stream maps may have renamed it.
        mapper: How its records become objects, by its last SCHEMA.
        key_properties: The names of the properties that make the id.
        reject_reasons: Why records cannot be sent, with the number of records.
    """

    source: str
    mapper: RecordMapper
    key_properties: tuple[str, ...] = ()
    reject_reasons: Counter[str] = field(default_factory=Counter)
    _properties: dict[str, PropertyMapping] = field(default_factory=dict)

    @property
    def collection(self) -> str:
        """The collection of its objects."""
        return self.mapper.collection

    @property
    def properties(self) -> dict[str, PropertyMapping]:
        """Its declared properties by their names, those of all its SCHEMAs."""
        # Not before the end: another stream of the collection may change how they are sent.
        return {**self._properties, **{prop.name: prop for prop in self.mapper.properties}}

    def replace_mapper(self, mapper: RecordMapper) -> None:
        """Continue with another SCHEMA."""
        self._properties = self.properties
        self.mapper = mapper


@dataclass(frozen=True, slots=True)
class DryRunReport:
    """What a run would do.

    Attributes:
        streams: Each stream's name to its plan.
        columns: Each collection's properties that have a value, to the type of the first value,
            from which a warehouse makes its column.
        parts: Each collection's number of uploads.
    """

    streams: dict[str, StreamPlan] = field(default_factory=dict)
    columns: dict[str, dict[str, type]] = field(default_factory=dict)
    parts: Counter[str] = field(default_factory=Counter)


@dataclass(frozen=True, slots=True)
class PropertyPlan:
    """A property of a stream's objects.

    Attributes:
        name: Its name in the collection.
        column: Its name in a warehouse; None if Segment discards it.
        path: Where the record has it; None if the schema does not declare it.
        type: The type of a warehouse's column.
        has_value: Whether any object has a value for it.
    """

    name: str
    column: str | None
    path: tuple[str, ...] | None
    type: str
    has_value: bool


@dataclass(frozen=True, slots=True)
class ApiCalls:
    """The calls that a run would make. Keep Alive depends on time, and retries on failures."""

    start: int
    upload: int
    finish: int

    @classmethod
    def count(cls, sessions: int, parts: int) -> Self:
        """Return the calls of some sessions: each has a Start, its uploads, and a Finish."""
        return cls(sessions, parts, sessions)

    @property
    def total(self) -> int:
        """All calls."""
        return self.start + self.upload + self.finish


def list_properties(plan: StreamPlan, report: DryRunReport) -> list[PropertyPlan]:
    """Return the declared properties of a stream, then those that no schema declares."""
    columns = report.columns.get(plan.collection, {})
    properties = plan.properties
    undeclared_types = {prop.name: prop.type for prop in plan.mapper.undeclared.values()}
    others = _find_others(plan, report)
    declared = [
        PropertyPlan(
            name,
            _name_column(name, mapped.path, plan),
            mapped.path,
            _name_type(mapped.type, columns.get(name)),
            name in columns,
        )
        for name, mapped in properties.items()
    ]
    undeclared = [
        PropertyPlan(
            name,
            to_column_name(name),
            None,
            _name_type(undeclared_types.get(name), first_type),
            has_value=True,
        )
        for name, first_type in columns.items()
        if name not in properties and name not in others
    ]
    return declared + undeclared


def render_details(
    report: DryRunReport,
    stats: RunStats,
    collections: Mapping[str, CollectionStats],
    *,
    shows_all: bool,
) -> Iterator[str]:
    """Yield what each stream would become, with its properties and what was found.

    Of many streams, only those with warnings, rejects or schema violations are shown.
    """
    shows_all = shows_all or len(report.streams) <= _MAX_DETAILED_STREAMS
    shown = [stream for stream in report.streams if shows_all or _has_findings(stats, stream)]
    for stream in shown:
        for line in _render_stream(stream, report, stats, collections):
            yield escape_unprintable(line)
    hidden = len(report.streams) - len(shown)
    if hidden:
        count = format_count(hidden, "stream")
        yield f"{count} without warnings or rejects: --details shows what they become."
        yield ""


def _has_findings(stats: RunStats, stream: str) -> bool:
    found = stats.streams[stream]
    return bool(found.warnings or found.rejected or found.violating)


def _render_stream(
    stream: str, report: DryRunReport, stats: RunStats, collections: Mapping[str, CollectionStats]
) -> Iterator[str]:
    plan = report.streams[stream]
    total = collections.get(plan.collection, CollectionStats())
    source = "" if plan.source == stream else f" (of stream {plan.source})"
    yield f"Stream {stream}{source} becomes the collection {plan.collection}"
    yield (
        f"  {format_count(stats.streams[plan.source].read, 'record')} read, "
        f"{stats.streams[stream].rejected:,} rejected"
    )
    unchanged = "" if total.unchanged is None else f", {total.unchanged:,} unchanged"
    yield (
        f"  {format_count(total.sent, 'object')} in the collection{unchanged}, "
        f"{format_count(total.sessions, 'session')}, {format_count(total.raw_bytes, 'byte')} "
        f"({total.gzip_bytes:,} gzipped)"
    )
    yield f"  id: {_describe_id(plan.key_properties)}"
    shows_all = not total.unchanged
    yield from _render_properties(list_properties(plan, report), shows_all=shows_all)
    yield from _render_list("warnings", stats.streams[stream].warnings)
    violations = stats.streams[stream].violations.items()
    yield from _render_list(
        "schema violations",
        [
            f"{format_count(count, 'record')}: {label or 'the record'}"
            for label, count in violations
        ],
    )
    reasons = plan.reject_reasons.most_common()
    yield from _render_list(
        "rejects", [f"{format_count(count, 'record')}: {reason}" for reason, count in reasons]
    )
    yield ""


def _find_others(plan: StreamPlan, report: DryRunReport) -> set[str]:
    """Return the properties that only other streams of the collection declare."""
    plans = report.streams.values()
    shared = [other.properties for other in plans if other.collection == plan.collection]
    return {name for properties in shared for name in properties} - plan.properties.keys()


def _describe_id(key_properties: tuple[str, ...]) -> str:
    if not key_properties:
        return "a digest of the record, which has no key properties"
    names = " and ".join(naming.format_path((key,)) for key in key_properties)
    return names if len(key_properties) == 1 else f"{names}, joined by _"


def _render_properties(properties: list[PropertyPlan], *, shows_all: bool) -> Iterator[str]:
    """Yield a line for each property: its name, its type, and remarks.

    If not all objects were seen, but those that would be sent, a property may have values.
    """
    rows = [
        (_show_name(plan), plan.type, ", ".join(_list_remarks(plan, shows_all=shows_all)))
        for plan in properties
    ]
    yield from _render_list("properties", [*align_rows(rows, text_columns=3)])


def _name_column(name: str, path: tuple[str, ...], plan: StreamPlan) -> str | None:
    """Return the column of a property. Nothing is discarded if the property is the object's id."""
    is_object_id = name == "id" and path == plan.key_properties
    return name if is_object_id else to_column_name(name)


def _show_name(plan: PropertyPlan) -> str:
    is_renamed = plan.column not in {plan.name, None}
    return f"{plan.name} → {plan.column}" if is_renamed else plan.name


def _list_remarks(plan: PropertyPlan, *, shows_all: bool) -> Iterator[str]:
    if plan.column is None:
        yield "no column of its own"
    if plan.path is None:
        yield "not in the schema"
        return
    path = naming.format_path(plan.path)
    if path != plan.name:
        yield f"from {path}"
    if not plan.has_value and shows_all:
        yield "never has a value"


def _name_type(declared: PropertyType | None, first_type: type | None) -> str:
    """Return the name of the type that a warehouse's column gets: that of its first value."""
    if first_type in _TYPE_NAMES:
        return _TYPE_NAMES[first_type]
    if first_type is None and declared is not None:
        return declared.value
    if declared is PropertyType.TIMESTAMP:
        return PropertyType.TIMESTAMP.value
    return PropertyType.STRING.value


def _render_list(heading: str, lines: list[str]) -> Iterator[str]:
    if lines:
        yield f"  {heading}:"
        for line in lines:
            yield f"    {line}"
