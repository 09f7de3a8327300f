"""Gzip files of JSON lines that never pass a limit, in a folder of the run's own.

A batch is what one bulk session delivers: the objects of one collection, in order, in one file or
several. A file is closed *before* a line would take it past its limit. No file is held open between
two writes: there may be a batch for each of a thousand collections. The rule for others: a line is
whole and legal when it comes here, and a closed batch's files are there until `delete`.
"""

from __future__ import annotations

import logging
import shutil
import tempfile
import weakref
import zlib
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final, Protocol

from target_segment_objects.exceptions import SpoolError

if TYPE_CHECKING:
    from collections.abc import Callable

_ISAL_LEVEL: Final = 2  # the best that it has for text, at about ten times the speed of zlib
_ZLIB_LEVEL: Final = 6  # zlib's own balance of size and time
_GZIP_WINDOW: Final = 16 + zlib.MAX_WBITS  # zlib's way to ask for gzip's header and trailer
_BUFFER_BYTES: Final = 64 * 1024  # lines are gathered: zlib is called for many at once

logger = logging.getLogger(__name__)


class _Compressor(Protocol):
    """What zlib and isal have in common."""

    def compress(self, data: bytes, /) -> bytes: ...

    def flush(self) -> bytes: ...


def _compressor() -> _Compressor:
    """Return what makes gzip: isal where there is one for this machine, or else zlib."""
    try:
        from isal import isal_zlib  # noqa: PLC0415 - there is no wheel of it for every machine
    except ImportError:
        return zlib.compressobj(_ZLIB_LEVEL, wbits=_GZIP_WINDOW)
    return isal_zlib.compressobj(_ISAL_LEVEL, wbits=_GZIP_WINDOW)


@dataclass(frozen=True, slots=True)
class BatchFile:
    """A closed file of a batch, ready to be uploaded.

    Attributes:
        path: Where it is.
        objects: Its number of lines.
        raw_bytes: Its size before compression.
        gzip_bytes: Its size as it is sent.
    """

    path: Path
    objects: int
    raw_bytes: int
    gzip_bytes: int


class Spool:
    """The folder of a run's batch files: private to the user, gone at the end.

    It is made when the first file is, and removed by `close` or, failing that, when the process
    ends.
    """

    def __init__(self, parent: str | None = None) -> None:
        """Remember where.

        Args:
            parent: The folder to make it in; None for the system's temporary one.
        """
        self._parent = parent
        self._folder: Path | None = None
        self._remove: Callable[[], object] = _nothing
        self._count = 0

    def new_path(self) -> Path:
        """Return a path for a further file."""
        if self._folder is None:
            try:
                self._folder = Path(tempfile.mkdtemp(prefix="segment-objects-", dir=self._parent))
            except OSError as cause:
                where = self._parent or "the system's temporary folder"
                raise SpoolError("make a folder for batch files in", where, cause) from cause
            self._remove = weakref.finalize(self, shutil.rmtree, self._folder, ignore_errors=True)
        self._count += 1
        return self._folder / f"{self._count:06}.jsonl.gz"

    def close(self) -> None:
        """Remove the folder and what is left in it."""
        self._remove()
        self._folder = None


def _nothing() -> None:
    """There is no folder to remove yet."""


