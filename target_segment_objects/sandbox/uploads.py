"""An uploaded file: gzip of JSON lines, read in pieces to bound memory."""

from __future__ import annotations

import contextlib
import gzip
import zlib
from contextlib import closing
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, Protocol, cast

from target_segment_objects.limits import MAX_OBJECT_BYTES
from target_segment_objects.sandbox.errors import RejectedRequestError
from target_segment_objects.sandbox.objects import Object, parse_object
from target_segment_objects.sandbox.warehouse.session_columns import ColumnCollector, Columns

if TYPE_CHECKING:
    from collections.abc import Generator
    from pathlib import Path

_GZIP_ERRORS: tuple[type[Exception], ...] = (EOFError, gzip.BadGzipFile, zlib.error)
_GzipFile: type[gzip.GzipFile] = gzip.GzipFile
with contextlib.suppress(ImportError):  # isal is faster; not every platform has a wheel of it
    from isal.igzip import IGzipFile as _GzipFile
    from isal.igzip_lib import IsalError

    _GZIP_ERRORS += (cast("type[Exception]", IsalError),)  # its stub is wrong

_BUFFER_BYTES: Final = 256 * 1024


class _Reader(Protocol):
    """The uncompressed content of a file."""

    def read(self, size: int, /) -> bytes: ...


@dataclass(frozen=True, slots=True)
class Part:
    """An accepted file.

    Attributes:
        path: Its path; the file is still compressed.
        columns: The columns of its objects, by collection.
        objects: Number of objects.
        raw_bytes: Uncompressed size.
        gzip_bytes: Compressed size.
    """

    path: Path
    columns: Columns
    objects: int
    raw_bytes: int
    gzip_bytes: int


def check_file(path: Path, *, max_file_bytes: int) -> Part:
    """Read and check a whole file.

    Args:
        path: The file as it was uploaded.
        max_file_bytes: Limit of its uncompressed size.

    Raises:
        RejectedRequestError: It is not gzip, is too large, or has a line that is not a legal
            object.
    """
    collector = ColumnCollector()
    number = raw_bytes = 0
    with closing(_read_lines(path, max_file_bytes)) as blocks:
        for raw_bytes, lines in blocks:  # noqa: B007 - the last one is the size of the file
            for line in lines:
                number += 1
                try:
                    collector.add_object(parse_object(line))
                except RejectedRequestError as error:
                    raise error.with_line(number) from error
    if number == 0:
        reason = "the file is empty: send at least one object"
        raise RejectedRequestError(reason)
    return Part(path, collector.columns, number, raw_bytes, path.stat().st_size)


def read_objects(path: Path, raw_bytes: int) -> Generator[Object]:
    """Yield the objects of an accepted file in their order.

    Args:
        path: The file.
        raw_bytes: Its uncompressed size.
    """
    with closing(_read_lines(path, raw_bytes)) as blocks:
        for _, lines in blocks:
            yield from map(parse_object, lines)


def _read_lines(path: Path, max_file_bytes: int) -> Generator[tuple[int, list[bytes]]]:
    """Yield lines without their newlines, many at once, after the number of bytes read so far.

    The last line may end without a newline.
    """
    try:
        with _GzipFile(path, "rb") as unzipped:
            yield from _split_lines(cast("_Reader", unzipped), max_file_bytes)
    except _GZIP_ERRORS as error:
        reason = "the body is not valid gzip from its first byte to its last"
        raise RejectedRequestError(reason) from error


def _split_lines(file: _Reader, max_file_bytes: int) -> Generator[tuple[int, list[bytes]]]:
    rest = b""
    total = number = 0
    while block := file.read(_BUFFER_BYTES):
        total += len(block)
        if total > max_file_bytes:
            reason = f"the file is larger than {max_file_bytes} bytes uncompressed"
            raise RejectedRequestError(reason, status=413)
        lines = (rest + block).split(b"\n")
        rest = lines.pop()
        yield total, lines
        number += len(lines)
        if len(rest) > MAX_OBJECT_BYTES:
            reason = f"the object is larger than {MAX_OBJECT_BYTES} bytes"
            raise RejectedRequestError(reason, line=number + 1)
    if rest:
        yield total, [rest]
