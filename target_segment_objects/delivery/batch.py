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
from typing import TYPE_CHECKING

from target_segment_objects.delivery.part_writer import PartWriter

if TYPE_CHECKING:
    from collections.abc import Sequence

    from target_segment_objects.delivery.part_writer import BatchFile
    from target_segment_objects.delivery.spool import Spool

logger = logging.getLogger(__name__)


class Batch:
    """The objects of one collection that are delivered in one session, in files below a size.

    Add their lines, `close`, upload each of `files` in one `Session`, and `delete`. Nothing is
    written at first.

    Attributes:
        collection: The collection of all its objects.
        files: Its closed files.
        objects: Its number of objects.

    Args:
        collection: The collection of all its objects.
        spool: Creates its files.
        max_file_bytes: The maximum uncompressed size of a file.
    """

    def __init__(self, collection: str, spool: Spool, *, max_file_bytes: int) -> None:
        self.collection = collection
        self.files: list[BatchFile] = []
        self.objects = 0
        self._spool = spool
        self._max_file_bytes = max_file_bytes
        self._writer: PartWriter | None = None

    @property
    def raw_bytes(self) -> int:
        """The uncompressed size of its closed files."""
        return sum(file.raw_bytes for file in self.files)

    @property
    def gzip_bytes(self) -> int:
        """The compressed size of its closed files."""
        return sum(file.gzip_bytes for file in self.files)

    @property
    def buffered_bytes(self) -> int:
        """Bytes of lines that are not written yet."""
        return 0 if self._writer is None else self._writer.buffered_bytes

    def add_lines(self, lines: Sequence[bytes]) -> None:
        """Add the JSON of objects, each without a line break.

        What is written does not depend on how many of them are added at once.

        Raises:
            SpoolError: A file cannot be written, now or before; the batch is unusable.
            ValueError: A line is longer than a file may be; those before it are added.
        """
        offsets = list(accumulate([len(line) + 1 for line in lines], initial=0))
        start = 0
        while start < len(lines):
            writer = self._writer
            space = 0 if writer is None else writer.buffer_space
            end = bisect_right(offsets, offsets[start] + space, start) - 1
            if writer is None or end == start:
                self._make_space(offsets[start + 1] - offsets[start])
                continue
            writer.add_lines(lines[start:end], offsets[end] - offsets[start])
            self.objects += end - start
            start = end
        self._spool.memory.shrink()

    def close(self) -> None:
        """Complete the current file, so that it can be uploaded.

        Raises:
            SpoolError: The file cannot be written, now or before.
        """
        if self._writer is not None:
            self.files.append(self._writer.close())
            self._writer = None

    def delete(self) -> None:
        """Remove its files.

        A file that cannot be removed is logged: the spool removes it with its folder.
        """
        paths = [file.path for file in self.files]
        if self._writer is not None:
            paths.append(self._writer.path)
            self._writer.discard()
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

    def _make_space(self, size: int) -> None:
        """Make space for a line, in the next file if it does not fit into the current one."""
        if self._writer is not None and self._writer.space < size:
            self.close()
        if self._writer is None:
            if size > self._max_file_bytes:
                limit = self._max_file_bytes
                msg = f"A line of {size} bytes does not fit into a file of {limit} bytes."
                raise ValueError(msg)
            path = self._spool.new_path()
            self._writer = PartWriter(path, self._max_file_bytes, self._spool.memory)
        self._writer.make_space(size)
