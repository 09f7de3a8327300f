"""What the pages make of rows, losses and sessions before a template shows it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from target_segment_objects.plurals import format_count
from target_segment_objects.sandbox.column_names import describe_name, table_name
from target_segment_objects.sandbox.page.timeline import merge_sessions
from target_segment_objects.sandbox.session_record import LOADED
from target_segment_objects.sandbox.warehouse.database_file import METADATA
from target_segment_objects.sandbox.warehouse.losses import REDSHIFT_LOSS, Loss
from target_segment_objects.sandbox.wording import describe_result

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from target_segment_objects.sandbox.session_record import SessionRecord
    from target_segment_objects.sandbox.sessions import SessionRegistry
    from target_segment_objects.sandbox.warehouse.database import Warehouse
    from target_segment_objects.sandbox.warehouse.history import Version
    from target_segment_objects.sandbox.warehouse.lost_values import LostValue

NO_OBJECT: Final = "This collection has no object with this id."
NO_SESSION: Final = "There is no session with this sync_id."

SORT_LABELS: Final = {
    "name": "Collection",
    "objects": "Objects",
    "columns": "Columns",
    "changed_values": "Changed values",
}
"""What collections can be sorted by: a field of `CollectionView`."""

ROWS_PER_PAGE: Final = 50
MAX_SHOWN_COLUMNS: Final = 40
"""Columns of the table of rows. The page of an object shows all."""


@dataclass(frozen=True, slots=True)
class ColumnView:
    """A column, the losses in it, and what a warehouse does with its name, if that is special."""

    name: str
    type: str
    losses: tuple[Loss, ...]
    remark: str


@dataclass(frozen=True, slots=True)
class CollectionView:
    """A collection in the list."""

    name: str
    objects: int
    columns: int
    changed_values: int


@dataclass(frozen=True, slots=True)
class Overview:
    """What is loaded, of this run and of earlier ones.

    Attributes:
        result: One sentence that says whether everything is loaded.
        severity: How bad that is: "good", "warn" or "bad".
        sessions: All sessions, in the order of their starts.
        collections: All collections.
        losses: All losses.
    """

    result: str
    severity: str
    sessions: Sequence[SessionRecord]
    collections: Sequence[CollectionView]
    losses: Sequence[Loss]

    @property
    def objects(self) -> int:
        """The number of objects in all collections."""
        return sum(collection.objects for collection in self.collections)


@dataclass(frozen=True, slots=True)
class RowsPage:
    """The rows of a collection on one page.

    Attributes:
        columns: Names of the columns that are shown.
        hidden_columns: Number of those that are not.
        rows: The rows.
        lost: The values that are not stored as they were sent, by id and column.
        first: Number of the first row, from 1.
        matches: Number of rows that match the search.
        number: Number of the page, from 1.
        pages: Number of pages.
    """

    columns: tuple[str, ...]
    hidden_columns: int
    rows: Sequence[Mapping[str, Any]]
    lost: Mapping[tuple[str, str], LostValue]
    first: int
    matches: int
    number: int
    pages: int


@dataclass(frozen=True, slots=True)
class PropertyView:
    """A property in a version of an object: `new`, `changed` or the `same` as before."""

    name: str
    value: object
    change: str


@dataclass(frozen=True, slots=True)
class VersionView:
    """A version of an object, and its session if that is known."""

    version: Version
    session: SessionRecord | None
    properties: tuple[PropertyView, ...]


def list_sessions(registry: SessionRegistry, warehouse: Warehouse) -> list[SessionRecord]:
    """Return the sessions of this run and of earlier runs, in the order of their starts."""
    # Those of this run first: one that ends in between is then in both, and not in neither.
    shown = registry.list_records()
    with warehouse.snapshot() as snapshot:
        return merge_sessions(shown, snapshot.sessions())


def build_overview(warehouse: Warehouse, shown: Sequence[SessionRecord]) -> Overview:
    """Return what is loaded.

    Args:
        warehouse: A snapshot of the warehouse.
        shown: The sessions of this run, listed before the snapshot was taken: see `list_sessions`.
    """
    ended, losses = warehouse.sessions(), warehouse.losses()
    sessions = merge_sessions(shown, ended)
    result, severity = _describe_state(sessions, ended, losses)
    return Overview(result, severity, sessions, list_collections(warehouse, losses), losses)


def _describe_state(
    sessions: Sequence[SessionRecord], ended: Sequence[SessionRecord], losses: Sequence[Loss]
) -> tuple[str, str]:
    """Return in one sentence whether everything is loaded, and how bad that is.

    The sessions that the warehouse has recorded are those that have ended.
    """
    failed = [session for session in sessions if session.state == "failed"]
    if failed:
        return f"A session cannot be loaded into the warehouse: {failed[0].error}", "bad"
    waiting = [session for session in sessions if session.state in {"accepted", "loading"}]
    if waiting:
        objects = format_count(sum(session.objects for session in waiting), "object")
        return f"{format_count(len(waiting), 'session')} being loaded: {objects}.", "warn"
    is_loaded = all(session.outcome == LOADED for session in ended)
    severity = "bad" if not is_loaded else "warn" if losses else "good"
    return describe_result(losses, ended), severity


def list_collections(warehouse: Warehouse, losses: Sequence[Loss]) -> list[CollectionView]:
    """Return all collections with their sizes."""
    return [
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
    ]


def sort_collections(
    collections: Iterable[CollectionView], search: str, order: str
) -> list[CollectionView]:
    """Return the collections whose names contain a text: by name, or the highest number first."""
    found = sorted(
        (collection for collection in collections if search in collection.name),
        key=lambda collection: collection.name,
    )
    if order not in SORT_LABELS or order == "name":
        return found
    return sorted(found, key=lambda collection: -getattr(collection, order))


def list_tables(warehouse: Warehouse) -> dict[str, list[str]]:
    """Return the tables that a query can read, and their columns."""
    tables = {table_name(name): columns for name, columns in warehouse.list_columns().items()}
    return tables | {f"sandbox_metadata.{name}": list(METADATA[name]) for name in METADATA}


def list_columns(warehouse: Warehouse, collection: str) -> list[ColumnView]:
    """Return the columns of a collection with their losses, those that are not stored at last."""
    losses = [loss for loss in warehouse.losses() if loss.collection == collection]
    types = {name: kind.lower() for name, kind in warehouse.columns(collection).items()}
    for loss in losses:
        types.setdefault(loss.column, "not stored")
    return [
        ColumnView(
            name, kind, tuple(loss for loss in losses if loss.column == name), describe_name(name)
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
    rows = warehouse.rows(collection, limit=ROWS_PER_PAGE, offset=offset, search=search)
    return RowsPage(
        columns=columns[:MAX_SHOWN_COLUMNS],
        hidden_columns=max(0, len(columns) - MAX_SHOWN_COLUMNS),
        rows=rows,
        lost={
            (lost.object_id, lost.column): lost
            for lost in warehouse.lost_values(collection, [row["id"] for row in rows])
        },
        first=offset + 1,
        matches=matches,
        number=number,
        pages=pages,
    )


def build_versions(
    versions: Sequence[Version], sessions: Sequence[SessionRecord]
) -> list[VersionView]:
    """Return the versions of an object with what each changed, the newest first."""
    by_id = {session.sync_id: session for session in sessions}
    known: dict[str, object] = {}
    views = []
    for version in versions:
        properties = tuple(
            PropertyView(name, value, _describe_change(known, name, value))
            for name, value in version.properties
        )
        known.update(version.properties)
        views.append(VersionView(version, by_id.get(version.sync_id), properties))
    return views[::-1]


def _describe_change(known: Mapping[str, object], name: str, value: object) -> str:
    if name not in known:
        return "new"
    is_same = known[name] == value and type(known[name]) is type(value)
    return "same" if is_same else "changed"
