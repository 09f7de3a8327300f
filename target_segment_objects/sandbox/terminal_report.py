"""The report on a warehouse: tables for a terminal of any width, or for a file.

The first line in a file, and the last lines on a terminal, say whether all accepted objects were
loaded. The sandbox does not know of objects that were never sent, or whose upload was rejected: the
sender reports them.
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
from target_segment_objects.sandbox.verdict import print_verdict
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
_LOSS_HEADINGS: Final = ("column", "values", "loss", "example id")
_MIN_LOSS_CHARACTERS: Final = 34
"""For a kind of loss and an id, wrapped to a few lines."""

_CELL_FRAME: Final = 3  # a border, and a space on each side


def print_report(
    warehouse: Warehouse, console: Console, *, rows: int = 5, is_terminal: bool = False
) -> None:
    """Print whether everything was loaded, then collections with some rows, losses and sessions.

    The console's width determines how many columns of a row are shown.

    Args:
        warehouse: The warehouse.
        console: Where to print.
        rows: How many rows of each collection to show.
        is_terminal: Whether the verdict comes last, where a terminal shows it.
    """
    if is_terminal:
        print_details(warehouse, console, rows=rows)
        console.print()
        print_verdict(warehouse, console)
        return
    console.print(
        Text(describe_result(warehouse.losses(), warehouse.sessions()), style="bold"), end="\n\n"
    )
    print_details(warehouse, console, rows=rows)


def print_details(warehouse: Warehouse, console: Console, *, rows: int = 5) -> None:
    """Print the collections with some rows, the losses and the sessions."""
    sessions = warehouse.sessions()
    for collection in warehouse.collections():
        _print_collection(warehouse, console, collection, rows)
    _print_losses(console, warehouse.losses())
    _print_names(console, warehouse)
    _print_missing(console, [session for session in sessions if session.outcome != LOADED])
    _print_sessions(console, sessions)


def render_report(
    warehouse: Warehouse,
    *,
    rows: int,
    width: int,
    color_system: str | None,
    is_terminal: bool = False,
) -> str:
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
    print_report(warehouse, console, rows=rows, is_terminal=is_terminal)
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
        _print_table(console, _build_sample_table(columns, sample, console.width))
    console.print()


def _build_sample_table(
    columns: Mapping[str, str], rows: Sequence[Mapping[str, Any]], width: int
) -> Table:
    """Return a table of rows with as many columns as fit, but at least one."""
    table = Table()
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
    rows = [
        (
            escape_text(f"{loss.collection}.{loss.column}"),
            str(loss.count),
            LOSS_LABELS.get(loss.kind) or escape_text(loss.kind),
            format_cell(loss.example_id),
        )
        for loss in losses
    ]
    whole = sum(max(Text(row[column]).cell_len for row in rows) for column in (0, 1))
    if whole + len(_LOSS_HEADINGS) * _CELL_FRAME + _MIN_LOSS_CHARACTERS > console.width:
        _print_loss_list(console, rows)
        return
    table = Table()
    for heading, is_whole in zip(_LOSS_HEADINGS, (True, True, False, False), strict=True):
        table.add_column(heading, no_wrap=is_whole, overflow="fold")
    _add_rows(table, rows)
    _print_table(console, table)


def _print_loss_list(console: Console, rows: Sequence[tuple[str, ...]]) -> None:
    """Print losses of columns whose names are too long for a table, which would cut them off."""
    for name, count, label, example_id in rows:
        console.print(Text(name, overflow="fold"))
        values = format_count(int(count), "value")
        loss = Text(f"{values}: {label}; example id {example_id}")
        console.print(Padding(loss, (0, 0, 0, 2), expand=False))


def _print_names(console: Console, warehouse: Warehouse) -> None:
    names = list_special_names(warehouse.list_columns())
    if not names:
        return
    console.print(Text("Names that a warehouse does not take as they are", style="bold"))
    table = Table()
    for heading in ("table or column", "name"):
        table.add_column(heading, overflow="fold")
    rows = [(escape_text(name), escape_text(remark)) for name, remark in names]
    _add_rows(table, rows, limit=_MAX_SHOWN_NAMES, noun="more name")
    _print_table(console, table)


def _print_missing(console: Console, sessions: Sequence[SessionRecord]) -> None:
    if not sessions:
        return
    console.print(Text("Sessions that were not loaded", style="bold"))
    console.print("Their objects are missing, unless another session sent them again.")
    table = Table()
    table.add_column("sync_id", no_wrap=True)
    for heading in ("outcome", "objects", "collections", "reason"):
        table.add_column(heading, overflow="fold")
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
    _print_table(console, table)


def _add_rows(
    table: Table, rows: Sequence[tuple[str, ...]], *, limit: int | None = None, noun: str = ""
) -> None:
    """Add rows of texts that can be printed, and say under the table how many are not shown."""
    for row in rows[:limit]:
        table.add_row(*map(Text, row))
    if limit is not None and len(rows) > limit:
        table.caption = f"and {format_count(len(rows) - limit, noun)}"


def _print_table(console: Console, table: Table) -> None:
    """Print a table, and its caption on a line of its own: a narrow table would break it."""
    caption, table.caption = table.caption, None
    console.print(table)
    if caption is not None:
        console.print(caption, style="dim")


def _print_sessions(console: Console, sessions: Sequence[SessionRecord]) -> None:
    counts = Counter(session.outcome for session in sessions)
    summary = ", ".join(
        f"{counts[outcome]} {label}" for outcome, label in OUTCOME_LABELS.items() if counts[outcome]
    )
    console.print(f"Sessions: {summary or 'none'}.")
