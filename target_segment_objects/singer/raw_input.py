"""Read the bytes of an input: standard input, a file, or a BATCH file.

Gzip is recognised by its first bytes, whatever the name of the file, and a byte order mark at the
start is skipped. Other formats that cannot be read are named. No line is longer than
`MAX_LINE_BYTES`, so that no input takes all memory. Every read that may block runs inside a context
manager of the caller, which knows when a signal may interrupt it.
"""

from __future__ import annotations

import contextlib
import gzip
import io
from typing import IO, TYPE_CHECKING, Final, cast

from target_segment_objects.gzip_reading import GZIP_ERRORS, open_gzip

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from contextlib import AbstractContextManager

MAX_LINE_BYTES: Final = 64 * 1024 * 1024
"""Longest line without its end; our choice. An object may have 400 KB."""

GZIP_MAGIC: Final = b"\x1f\x8b"
BYTE_ORDER_MARK: Final = b"\xef\xbb\xbf"  # of UTF-8

_REFUSED_FORMATS: Final = {
    b"PK\x03\x04": "it is a ZIP archive. Extract it first",
    b"PK\x05\x06": "it is an empty ZIP archive",
    b"PAR1": "it is a Parquet file",
    b"BZh": "it is compressed with bzip2. Only gzip is read as it is",
    b"\xfd7zX": "it is compressed with xz. Only gzip is read as it is",
    b"\x28\xb5\x2f\xfd": "it is compressed with zstd. Only gzip is read as it is",
    **dict.fromkeys(
        (b"\xff\xfe", b"\xfe\xff", b"{\x00", b"\x00{", b"\x00\x00\xfe\xff", b"\x00\x00\x00{"),
        "it is UTF-16 or UTF-32 text. JSON lines must be UTF-8",
    ),
}
"""The first bytes of formats that are not read, and why not. UTF-16 may lack a byte order mark."""

_PREFIX_BYTES: Final = 4  # the longest of them
_CHUNK_BYTES: Final = 8192  # for a tiny size, GzipFile may hold back output until more input comes
_BUFFER_BYTES: Final = 256 * 1024  # records that are read together are mapped together


def open_input(
    file: IO[bytes],
    wait: Callable[[], AbstractContextManager[None]],
    *,
    require_gzip: bool = False,
    is_complete: bool = False,
) -> io.BufferedReader:
    """Return the decompressed lines of a file. Nothing is read yet.

    Args:
        file: The file. It stays open.
        wait: Returns the context manager for each read that may block.
        require_gzip: Refuse a file that is not gzip, such as an empty one.
        is_complete: Whether nobody writes to the file any more, so that gzip may be read ahead.
    """
    _enlarge_pipe(file)
    raw = _RawInput(file, wait, require_gzip=require_gzip, is_complete=is_complete)
    return io.BufferedReader(raw, _BUFFER_BYTES)


def _enlarge_pipe(file: IO[bytes]) -> None:
    """Let a pipe hold as much as is read at a time: while the tap is ahead, blocks are larger."""
    with contextlib.suppress(ImportError, AttributeError, OSError, ValueError):
        import fcntl  # noqa: PLC0415 - not on Windows

        # Linux alone has the size of a pipe; elsewhere, or for another file, this fails.
        fcntl.fcntl(file.fileno(), fcntl.F_SETPIPE_SZ, _BUFFER_BYTES)


class LineTooLongError(OSError):
    """A line is longer than `MAX_LINE_BYTES`; what is before it was yielded."""

    def __init__(self, line_number: int) -> None:
        """Say which line it is.

        Args:
            line_number: Its number, from 1.
        """
        size = MAX_LINE_BYTES // 1024**2
        super().__init__(f"line {line_number} is longer than {size} MiB, or has no end")


