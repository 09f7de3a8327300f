"""Records that cannot be sent: where they go, and how they come back.

The dead-letter file is itself Singer input: for each rejected record the SCHEMA of its stream,
once, and its RECORD line, byte for byte as the tap wrote it but for one more member, `rejected`,
which says why and when. So `target-segment-objects < rejects.singer` replays it once the cause is
mended. A run appends to what is there.

The rule for others: call `flush` before a STATE goes out that passes over a rejected record.
"""

from __future__ import annotations

import datetime
import errno
import json
import os
import threading
from contextlib import contextmanager
from typing import IO, TYPE_CHECKING, Any, Final

from target_segment_objects.exceptions import InvalidRecordError, SpoolError

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

_PRIVATE: Final = 0o600  # records are personal data
_NEVER_ON_DISK: Final = frozenset({errno.EINVAL, errno.ENOTSUP})  # fsync of a pipe or a terminal
_WHY: Final = b',"rejected":{'


class DeadLetterFile:
    """A file of rejected records, opened at the first one."""

    def __init__(self, path: Path) -> None:
        """Remember where."""
        self._path = path
        self._file: IO[bytes] | None = None
        self._schemas: dict[str, bytes] = {}
        self._is_flushed = True
        self._lock = threading.Lock()

    def append_record(
        self, schema_line: bytes, record_line: bytes, error: InvalidRecordError
    ) -> None:
        """Append a record that was rejected.

        Args:
            schema_line: The stream's SCHEMA message in force, as the tap wrote it.
            record_line: The RECORD message, as the tap wrote it.
            error: Why.

        Raises:
            SpoolError: The file cannot be written.
        """
        why = json.dumps({"reason": error.reason, "field": error.field, "at": _now()})
        record = b'%b,"rejected":%b}\n' % (_without_reason(record_line)[:-1], why.encode())
        with self._lock, self._writing():
            if self._file is None:
                self._file = self._opened()
            self._is_flushed = False
            if self._schemas.get(error.stream) != schema_line:
                self._file.write(schema_line.rstrip() + b"\n")
                self._schemas[error.stream] = schema_line
            self._file.write(record)

    def is_same_file(self, file: IO[bytes]) -> bool:
        """Return whether a file to read is this one: reading what is appended would never end."""
        try:
            return os.path.samestat(os.fstat(file.fileno()), self._path.stat())
        except (OSError, AttributeError, ValueError):  # no file on disk, either of them
            return False

    def flush(self) -> None:
        """Have everything on disk that was written.

        Raises:
            SpoolError: The disk does not take it.
        """
        with self._lock, self._writing():
            self._flush()

    def close(self) -> None:
        """Flush and close.

        Raises:
            SpoolError: The disk does not take it.
        """
        with self._lock, self._writing():
            file = self._file
            if file is None:
                return
            try:
                self._flush()
            finally:
                self._file = None
                file.close()

    def _opened(self) -> IO[bytes]:
        """Open the file at its end, on a line of its own should a run have died in one."""
        file = open(self._path, "ab", opener=_privately)  # noqa: SIM115 - Path has no opener
        if file.seekable() and file.tell() > 0 and not _ends_with_line(self._path):
            file.write(b"\n")
        return file

    def _flush(self) -> None:
        if self._file is None or self._is_flushed:
            return
        self._file.flush()
        try:
            os.fsync(self._file.fileno())
        except OSError as cause:
            if cause.errno not in _NEVER_ON_DISK:
                raise
        self._is_flushed = True

    @contextmanager
    def _writing(self) -> Iterator[None]:
        try:
            yield
        except OSError as cause:
            raise SpoolError(
                "write", self._path, cause, instead="dead_letter_path to another file"
            ) from cause


def _privately(path: str, flags: int) -> int:
    return os.open(path, flags, _PRIVATE)


def _ends_with_line(path: Path) -> bool:
    with path.open("rb") as file:
        file.seek(-1, os.SEEK_END)
        return file.read(1) == b"\n"


def _without_reason(record_line: bytes) -> bytes:
    """Take off the reason that a replayed record has from before, so that it has one at most."""
    line = record_line.strip()
    start = line.rfind(_WHY)
    if start < 0:
        return line
    before, why = line[:start] + b"}", b"{" + line[start + 1 :]
    return before if _is_object(before) and _is_object(why) else line


def _is_object(text: bytes) -> bool:
    try:
        value: Any = json.loads(text)
    except (ValueError, RecursionError):
        return False
    return isinstance(value, dict)


def _now() -> str:
    return datetime.datetime.now(tz=datetime.timezone.utc).isoformat(timespec="seconds")
