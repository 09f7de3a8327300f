"""An uploaded file: gzip of lines, read in pieces so that no size of it fills the memory."""

from __future__ import annotations

import gzip
import io
import zlib
from contextlib import closing
from dataclasses import dataclass
from typing import TYPE_CHECKING, BinaryIO, Final, cast

from target_segment_objects.limits import MAX_OBJECT_BYTES
from target_segment_objects.sandbox.objects import Object, parse
from target_segment_objects.sandbox.refusal import RejectedRequestError

if TYPE_CHECKING:
    from collections.abc import Generator
    from pathlib import Path

_BUFFER_BYTES: Final = 256 * 1024


@dataclass(frozen=True, slots=True)
class Part:
    """A file that was found legal.

    Attributes:
        path: Where it is, still compressed.
        collections: Names of the collections in it.
        objects: How many objects it has.
        raw_bytes: Its size, uncompressed.
        gzip_bytes: Its size, compressed.
    """

    path: Path
    collections: frozenset[str]
    objects: int
    raw_bytes: int
    gzip_bytes: int


def check(path: Path, *, file_bytes: int) -> Part:
    """Read a whole file.

    Args:
        path: The file as it was uploaded.
        file_bytes: Limit of its size, uncompressed.

    Raises:
        RejectedRequestError: It is not gzip, is too large, or a line is not a legal object.
    """
    collections: set[str] = set()
    number = raw_bytes = 0
    with closing(_lines(path, file_bytes=file_bytes)) as lines:
        for number, line in lines:
            collections.add(_parse(number, line).collection)
            raw_bytes += len(line) + 1
    if number == 0:
        reason = "the file is empty: send at least one object"
        raise RejectedRequestError(reason)
    return Part(path, frozenset(collections), number, raw_bytes, path.stat().st_size)


def read(part: Part) -> Generator[Object]:
    """Read the objects of a file that was found legal, in their order."""
    with closing(_lines(part.path, file_bytes=part.raw_bytes)) as lines:
        for number, line in lines:
            yield _parse(number, line)


def _parse(number: int, line: bytes) -> Object:
    try:
        return parse(line)
    except RejectedRequestError as error:
        raise error.at(number) from error


def _lines(path: Path, *, file_bytes: int) -> Generator[tuple[int, bytes]]:
    """Read lines, numbered from 1, without their newlines."""
    try:
        with (
            gzip.open(path) as unzipped,
            # Its lines are found in C, those of a gzip file in Python.
            io.BufferedReader(cast("io.RawIOBase", unzipped), _BUFFER_BYTES) as lines,
        ):
            yield from _limited(lines, file_bytes)
    except (EOFError, gzip.BadGzipFile, zlib.error) as error:
        reason = "the body is not gzip from its first byte to its last"
        raise RejectedRequestError(reason) from error


def _limited(lines: BinaryIO, file_bytes: int) -> Generator[tuple[int, bytes]]:
    total = number = 0
    while line := lines.readline(MAX_OBJECT_BYTES + 1):
        number += 1
        total += len(line)
        if total > file_bytes:
            reason = f"the file is larger than {file_bytes} bytes uncompressed"
            raise RejectedRequestError(reason, status=413)
        if line.endswith(b"\n"):
            yield number, line[:-1]
        elif len(line) > MAX_OBJECT_BYTES:
            reason = f"the object is larger than {MAX_OBJECT_BYTES} bytes"
            raise RejectedRequestError(reason, line=number)
        else:
            reason = "the line does not end with a newline"
            raise RejectedRequestError(reason, line=number)
