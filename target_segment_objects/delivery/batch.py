"""A batch: what one bulk session delivers.

It holds the objects of one collection, in order, in one or more files. A file is closed *before* a
line would take it past the limit.

The rule for others: a line is complete and valid when it is added, and the files of a closed batch
exist until `delete`. The batches of one spool share their memory: one thread at a time adds to them
or closes them.
"""

from __future__ import annotations

import logging
from bisect import bisect_right
from itertools import accumulate
from typing import TYPE_CHECKING, Final

from target_segment_objects.delivery.batch_file import BatchFileWriter

if TYPE_CHECKING:
    from collections.abc import Sequence

    from target_segment_objects.delivery.batch_file import BatchFile
    from target_segment_objects.delivery.spool import Spool

_BUFFER_BYTES: Final = 64 * 1024  # lines are compressed many at once

logger = logging.getLogger(__name__)


class Batch:
    """The objects of one collection that are delivered in one session.

    Attributes:
        collection: The collection of all its objects.
        files: Its closed files.
        objects: Its number of objects.
        buffered_bytes: Bytes of lines that are not written yet.
    """

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
        self.buffered_bytes = 0
        self._spool = spool
        self._memory = spool.memory
        self._max_file_bytes = max_file_bytes
        self._writer: BatchFileWriter | None = None
        self._buffer: list[bytes] = []
        self._buffer_size = 0  # bytes that the buffer may have; they fit into the file

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

        What is written does not depend on how many of them are added at once.

        Raises:
            SpoolError: A file cannot be written, now or before; the batch is unusable.
            ValueError: A line is longer than a file may be; those before it are added.
        """
        offsets = list(accumulate([len(line) + 1 for line in lines], initial=0))
        start = 0
        while True:
            space = self._buffer_size - self.buffered_bytes
            end = bisect_right(offsets, offsets[start] + space, start) - 1
            self._buffer += lines[start:end]
            self.objects += end - start
            size = offsets[end] - offsets[start]
            self.buffered_bytes += size
            self._memory.buffered_bytes += size
            if end == len(lines):
                break
            self._make_space(offsets[end + 1] - offsets[end])
            start = end
        if self._memory.buffered_bytes > self._memory.max_buffered_bytes:
            self._memory.write_largest_buffers()

    def close(self) -> None:
        """Complete the current file, so that it can be uploaded.

        Raises:
            SpoolError: The file cannot be written, now or before.
        """
        if self._writer is not None:
            self.write_buffer(is_last=True)
            self.files.append(self._writer.file)
            self._forget_writer()

    def delete(self) -> None:
        """Remove its files.

        A file that cannot be removed is logged: the spool removes it with its folder.
        """
        paths = [file.path for file in self.files]
        if self._writer is not None:
            paths.append(self._writer.path)
            self._writer.release_compressor()
            self._clear_buffer()
            self._forget_writer()
        for path in paths:
            try:
                path.unlink(missing_ok=True)
            except OSError as cause:
                logger.warning(
                    "Cannot remove %s now: %s. It is removed at the end of the run.",
                    path,
                    cause.strerror or cause,
                )

    def write_buffer(self, *, is_last: bool = False) -> None:
        """Write the lines that are buffered to the current file.

        Args:
            is_last: Whether nothing more is written to the file.

        Raises:
            SpoolError: The file cannot be written, now or before.
        """
        if self._writer is not None:
            self._writer.write(self._clear_buffer(), is_last=is_last)
            self._buffer_size = min(self._writer.space, _BUFFER_BYTES)

    def _clear_buffer(self) -> list[bytes]:
        lines, self._buffer = self._buffer, []
        self._memory.buffered_bytes -= self.buffered_bytes
        self.buffered_bytes = 0
        return lines

    def _forget_writer(self) -> None:
        self._writer = None
        self._buffer_size = 0
        self._memory.buffers.remove(self)

    def _make_space(self, size: int) -> None:
        """Write the buffer, and open the next file if the current one is full."""
        if self._writer is not None and self._writer.space - self.buffered_bytes < size:
            self.close()
        elif self._buffer:
            self.write_buffer()
        if self._writer is None:
            if size > self._max_file_bytes:
                limit = self._max_file_bytes
                msg = f"A line of {size} bytes does not fit into a file of {limit} bytes."
                raise ValueError(msg)
            path = self._spool.new_path()
            self._writer = BatchFileWriter(path, self._max_file_bytes, self._memory)
            self._memory.buffers.add(self)
        self._buffer_size = min(self._writer.space, max(size, _BUFFER_BYTES))
