"""The ledger's file: opened for one run at a time, checked, and closed.

The rules for others: every use of the connection is inside `access`, which serialises the threads
and turns SQLite's errors into ours. What is written is in a transaction that `access(write=True)`
begins, and stays uncommitted until `commit`. After an error, every further use raises it again.

While a run has it open, the file is locked for all other processes, also for reading. The lock is
taken before anything is read, so that of two runs that start together one wins.

SQLite's rollback journal is used, not its write-ahead log: what is committed is in the file itself,
whoever copies it after a kill. With a log, that copy would say that older values are in Segment.
"""

from __future__ import annotations

import errno
import hashlib
import hmac
import os
import secrets
import sqlite3
import threading
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from datetime import datetime, timezone
from typing import TYPE_CHECKING, Any, Final

from target_segment_objects.ledger import file_errors, file_format

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from typing_extensions import Self

    from target_segment_objects.exceptions import LedgerError

_CACHE_KIB: Final = 16 * 1024  # the inner pages of 5 million objects take a few MB
_CLOSE_TIMEOUT_SECONDS: Final = 5.0
_SALT_BYTES: Final = 16


@dataclass(frozen=True, slots=True)
class Destination:
    """Where the objects go, which a ledger is bound to.

    Attributes:
        name: The base URL of the API, or the sandbox's warehouse.
        write_key: The write key; None accepts a ledger of any key.
        adopt_command: What the user can run to have a ledger adopt the key, for messages; {path} is
            its file.
    """

    name: str
    write_key: str | None = field(repr=False)
    adopt_command: str = ""


class LedgerFile:
    """An open ledger.

    Attributes:
        path: Where it is.
        run: The number of the current run.
    """

    def __init__(self, path: Path, connection: sqlite3.Connection) -> None:
        self.path = path
        self.run = 0
        self._connection = connection
        self._failure: LedgerError | None = None
        self._lock = threading.RLock()

    @classmethod
    def open(cls, path: Path, destination: Destination) -> Self:
        """Open a ledger for a run, or create it, and lock it until `close`.

        Raises:
            LedgerError: It cannot be opened, or is not this destination's.
        """
        try:
            _create_file(resolve_links(path))
        except OSError as cause:
            raise file_errors.unwritable_file_error(path, cause) from cause
        return cls.open_existing(path, destination)

    @classmethod
    def open_existing(cls, path: Path, destination: Destination | None = None) -> Self:
        """Open a ledger, and lock it until `close`; for any destination if it is None.

        Raises:
            LedgerError: It does not exist, cannot be opened, or is not this destination's.
        """
        path = path.absolute()
        file = cls(path, connect(path))
        try:
            with file.access() as connection:
                file._prepare(connection, destination)
        except BaseException:
            file._connection.close()
            raise
        return file

    @contextmanager
    def access(self, *, write: bool = False) -> Iterator[sqlite3.Connection]:
        """Use the connection, in a transaction if `write` is set; no other thread does meanwhile.

        Raises:
            LedgerError: SQLite reports an error.
        """
        with self._lock:
            if self._failure is not None:
                raise self._failure
            try:
                if write and not self._connection.in_transaction:
                    self._connection.execute("BEGIN")
                yield self._connection
            except UnicodeEncodeError as cause:
                self._failure = file_errors.unencodable_name_error(self.path)
                raise self._failure from cause
            except (sqlite3.Error, UnicodeDecodeError) as cause:
                # SQLite may have undone the transaction, and with it what must not be forgotten.
                self._failure = file_errors.translate_error(self.path, cause)
                raise self._failure from cause

    def commit(self) -> None:
        """Make what was written durable."""
        with self.access() as connection:
            if connection.in_transaction:
                connection.execute("COMMIT")

    def start_run(self, day: int) -> None:
        """Record durably that a run begins; `day` counts from 1970-01-01 (UTC)."""
        with self.access(write=True) as connection:
            cursor = connection.execute(
                "INSERT INTO run (day, started) VALUES (?, ?)", (day, format_now())
            )
            self.run = cursor.lastrowid or 0
            connection.execute("COMMIT")

    def end_run(self, *, is_complete: bool, counts: str) -> None:
        """Record the end of the run, with the counts of its collections as JSON."""
        with self.access(write=True) as connection:
            connection.execute(
                "UPDATE run SET ended = ?, is_complete = ?, counts = ? WHERE n = ?",
                (format_now(), is_complete, counts, self.run),
            )
            connection.execute("COMMIT")

    def close(self) -> None:
        """Unlock the file; what is not committed is undone. May be called more than once.

        A thread that was aborted may hold the lock for ever; then the file is unlocked when the
        process ends.
        """
        if self._lock.acquire(timeout=_CLOSE_TIMEOUT_SECONDS):
            try:
                self._connection.close()
            finally:
                self._lock.release()

    def _prepare(self, connection: sqlite3.Connection, destination: Destination | None) -> None:
        connection.execute("PRAGMA locking_mode = EXCLUSIVE")
        if self.path.stat().st_size == 0:
            if destination is None:
                raise file_errors.unused_file_error(self.path)
            connection.execute("PRAGMA auto_vacuum = INCREMENTAL")
        connection.execute("BEGIN EXCLUSIVE")  # the lock stays after the transaction
        connection.execute("COMMIT")
        if destination is not None and _is_empty(connection):
            _create_tables(connection, destination)
        else:
            verify(self.path, connection, destination)
        connection.execute("PRAGMA synchronous = FULL")
        connection.execute(f"PRAGMA cache_size = -{_CACHE_KIB}")


