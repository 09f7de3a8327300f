"""The files of a BATCH message → record lines, never a file whole in memory.

Files are opened wherever the SDK's own storage can (`universal-pathlib`: local folders and, with
its extras, S3, GCS, Azure). A Parquet row becomes the JSON line that a JSONL file would have held.
"""

from __future__ import annotations

import gzip
import re
import zlib
from contextlib import contextmanager
from typing import IO, TYPE_CHECKING, Any, Final

import msgspec
from upath import UPath

from target_segment_objects.exceptions import InputError
from target_segment_objects.mapping.values import ENCODER

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

_DECODER: Final = msgspec.json.Decoder(msgspec.Raw)
_PARQUET_ROWS: Final = 1000  # rows held at once


def record_lines(message: Mapping[str, Any], storage: Mapping[str, Any] | None) -> Iterator[bytes]:
    """Yield the records that a BATCH message points at, in order, as lines of JSON.

    Args:
        message: The message: `encoding` says what the files of its `manifest` are.
        storage: The setting `batch_config.storage`: where files are, if the manifest is wrong.

    Raises:
        InputError: A file cannot be read, or is of a kind that is not known.
    """
    encoding, urls = message["encoding"], message["manifest"]
    if not isinstance(encoding, dict) or not _is_list_of_texts(urls):
        raise InputError("A BATCH message needs an object as encoding and a list as manifest.")
    kind = (encoding.get("format"), encoding.get("compression") or "none")
    if kind[0] != "parquet" and kind not in (("jsonl", "gzip"), ("jsonl", "none")):
        msg = f"BATCH files of format {kind[0]}, compression {kind[1]}, are not supported."
        raise InputError(msg)
    for url in urls:
        with _opened(url, storage) as file:
            if kind[0] == "parquet":
                yield from _parquet_lines(file)
            elif kind[1] == "gzip":
                with gzip.GzipFile(fileobj=file) as lines:
                    yield from _not_blank(lines)
            else:
                yield from _not_blank(file)


def is_json(line: bytes) -> bool:
    """Return whether a line is one JSON value, so that it may stand within another.

    `{"id":1},"record":{"id":2}` is none, though a message around it would be one.
    """
    try:
        _DECODER.decode(line)
    except (msgspec.DecodeError, RecursionError):
        return False
    return True


def _is_list_of_texts(value: object) -> bool:
    return isinstance(value, list) and all(isinstance(one, str) for one in value)


def _not_blank(lines: Iterable[bytes]) -> Iterator[bytes]:
    return (line for line in lines if not line.isspace())


def _path(url: str, storage: Mapping[str, Any] | None) -> UPath:
    if not storage or not storage.get("root"):
        return UPath(url)
    root = UPath(storage["root"], **storage.get("params", {}))
    return UPath(root, UPath(url).name)


@contextmanager
def _opened(url: str, storage: Mapping[str, Any] | None) -> Iterator[IO[bytes]]:
    try:
        with _path(url, storage).open("rb") as file:
            yield file
    except InputError:
        raise
    except Exception as cause:  # each storage, and Parquet, has errors of its own
        msg = f"The BATCH file {_without_user(url)} cannot be read: {_why(cause)}."
        raise InputError(msg) from cause


def _why(cause: Exception) -> str:
    """Say why a file cannot be read; what Parquet says of a value may quote it."""
    if isinstance(cause, (OSError, EOFError, zlib.error, ImportError)):
        return getattr(cause, "strerror", None) or str(cause) or type(cause).__name__
    return type(cause).__name__


def _without_user(url: str) -> str:
    """Take the user and the password out of an address."""
    return re.sub(r"(?<=://)[^/@]*@", "", url)


def _parquet_lines(file: IO[bytes]) -> Iterator[bytes]:
    try:
        import pyarrow.parquet  # noqa: PLC0415 - an extra, and slow to import
    except ImportError:
        msg = (
            "BATCH files in Parquet need one more package: "
            "pip install 'target-segment-objects[parquet]'"
        )
        raise InputError(msg) from None
    for rows in pyarrow.parquet.ParquetFile(file).iter_batches(_PARQUET_ROWS):
        for row in _python_rows(rows):
            yield ENCODER.encode(row)


def _python_rows(rows: Any) -> list[dict[str, Any]]:  # noqa: ANN401 - pyarrow has no types
    """Return rows of Python's values; a time to the nanosecond, which Python has not, as text."""
    try:
        return rows.to_pylist()  # type: ignore[no-any-return]
    except ValueError:
        for number, field in enumerate(rows.schema):
            if getattr(field.type, "unit", None) == "ns":
                rows = rows.set_column(number, field.name, rows.column(number).cast("string"))
        return rows.to_pylist()  # type: ignore[no-any-return]
