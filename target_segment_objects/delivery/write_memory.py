"""What all open batches of a run may hold in memory together: a tap may write a thousand streams.

A run of a few streams reaches neither bound. Beyond them, the lines of each batch are compressed in
smaller groups, so that the files are larger, by up to a quarter, and memory is not.
"""

from __future__ import annotations

from operator import attrgetter
from typing import Final, Protocol

MAX_BUFFERED_BYTES: Final = 6_000_000
"""Lines of all batches that are not written yet."""

MAX_COMPRESSORS: Final = 16
"""Compressors that are kept between two writes; isal's have about 90 KB, zlib's 260 KB."""

_get_size = attrgetter("buffered_bytes")


class Buffer(Protocol):
    """Lines of a batch that are not written yet."""

    buffered_bytes: int

    def write_buffer(self) -> None:
        """Write the lines, and subtract them from the bytes of all buffers."""


class WriteMemory:
    """Counts what open batches hold.

    Attributes:
        buffers: Those of the batches with an open file.
        buffered_bytes: The bytes of all buffers.
        max_buffered_bytes: Whoever adds more than these calls `write_largest_buffers`.
    """

    def __init__(
        self,
        *,
        max_buffered_bytes: int = MAX_BUFFERED_BYTES,
        max_compressors: int = MAX_COMPRESSORS,
    ) -> None:
        """Begin without a batch.

        Args:
            max_buffered_bytes: The maximum of all buffers together.
            max_compressors: The maximum of compressors that are kept.
        """
        self.buffers: set[Buffer] = set()
        self.buffered_bytes = 0
        self.max_buffered_bytes = max_buffered_bytes
        self._max_compressors = max_compressors
        self._compressors = 0

    def write_largest_buffers(self) -> None:
        """Write the largest buffers, many at once: finding them takes a look at all.

        Raises:
            SpoolError: A file cannot be written.
        """
        for buffer in sorted(self.buffers, key=_get_size, reverse=True):
            if self.buffered_bytes <= self.max_buffered_bytes * 3 // 4:
                return
            buffer.write_buffer()

    def reserve_compressor(self) -> bool:
        """Return whether one more compressor may be kept, and count it then."""
        if self._compressors >= self._max_compressors:
            return False
        self._compressors += 1
        return True

    def release_compressor(self) -> None:
        """Count that a compressor is not kept any more."""
        self._compressors -= 1
