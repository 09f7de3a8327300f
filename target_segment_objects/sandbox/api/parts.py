"""An uploaded file: gzip of JSON lines, read in pieces to bound memory."""

from __future__ import annotations

import gzip
import io
import zlib
from contextlib import closing
from dataclasses import dataclass
from typing import TYPE_CHECKING, BinaryIO, Final, cast

from target_segment_objects.limits import MAX_OBJECT_BYTES
from target_segment_objects.sandbox.errors import RejectedRequestError
from target_segment_objects.sandbox.objects import Object, parse_object

if TYPE_CHECKING:
    from collections.abc import Generator
    from pathlib import Path

_BUFFER_BYTES: Final = 256 * 1024


@dataclass(frozen=True, slots=True)
class Part:
    """An accepted file.

    Attributes:
        path: Its path; the file is still compressed.
        collections: Names of the collections in it.
        objects: Number of objects.
        raw_bytes: Uncompressed size.
        gzip_bytes: Compressed size.
    """

    path: Path
    collections: frozenset[str]
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
    collections: set[str] = set()
    number = raw_bytes = 0
    with closing(_read_lines(path, max_file_bytes)) as lines:
        for number, line in lines:
            collections.add(_parse_line(number, line).collection)
            raw_bytes += len(line)
    if number == 0:
        reason = "the file is empty: send at least one object"
        raise RejectedRequestError(reason)
    return Part(path, frozenset(collections), number, raw_bytes, path.stat().st_size)


def read_objects(part: Part) -> Generator[Object]:
    """Yield the objects of an accepted file in their order."""
    with closing(_read_lines(part.path, part.raw_bytes)) as lines:
        for number, line in lines:
            yield _parse_line(number, line)


def _parse_line(number: int, line: bytes) -> Object:
    try:
        return parse_object(line.removesuffix(b"\n"))
    except RejectedRequestError as error:
        raise error.with_line(number) from error


def _read_lines(path: Path, max_file_bytes: int) -> Generator[tuple[int, bytes]]:
    """Yield the lines, numbered from 1. The last one may end without a newline."""
    try:
        with (
            gzip.open(path) as unzipped,
            # BufferedReader splits lines in C; GzipFile.readline does it in Python.
            io.BufferedReader(cast("io.RawIOBase", unzipped), _BUFFER_BYTES) as lines,
        ):
            yield from _split_lines(lines, max_file_bytes)
    except (EOFError, gzip.BadGzipFile, zlib.error) as error:
        reason = "the body is not valid gzip from its first byte to its last"
        raise RejectedRequestError(reason) from error


def _split_lines(lines: BinaryIO, max_file_bytes: int) -> Generator[tuple[int, bytes]]:
    total = number = 0
    while line := lines.readline(MAX_OBJECT_BYTES + 1):
        number += 1
        total += len(line)
        if total > max_file_bytes:
            reason = f"the file is larger than {max_file_bytes} bytes uncompressed"
            raise RejectedRequestError(reason, status=413)
        if len(line) > MAX_OBJECT_BYTES and not line.endswith(b"\n"):
            reason = f"the object is larger than {MAX_OBJECT_BYTES} bytes"
            raise RejectedRequestError(reason, line=number)
        yield number, line
