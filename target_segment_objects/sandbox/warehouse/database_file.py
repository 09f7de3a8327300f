"""Opens the file of a warehouse, and creates the metadata tables in a new one.

A file can be of someone else. So DuckDB has no access to other files and to the network, and the
metadata must be as declared here.
"""

from __future__ import annotations

import re
from contextlib import contextmanager
from typing import TYPE_CHECKING, Final

import duckdb

from target_segment_objects.sandbox.errors import WarehouseError, WarehouseInUseError
from target_segment_objects.sandbox.private_files import check_database_files

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

SESSION_COLUMNS: Final[Mapping[str, str]] = {
    "sync_id": "VARCHAR",
    "outcome": "VARCHAR",
    "collections": "VARCHAR[]",
    **dict.fromkeys(("parts", "objects", "raw_bytes", "gzip_bytes"), "BIGINT"),
    **dict.fromkeys(("started", "ended"), "TIMESTAMP"),
    "error": "VARCHAR",
}
"""The fields of a `SessionRecord` that the warehouse stores."""

METADATA: Final[Mapping[str, Mapping[str, str]]] = {
    "sessions": SESSION_COLUMNS,
    "losses": {
        "collection": "VARCHAR",
        "column_name": "VARCHAR",
        "kind": "VARCHAR",
        "count": "BIGINT",
        "example_id": "VARCHAR",
    },
    "lost_values": dict.fromkeys(
        ("collection", "column_name", "object_id", "kind", "value"), "VARCHAR"
    ),
    "parts": {
        "position": "BIGINT",
        "sync_id": "VARCHAR",
        "number": "BIGINT",
        "size": "BIGINT",
        "data": "BLOB",
    },
}
"""The columns of the metadata tables. None of them may be null."""

_KEYS: Final[Mapping[str, str]] = {
    "sessions": "sync_id",
    "losses": "collection, column_name, kind",
    "lost_values": "collection, column_name, object_id",
    "parts": "position",
}

_LATER_TABLES: Final = frozenset({"lost_values", "parts"})
"""Tables that a warehouse of an older version does not have."""

_ERROR_KIND: Final = re.compile(r"^[A-Z][A-Za-z ]{0,40}Error: ")

_LOCKED: Final = ("Could not set lock", "used by another process")
"""What DuckDB says of a file that another process has open: on POSIX, on Windows."""

_DAMAGED: Final = ("orrupt", "checksum", "enough bytes")
"""What DuckDB says of a file that is too short or was changed, whatever the class of its error."""

_DAMAGE: Final = (duckdb.FatalException, duckdb.InternalException, duckdb.SerializationException)

_CONFIG: Final[dict[str, str | bool | int | float | list[str]]] = {
    "enable_external_access": "false",
    "autoinstall_known_extensions": "false",
    "autoload_known_extensions": "false",
    "python_enable_replacements": "false",
}
"""DuckDB reads and writes its own files only: no other file, no address, no variable of ours.

Access cannot be enabled again while the file is open.
"""


def connect_to_file(path: Path, *, read_only: bool = False) -> duckdb.DuckDBPyConnection:
    """Open a DuckDB file, and nothing else.

    Raises:
        WarehouseInUseError: Another process has opened it.
        WarehouseError: It cannot be opened.
    """
    check_database_files(path)
    if not path.parent.is_dir():
        message = f"Cannot open the warehouse {path}: there is no folder {path.parent}"
        raise WarehouseError(message)
    with translated_errors(path):
        # Absolute: a name such as `md:x` or `:memory:` is a file, too.
        return duckdb.connect(str(path.absolute()), read_only=read_only, config=_CONFIG)


@contextmanager
def translated_errors(path: Path) -> Iterator[None]:
    """Raise an error of DuckDB as one that names the file and the reason.

    Raises:
        WarehouseInUseError: Another process has opened the file.
        WarehouseError: It cannot be opened, or not be read.
    """
    try:
        yield
    except duckdb.Error as error:
        raise translate_error(path, error) from error


def describe_error(error: Exception) -> str:
    """Return the reason of an error in one line, without what DuckDB calls its kind."""
    line = next(iter(str(error).strip().splitlines()), "") or type(error).__name__
    return _ERROR_KIND.sub("", line)


def ensure_metadata(connection: duckdb.DuckDBPyConnection, path: Path, *, read_only: bool) -> None:
    """Create the metadata tables in a new file. Any other DuckDB file is left unchanged.

    Raises:
        WarehouseError: It is not a warehouse of a sandbox.
    """
    tables = connection.execute(
        "SELECT table_schema, table_name, table_type FROM information_schema.tables"
        " WHERE table_catalog = current_database()"
    ).fetchall()
    if (tables or read_only) and not _has_metadata(connection, tables):
        message = f"{path} is a DuckDB file, but not a warehouse of a sandbox"
        raise WarehouseError(message)
    if not read_only:
        connection.execute("CREATE SCHEMA IF NOT EXISTS sandbox_metadata")
        for table, columns in METADATA.items():
            declared = ", ".join(f"{name} {kind} NOT NULL" for name, kind in columns.items())
            connection.execute(
                f"CREATE TABLE IF NOT EXISTS sandbox_metadata.{table}"
                f" ({declared}, PRIMARY KEY ({_KEYS[table]}))"
            )


def _has_metadata(
    connection: duckdb.DuckDBPyConnection, tables: list[tuple[str, str, str]]
) -> bool:
    """Return whether the metadata is as declared: what is read has these types, and is no view."""
    found = {name: kind for schema, name, kind in tables if schema == "sandbox_metadata"}
    if found.keys() | _LATER_TABLES != METADATA.keys() or {*found.values()} != {"BASE TABLE"}:
        return False
    columns = connection.execute(
        "SELECT table_name, column_name, data_type, is_nullable FROM information_schema.columns"
        " WHERE table_catalog = current_database() AND table_schema = 'sandbox_metadata'"
    )
    return {*columns.fetchall()} == {
        (table, name, kind, "NO") for table in found for name, kind in METADATA[table].items()
    }


def translate_error(path: Path, error: duckdb.Error) -> WarehouseError:
    """Return in one line why DuckDB could not open or read a file."""
    reason = describe_error(error)
    if any(words in reason for words in _LOCKED):
        return WarehouseInUseError(
            f"The warehouse {path} is in use by another process. Stop that one, or choose another "
            "file. To load into a sandbox that is running, set api_url to its address"
        )
    if "not a valid DuckDB" in reason:
        return WarehouseError(f"{path} is not a DuckDB file")
    if isinstance(error, _DAMAGE) or any(words in reason for words in _DAMAGED):
        return WarehouseError(
            f"The warehouse {path} is damaged: {reason}. Remove it, or choose another file"
        )
    return WarehouseError(f"Cannot use the warehouse {path}: {reason}")
