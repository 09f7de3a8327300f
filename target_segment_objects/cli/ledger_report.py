"""The report of `segment-objects-ledger show`: tables on a terminal, aligned text elsewhere."""

from __future__ import annotations

import sys
from dataclasses import asdict
from typing import TYPE_CHECKING, Final

import click

from target_segment_objects.plurals import format_count
from target_segment_objects.reporting.log_handlers import escape_unprintable

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    from target_segment_objects.ledger.overview import MissingReport, Overview

MAX_IDS_SHOWN: Final = 100
"""Of rows that are gone, in the text; JSON has all."""

_SPACES_BETWEEN_COLUMNS: Final = 2


def print_report(path: Path, overview: Overview, *, shows_properties: bool) -> None:
    """Print what a ledger knows."""
    from rich.filesize import decimal  # noqa: PLC0415 - slow to import

    click.echo(f"{path}: {decimal(overview.bytes)}, for {overview.destination}")
    click.echo(_describe_last_run(overview))
    if not overview.collections:
        click.echo("No collection is known yet.")
        return
    click.echo(_describe_retention(overview))
    click.echo()
    _print_table(list(_build_rows(overview)), text_columns=2)
    for each in overview.collections if shows_properties else ():
        for stream, types in each.properties.items():
            click.echo()
            rows = [(name, type_name or "no value yet") for name, type_name in types.items()]
            _print_table([(f"properties of stream {stream}", "first type"), *rows], text_columns=2)


def print_missing(missing: MissingReport) -> None:
    """Print which objects of a collection are gone at the source."""
    count = missing.missing + missing.marked
    if not count:
        return
    click.echo()
    click.echo(
        f"Gone at the source: {format_count(count, 'object')}, {missing.marked:,} of them marked "
        "as deleted."
    )
    rows = [
        (
            escape_unprintable(each.id),
            _format_time(each.since),
            _format_time(each.marked_at or ""),
            f"{each.runs}",
        )
        for each in missing.first
    ]
    _print_table([("id", "since (UTC)", "marked (UTC)", "runs"), *rows], text_columns=3)
    if count > len(rows):
        click.echo(f"… and {count - len(rows):,} more: --format json lists all.")


def build_json(overview: Overview, missing: MissingReport | None) -> dict[str, object]:
    """Return what a ledger knows, for programs."""
    report = asdict(overview)
    report["days"] = [day.isoformat() for day in overview.days]
    if missing is not None:
        report["gone"] = [asdict(each) for each in missing.first]
    return report


def _describe_last_run(overview: Overview) -> str:
    run = overview.last_run
    if run is None:
        return "No run has used it yet."
    return f"Last run: {_format_time(run.started)} UTC, {run.result}"


def _describe_retention(overview: Overview) -> str:
    days = overview.resend_after_days
    if days == 0:
        rule = "An unchanged object is never sent again"
    else:
        rule = f"An unchanged object is sent again after at most {format_count(days, 'day')}"
    return f"{rule}. Known objects that are due, by day:"


def _build_rows(overview: Overview) -> Iterator[tuple[str, ...]]:
    days = ["today", *(f"{day:%m-%d}" for day in overview.days[1:])]
    yield ("collection", "last run (UTC)", "objects", *days)
    for each in overview.collections:
        last_run = "" if each.last_run is None else _format_time(each.last_run)
        counts = [each.objects, *each.sent_again]
        yield (each.name, last_run, *(f"{count:,}" for count in counts))


def _format_time(time: str) -> str:
    return time[:16].replace("T", " ")


def _print_table(rows: Sequence[tuple[str, ...]], *, text_columns: int) -> None:
    """Print rows, of which the first is the heading; the columns of text come first."""
    if sys.stdout.isatty():
        _print_rich_table(rows, text_columns)
        return
    widths = _measure_widths(rows)
    for row in rows:
        cells = [
            cell.ljust(width) if position < text_columns else cell.rjust(width)
            for position, (cell, width) in enumerate(zip(row, widths, strict=True))
        ]
        click.echo((" " * _SPACES_BETWEEN_COLUMNS).join(cells).rstrip())


def _print_rich_table(rows: Sequence[tuple[str, ...]], text_columns: int) -> None:
    """Print a table; columns on the right that do not fit are left out."""
    from rich.box import SIMPLE_HEAD  # noqa: PLC0415 - for a terminal only
    from rich.console import Console  # noqa: PLC0415
    from rich.table import Table  # noqa: PLC0415
    from rich.text import Text  # noqa: PLC0415

    console = Console(highlight=False)
    widths = _measure_widths(rows)
    while (
        len(widths) > text_columns
        and sum(widths) + len(widths) * _SPACES_BETWEEN_COLUMNS > console.width
    ):
        widths.pop()
    table = Table(box=SIMPLE_HEAD, show_edge=False)
    for position, heading in enumerate(rows[0][: len(widths)]):
        table.add_column(heading, justify="left" if position < text_columns else "right")
    for row in rows[1:]:
        table.add_row(*map(Text, row[: len(widths)]))
    console.print(table)


def _measure_widths(rows: Sequence[tuple[str, ...]]) -> list[int]:
    return [max(map(len, column)) for column in zip(*rows, strict=True)]