def read_blocks(file: io.BufferedReader) -> Iterator[list[bytes]]:
    """Yield the lines that are available, as soon as they are, with their ends.

    A slow writer's lines come one by one, those of a fast one many at a time.

    Raises:
        LineTooLongError: A line is too long.
    """
    count = 0
    parts: list[bytes] = []  # of a line whose end has not come yet
    size = 0  # of the parts
    while chunk := file.read1(_BUFFER_BYTES):
        end = chunk.find(b"\n")
        if size + (len(chunk) if end < 0 else end) > MAX_LINE_BYTES:
            raise LineTooLongError(count + 1)
        if end < 0:  # a line may be longer than many chunks
            parts.append(chunk)
            size += len(chunk)
            continue
        lines = io.BytesIO(b"".join([*parts, chunk])).readlines()
        parts = [] if chunk.endswith(b"\n") else [lines.pop()]
        size = len(parts[0]) if parts else 0
        count += len(lines)
        yield lines
    if parts:
        yield [b"".join(parts)]


def explain_read_error(cause: Exception) -> str:
    """Return why an input cannot be read, without an end of the sentence."""
    if isinstance(cause, EOFError):
        return "its gzip data ends too early, so the file is incomplete"
    if isinstance(cause, GZIP_ERRORS) and not isinstance(cause, gzip.BadGzipFile):
        return "its gzip data is damaged"
    reason = getattr(cause, "strerror", None) or str(cause) or type(cause).__name__
    return str(reason).rstrip(".")


class _RawInput(io.RawIOBase):
    """Unbuffered input. With a buffer around it, one read is enough for many lines."""

    def __init__(
        self,
        file: IO[bytes],
        wait: Callable[[], AbstractContextManager[None]],
        *,
        require_gzip: bool,
        is_complete: bool,
    ) -> None:
        super().__init__()
        self._file = file
        self._wait = wait
        self._require_gzip = require_gzip
        self._is_complete = is_complete
        self._read_available: Callable[[memoryview], int | None] = self._read_first

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: memoryview) -> int | None:  # type: ignore[override]
        with self._wait():
            return self._read_available(buffer)

    def _read_first(self, buffer: memoryview) -> int | None:
        prefix = _read_prefix(self._file)
        if prefix.startswith(GZIP_MAGIC):
            compressed = cast("IO[bytes]", _PrefixedInput(prefix, self._file))
            open_file = open_gzip if self._is_complete else _open_growing_gzip
            self._file = open_file(compressed)
            prefix = _read_prefix(self._file)
        elif self._require_gzip:
            raise gzip.BadGzipFile("Not a gzipped file" if prefix else "Not gzip, but empty")
        elif not prefix:
            return 0  # a terminal that has been read to its end would be read again
        _refuse_format(prefix)
        rest = _PrefixedInput(prefix.removeprefix(BYTE_ORDER_MARK), self._file)
        self._read_available = rest.readinto
        return rest.readinto(buffer)


def _refuse_format(prefix: bytes) -> None:
    for magic, reason in _REFUSED_FORMATS.items():
        if prefix.startswith(magic):
            raise OSError(reason)


def _open_growing_gzip(file: IO[bytes]) -> IO[bytes]:
    """Open a file that a tap still writes: each line is read as soon as it is there."""
    return cast("IO[bytes]", gzip.GzipFile(fileobj=file, mode="rb"))


class _PrefixedInput(io.RawIOBase):
    """A file of which the first bytes have been read already."""

    def __init__(self, prefix: bytes, file: IO[bytes]) -> None:
        super().__init__()
        self._prefix = prefix
        self._readinto = _get_readinto(file)

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: memoryview) -> int | None:  # type: ignore[override]
        if not self._prefix:
            return self._readinto(buffer)
        count = min(len(buffer), len(self._prefix))
        buffer[:count], self._prefix = self._prefix[:count], self._prefix[count:]
        return count


def _read_prefix(file: IO[bytes]) -> bytes:
    """Read the first bytes. A pipe may return fewer than it is asked for."""
    read = getattr(file, "read1", None) or file.read
    prefix = b""
    while len(prefix) < _PREFIX_BYTES and (chunk := read(_CHUNK_BYTES)):
        prefix += chunk
    return prefix


def _get_readinto(file: IO[bytes]) -> Callable[[memoryview], int | None]:
    """Return the method that reads what is available: a slow tap must not delay earlier lines."""
    return getattr(file, "readinto1", None) or file.readinto  # type: ignore[attr-defined,no-any-return]
