"""What a user has a ledger forget, between two runs.

Each change is one transaction. What a killed run has left is not folded here, but by the next run:
its rows of `pending` are deleted, or count as not accepted.
"""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING, Final

from target_segment_objects.exceptions import LedgerError
from target_segment_objects.ledger.file import fingerprint_key
from target_segment_objects.ledger.overview import list_collections

if TYPE_CHECKING:
    import sqlite3
    from collections.abc import Iterator
    from pathlib import Path

    from target_segment_objects.ledger.file import LedgerFile

_NAMED: Final = "collection IN (SELECT n FROM collection WHERE name = ifnull(:collection, name))"
"""All rows of one collection; of all, if it is NULL."""

_FORGET: Final = f"""
    DELETE FROM object WHERE {_NAMED};
    DELETE FROM pending WHERE {_NAMED};
    -- What is marked stays: a row that comes back is sent with a null for its mark.
    DELETE FROM missing WHERE marked_at IS NULL AND {_NAMED};
    UPDATE stream SET key_properties = 'null', fingerprint = x'', last_version = NULL
    WHERE {_NAMED}
"""  # noqa: S608 - a constant


def forget_objects(file: LedgerFile, collection: str | None) -> int:
    """Forget which objects of a collection, or of all, were sent, and the key; return how many.

    Raises:
        LedgerError: The collection is not known, or the file cannot be written.
    """
    parameters = {"collection": collection}
    with _change(file, collection) as connection:
        forgotten, *_ = [
            connection.execute(statement, parameters).rowcount for statement in _FORGET.split(";")
        ]
        _discard_acceptance(connection, collection)
    with file.access() as connection:
        connection.executescript("PRAGMA incremental_vacuum")
    return forgotten


def forget_types(file: LedgerFile, collection: str | None) -> int:
    """Forget the names and types of properties, as `forget_objects` does; return of how many."""
    with _change(file, collection) as connection:
        return connection.execute(
            "DELETE FROM property WHERE collection = ifnull(:collection, collection)",
            {"collection": collection},
        ).rowcount


def resend_objects(file: LedgerFile, collection: str | None) -> int:
    """Have the next run send all known objects that it reads; return how many are known."""
    with _change(file, collection) as connection:
        _discard_acceptance(connection, collection)
        return connection.execute(
            f"UPDATE object SET digest = NULL WHERE {_NAMED}",  # noqa: S608 - a constant
            {"collection": collection},
        ).rowcount


def adopt_key(file: LedgerFile, write_key: str) -> None:
    """Bind a ledger to another write key of the same source."""
    with _change(file, None) as connection:
        query = "SELECT value FROM meta WHERE key = 'key_salt'"
        (salt,) = connection.execute(query).fetchone()
        connection.execute(
            "UPDATE meta SET value = ? WHERE key = 'key_fingerprint'",
            (fingerprint_key(write_key, salt),),
        )


@contextmanager
def _change(file: LedgerFile, collection: str | None) -> Iterator[sqlite3.Connection]:
    """Commit what is changed of a known collection, or of all."""
    with file.access(write=True) as connection:
        require_collection(file.path, connection, collection)
        yield connection
    file.commit()


def _discard_acceptance(connection: sqlite3.Connection, collection: str | None) -> None:
    """Have what a killed run has sent count as not accepted."""
    connection.execute(
        "UPDATE collection SET accepted = 0 WHERE name = ifnull(:collection, name)",
        {"collection": collection},
    )


def require_collection(path: Path, connection: sqlite3.Connection, collection: str | None) -> None:
    """Check that a collection is known.

    Raises:
        LedgerError: It is unknown.
    """
    known = list_collections(connection)
    if collection is not None and collection not in known:
        names = f"It has: {', '.join(known)}" if known else "It has none yet"
        msg = f"The ledger {path} has no collection {collection}. {names}."
        raise LedgerError(msg)
