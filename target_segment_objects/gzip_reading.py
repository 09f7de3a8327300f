"""Reading gzip: with isal, which is faster, where it is installed, else with zlib."""

from __future__ import annotations

import contextlib
import gzip
import zlib
from typing import IO, cast

GZIP_ERRORS: tuple[type[Exception], ...] = (EOFError, gzip.BadGzipFile, zlib.error)
"""What a file that is not complete, valid gzip raises while it is read."""

with contextlib.suppress(ImportError):  # not every platform has a wheel of it
    from isal.igzip_lib import IsalError

    GZIP_ERRORS += (cast("type[Exception]", IsalError),)  # its stub is wrong


def open_gzip(file: IO[bytes]) -> IO[bytes]:
    """Open a file that is complete: isal waits for more input than the next line needs."""
    try:
        from isal import igzip  # noqa: PLC0415 - many runs read no gzip
    except ImportError:
        return cast("IO[bytes]", gzip.GzipFile(fileobj=file, mode="rb"))
    return cast("IO[bytes]", igzip.IGzipFile(fileobj=file, mode="rb"))  # type: ignore[no-untyped-call]
