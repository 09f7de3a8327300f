"""What a user has a ledger forget, between two runs.

Each change is one transaction. What a killed run has left is not folded here, but by the next run:
its rows of `pending` are deleted, or count as not accepted.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from target_segment_objects.exceptions import LedgerError
from target_segment_objects.ledger.file import fingerprint_key
from target_segment_objects.ledger.overview import list_collections

if TYPE_CHECKING:
    import sqlite3
    from pathlib import Path

    from target_segment_objects.ledger.file import LedgerFile

_NAMED: Final = "collection IN (SELECT n FROM collection WHERE name = ifnull(:collection, name))"
"""All rows of one collection; of all, if it is NULL."""


def forget_objects(file: LedgerFile, collection: str | None) -> int:
    """Forget which objects were sent, and the key properties of the streams.

    What is marked as deleted is not forgotten: a row that comes back is sent with a null for it.

    Args:
        file: An open ledger.
        collection: The name of one collection; None for all.

    Returns:
        How many objects were forgotten.

    Raises:
        LedgerError: The collection is not known, or the file cannot be written.
    """
    with file.access(write=True) as connection:
        require_collection(file.path, connection, collection)
        given = {"collection": collection}
        forgotten = connection.execute(f"DELETE FROM object WHERE {_NAMED}", given).rowcount  # noqa: S608 - a constant
        connection.execute(f"DELETE FROM pending WHERE {_NAMED}", given)  # noqa: S608 - a constant
        connection.execute(f"DELETE FROM missing WHERE marked_at IS NULL AND {_NAMED}", given)  # noqa: S608 - a constant
        _discard_acceptance(connection, collection)
        connection.execute(
            f"""
            UPDATE stream SET key_properties = 'null', fingerprint = x'', last_version = NULL
            WHERE {_NAMED}
            """,  # noqa: S608 - a constant
            given,
        )
    file.commit()
    with file.access() as connection:
        connection.executescript("PRAGMA incremental_vacuum")
    return forgotten


def forget_types(file: LedgerFile, collection: str | None) -> int:
    """Forget the names and types of properties; return of how many.

    Args:
        file: An open ledger.
        collection: The name of one collection; None for all.

    Raises:
        LedgerError: The collection is not known, or the file cannot be written.
    """
    with file.access(write=True) as connection:
        require_collection(file.path, connection, collection)
        forgotten = connection.execute(
            "DELETE FROM property WHERE collection = ifnull(:collection, collection)",
            {"collection": collection},
        ).rowcount
    file.commit()
    return forgotten


def resend_objects(file: LedgerFile, collection: str | None) -> int:
    """Have the next run send all known objects that it reads; return how many are known.

    Args:
        file: An open ledger.
        collection: The name of one collection; None for all.

    Raises:
        LedgerError: The collection is not known, or the file cannot be written.
    """
    with file.access(write=True) as connection:
        require_collection(file.path, connection, collection)
        marked = connection.execute(
            f"UPDATE object SET digest = NULL WHERE {_NAMED}",  # noqa: S608 - a constant
            {"collection": collection},
        ).rowcount
        _discard_acceptance(connection, collection)
    file.commit()
    return marked


def adopt_key(file: LedgerFile, write_key: str) -> None:
    """Bind a ledger to another write key of the same source.

    Raises:
        LedgerError: The file cannot be written.
    """
    with file.access(write=True) as connection:
        query = "SELECT value FROM meta WHERE key = 'key_salt'"
        (salt,) = connection.execute(query).fetchone()
        connection.execute(
            "UPDATE meta SET value = ? WHERE key = 'key_fingerprint'",
            (fingerprint_key(write_key, salt),),
        )
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
        LedgerError: It is not.
    """
    known = list_collections(connection)
    if collection is not None and collection not in known:
        names = f"It has: {', '.join(known)}" if known else "It has none yet"
        msg = f"The ledger {path} has no collection {collection}. {names}."
        raise LedgerError(msg)
