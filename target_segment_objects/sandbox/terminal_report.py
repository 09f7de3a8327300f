"""The report on a warehouse: tables for a terminal of any width, or for a file.

The first line says whether all accepted objects were loaded. The sandbox does not know of objects
that were never sent, or whose upload was rejected: the sender reports them.
"""

from __future__ import annotations

import io
from collections import Counter
from typing import TYPE_CHECKING, Any, Final, cast

from rich.columns import Columns
from rich.console import Console
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from target_segment_objects.plurals import format_count
from target_segment_objects.sandbox.session_record import LOADED
from target_segment_objects.sandbox.warehouse.losses import LOSS_LABELS, Loss
from target_segment_objects.sandbox.wording import (
    OUTCOME_LABELS,
    describe_result,
    escape_text,
    format_cell,
    list_special_names,
)

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from target_segment_objects.sandbox.session_record import SessionRecord
    from target_segment_objects.sandbox.warehouse.database import Warehouse

_MAX_ERROR_CHARACTERS: Final = 200
_MAX_SHOWN_SESSIONS: Final = 20
_MAX_SHOWN_NAMES: Final = 20
_CELL_FRAME: Final = 3  # a border, and a space on each side


def print_report(warehouse: Warehouse, console: Console, *, rows: int = 5) -> None:
    """Print whether everything was loaded, then collections with some rows, losses and sessions.

    The console's width determines how many columns of a row are shown.
    """
    losses, sessions = warehouse.losses(), warehouse.sessions()
    console.print(Text(describe_result(losses, sessions), style="bold"))
    console.print()
    for collection in warehouse.collections():
        _print_collection(warehouse, console, collection, rows)
    _print_losses(console, losses)
    _print_names(console, warehouse)
    _print_missing(console, [session for session in sessions if session.outcome != LOADED])
    _print_sessions(console, sessions)


def render_report(warehouse: Warehouse, *, rows: int, width: int, color_system: str | None) -> str:
    """Return the report as text, in a color system of rich; without colors for any other name."""
    has_color = color_system in {"standard", "256", "truecolor"}
    console = Console(
        file=io.StringIO(),
        width=width,
        force_terminal=has_color,
        color_system=cast("Any", color_system) if has_color else None,
        legacy_windows=False,
        highlight=False,
    )
    print_report(warehouse, console, rows=rows)
    return cast("io.StringIO", console.file).getvalue()


def _print_collection(warehouse: Warehouse, console: Console, collection: str, rows: int) -> None:
    columns = warehouse.columns(collection)
    objects = format_count(warehouse.count(collection), "object")
    size = f": {objects}, {format_count(len(columns), 'column')}"
    console.print(Text.assemble((collection, "bold"), size))
    cells = [
        Text.assemble((escape_text(name), "cyan"), " ", escape_text(kind.lower()))
        for name, kind in columns.items()
    ]
    console.print(Padding(Columns(cells, padding=(0, 3)), (0, 0, 0, 2)))
    sample = warehouse.rows(collection, limit=rows)
    if sample:
        console.print(_build_sample_table(columns, sample, console.width))
    console.print()


def _build_sample_table(
    columns: Mapping[str, str], rows: Sequence[Mapping[str, Any]], width: int
) -> Table:
    """Return a table of rows with as many columns as fit, but at least one."""
    table = Table(caption_justify="left", caption_style="dim")
    cells = {escape_text(name): [format_cell(row[name]) for row in rows] for name in columns}
    used_width = 1
    for name, values in cells.items():
        used_width += _CELL_FRAME + max(Text(text).cell_len for text in (name, *values))
        if used_width > width and table.columns:
            break
        table.add_column(Text(name), no_wrap=True, overflow="ellipsis")
    column_count = len(table.columns)
    _add_rows(table, [*zip(*[*cells.values()][:column_count], strict=True)])
    if column_count < len(columns):
        table.caption = f"and {format_count(len(columns) - column_count, 'more column')}"
    return table


def _print_losses(console: Console, losses: Sequence[Loss]) -> None:
    if not losses:
        return
    console.print(Text("Values that a warehouse changes", style="bold"))
    table = Table("column", "values", "loss", "example id")
    rows = [
        (
            escape_text(f"{loss.collection}.{loss.column}"),
            str(loss.count),
            LOSS_LABELS.get(loss.kind) or escape_text(loss.kind),
            format_cell(loss.example_id),
        )
        for loss in losses
    ]
    _add_rows(table, rows)
    console.print(table)


def _print_names(console: Console, warehouse: Warehouse) -> None:
    names = list_special_names(warehouse.list_columns())
    if not names:
        return
    console.print(Text("Names that a warehouse does not take as they are", style="bold"))
    table = Table("table or column", "name")
    rows = [(escape_text(name), escape_text(remark)) for name, remark in names]
    _add_rows(table, rows, limit=_MAX_SHOWN_NAMES, noun="more name")
    console.print(table)


def _print_missing(console: Console, sessions: Sequence[SessionRecord]) -> None:
    if not sessions:
        return
    console.print(Text("Sessions that were not loaded", style="bold"))
    console.print("Their objects are missing, unless another session sent them again.")
    table = Table(caption_justify="left", caption_style="dim")
    table.add_column("sync_id", no_wrap=True)
    for heading in ("outcome", "objects", "collections", "reason"):
        table.add_column(heading)
    rows = [
        (
            escape_text(session.sync_id),
            OUTCOME_LABELS.get(session.outcome) or escape_text(session.outcome),
            f"{session.objects:,}",
            escape_text(", ".join(session.collections)),
            escape_text(session.error, _MAX_ERROR_CHARACTERS),
        )
        for session in sessions
    ]
    _add_rows(table, rows, limit=_MAX_SHOWN_SESSIONS, noun="more session")
    console.print(table)


def _add_rows(
    table: Table, rows: Sequence[tuple[str, ...]], *, limit: int | None = None, noun: str = ""
) -> None:
    """Add rows of texts that can be printed, and say under the table how many are not shown."""
    for row in rows[:limit]:
        table.add_row(*map(Text, row))
    if limit is not None and len(rows) > limit:
        table.caption = f"and {format_count(len(rows) - limit, noun)}"


def _print_sessions(console: Console, sessions: Sequence[SessionRecord]) -> None:
    counts = Counter(session.outcome for session in sessions)
    summary = ", ".join(
        f"{counts[outcome]} {label}" for outcome, label in OUTCOME_LABELS.items() if counts[outcome]
    )
    console.print(f"Sessions: {summary or 'none'}.")
