"""What each page shows: values for its template, read from the warehouse and the activity."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timezone
from typing import TYPE_CHECKING, Any, Final

from target_segment_objects.limits import MAX_CONCURRENT_REQUESTS
from target_segment_objects.sandbox.names import describe_name
from target_segment_objects.sandbox.page.timeline import group_sessions, merge_sessions
from target_segment_objects.sandbox.warehouse.wording import (
    LOSS_LABELS,
    REDSHIFT_LOSS,
    describe_result,
    format_count,
    list_special_names,
)

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from target_segment_objects.sandbox.activity.requests import RequestRecord, RequestSnapshot
    from target_segment_objects.sandbox.activity.sessions import SessionActivity
    from target_segment_objects.sandbox.page.timeline import SessionGroup, TimelineSession
    from target_segment_objects.sandbox.warehouse.database import Loss, SessionRow, Warehouse
    from target_segment_objects.sandbox.warehouse.history import Version

ROWS_PER_PAGE: Final = 50
MAX_SHOWN_COLUMNS: Final = 40
"""Columns of the table of rows. The page of an object shows all."""

_OVERVIEW_SESSIONS: Final = 12
_OVERVIEW_REJECTIONS: Final = 5
MAX_SHOWN_SESSIONS: Final = 200
MAX_SHOWN_REQUESTS: Final = 100
MAX_SHOWN_NAMES: Final = 200


@dataclass(frozen=True, slots=True)
class LossView:
    """A loss in words."""

    collection: str
    column: str
    count: int
    label: str
    example_id: str


@dataclass(frozen=True, slots=True)
class ColumnView:
    """A column, the losses in it, and what a warehouse does with its name, if that is special."""

    name: str
    type: str
    losses: tuple[LossView, ...]
    remark: str


@dataclass(frozen=True, slots=True)
class CollectionView:
    """A collection in the list."""

    name: str
    objects: int
    columns: int
    changed_values: int


@dataclass(frozen=True, slots=True)
class ChartBar:
    """A second in a chart: its position and height, in units of the chart."""

    x: int
    y: float
    height: float


@dataclass(frozen=True, slots=True)
class LoadView:
    """Requests per second and at once, as charts.

    Attributes:
        running: Number of requests now.
        peak: The highest number of simultaneous requests since the start.
        limit: How many are allowed.
        last_second: Requests in the last whole second.
        busiest: Requests in the busiest second that is shown.
        rates: Requests of each second.
        peaks: Simultaneous requests of each second.
    """

    running: int
    peak: int
    limit: int
    last_second: int
    busiest: int
    rates: tuple[ChartBar, ...]
    peaks: tuple[ChartBar, ...]


@dataclass(frozen=True, slots=True)
class Overview:
    """The first page."""

    result: str
    tone: str
    is_empty: bool
    objects: int
    sessions: int
    requests: RequestSnapshot
    load: LoadView
    groups: tuple[SessionGroup, ...]
    hidden_sessions: int
    collections: tuple[CollectionView, ...]
    losses: tuple[LossView, ...]
    names: tuple[tuple[str, str], ...]
    rejections: tuple[RequestRecord, ...]


@dataclass(frozen=True, slots=True)
class RowsPage:
    """The rows of a collection on one page.

    Attributes:
        columns: Names of the columns that are shown.
        hidden_columns: Number of those that are not.
        rows: The rows.
        first: Number of the first row, from 1.
        matches: Number of rows that match the search.
        number: Number of the page, from 1.
        pages: Number of pages.
    """

    columns: tuple[str, ...]
    hidden_columns: int
    rows: Sequence[Mapping[str, Any]]
    first: int
    matches: int
    number: int
    pages: int


@dataclass(frozen=True, slots=True)
class PropertyView:
    """A property in a version of an object.

    Attributes:
        name: Its name as it was sent.
        value: Its value as it was sent; `None` for null.
        is_null: Whether null was sent.
        change: `new`, `changed` or `same`, compared with the versions before.
    """

    name: str
    value: object
    is_null: bool
    change: str


@dataclass(frozen=True, slots=True)
class VersionView:
    """A version of an object."""

    version: Version
    session: TimelineSession | None
    properties: tuple[PropertyView, ...]


def build_overview(
    warehouse: Warehouse, kept: Sequence[SessionActivity], requests: RequestSnapshot
) -> Overview:
    """Return the first page."""
    ended, losses = warehouse.sessions(), warehouse.losses()
    sessions = merge_sessions(kept, ended)
    shown = sessions[-_OVERVIEW_SESSIONS:]
    result, tone = _describe_state(sessions, losses, ended)
    collections = list_collections(warehouse, losses)
    return Overview(
        result=result,
        tone=tone,
        is_empty=not sessions,
        objects=sum(collection.objects for collection in collections),
        sessions=len(sessions),
        requests=requests,
        load=build_load(requests),
        groups=tuple(group_sessions(shown, _read_clock())),
        hidden_sessions=len(sessions) - len(shown),
        collections=collections,
        losses=tuple(map(build_loss, losses)),
        names=tuple(list_special_names(warehouse.list_columns())[:MAX_SHOWN_NAMES]),
        rejections=requests.rejections[:_OVERVIEW_REJECTIONS],
    )


def _describe_state(
    sessions: Sequence[TimelineSession], losses: Sequence[Loss], ended: Sequence[SessionRow]
) -> tuple[str, str]:
    """Return in one sentence whether everything is loaded, and its tone."""
    waiting = [session for session in sessions if session.state in {"accepted", "loading"}]
    failed = [session for session in sessions if session.state == "failed"]
    if failed:
        return f"A session cannot be loaded into the warehouse: {failed[0].error}", "bad"
    if waiting:
        objects = format_count(sum(session.objects for session in waiting), "object")
        return f"{format_count(len(waiting), 'session')} being loaded: {objects}.", "warn"
    is_loaded = all(session.outcome == "loaded" for session in ended)
    tone = "bad" if not is_loaded else "warn" if losses else "good"
    return describe_result(losses, ended), tone


def build_groups(sessions: Sequence[TimelineSession]) -> list[SessionGroup]:
    """Return the newest sessions as timelines."""
    return group_sessions(sessions[-MAX_SHOWN_SESSIONS:], _read_clock())


def list_collections(warehouse: Warehouse, losses: Sequence[Loss]) -> tuple[CollectionView, ...]:
    """Return all collections with their sizes."""
    return tuple(
        CollectionView(
            name=name,
            objects=warehouse.count(name),
            columns=len(warehouse.columns(name)),
            changed_values=sum(
                loss.count
                for loss in losses
                if loss.collection == name and loss.kind != REDSHIFT_LOSS
            ),
        )
        for name in warehouse.collections()
    )


def list_columns(warehouse: Warehouse, collection: str) -> list[ColumnView]:
    """Return the columns of a collection with their losses, those that are not stored at last."""
    losses = [build_loss(loss) for loss in warehouse.losses() if loss.collection == collection]
    types = {name: kind.lower() for name, kind in warehouse.columns(collection).items()}
    for loss in losses:
        types.setdefault(loss.column, "not stored")
    return [
        ColumnView(
            name,
            kind,
            tuple(loss for loss in losses if loss.column == name),
            describe_name(name),
        )
        for name, kind in types.items()
    ]


def build_rows(warehouse: Warehouse, collection: str, search: str, number: int) -> RowsPage:
    """Return a page of rows, the nearest one if there is no such page."""
    matches = warehouse.count(collection, search=search)
    pages = max(1, -(-matches // ROWS_PER_PAGE))
    number = min(max(number, 1), pages)
    offset = (number - 1) * ROWS_PER_PAGE
    columns = tuple(warehouse.columns(collection))
    return RowsPage(
        columns=columns[:MAX_SHOWN_COLUMNS],
        hidden_columns=max(0, len(columns) - MAX_SHOWN_COLUMNS),
        rows=warehouse.rows(collection, limit=ROWS_PER_PAGE, offset=offset, search=search),
        first=offset + 1,
        matches=matches,
        number=number,
        pages=pages,
    )


def build_versions(
    versions: Sequence[Version], sessions: Sequence[TimelineSession]
) -> list[VersionView]:
    """Return the versions of an object with what each changed, the newest first."""
    by_id = {session.sync_id: session for session in sessions}
    known: dict[str, object] = {}
    views = []
    for version in versions:
        properties = tuple(
            PropertyView(name, value, value is None, _describe_change(known, name, value))
            for name, value in version.properties
        )
        known.update(version.properties)
        views.append(VersionView(version, by_id.get(version.sync_id), properties))
    return views[::-1]


def build_loss(loss: Loss) -> LossView:
    """Return a loss in words, the same as in the terminal."""
    label = LOSS_LABELS.get(loss.kind, loss.kind)
    return LossView(loss.collection, loss.column, loss.count, label, loss.example_id)


def build_load(requests: RequestSnapshot) -> LoadView:
    """Return the load of the last minute as charts of 100 units in height."""
    busiest = max(second.requests for second in requests.seconds)
    return LoadView(
        running=requests.running,
        peak=requests.peak,
        limit=MAX_CONCURRENT_REQUESTS,
        last_second=requests.seconds[-2].requests,
        busiest=busiest,
        rates=_draw_bars([second.requests for second in requests.seconds], max(busiest, 1)),
        peaks=_draw_bars([second.peak for second in requests.seconds], MAX_CONCURRENT_REQUESTS),
    )


def _draw_bars(numbers: Sequence[int], full: int) -> tuple[ChartBar, ...]:
    bars = []
    for x, number in enumerate(numbers):
        height = round(min(number / full, 1) * 100, 1)
        bars.append(ChartBar(x, 100 - height, height))
    return tuple(bars)


def _describe_change(known: Mapping[str, object], name: str, value: object) -> str:
    if name not in known:
        return "new"
    is_same = known[name] == value and type(known[name]) is type(value)
    return "same" if is_same else "changed"


def _read_clock() -> datetime:
    return datetime.now(timezone.utc)
