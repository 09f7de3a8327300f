"""Batch files: gzip of JSON lines, below a size limit, in a folder of the run's own.

A batch is what one bulk session delivers: the objects of one collection, in order, in one or more
files. A file is closed *before* a line would take it past the limit. No file stays open between two
writes, as there may be a batch for each of a thousand collections.

The rule for others: a line is complete and valid when it is added, and the files of a closed batch
exist until `delete`.
"""

from __future__ import annotations

import logging
import weakref
import zlib
from bisect import bisect_right
from dataclasses import dataclass
from itertools import accumulate
from typing import TYPE_CHECKING, Final, Protocol

from target_segment_objects.delivery.spool_folder import SpoolFolder, remove_abandoned_folders
from target_segment_objects.exceptions import SpoolError
from target_segment_objects.plurals import format_count

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

_ISAL_LEVEL: Final = 2  # its best compression of text, at about ten times the speed of zlib
_ZLIB_LEVEL: Final = 6  # zlib's default
_GZIP_WINDOW: Final = 16 + zlib.MAX_WBITS  # makes zlib write gzip's header and trailer
_BUFFER_BYTES: Final = 64 * 1024  # lines are compressed many at once

logger = logging.getLogger(__name__)


class _Compressor(Protocol):
    """The common interface of zlib and isal."""

    def compress(self, data: bytes, /) -> bytes: ...

    def flush(self) -> bytes: ...


def _create_compressor() -> _Compressor:
    """Return a gzip compressor: isal's if it is installed, else zlib's."""
    try:
        from isal import isal_zlib  # noqa: PLC0415 - not every platform has a wheel of it
    except ImportError:
        return zlib.compressobj(_ZLIB_LEVEL, wbits=_GZIP_WINDOW)
    return isal_zlib.compressobj(_ISAL_LEVEL, wbits=_GZIP_WINDOW)


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


class Spool:
    """The folder of a run's batch files, private to the user.

    It is created with the first file, and removed by `close` or when the process exits. If the
    process is killed, the next run removes it.
    """

    def __init__(self, parent: str | None = None) -> None:
        """Prepare the spool; nothing is created yet.

        Args:
            parent: The folder to create it in; None for the system's temporary folder.
        """
        self._parent = parent
        self._folder: Path | None = None
        self._remove_folder: Callable[[], object] = _do_nothing
        self._file_count = 0

    def new_path(self) -> Path:
        """Return the path of a new file; its folder exists.

        Raises:
            SpoolError: The folder cannot be created.
        """
        if self._folder is None:
            self._folder = self._create_folder()
        self._file_count += 1
        return self._folder / f"{self._file_count:06}.jsonl.gz"

    def _create_folder(self) -> Path:
        try:
            folder = SpoolFolder.create(self._parent)
        except OSError as cause:
            where = self._parent or "the system's temporary folder"
            raise SpoolError("create a folder for batch files in", where, cause) from cause
        self._remove_folder = weakref.finalize(self, folder.remove)
        _log_abandoned_folders(folder.path.parent)
        return folder.path

    def close(self) -> None:
        """Remove the folder and the files that are left in it."""
        self._remove_folder()
        self._folder = None


def _log_abandoned_folders(parent: Path) -> None:
    """Remove what killed runs have left, and report it in one line."""
    abandoned = remove_abandoned_folders(parent)
    if abandoned.removed:
        logger.warning(
            "Removed %s with %.1f MB of batch files that killed runs had left in %s.",
            format_count(abandoned.removed, "folder"),
            abandoned.removed_bytes / 1e6,
            parent,
        )
    if abandoned.foreign:
        logger.info(
            "Batch files of other hosts are in %s. If no run uses them, remove them: %s",
            parent,
            ", ".join(path.name for path in abandoned.foreign),
        )


def _do_nothing() -> None:
    """Stand in for the removal of a folder that was not created."""


