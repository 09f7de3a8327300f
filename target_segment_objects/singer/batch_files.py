"""Read the records of a BATCH message's files, without loading a whole file into memory.

A Parquet row becomes the JSON line that a JSONL file would contain. `batch_storage` opens files.
"""

from __future__ import annotations

import re
from contextlib import contextmanager
from typing import IO, TYPE_CHECKING, Any, Final

import msgspec
from singer_sdk.singerlib.json import serialize_json

from target_segment_objects.exceptions import InputError
from target_segment_objects.gzip_reading import GZIP_ERRORS
from target_segment_objects.mapping.values import DECODING_ERRORS
from target_segment_objects.singer.batch_storage import open_batch_file
from target_segment_objects.singer.raw_input import (
    MAX_LINE_BYTES,
    LineTooLongError,
    explain_read_error,
    open_input,
    read_blocks,
)
from target_segment_objects.singer.reader import is_string_list

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterator, Mapping
    from contextlib import AbstractContextManager


_MESSAGE_MEMBERS: Final = {
    "RECORD": {"stream", "record"},
    "SCHEMA": {"stream", "schema"},
    "STATE": {"value"},
    "BATCH": {"stream", "manifest"},
    "ACTIVATE_VERSION": {"stream", "version"},
}
"""What a Singer message of each type has, besides its type."""


def read_record_blocks(
    message: Mapping[str, Any],
    storage: Mapping[str, Any] | None,
    wait: Callable[[], AbstractContextManager[None]],
    *,
    declared: Collection[str] = (),
) -> Iterator[list[bytes]]:
    """Yield the records of a BATCH message's files, in order, as JSON lines, many at a time.

    Args:
        message: The message. Its `encoding` is the format of the files in its `manifest`.
        storage: See `open_batch_file`.
        wait: Returns the context manager for each step that may block.
        declared: The names of the properties that the stream's SCHEMA declares.

    Raises:
        InputError: A file cannot be read, or its format is not supported.
    """
    encoding, urls = message["encoding"], message["manifest"]
    if not isinstance(encoding, dict) or not is_string_list(urls):
        msg = "In a BATCH message, encoding must be an object and manifest a list of strings."
        raise InputError(msg)
    file_format, compression = encoding.get("format"), encoding.get("compression") or "none"
    if file_format != "parquet" and (file_format != "jsonl" or compression not in {"gzip", "none"}):
        msg = (
            f"BATCH files with format {file_format} and compression {compression} are not "
            "supported."
        )
        raise InputError(msg)
    for url in urls:
        with _open_file(url, storage, wait) as file:
            if file_format == "parquet":
                yield from _read_parquet(file)
                continue
            blocks = _read_jsonl(file, wait, require_gzip=compression == "gzip")
            for number, lines in enumerate(blocks):
                if number == 0:
                    _refuse_messages(lines[0], url, declared)
                yield lines


def build_record_line(stream: str, record_line: bytes) -> bytes:
    """Return the RECORD message of a record of a BATCH file."""
    name = serialize_json(stream).encode()
    return b'{"type":"RECORD","stream":%b,"record":%b}' % (name, record_line.strip())


def _read_jsonl(
    file: IO[bytes], wait: Callable[[], AbstractContextManager[None]], *, require_gzip: bool
) -> Iterator[list[bytes]]:
    """Yield the lines. Gzip is decompressed without being declared: the SDK's writer does that."""
    opened = open_input(file, wait, require_gzip=require_gzip, is_complete=True)
    for lines in read_blocks(opened):
        records = [line for line in lines if not line.isspace()]
        if records:
            yield records


def _refuse_messages(first_line: bytes, url: str, declared: Collection[str]) -> None:
    """Refuse a file of Singer messages: their members would become properties.

    A stream whose SCHEMA declares these members has records that only look like messages.

    Raises:
        InputError: The first line of the file is a Singer message.
    """
    try:
        message = msgspec.json.decode(first_line)
    except DECODING_ERRORS:
        return  # whoever loads the line refuses it
    message_type = message.get("type") if isinstance(message, dict) else None
    members = _MESSAGE_MEMBERS.get(message_type) if isinstance(message_type, str) else None
    if members is None or not members <= message.keys() or {"type", *members} <= {*declared}:
        return
    msg = (
        f"The BATCH file {_remove_credentials(url)} contains Singer messages: its first line is a "
        f"{message_type} message. A line of a BATCH file must be a record alone."
    )
    raise InputError(msg)


@contextmanager
def _open_file(
    url: str,
    storage: Mapping[str, Any] | None,
    wait: Callable[[], AbstractContextManager[None]],
) -> Iterator[IO[bytes]]:
    try:
        with wait():  # opening a pipe waits for its writer
            opened = open_batch_file(url, storage)
        with opened as file:
            yield file
    except InputError:
        raise
    except Exception as cause:  # each storage, and Parquet, has its own exceptions
        msg = f"The BATCH file {_remove_credentials(url)} cannot be read: {_get_reason(cause)}."
        raise InputError(msg) from cause


def _get_reason(cause: Exception) -> str:
    """Return why a file cannot be read. Parquet's own messages may quote values, so drop them."""
    if isinstance(cause, (OSError, ImportError, *GZIP_ERRORS)):
        return explain_read_error(cause)
    return type(cause).__name__


def _remove_credentials(url: str) -> str:
    return re.sub(r"(?<=://)[^/@]*@", "", url)


def _read_parquet(file: IO[bytes]) -> Iterator[list[bytes]]:
    try:
        from target_segment_objects.singer.parquet_rows import read_rows  # noqa: PLC0415 - an extra
    except ImportError:
        msg = (
            "BATCH files in Parquet format need one more package: "
            "pip install 'target-segment-objects[parquet]'"
        )
        raise InputError(msg) from None
    count = 0
    for lines in read_rows(file):
        sizes = [*map(len, lines)]
        if max(sizes, default=0) > MAX_LINE_BYTES:
            at = next(at for at, size in enumerate(sizes, 1) if size > MAX_LINE_BYTES)
            raise LineTooLongError(count + at)
        count += len(lines)
        yield lines
