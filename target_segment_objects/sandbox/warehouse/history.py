"""The history of an object: which session brought which properties.

The accepted parts themselves are kept, in the table `parts` of the metadata, the newest
`MAX_HISTORY_BYTES` of them. Loading only copies their bytes; they are read when someone asks for an
object.
"""

from __future__ import annotations

import gzip
import io
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, cast

from target_segment_objects.sandbox.objects import parse_object

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from pathlib import Path

    import duckdb

    from target_segment_objects.sandbox.objects import Properties

MAX_HISTORY_BYTES: Final = 32_000_000
"""Compressed bytes of the parts that are kept. A larger part is not."""

MAX_VERSIONS: Final = 100
"""Versions of an object that are found: the newest ones."""

_MAY_ESCAPE_ID: Final = re.compile(rb'"id"\s*:\s*"[^"]*\\|\\u006[49]')
"""A line that may have the id in another spelling: with an escape in it or in its key."""


@dataclass(frozen=True, slots=True)
class Version:
    """What a session brought of an object, and where: the numbers of part and line are from 1."""

    sync_id: str
    part: int
    line: int
    properties: Properties


@dataclass(frozen=True, slots=True)
class History:
    """The versions of an object that are kept, in the order in which they were sent.

    Attributes:
        versions: The newest ones.
        is_complete: Whether no part was deleted and no session was loaded without keeping it.
    """

    versions: tuple[Version, ...]
    is_complete: bool


def keep_parts(connection: duckdb.DuckDBPyConnection, sync_id: str, paths: Iterable[Path]) -> None:
    """Keep the compressed parts of a session, within a transaction, and delete the oldest ones."""
    # `INSERT … SELECT max(position) + 1, ?` would take several times as long.
    [(position,)] = connection.execute(
        "SELECT coalesce(max(position), 0) FROM sandbox_metadata.parts"
    ).fetchall()
    for number, path in enumerate(paths, start=1):
        size = path.stat().st_size
        if size <= MAX_HISTORY_BYTES:
            connection.execute(
                "INSERT INTO sandbox_metadata.parts VALUES (?, ?, ?, ?, ?)",
                [position + number, sync_id, number, size, path.read_bytes()],
            )
    connection.execute(
        "DELETE FROM sandbox_metadata.parts WHERE position IN (SELECT position FROM ("
        "SELECT position, sum(size) OVER (ORDER BY position DESC) AS total"
        " FROM sandbox_metadata.parts) WHERE total > ?)",
        [MAX_HISTORY_BYTES],
    )


def find_history(connection: duckdb.DuckDBPyConnection, collection: str, object_id: str) -> History:
    """Return the newest versions of an object."""
    versions: list[Version] = []
    positions = connection.execute(
        "SELECT position, sync_id, number FROM sandbox_metadata.parts ORDER BY position DESC"
    ).fetchall()
    for position, sync_id, number in positions:
        [(data,)] = connection.execute(
            "SELECT data FROM sandbox_metadata.parts WHERE position = ?", [position]
        ).fetchall()
        versions[:0] = [
            Version(sync_id, number, line, properties)
            for line, properties in _find_in_part(data, collection, object_id)
        ]
        if len(versions) > MAX_VERSIONS:
            return History(tuple(versions[-MAX_VERSIONS:]), is_complete=False)
    return History(tuple(versions), _has_all_parts(connection, len(positions)))


def _has_all_parts(connection: duckdb.DuckDBPyConnection, kept: int) -> bool:
    [(loaded,)] = connection.execute(
        "SELECT coalesce(sum(parts), 0) FROM sandbox_metadata.sessions WHERE outcome = 'loaded'"
    ).fetchall()
    return bool(kept == loaded)


def _find_in_part(data: bytes, collection: str, object_id: str) -> Iterator[tuple[int, Properties]]:
    """Yield the lines with an object, and its properties. Only likely lines are parsed."""
    needle = f'"{object_id}"'.encode()
    with (
        gzip.open(io.BytesIO(data)) as unzipped,
        # BufferedReader splits lines in C; GzipFile does it in Python.
        io.BufferedReader(cast("io.RawIOBase", unzipped)) as lines,
    ):
        for number, line in enumerate(lines, start=1):
            if needle in line or (b"\\" in line and _MAY_ESCAPE_ID.search(line)):
                item = parse_object(line.removesuffix(b"\n"))
                if item.id == object_id and item.collection == collection:
                    yield number, item.properties
