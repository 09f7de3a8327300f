"""Open a BATCH file from where the tap has put it: a local folder, S3, GCS or Azure.

A tap decides what its messages name. So only these storages are opened, and of local paths only
files and named pipes. The setting `batch_config.storage.root` is the user's own: it may be on any
storage that fsspec knows.
"""

from __future__ import annotations

import errno
import os
import re
import stat
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any, Final, cast
from urllib.parse import unquote

if TYPE_CHECKING:
    from collections.abc import Mapping

_SCHEME: Final = re.compile(r"([^/]{2,}?):(?://|:)")  # a single letter is a drive
_LOCAL_SCHEMES: Final = frozenset({"file", "local"})
_CLOUD_SCHEMES: Final = frozenset({"s3", "gs", "az"})
_DRIVE: Final = re.compile(r"/[A-Za-z]:")


def open_batch_file(url: str, storage: Mapping[str, Any] | None) -> IO[bytes]:
    """Open a file of a manifest for reading.

    Args:
        url: Its path or URL. The path of a `file` URL may be percent-encoded.
        storage: The setting `batch_config.storage`. Its `root` replaces the folder of each file.

    Raises:
        OSError: It cannot be opened, or may not be.
        Exception: Each cloud storage has errors of its own.
    """
    root = storage.get("root") if storage else None
    if not root:
        return _open_local(url) if _is_local(url) else _open_cloud(url)
    name = url.rstrip("/").rpartition("/")[2]
    if _is_local(root):
        return _open_local(f"{root}/{name}")
    return _open_remote(root, name, **(storage or {}).get("params", {}))


def _is_local(url: str) -> bool:
    scheme = _SCHEME.match(url)
    return scheme is None or scheme[1].lower() in _LOCAL_SCHEMES


def _open_local(url: str) -> IO[bytes]:
    path = _to_path(url)
    mode = path.stat().st_mode
    if stat.S_ISDIR(mode):
        raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR))
    if not (stat.S_ISREG(mode) or stat.S_ISFIFO(mode)):
        msg = "it is neither a file nor a named pipe"
        raise OSError(msg)
    return path.open("rb")


def _to_path(url: str) -> Path:
    """Return the path that a local URL names; a plain path is returned as it is."""
    scheme, _, rest = url.partition(":")
    path = url
    if scheme.lower() in _LOCAL_SCHEMES:
        path = rest.removeprefix("//")
        if path.lower().startswith("localhost/"):
            path = path[len("localhost") :]
        if os.name == "nt" and _DRIVE.match(path):
            path = path[1:]
    # Not all taps encode what a URL requires, so a name with a percent sign may be the real one.
    return Path(path if os.path.lexists(path) else unquote(path))


def _open_cloud(url: str) -> IO[bytes]:
    scheme = url.partition(":")[0].lower()
    if scheme not in _CLOUD_SCHEMES or "::" in url:
        msg = (
            f"BATCH files may be local or on {', '.join(sorted(_CLOUD_SCHEMES))}. For another "
            "storage, set batch_config.storage.root"
        )
        raise OSError(msg)
    return _open_remote(url)


def _open_remote(*parts: str, **params: Any) -> IO[bytes]:  # noqa: ANN401 - those of a storage
    from upath import UPath  # noqa: PLC0415 - its import takes a sixth of the start

    return cast("IO[bytes]", UPath(*parts, **params).open("rb"))
