"""An uploaded file: gzip of JSON lines, read in pieces to bound memory."""

from __future__ import annotations

from contextlib import closing
from dataclasses import dataclass
from typing import IO, TYPE_CHECKING, Final

from target_segment_objects.gzip_reading import GZIP_ERRORS, open_gzip
from target_segment_objects.limits import MAX_OBJECT_BYTES
from target_segment_objects.sandbox.errors import RejectedRequestError
from target_segment_objects.sandbox.objects import Object, parse_object
from target_segment_objects.sandbox.warehouse.session_columns import ColumnCollector, Columns

if TYPE_CHECKING:
    from collections.abc import Generator
    from pathlib import Path

_BUFFER_BYTES: Final = 256 * 1024
_MAX_EXCERPT_CHARACTERS: Final = 2_000


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
    """Read and check a whole file as it was uploaded. The limit is of its uncompressed size.

    Raises:
        RejectedRequestError: It is not gzip, is too large, or has a line that is not a legal
            object.
    """
    collector = ColumnCollector()
    number = raw_bytes = 0
    with closing(_read_lines(path, max_file_bytes)) as blocks:
        for raw_bytes, lines in blocks:  # noqa: B007 - the last one is the size of the file
            first = number + 1
            for line in lines:
                number += 1
                try:
                    collector.add_object(parse_object(line))
                except RejectedRequestError as error:
                    error.line = number
                    error.lines = _excerpt_lines(lines, first, number)
                    raise
    if number == 0:
        raise RejectedRequestError("the file is empty: send at least one object")
    return Part(path, collector.columns, number, raw_bytes, path.stat().st_size)


def read_objects(path: Path, raw_bytes: int) -> Generator[Object]:
    """Yield the objects of an accepted file, of this uncompressed size, in their order."""
    with closing(_read_lines(path, raw_bytes)) as blocks:
        for _, lines in blocks:
            yield from map(parse_object, lines)


def _read_lines(path: Path, max_file_bytes: int) -> Generator[tuple[int, list[bytes]]]:
    """Yield lines without their newlines, many at once, after the number of bytes read so far.

    The last line may end without a newline.
    """
    try:
        with path.open("rb") as compressed, open_gzip(compressed) as unzipped:
            yield from _split_lines(unzipped, max_file_bytes)
    except GZIP_ERRORS as error:
        raise RejectedRequestError(
            "the body is not valid gzip from its first byte to its last"
        ) from error


def _split_lines(file: IO[bytes], max_file_bytes: int) -> Generator[tuple[int, list[bytes]]]:
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
            rejection = RejectedRequestError(reason, line=number + 1)
            rejection.lines = _excerpt_lines([rest], number + 1, number + 1)
            raise rejection
    if rest:
        yield total, [rest]


def _excerpt_lines(lines: list[bytes], first: int, number: int) -> tuple[tuple[int, str], ...]:
    """Return the beginning of a line, of the one before it and of the one after it.

    Args:
        lines: Lines that were read together. Those beside them are not known.
        first: The number of the first of them.
        number: The number of the line.
    """
    index = number - first
    beside = range(max(0, index - 1), min(index + 2, len(lines)))
    return tuple((first + position, _shorten_line(lines[position])) for position in beside)


def _shorten_line(line: bytes) -> str:
    text = line[: 4 * _MAX_EXCERPT_CHARACTERS].decode(errors="backslashreplace")
    return text[:_MAX_EXCERPT_CHARACTERS]