class Batch:
    """The objects of one collection that one session delivers."""

    def __init__(self, collection: str, spool: Spool, *, max_file_bytes: int) -> None:
        """Begin an empty batch; nothing is written yet.

        Args:
            collection: The collection of all its objects.
            spool: Where its files go.
            max_file_bytes: The size of a file, uncompressed, that no file passes.
        """
        self.collection = collection
        self.files: list[BatchFile] = []
        self.objects = 0
        self._spool = spool
        self._max_file_bytes = max_file_bytes
        self._writer: _FileWriter | None = None
        self._gathered: list[bytes] = []
        self._room = 0  # for bytes that may be gathered before something is to be done

    @property
    def raw_bytes(self) -> int:
        """The size of its closed files before compression."""
        return sum(file.raw_bytes for file in self.files)

    @property
    def gzip_bytes(self) -> int:
        """The size of its closed files as they are sent."""
        return sum(file.gzip_bytes for file in self.files)

    def add(self, line: bytes) -> None:
        """Write an object's JSON, given without its end of line.

        Raises:
            SpoolError: The file cannot be written, now or before: the batch is of no use any more.
            ValueError: The line is longer than a file may be.
        """
        size = len(line) + 1
        if size > self._room:
            self._make_room(size)
        self._room -= size
        self._gathered.append(line)
        self.objects += 1

    def close(self) -> None:
        """Close the file that is being written, so that it can be uploaded.

        Raises:
            SpoolError: The file cannot be written, now or before.
        """
        if self._writer is not None:
            self._writer.write(self._gathered, is_last=True)
            self.files.append(self._writer.file)
            self._writer = None
            self._room = 0

    def delete(self) -> None:
        """Remove its files; one that is gone already is no matter, nor one that cannot be removed.

        The spool's folder is removed at the end with all that is in it.
        """
        paths = [file.path for file in self.files]
        if self._writer is not None:
            paths.append(self._writer.path)
            self._writer = None
        for path in paths:
            try:
                path.unlink(missing_ok=True)
            except OSError as cause:
                logger.warning("Cannot remove %s yet: %s.", path, cause.strerror or cause)

    def _make_room(self, size: int) -> None:
        """Write what is gathered, go on in a further file if need be, and gather anew."""
        if self._writer is not None:
            self._writer.write(self._gathered)
            if self._writer.room < size:
                self.close()
        if self._writer is None:
            if size > self._max_file_bytes:
                msg = f"a line of {size} bytes in files of at most {self._max_file_bytes}"
                raise ValueError(msg)
            self._writer = _FileWriter(self._spool.new_path(), self._max_file_bytes)
        self._room = min(self._writer.room, max(size, _BUFFER_BYTES))


class _FileWriter:
    """One gzip file while it grows. Its bytes are a function of its lines: no time, no name.

    Attributes:
        path: Where the file is.
        room: The bytes, uncompressed, that it still takes.
    """

    def __init__(self, path: Path, max_bytes: int) -> None:
        self.path = path
        self.room = max_bytes
        self._max_bytes = max_bytes
        self._objects = 0
        self._gzip_bytes = 0
        self._compressor = _compressor()
        self._failure: SpoolError | None = None
        self._append(b"", mode="xb")

    @property
    def file(self) -> BatchFile:
        """What it is once the last lines are written."""
        raw_bytes = self._max_bytes - self.room
        return BatchFile(self.path, self._objects, raw_bytes, self._gzip_bytes)

    def write(self, lines: list[bytes], *, is_last: bool = False) -> None:
        """Compress and write lines, given without their ends, and empty the list.

        After a failure nothing more is written: it would follow half of what came before.
        """
        if self._failure is not None:
            raise self._failure
        self._objects += len(lines)
        lines.append(b"")  # each line is ended, the last one, too
        raw = b"\n".join(lines)
        lines.clear()
        self.room -= len(raw)
        compressed = self._compressor.compress(raw)
        self._append(compressed + self._compressor.flush() if is_last else compressed)

    def _append(self, compressed: bytes, mode: str = "r+b") -> None:
        """Write at the end of the file, which is not made anew if it is gone."""
        left = memoryview(compressed)
        try:
            with self.path.open(mode, buffering=0) as file:
                file.seek(self._gzip_bytes)
                while left:  # an unbuffered file may take a part only
                    left = left[file.write(left) :]
        except OSError as cause:
            self._failure = SpoolError("write", self.path, cause)
            raise self._failure from cause
        self._gzip_bytes += len(compressed)
