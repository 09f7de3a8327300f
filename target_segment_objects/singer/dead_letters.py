"""Write rejected records to the dead-letter file, which is itself Singer input.

The file has the SCHEMA of each stream once, and the RECORD line of each rejected record, byte for
byte as the tap wrote it, plus the member `rejected`: the reason, and when it was first rejected.
Once the cause is fixed, rename the file and give it to the target as its input: that is a replay.

Callers must call `flush` before they write a STATE that covers a rejected record.
"""

from __future__ import annotations

import datetime
import errno
import json
import os
import stat
import threading
from contextlib import contextmanager
from typing import IO, TYPE_CHECKING, Any, Final

from target_segment_objects.exceptions import InvalidRecordError, SpoolError

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

_FILE_MODE: Final = 0o600  # records are personal data
_FSYNC_UNSUPPORTED: Final = frozenset({errno.EINVAL, errno.ENOTSUP})  # of a pipe or a terminal
_REASON_START: Final = b',"rejected":{'


class DeadLetterFile:
    """The file of rejected records. It is created when the first record is rejected."""

    def __init__(self, path: Path) -> None:
        """Keep the path. Nothing is opened yet."""
        self._path = path
        self._file: IO[bytes] | None = None
        self._schemas: dict[str, bytes] = {}
        self._is_flushed = True
        self._lock = threading.Lock()

    def append_record(
        self, schema_line: bytes, record_line: bytes, error: InvalidRecordError
    ) -> None:
        """Append a rejected record.

        Args:
            schema_line: The current SCHEMA message of the stream, as the tap wrote it.
            record_line: The RECORD message, as the tap wrote it.
            error: Why the record was rejected.

        Raises:
            SpoolError: The file cannot be written.
        """
        line, earlier = _split_reason(record_line)
        first_rejected = parse_time(earlier) or _now()
        reason = json.dumps(
            {
                "reason": error.reason,
                "field": error.field,
                "at": first_rejected.isoformat(timespec="seconds"),
            }
        )
        record = b'%b,"rejected":%b}\n' % (line[:-1], reason.encode())
        with self._lock, self._translate_errors():
            if self._file is None:
                self._file = self._open_file()
            self._is_flushed = False
            if self._schemas.get(error.stream) != schema_line:
                self._file.write(schema_line.rstrip() + b"\n")
                self._schemas[error.stream] = schema_line
            self._file.write(record)

    def is_same_file(self, file: IO[bytes]) -> bool:
        """Return whether an input file is this file: the run would never reach its end."""
        try:
            return os.path.samestat(os.fstat(file.fileno()), self._path.stat())
        except (OSError, AttributeError, ValueError):  # one of them is not a file on disk
            return False

    def flush(self) -> None:
        """Write everything to disk.

        Raises:
            SpoolError: The file cannot be written.
        """
        with self._lock, self._translate_errors():
            self._sync_file()

    def close(self) -> None:
        """Write everything to disk and close the file.

        Raises:
            SpoolError: The file cannot be written.
        """
        with self._lock, self._translate_errors():
            file = self._file
            if file is None:
                return
            try:
                self._sync_file()
            finally:
                self._file = None
                file.close()

    def _open_file(self) -> IO[bytes]:
        """Open the file for appending. Start a new line if an earlier run was killed in one."""
        file = open(self._path, "ab", opener=_open_private)  # noqa: SIM115 - Path has no opener
        try:
            _keep_others_out(file)
        except OSError:
            file.close()
            raise
        if file.seekable() and file.tell() > 0 and not _ends_with_line(self._path):
            file.write(b"\n")
        return file

    def _sync_file(self) -> None:
        if self._file is None or self._is_flushed:
            return
        self._file.flush()
        try:
            os.fsync(self._file.fileno())
        except OSError as cause:
            if cause.errno not in _FSYNC_UNSUPPORTED:
                raise
        self._is_flushed = True

    @contextmanager
    def _translate_errors(self) -> Iterator[None]:
        try:
            yield
        except OSError as cause:
            raise SpoolError(
                "write", self._path, cause, instead="dead_letter_path to another file"
            ) from cause


def _open_private(path: str, flags: int) -> int:
    return os.open(path, flags, _FILE_MODE)


def _keep_others_out(file: IO[bytes]) -> None:
    """Take the permissions of an existing file from its group and from others.

    Raises:
        OSError: Others can read it, and it belongs to another user.
    """
    status = os.fstat(file.fileno())
    if not hasattr(os, "fchmod") or not stat.S_ISREG(status.st_mode) or not status.st_mode & 0o077:
        return  # Windows, or a pipe, or private already
    try:
        os.fchmod(file.fileno(), _FILE_MODE)
    except OSError:
        if status.st_uid != os.geteuid():  # else it is a file system without permissions
            raise


def _ends_with_line(path: Path) -> bool:
    with path.open("rb") as file:
        file.seek(-1, os.SEEK_END)
        return file.read(1) == b"\n"


def parse_time(rejected: object) -> datetime.datetime | None:
    """Return when a record was first rejected.

    Args:
        rejected: The member `rejected` of its message; anything else gives None.
    """
    at = rejected.get("at") if isinstance(rejected, dict) else None
    try:
        time = datetime.datetime.fromisoformat(at) if isinstance(at, str) else None
    except ValueError:
        return None
    return time if time is None or time.tzinfo else None


def _split_reason(record_line: bytes) -> tuple[bytes, object]:
    """Return a line without the reason of an earlier rejection, and that reason."""
    line = record_line.strip()
    start = line.rfind(_REASON_START)
    if start >= 0:
        record, reason = line[:start] + b"}", _decode_object(b"{" + line[start + 1 :])
        if reason is not None and _decode_object(record) is not None:
            return record, reason["rejected"]
    return line, None


def _decode_object(line: bytes) -> dict[str, Any] | None:
    try:
        value = json.loads(line)
    except (ValueError, RecursionError):
        return None
    return value if isinstance(value, dict) else None


def _now() -> datetime.datetime:
    return datetime.datetime.now(tz=datetime.timezone.utc)
