"""What can be wrong with a ledger, each in a line that says what to do."""

from __future__ import annotations

import shlex
import sqlite3
from contextlib import contextmanager
from typing import TYPE_CHECKING, Final

from target_segment_objects.exceptions import (
    LedgerError,
    LedgerInUseError,
    WrongLedgerError,
)

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    from target_segment_objects.delivery.interface import StreamInfo

_START_OVER: Final = "Move it away: the next run sends everything once, and starts a new one."
_RESUME: Final = "Then run again: the last STATE says where to resume."

_ADVICE: Final = {
    "file is not a database": (
        "{path} is not a ledger, or it is damaged: it is not an SQLite file. Check the path. If it "
        "was the ledger, move it away: the next run sends everything once, and starts a new one."
    ),
    "database or disk is full": (
        "The ledger {path} cannot be written: the disk is full, or the temporary folder is. Free "
        f"some space. {_RESUME}"
    ),
    "disk I/O error": (
        "The ledger {path} cannot be read or written: disk I/O error. Check the disk and its free "
        f"space. {_RESUME}"
    ),
    "attempt to write a readonly database": (
        "The ledger {path} cannot be written. Check the permissions of the file and of its folder, "
        "or set ledger_path to another file."
    ),
    "unable to open database file": (
        "The ledger {path} cannot be opened. Check that its folder exists, and the permissions of "
        "the file and of the folder, or set ledger_path to another file."
    ),
}
"""By SQLite's message; Python 3.10 does not have its error codes."""


def translate_error(path: Path, cause: Exception) -> LedgerError:
    """Return our error for one of SQLite's, or for what cannot be decoded."""
    reason = str(cause)
    if reason == "database is locked":
        return LedgerInUseError(path)
    if reason == "file is not a database":
        return WrongLedgerError(_ADVICE[reason].format(path=path))
    if reason in _ADVICE:
        return LedgerError(_ADVICE[reason].format(path=path))
    if not isinstance(cause, sqlite3.Error):
        reason = "it has values that no version has written"
    return LedgerError(f"The ledger {path} is damaged: {reason}. {_START_OVER}")


@contextmanager
def report_damage(path: Path) -> Iterator[None]:
    """Report values that cannot be used as damage of the file.

    Raises:
        LedgerError: There was one.
    """
    try:
        yield
    except (LookupError, TypeError, ValueError) as cause:
        raise translate_error(path, cause) from cause


def unwritable_file_error(path: Path, cause: OSError) -> LedgerError:
    """Return the error for a file that cannot be created or written."""
    reason = cause.strerror or type(cause).__name__
    link = f", a link to {path.readlink()}," if path.is_symlink() else ""
    return LedgerError(
        f"The ledger {path}{link} cannot be written: {reason}. Check the folder and its "
        "permissions, or set ledger_path to another file."
    )


def missing_file_error(path: Path) -> LedgerError:
    """Return the error for a file that does not exist."""
    return LedgerError(f"Ledger not found: {path}")


class UnusedLedgerError(LedgerError):
    """A file is empty: a run would take it for a new ledger."""


def unused_file_error(path: Path) -> UnusedLedgerError:
    """Return the error for an empty file."""
    return UnusedLedgerError(
        f"The ledger {path} is empty: no run has used it, or its content is lost. The next run "
        "sends everything."
    )


def foreign_file_error(path: Path) -> LedgerError:
    """Return the error for a file that is something else."""
    return WrongLedgerError(f"{path} is not a ledger. Set ledger_path to another file.")


def format_error(path: Path, version: int, supported: int) -> LedgerError:
    """Return the error for a file of another version."""
    is_newer = version > supported
    advice = "Install a newer version, or set another ledger_path." if is_newer else _START_OVER
    return LedgerError(
        f"The ledger {path} has the format {version}, and this version needs the format "
        f"{supported}. {advice}"
    )


def foreign_destination_error(path: Path, recorded: str, name: str) -> LedgerError:
    """Return the error for a ledger of another address."""
    return WrongLedgerError(
        f"The ledger {path} is for {recorded}, not for {name}. Set another ledger_path, or "
        "correct api_url."
    )


def foreign_key_error(path: Path, adopt_command: str) -> LedgerError:
    """Return the error for a ledger of another write key."""
    return WrongLedgerError(
        f"The ledger {path} was made with another write key. For another source, set another "
        "ledger_path. If the key of the same source has changed, run "
        f"`{adopt_command.replace('{path}', shlex.quote(str(path)))}`."
    )


def unencodable_name_error(path: Path) -> LedgerError:
    """Return the error for the name of a stream that is not Unicode."""
    return LedgerError(
        f"The ledger {path} cannot store the name of a stream that has an unpaired surrogate. "
        "Rename the stream with stream_maps (`__alias__`)."
    )


def changed_key_error(path: Path, stream: StreamInfo, known: Sequence[str]) -> LedgerError:
    """Return the error for a stream whose objects would all get another id."""
    return LedgerError(
        f"Stream '{stream.name}': its key properties have changed from {_join_keys(known)} to "
        f"{_join_keys(stream.key_properties)}. Every row would get a new id, and the rows with the "
        "old ids would stay. Restore the key in the tap, or map the stream to a new collection "
        "with collection_map. To load it again beside the old rows, run `segment-objects-ledger "
        f"forget {shlex.quote(str(path))} {stream.collection} --only objects`."
    )


def _join_keys(names: Sequence[str]) -> str:
    return ", ".join(name.encode(errors="backslashreplace").decode() for name in names) or "none"
