"""One gzip file of JSON lines while it is written, and what all of them may hold in memory.

There may be a file for each of a thousand collections. So no file stays open between two writes,
and only some keep their compressor, which takes about 90 KB. With the others, each write ends a
block of the compressed data, and a new compressor continues behind it. It does not know the lines
before, so that 64 KB of lines become about 6 % larger. A run of a few streams reaches no bound.

The rule for others: a file is a single member of gzip, since a service may ignore further ones.
"""

from __future__ import annotations

import struct
import zlib
from dataclasses import dataclass
from operator import attrgetter
from typing import TYPE_CHECKING, Final, Protocol

from target_segment_objects.exceptions import SpoolError

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

try:
    from isal import isal_zlib as _library
except ImportError:  # not every platform has a wheel of it
    _library = zlib  # type: ignore[misc] # a module of the same interface

MAX_BUFFERED_BYTES: Final = 6_000_000
"""Lines of all files that are not written yet."""

MAX_COMPRESSORS: Final = 16
"""Compressors that are kept between two writes; isal's have about 90 KB, zlib's 260 KB."""

_BUFFER_BYTES: Final = 64 * 1024  # lines are compressed many at once

_ISAL_LEVEL: Final = 2  # its best compression of text, at about ten times the speed of zlib
_ZLIB_LEVEL: Final = 6  # zlib's default
_LEVEL: Final = _ZLIB_LEVEL if _library is zlib else _ISAL_LEVEL
_WINDOW: Final = -zlib.MAX_WBITS  # negative: without gzip's header and trailer

# RFC 1952, 2.3: deflate, no name, no time, unknown system; checksum and size of what it contains.
_HEADER: Final = b"\x1f\x8b\x08\x00\x00\x00\x00\x00\x00\xff"
_TRAILER: Final = struct.Struct("<LL")
_SIZE_MASK: Final = 0xFFFFFFFF

_get_size = attrgetter("buffered_bytes")


class _Compressor(Protocol):
    """The common interface of zlib and isal."""

    def compress(self, data: bytes, /) -> bytes: ...

    def flush(self, mode: int = ..., /) -> bytes: ...


@dataclass(frozen=True, slots=True)
class BatchFile:
    """A closed file of a batch, ready to be uploaded.

    Attributes:
        path: Its path.
        objects: Its number of lines.
        raw_bytes: Its size before compression.
        gzip_bytes: Its size as sent.
    """

    path: Path
    objects: int
    raw_bytes: int
    gzip_bytes: int


class WriteMemory:
    """What all files that are written hold in memory together.

    Attributes:
        writers: Those of the files.
        buffered_bytes: The bytes of all buffers.
    """

    def __init__(
        self,
        *,
        max_buffered_bytes: int = MAX_BUFFERED_BYTES,
        max_compressors: int = MAX_COMPRESSORS,
    ) -> None:
        self.writers: set[PartWriter] = set()
        self.buffered_bytes = 0
        self._max_buffered_bytes = max_buffered_bytes
        self._max_compressors = max_compressors
        self._compressors = 0

    def shrink(self) -> None:
        """Write the largest buffers if there is too much, many at once: all are looked at.

        Raises:
            SpoolError: A file cannot be written.
        """
        if self.buffered_bytes <= self._max_buffered_bytes:
            return
        for writer in sorted(self.writers, key=_get_size, reverse=True):
            if self.buffered_bytes <= self._max_buffered_bytes * 3 // 4:
                return
            writer.write_buffer()

    def reserve_compressor(self) -> bool:
        """Return whether one more compressor may be kept, and count it then."""
        if self._compressors >= self._max_compressors:
            return False
        self._compressors += 1
        return True

    def release_compressor(self) -> None:
        """Count that a compressor is not kept any more."""
        self._compressors -= 1


