"""The report on a warehouse: tables for a terminal of any width, or for a file."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, Any, Final

from rich.columns import Columns
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from rich.console import Console

    from target_segment_objects.sandbox.warehouse import Loss, SessionRow, Warehouse

_MAX_CELL_CHARACTERS: Final = 32
_CELL_FRAME: Final = 3  # a border, and a space on each side
_OUTCOME_LABELS: Final = {
    "loaded": "loaded",
    "error": "discarded by the sender",
    "expired": "expired",
    "open": "never finished",
}
_LOSS_LABELS: Final = {
    "type": "not of the column's type: stored as null",
    "range": "out of the column's range: stored as null",
    "fraction": "stored without the fraction",
    "precision": "stored with fewer digits",
    "cut": "cut off after 512 characters",
    "shadowed": "not stored: the column is the object's id",
}


def print_report(warehouse: Warehouse, console: Console, *, rows: int = 5) -> None:
    """Print each collection with its columns and some rows, the losses and the sessions.

    Args:
        warehouse: An open warehouse.
        console: Where to print. Its width determines how many columns of a row are shown.
        rows: Number of rows to show of each collection.
    """
    collections = warehouse.collections()
    if not collections:
        console.print("The warehouse is empty.")
    for collection in collections:
        _print_collection(warehouse, console, collection, rows)
    _print_losses(console, warehouse.losses())
    _print_sessions(console, warehouse.sessions())


def _print_collection(warehouse: Warehouse, console: Console, collection: str, rows: int) -> None:
    columns = warehouse.columns(collection)
    objects = _format_count(warehouse.count(collection), "object")
    size = f": {objects}, {_format_count(len(columns), 'column')}"
    console.print(Text.assemble((collection, "bold"), size))
    cells = [Text.assemble((name, "cyan"), " ", kind.lower()) for name, kind in columns.items()]
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
    cells = {name: [_format_cell(row[name]) for row in rows] for name in columns}
    used_width = 1
    for name, values in cells.items():
        used_width += _CELL_FRAME + max(Text(text).cell_len for text in (name, *values))
        if used_width > width and table.columns:
            break
        table.add_column(Text(name), no_wrap=True, overflow="ellipsis")
    column_count = len(table.columns)
    for row in zip(*list(cells.values())[:column_count], strict=True):
        table.add_row(*(Text(text) for text in row))
    if column_count < len(columns):
        table.caption = f"and {_format_count(len(columns) - column_count, 'more column')}"
    return table


def _format_cell(value: object) -> str:
    """Return a value as one short line without control characters; null as an empty string."""
    text = _format_value(value)
    escaped = "".join(
        character if character.isprintable() else repr(character)[1:-1]
        for character in text[: _MAX_CELL_CHARACTERS + 1]
    )
    return (
        escaped
        if len(escaped) <= _MAX_CELL_CHARACTERS
        else escaped[: _MAX_CELL_CHARACTERS - 1] + "…"
    )


def _format_value(value: object) -> str:
    if value is None:
        return ""
    return str(value).lower() if isinstance(value, bool) else str(value)


def _print_losses(console: Console, losses: Sequence[Loss]) -> None:
    if not losses:
        console.print("Nothing was lost.")
        return
    console.print(Text("Values that were not stored unchanged", style="bold"))
    table = Table("column", "values", "loss", "example id", show_edge=True)
    for loss in losses:
        table.add_row(
            Text(f"{loss.collection}.{loss.column}"),
            str(loss.count),
            _LOSS_LABELS[loss.kind],
            Text(_format_cell(loss.example_id)),
        )
    console.print(table)


def _print_sessions(console: Console, sessions: Sequence[SessionRow]) -> None:
    counts = Counter(session.outcome for session in sessions)
    summary = ", ".join(
        f"{counts[outcome]} {label}"
        for outcome, label in _OUTCOME_LABELS.items()
        if counts[outcome]
    )
    console.print(f"Sessions: {summary or 'none'}.")


def _format_count(count: int, noun: str) -> str:
    return f"{count:,} {noun}" if count == 1 else f"{count:,} {noun}s"
