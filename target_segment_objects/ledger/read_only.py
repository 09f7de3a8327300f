"""The ledger read without changing it: a check, a copy for a dry run, and for what shows it."""

from __future__ import annotations

import errno
import os
import sqlite3
import tempfile
from contextlib import closing, contextmanager, suppress
from typing import TYPE_CHECKING

from target_segment_objects.ledger import file_errors
from target_segment_objects.ledger.file import connect, resolve_links, verify
from target_segment_objects.plurals import format_count

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from target_segment_objects.ledger.file import Destination


@contextmanager
def read_ledger(path: Path, destination: Destination | None = None) -> Iterator[sqlite3.Connection]:
    """Read a ledger, of any destination if it is None; no run can write it meanwhile.

    Raises:
        LedgerError: It does not exist, is in use, cannot be read, or is not this destination's.
    """
    with closing(connect(path, is_read_only=True)) as connection:
        try:
            connection.execute("BEGIN")
            verify(path, connection, destination)
            yield connection
        except (sqlite3.Error, UnicodeDecodeError) as cause:
            raise file_errors.translate_error(path, cause) from cause


def copy_ledger(path: Path, copy: Path, destination: Destination) -> None:
    """Copy a ledger, if there is one. The copy can be used as if it were the ledger.

    Raises:
        LedgerError: It cannot be read, or is not this destination's.
    """
    if not path.exists():
        return
    with (
        suppress(file_errors.UnusedLedgerError),
        read_ledger(path, destination) as connection,
        closing(sqlite3.connect(copy, isolation_level=None)) as copied,
    ):
        connection.backup(copied)


def check_ledger(path: Path, destination: Destination) -> str:
    """Return what a check says of a ledger that a run could use. It is not created or changed.

    Raises:
        LedgerError: A run could not use it.
    """
    try:
        folder = resolve_links(path).parent
        if not path.exists():
            with tempfile.TemporaryFile(dir=folder):
                return f"The ledger {path} can be created. The first run sends everything."
        if not os.access(path, os.W_OK) or not os.access(folder, os.W_OK):
            raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))
    except OSError as cause:
        raise file_errors.unwritable_file_error(path, cause) from cause
    try:
        with read_ledger(path, destination) as connection:
            (count,) = connection.execute("SELECT count(*) FROM object").fetchone()
    except file_errors.UnusedLedgerError:
        return f"The ledger {path} is empty. The next run sends everything."
    return f"The ledger {path} can be used. It knows {format_count(count, 'object')}."