def connect(path: Path, *, is_read_only: bool = False) -> sqlite3.Connection:
    """Return a connection that never waits for a lock, and has no transactions of its own.

    Args:
        path: The file, or a link to it.
        is_read_only: Whether the file is not to be changed. What a killed run has not committed is
            undone even so.

    Raises:
        LedgerError: The file does not exist, or cannot be opened.
    """
    try:
        target = resolve_links(path)
        size = target.stat().st_size
        has_journal = target.with_name(f"{target.name}-journal").exists()
    except FileNotFoundError as cause:
        raise file_errors.missing_file_error(path) from cause
    except OSError as cause:
        raise file_errors.unwritable_file_error(path, cause) from cause
    if size == 1:  # SQLite takes it for an empty file, and overwrites it
        raise file_errors.foreign_file_error(path)
    mode = "ro" if is_read_only and not has_journal else "rw"
    try:
        return sqlite3.connect(
            f"{target.as_uri()}?mode={mode}",
            timeout=0,
            isolation_level=None,
            check_same_thread=False,
            uri=True,
        )
    except sqlite3.Error as cause:
        raise file_errors.translate_error(path, cause) from cause


def verify(path: Path, connection: sqlite3.Connection, destination: Destination | None) -> None:
    """Check that a file is a ledger of this version, and for a destination if one is given.

    Raises:
        LedgerError: It is something else, or another destination's.
    """
    if _is_empty(connection):
        raise file_errors.unused_file_error(path)
    if _read_pragma(connection, "application_id") != file_format.APPLICATION_ID:
        raise file_errors.foreign_file_error(path)
    version = _read_pragma(connection, "user_version")
    if version != file_format.FORMAT_VERSION:
        raise file_errors.format_error(path, version, file_format.FORMAT_VERSION)
    if destination is None:
        return
    with file_errors.report_damage(path):
        meta: dict[str, Any] = dict(connection.execute("SELECT key, value FROM meta"))
        recorded = meta["destination"]
        key = destination.write_key
        is_key = key is None or hmac.compare_digest(
            meta["key_fingerprint"], fingerprint_key(key, meta["key_salt"])
        )
    if recorded != destination.name:
        raise file_errors.foreign_destination_error(path, recorded, destination.name)
    if not is_key:
        raise file_errors.foreign_key_error(path, destination.adopt_command)


def fingerprint_key(write_key: str, salt: bytes) -> bytes:
    """Return what identifies a write key without revealing it."""
    return hashlib.blake2b(write_key.encode(), salt=salt, digest_size=16).digest()


def format_now() -> str:
    """Return the current time as it is stored: ISO 8601, UTC."""
    return datetime.now(timezone.utc).isoformat(timespec="seconds")


def resolve_links(path: Path) -> Path:
    """Return where a file is: SQLite has its journal there, and not beside a link to it.

    Raises:
        OSError: A link leads to itself.
    """
    try:
        return path.resolve()
    except RuntimeError as cause:  # what Python before 3.13 raises
        raise OSError(errno.ELOOP, os.strerror(errno.ELOOP)) from cause


def _create_file(path: Path) -> None:
    """Create an empty file that only its owner can read, unless there is a file.

    Raises:
        OSError: It cannot be created.
    """
    with suppress(FileExistsError):
        os.close(os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600))


def _is_empty(connection: sqlite3.Connection) -> bool:
    """Return whether the file is new, or its creation was interrupted."""
    if _read_pragma(connection, "application_id"):
        return False
    return connection.execute("SELECT 1 FROM sqlite_master LIMIT 1").fetchone() is None


def _create_tables(connection: sqlite3.Connection, destination: Destination) -> None:
    salt = secrets.token_bytes(_SALT_BYTES)
    meta = {
        "destination": destination.name,
        "key_salt": salt,
        "key_fingerprint": fingerprint_key(destination.write_key or "", salt),
        "next_n": 1,
    }
    connection.execute("BEGIN")
    for statement in file_format.TABLES.split(";"):
        connection.execute(statement)
    connection.executemany("INSERT INTO meta VALUES (?, ?)", meta.items())
    connection.execute(f"PRAGMA application_id = {file_format.APPLICATION_ID}")
    connection.execute(f"PRAGMA user_version = {file_format.FORMAT_VERSION}")
    connection.execute("COMMIT")


def _read_pragma(connection: sqlite3.Connection, name: str) -> int:
    return int(connection.execute(f"PRAGMA {name}").fetchone()[0])
