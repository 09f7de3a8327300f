"""Rows as JSON and as CSV, for a program or a spreadsheet."""

from __future__ import annotations

import csv
import io
import json
import math
from typing import TYPE_CHECKING, Any, Final

from starlette.responses import Response, StreamingResponse

from target_segment_objects.sandbox.objects import FloatText, IntegerText
from target_segment_objects.sandbox.wording import format_plain

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

_CHUNK_ROWS: Final = 500
_MEDIA_TYPES: Final = {"csv": "text/csv; charset=utf-8", "json": "application/json"}


def send_rows(
    name: str, kind: str, columns: Sequence[str], rows: Iterable[Sequence[Any]]
) -> Response:
    """Return a response that a browser saves as a file, in pieces.

    Args:
        name: The name of the file, without its suffix: letters, digits and `_`.
        kind: `csv` or `json`.
        columns: The names of the columns.
        rows: The rows.
    """
    names = name_columns(columns)
    lines = write_csv(names, rows) if kind == "csv" else write_json(names, rows)
    headers = {"Content-Disposition": f'attachment; filename="{name}.{kind}"'}
    return StreamingResponse(lines, headers=headers, media_type=_MEDIA_TYPES[kind])


def send_json(content: object, status: int = 200) -> Response:
    """Return a response of JSON that people can read, too."""
    text = json.dumps(to_json_value(content), ensure_ascii=False, indent=2)
    return Response(f"{text}\n", status, media_type=_MEDIA_TYPES["json"])


def name_columns(columns: Iterable[str]) -> list[str]:
    """Return the names of columns, each once: a second `n` is `n_2`."""
    names: dict[str, None] = {}
    for column in columns:
        name, number = column, 1
        while name in names:
            number += 1
            name = f"{column}_{number}"
        names[name] = None
    return list(names)


def write_csv(columns: Sequence[str], rows: Iterable[Sequence[Any]]) -> Iterator[str]:
    """Yield a CSV file, as RFC 4180 has it, in pieces. Null is an empty field."""
    buffer = io.StringIO()
    writer = csv.writer(buffer)
    writer.writerow(columns)
    for number, row in enumerate(rows, start=1):
        writer.writerow(map(_format_field, row))
        if number % _CHUNK_ROWS == 0:
            yield _take(buffer)
    yield _take(buffer)


def write_json(columns: Sequence[str], rows: Iterable[Sequence[Any]]) -> Iterator[str]:
    """Yield a JSON list with an object for each row, in pieces: a row is a line."""
    buffer = io.StringIO()
    separator = "[\n"
    for number, row in enumerate(rows, start=1):
        item = dict(zip(columns, map(to_json_value, row), strict=True))
        buffer.write(separator + json.dumps(item, ensure_ascii=False))
        separator = ",\n"
        if number % _CHUNK_ROWS == 0:
            yield _take(buffer)
    buffer.write("[]\n" if separator == "[\n" else "\n]\n")
    yield _take(buffer)


def to_json_value(value: object) -> object:
    """Return what JSON has for a value; for a value of a type that it does not have, its text."""
    match value:
        case IntegerText() | FloatText():  # a number as it was sent
            return json.loads(value)
        case None | bool() | int() | str():
            return value
        case float() if math.isfinite(value):
            return value
        case dict():
            return {str(name): to_json_value(item) for name, item in value.items()}
        case list() | tuple():
            return [to_json_value(item) for item in value]
        case _:
            return format_plain(value)


def _format_field(value: object) -> str:
    if isinstance(value, list | dict):
        return json.dumps(to_json_value(value), ensure_ascii=False)
    return format_plain(value)


def _take(buffer: io.StringIO) -> str:
    text = buffer.getvalue()
    buffer.seek(0)
    buffer.truncate()
    return text
