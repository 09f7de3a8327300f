"""One gzip file of JSON lines while it is written.

There may be a file for each of a thousand collections. So no file stays open between two writes,
and only some keep their compressor, which takes about 90 KB. With the others, each write ends a
block of the compressed data, and a new compressor continues behind it. It does not know the lines
before, so that 64 KB of lines become about 6 % larger.

The rule for others: a file is a single member of gzip, since a service may ignore further ones.
"""

from __future__ import annotations

import struct
import zlib
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, Protocol

from target_segment_objects.exceptions import SpoolError

if TYPE_CHECKING:
    from pathlib import Path

    from target_segment_objects.delivery.write_memory import WriteMemory

try:
    from isal import isal_zlib as _library
except ImportError:  # not every platform has a wheel of it
    _library = zlib  # type: ignore[misc] # a module of the same interface

_ISAL_LEVEL: Final = 2  # its best compression of text, at about ten times the speed of zlib
_ZLIB_LEVEL: Final = 6  # zlib's default
_LEVEL: Final = _ZLIB_LEVEL if _library is zlib else _ISAL_LEVEL
_WINDOW: Final = -zlib.MAX_WBITS  # negative: without gzip's header and trailer

# RFC 1952, 2.3: deflate, no name, no time, unknown system; checksum and size of what it contains.
_HEADER: Final = b"\x1f\x8b\x08\x00\x00\x00\x00\x00\x00\xff"
_TRAILER: Final = struct.Struct("<LL")
_SIZE_MASK: Final = 0xFFFFFFFF


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


class BatchFileWriter:
    """Writes one file.

    Attributes:
        path: Its path.
        space: Uncompressed bytes that still fit.
    """

    __slots__ = (
        "_checksum",
        "_compressor",
        "_failure",
        "_gzip_bytes",
        "_max_bytes",
        "_memory",
        "_objects",
        "path",
        "space",
    )

    def __init__(self, path: Path, max_bytes: int, memory: WriteMemory) -> None:
        """Create the file.

        Args:
            path: Where nothing is yet.
            max_bytes: The maximum uncompressed size.
            memory: Says whether to keep a compressor.

        Raises:
            SpoolError: It cannot be created.
        """
        self.path = path
        self.space = max_bytes
        self._max_bytes = max_bytes
        self._memory = memory
        self._objects = 0
        self._gzip_bytes = 0
        self._checksum = 0
        self._compressor: _Compressor | None = None  # only one that is kept
        self._failure: SpoolError | None = None
        self._append_bytes(_HEADER, mode="xb")

    @property
    def file(self) -> BatchFile:
        """The complete file, once the last lines are written."""
        return BatchFile(self.path, self._objects, self._raw_bytes, self._gzip_bytes)

    @property
    def _raw_bytes(self) -> int:
        return self._max_bytes - self.space

    def write(self, lines: list[bytes], *, is_last: bool = False) -> None:
        """Compress and write lines, given without line breaks. The list is changed.

        After a failure nothing more is written: it would follow an incomplete write.

        Raises:
            SpoolError: The file cannot be written, now or before.
        """
        if self._failure is not None:
            raise self._failure
        self._objects += len(lines)
        lines.append(b"")  # so that the last line ends with a line break, too
        raw = b"\n".join(lines)
        self.space -= len(raw)
        self._checksum = _library.crc32(raw, self._checksum)
        compressed = self._compress(raw, is_last=is_last)
        if is_last:
            compressed += _TRAILER.pack(self._checksum, self._raw_bytes & _SIZE_MASK)
        self._append_bytes(compressed)

    def release_compressor(self) -> None:
        """Let another file keep a compressor; nothing more is written."""
        if self._compressor is not None:
            self._compressor = None
            self._memory.release_compressor()

    def _compress(self, raw: bytes, *, is_last: bool) -> bytes:
        compressor = self._compressor or _library.compressobj(_LEVEL, _library.DEFLATED, _WINDOW)
        compressed = compressor.compress(raw)
        if is_last:
            self.release_compressor()
            return compressed + compressor.flush()
        if self._compressor is None and not self._memory.reserve_compressor():
            return compressed + compressor.flush(zlib.Z_SYNC_FLUSH)
        self._compressor = compressor
        return compressed

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
