"""A ledger opened for reading."""

from __future__ import annotations

import sqlite3
from contextlib import closing, contextmanager
from typing import TYPE_CHECKING

from target_segment_objects.ledger import errors
from target_segment_objects.ledger.file import connect, verify

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


@contextmanager
def read_ledger(path: Path) -> Iterator[sqlite3.Connection]:
    """Read a ledger, of whatever destination; no run can write it meanwhile.

    Raises:
        LedgerError: It does not exist, is in use, or cannot be read.
    """
    if not path.exists():
        raise errors.describe_missing_file(path)
    with closing(connect(path, mode="ro")) as connection:
        try:
            connection.execute("BEGIN")
            verify(path, connection, None)
            yield connection
        except sqlite3.Error as cause:
            raise errors.translate_error(path, cause) from cause
