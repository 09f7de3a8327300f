"""The log of `serve` on the terminal: one line for each request."""

from __future__ import annotations

from contextlib import suppress
from typing import TYPE_CHECKING

import click

from target_segment_objects.sandbox.warehouse.wording import escape_text

if TYPE_CHECKING:
    from target_segment_objects.sandbox.activity.requests import RequestRecord


def print_request(record: RequestRecord) -> None:
    """Print a request to standard error. A terminal that is gone is no reason to stop."""
    with suppress(OSError, ValueError):
        click.echo(format_request(record), err=True)


def format_request(record: RequestRecord) -> str:
    """Return the line: local time, method, path, status, milliseconds, reason of a rejection."""
    time = record.started.astimezone().strftime("%H:%M:%S")
    line = f"{time} {record.method} {record.path} {record.status} {record.seconds * 1000:.0f} ms"
    if record.explanation:
        line += f": {record.explanation}"
    return escape_text(line)
