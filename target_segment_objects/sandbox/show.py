"""What `segment-objects-sandbox show` prints: of the file, or of the server that has it open."""

from __future__ import annotations

import json
import sys
from typing import TYPE_CHECKING

import click
from rich.console import Console

from target_segment_objects.sandbox.errors import WarehouseInUseError
from target_segment_objects.sandbox.json_report import render_json
from target_segment_objects.sandbox.running_server import fetch_json_report, fetch_report
from target_segment_objects.sandbox.terminal_report import print_report
from target_segment_objects.sandbox.verdict import find_largest_collection, print_next_steps
from target_segment_objects.sandbox.warehouse.database import Warehouse

if TYPE_CHECKING:
    from pathlib import Path


def show_text(path: Path, *, rows: int) -> None:
    """Print the report; on a terminal, the verdict and what to try next come last.

    Raises:
        WarehouseError: The file cannot be read, or a session cannot be loaded.
    """
    console, is_terminal = Console(highlight=False), sys.stdout.isatty()
    try:
        with Warehouse.open(path, read_only=True) as warehouse:
            print_report(warehouse, console, rows=rows, is_terminal=is_terminal)
            example = find_largest_collection(warehouse)
    except WarehouseInUseError:
        report = fetch_report(
            path,
            rows=rows,
            width=console.width,
            color_system=None if console.no_color else console.color_system,
            is_terminal=is_terminal,
        )
        if report is None:
            raise
        console.file.write(report)
    else:
        if is_terminal:
            print_next_steps(path, console, collection=example, shows_report=False)


def show_json(path: Path, *, rows: int) -> None:
    """Print the report as JSON.

    Raises:
        WarehouseError: As `show_text`.
    """
    click.echo(_get_json(path, rows=rows))


def has_loss(path: Path) -> bool:
    """Return whether anything that was accepted is not in the warehouse as it was sent.

    Raises:
        WarehouseError: As `show_text`.
    """
    return bool(json.loads(_get_json(path, rows=0))["has_loss"])


def _get_json(path: Path, *, rows: int) -> str:
    try:
        with Warehouse.open(path, read_only=True) as warehouse:
            return render_json(warehouse, rows=rows)
    except WarehouseInUseError:
        report = fetch_json_report(path, rows=rows)
        if report is None:
            raise
        return report
