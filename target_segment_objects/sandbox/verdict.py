"""The verdict on a warehouse: the last lines on a terminal, where the first ones scroll away.

It fits a small terminal whatever was loaded: what is where, what was lost, and what to try next.
"""

from __future__ import annotations

import json
import os
import shlex
import shutil
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Final

from rich.padding import Padding
from rich.text import Text

from target_segment_objects.plurals import format_count
from target_segment_objects.sandbox.column_names import table_name
from target_segment_objects.sandbox.warehouse.losses import LOSS_LABELS, REDSHIFT_LOSS, Loss
from target_segment_objects.sandbox.wording import count_result, describe_result, escape_text

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from rich.console import Console

    from target_segment_objects.sandbox.warehouse.database import Warehouse

_MAX_COLLECTIONS: Final = 6
_MAX_LOSSES: Final = 3


def print_verdict(warehouse: Warehouse, console: Console) -> None:
    """Print whether everything was loaded, the columns with most losses, and what is where."""
    losses, sessions = warehouse.losses(), warehouse.sessions()
    counts = count_result(losses, sessions)
    style = "bold red" if counts.has_loss else "bold"
    console.print(Text(describe_result(losses, sessions, details="above"), style=style))
    for line in _describe_losses(losses):
        console.print(Padding(Text(line, overflow="fold"), (0, 0, 0, 2), expand=False))
    sizes = {name: warehouse.count(name) for name in warehouse.collections()}
    if sizes:
        console.print(Text(_describe_content(sizes)))


def print_next_steps(
    path: Path,
    console: Console,
    *,
    collection: str | None = None,
    shows_report: bool = True,
    is_served: bool = False,
) -> None:
    """Print the name of the file, and the commands that show what is in it.

    Args:
        path: The warehouse, as the user has named it.
        console: Where to print.
        collection: The collection that the example in SQL reads; None if there is none.
        shows_report: Whether the command that prints the report is among them.
        is_served: Whether a server has the file open: then only that command works.
    """
    file = os.fspath(path)
    console.print(Text(f"The warehouse is {escape_text(file)}. Look inside:"))
    command = _name_command("segment-objects-sandbox")
    steps = [[command, "show", file]] if shows_report else []
    if not is_served:
        steps.append([command, "serve", "--open", "--warehouse", file])
        if collection is not None:
            steps.append(_build_query(file, table_name(collection)))
    for step in steps:
        # Not wrapped: a command that is copied from the terminal stays one line.
        console.print(Text(f"  {escape_text(_quote(step))}"), soft_wrap=True)


def find_largest_collection(warehouse: Warehouse) -> str | None:
    """Return the collection with most objects, for an example; None if there is none."""
    return max(warehouse.collections(), key=warehouse.count, default=None)


def _describe_losses(losses: Sequence[Loss]) -> Iterator[str]:
    # What would only be lost elsewhere comes last.
    order = sorted(losses, key=lambda loss: (loss.kind == REDSHIFT_LOSS, -loss.count))
    shown = order[:_MAX_LOSSES]
    for loss in shown:
        label = LOSS_LABELS.get(loss.kind) or escape_text(loss.kind)
        name = escape_text(f"{loss.collection}.{loss.column}")
        yield f"{name}, {format_count(loss.count, 'value')}: {label}"
    if len(losses) > len(shown):
        yield f"and {len(losses) - len(shown):,} more, see above"


def _describe_content(sizes: dict[str, int]) -> str:
    names = [f"{escape_text(name)} {size:,}" for name, size in sizes.items()]
    shown = ", ".join(names[:_MAX_COLLECTIONS])
    hidden = len(names) - _MAX_COLLECTIONS
    more = f", and {hidden:,} more" if hidden > 0 else ""
    objects = format_count(sum(sizes.values()), "object")
    return f"{objects} in {format_count(len(names), 'collection')}: {shown}{more}."


def _build_query(file: str, table: str) -> list[str]:
    """Return a command that shows a table: DuckDB's own, or Python's if that is not installed."""
    if shutil.which("duckdb"):
        return ["duckdb", "-readonly", file, f"FROM {table} LIMIT 5"]
    connection = f"duckdb.connect({json.dumps(file, ensure_ascii=False)})"
    query = json.dumps(f"FROM {table}")
    code = f"import duckdb; {connection}.sql({query}).show()"
    return [_name_command("python"), "-c", code]


def _name_command(name: str) -> str:
    """Return how to call a command of this environment: by its name if that is the one found."""
    own = shutil.which(name, path=os.fspath(Path(sys.executable).parent))
    found = shutil.which(name)
    # pipx links the commands of its environments into one folder.
    is_found = found is not None and own in {found, os.path.realpath(found)}
    return name if own is None or is_found else _shorten_path(own)


def _shorten_path(path: str) -> str:
    """Return a path relative to the current folder, if it is in there."""
    try:
        return os.fspath(Path(path).relative_to(Path.cwd()))
    except (OSError, ValueError):
        return path


def _quote(command: Sequence[str]) -> str:
    return subprocess.list2cmdline(command) if os.name == "nt" else shlex.join(command)