class PartWriter:
    """Writes one file, which it creates. Lines wait in a buffer first.

    Attributes:
        path: Its path.
        buffered_bytes: Bytes of the lines in the buffer.

    Raises:
        SpoolError: The file cannot be created.
    """

    __slots__ = (
        "_buffer",
        "_checksum",
        "_compressor",
        "_failure",
        "_gzip_bytes",
        "_max_buffered",
        "_max_bytes",
        "_memory",
        "_objects",
        "_raw_bytes",
        "buffered_bytes",
        "path",
    )

    def __init__(self, path: Path, max_bytes: int, memory: WriteMemory) -> None:
        self.path = path
        self.buffered_bytes = 0
        self._buffer: list[bytes] = []
        self._max_buffered = 0  # bytes that the buffer may have; they fit into the file
        self._max_bytes = max_bytes
        self._memory = memory
        self._objects = 0
        self._raw_bytes = 0
        self._gzip_bytes = 0
        self._checksum = 0
        self._compressor: _Compressor | None = None  # only one that is kept
        self._failure: SpoolError | None = None
        self._append_bytes(_HEADER, mode="xb")
        memory.writers.add(self)

    @property
    def space(self) -> int:
        """Uncompressed bytes that still fit into the file."""
        return self._max_bytes - self._raw_bytes - self.buffered_bytes

    @property
    def buffer_space(self) -> int:
        """Bytes that still fit into the buffer."""
        return self._max_buffered - self.buffered_bytes

    def add_lines(self, lines: Sequence[bytes], size: int) -> None:
        """Add lines that fit into the buffer; their size includes line breaks."""
        self._buffer += lines
        self.buffered_bytes += size
        self._memory.buffered_bytes += size

    def make_space(self, size: int) -> None:
        """Write the buffer, so that a line of a size fits into it; it fits into the file.

        Raises:
            SpoolError: The file cannot be written, now or before.
        """
        if self._buffer:
            self.write_buffer()
        self._max_buffered = min(self.space, max(size, _BUFFER_BYTES))

    def write_buffer(self, *, is_last: bool = False) -> None:
        """Compress and write what is in the buffer.

        After a failure nothing more is written: it would follow an incomplete write.

        Raises:
            SpoolError: The file cannot be written, now or before.
        """
        lines = self._clear_buffer()
        if self._failure is not None:
            raise self._failure
        self._objects += len(lines)
        lines.append(b"")  # so that the last line ends with a line break, too
        raw = b"\n".join(lines)
        self._raw_bytes += len(raw)
        self._checksum = _library.crc32(raw, self._checksum)
        compressed = self._compress(raw, is_last=is_last)
        if is_last:
            compressed += _TRAILER.pack(self._checksum, self._raw_bytes & _SIZE_MASK)
        self._append_bytes(compressed)
        self._max_buffered = min(self.space, _BUFFER_BYTES)

    def close(self) -> BatchFile:
        """Write the rest, and return the complete file.

        Raises:
            SpoolError: The file cannot be written, now or before.
        """
        self.write_buffer(is_last=True)
        self._memory.writers.remove(self)
        return BatchFile(self.path, self._objects, self._raw_bytes, self._gzip_bytes)

    def discard(self) -> None:
        """Forget what is in the buffer, and let another file keep a compressor."""
        self._release_compressor()
        self._clear_buffer()
        self._memory.writers.remove(self)

    def _clear_buffer(self) -> list[bytes]:
        lines, self._buffer = self._buffer, []
        self._memory.buffered_bytes -= self.buffered_bytes
        self.buffered_bytes = 0
        return lines

    def _compress(self, raw: bytes, *, is_last: bool) -> bytes:
        compressor = self._compressor or _library.compressobj(_LEVEL, _library.DEFLATED, _WINDOW)
        compressed = compressor.compress(raw)
        if is_last:
            self._release_compressor()
            return compressed + compressor.flush()
        if self._compressor is None and not self._memory.reserve_compressor():
            return compressed + compressor.flush(zlib.Z_SYNC_FLUSH)
        self._compressor = compressor
        return compressed

    def _release_compressor(self) -> None:
        if self._compressor is not None:
            self._compressor = None
            self._memory.release_compressor()

    def _append_bytes(self, compressed: bytes, mode: str = "r+b") -> None:
        """Write at the end of the file; one that was removed is not created again."""
        remaining = memoryview(compressed)
        try:
            with self.path.open(mode, buffering=0) as file:
                file.seek(self._gzip_bytes)
                while remaining:  # an unbuffered write may be partial
                    remaining = remaining[file.write(remaining) :]
        except OSError as cause:
            self._failure = SpoolError("write", self.path, cause)
            raise self._failure from cause
        self._gzip_bytes += len(compressed)
