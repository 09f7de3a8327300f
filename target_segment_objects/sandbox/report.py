"""What landed in a warehouse, as tables to read: for a terminal of any width, or a file."""

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

_CELL_CHARACTERS: Final = 32
_CELL_FRAME: Final = 3  # a border and a space on either side
_OUTCOMES: Final = {
    "loaded": "loaded",
    "error": "discarded by their sender",
    "expired": "expired",
    "open": "never finished",
}
_LOSSES: Final = {
    "type": "of another type than the column: null",
    "range": "beyond the column's range: null",
    "fraction": "without the fraction",
    "precision": "with fewer digits",
    "cut": "cut after 512 characters",
    "shadowed": "hidden by the object's id",
}


def print_report(warehouse: Warehouse, console: Console, *, rows: int = 5) -> None:
    """Print every collection with its columns and some rows, and what was lost.

    Args:
        warehouse: An open warehouse.
        console: Where to print; its width decides how many columns of a row are shown.
        rows: How many rows of each collection to show.
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
    heading = Text.assemble(
        (collection, "bold"),
        f": {_many(warehouse.count(collection), 'object')}, {_many(len(columns), 'column')}",
    )
    console.print(heading)
    kinds = [Text.assemble((name, "cyan"), " ", kind.lower()) for name, kind in columns.items()]
    console.print(Padding(Columns(kinds, padding=(0, 3)), (0, 0, 0, 2)))
    sample = warehouse.rows(collection, limit=rows)
    if sample:
        console.print(_sample(columns, sample, console.width))
    console.print()


def _sample(columns: Mapping[str, str], rows: Sequence[Mapping[str, Any]], width: int) -> Table:
    """Make a table of rows with as many columns as fit, the first one in any case."""
    table = Table(caption_justify="left", caption_style="dim")
    cells = {name: [_cell(row[name]) for row in rows] for name in columns}
    taken = 1
    for name, shown in cells.items():
        taken += _CELL_FRAME + max(Text(text).cell_len for text in (name, *shown))
        if taken > width and table.columns:
            break
        table.add_column(Text(name), no_wrap=True, overflow="ellipsis")
    fitting = len(table.columns)
    for row in zip(*list(cells.values())[:fitting], strict=True):
        table.add_row(*(Text(text) for text in row))
    if fitting < len(columns):
        table.caption = f"and {_many(len(columns) - fitting, 'more column')}"
    return table


def _cell(value: object) -> str:
    """Show a value in one line: nothing for null, no control characters, not too much."""
    text = _text(value)
    shown = "".join(
        character if character.isprintable() else repr(character)[1:-1]
        for character in text[: _CELL_CHARACTERS + 1]
    )
    return shown if len(shown) <= _CELL_CHARACTERS else shown[: _CELL_CHARACTERS - 1] + "…"


def _text(value: object) -> str:
    if value is None:
        return ""
    return str(value).lower() if isinstance(value, bool) else str(value)


def _print_losses(console: Console, losses: Sequence[Loss]) -> None:
    if not losses:
        console.print("Nothing was lost.")
        return
    console.print(Text("Lost on the way into columns", style="bold"))
    table = Table("column", "values", "what became of them", "such as the object", show_edge=True)
    for loss in losses:
        table.add_row(
            Text(f"{loss.collection}.{loss.column}"),
            str(loss.count),
            _LOSSES[loss.kind],
            Text(_cell(loss.example_id)),
        )
    console.print(table)


def _print_sessions(console: Console, sessions: Sequence[SessionRow]) -> None:
    counted = Counter(session.outcome for session in sessions)
    told = ", ".join(
        f"{counted[outcome]} {text}" for outcome, text in _OUTCOMES.items() if counted[outcome]
    )
    console.print(f"Sessions: {told or 'none'}.")


def _many(count: int, what: str) -> str:
    return f"{count:,} {what}" if count == 1 else f"{count:,} {what}s"