class Batch:
    """The objects of one collection that are delivered in one session."""

    def __init__(self, collection: str, spool: Spool, *, max_file_bytes: int) -> None:
        """Open an empty batch; nothing is written yet.

        Args:
            collection: The collection of all its objects.
            spool: Creates its files.
            max_file_bytes: The maximum uncompressed size of a file.
        """
        self.collection = collection
        self.files: list[BatchFile] = []
        self.objects = 0
        self._spool = spool
        self._max_file_bytes = max_file_bytes
        self._writer: _FileWriter | None = None
        self._buffer: list[bytes] = []
        self._buffer_space = 0  # bytes that fit into the buffer

    @property
    def raw_bytes(self) -> int:
        """The uncompressed size of its closed files."""
        return sum(file.raw_bytes for file in self.files)

    @property
    def gzip_bytes(self) -> int:
        """The compressed size of its closed files."""
        return sum(file.gzip_bytes for file in self.files)

    def add_lines(self, lines: Sequence[bytes]) -> None:
        """Add the JSON of objects, each without a line break.

        The files depend on the lines alone, not on how many of them are added at once.

        Raises:
            SpoolError: The file cannot be written, now or before; the batch is unusable.
            ValueError: A line is longer than a file may be; those before it are added.
        """
        offsets = list(accumulate([len(line) + 1 for line in lines], initial=0))
        start = 0
        while True:
            end = bisect_right(offsets, offsets[start] + self._buffer_space, start) - 1
            self._buffer += lines[start:end]
            self._buffer_space -= offsets[end] - offsets[start]
            self.objects += end - start
            if end == len(lines):
                return
            self._flush(offsets[end + 1] - offsets[end])
            start = end

    def close(self) -> None:
        """Complete the current file, so that it can be uploaded.

        Raises:
            SpoolError: The file cannot be written, now or before.
        """
        if self._writer is not None:
            self._writer.write(self._buffer, is_last=True)
            self.files.append(self._writer.file)
            self._writer = None
            self._buffer_space = 0

    def delete(self) -> None:
        """Remove its files.

        A file that cannot be removed is logged: the spool removes it with its folder.
        """
        paths = [file.path for file in self.files]
        if self._writer is not None:
            paths.append(self._writer.path)
            self._writer = None
        for path in paths:
            try:
                path.unlink(missing_ok=True)
            except OSError as cause:
                logger.warning(
                    "Cannot remove %s now: %s. It is removed at the end of the run.",
                    path,
                    cause.strerror or cause,
                )

    def _flush(self, size: int) -> None:
        """Write the buffer, and open the next file if the current one is full."""
        if self._writer is not None:
            self._writer.write(self._buffer)
            if self._writer.space < size:
                self.close()
        if self._writer is None:
            if size > self._max_file_bytes:
                limit = self._max_file_bytes
                msg = f"A line of {size} bytes does not fit into a file of {limit} bytes."
                raise ValueError(msg)
            self._writer = _FileWriter(self._spool.new_path(), self._max_file_bytes)
        self._buffer_space = min(self._writer.space, max(size, _BUFFER_BYTES))


class _FileWriter:
    """One gzip file while it is written. Its bytes depend on its lines alone: no time, no name.

    Attributes:
        path: Its path.
        space: Uncompressed bytes that still fit.
    """

    def __init__(self, path: Path, max_bytes: int) -> None:
        self.path = path
        self.space = max_bytes
        self._max_bytes = max_bytes
        self._objects = 0
        self._gzip_bytes = 0
        self._compressor = _create_compressor()
        self._failure: SpoolError | None = None
        self._append_bytes(b"", mode="xb")

    @property
    def file(self) -> BatchFile:
        """The complete file, once the last lines are written."""
        raw_bytes = self._max_bytes - self.space
        return BatchFile(self.path, self._objects, raw_bytes, self._gzip_bytes)

    def write(self, lines: list[bytes], *, is_last: bool = False) -> None:
        """Compress and write lines, given without line breaks, and clear the list.

        After a failure nothing more is written: it would follow an incomplete write.
        """
        if self._failure is not None:
            raise self._failure
        self._objects += len(lines)
        lines.append(b"")  # so that the last line ends with a line break, too
        raw = b"\n".join(lines)
        lines.clear()
        self.space -= len(raw)
        compressed = self._compressor.compress(raw)
        self._append_bytes(compressed + self._compressor.flush() if is_last else compressed)

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
