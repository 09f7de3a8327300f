"""The files of a sandbox: they hold the user's rows, so no other user can read them.

They are beside the warehouse, in a folder where others may be able to create files, such as `/tmp`.
So a link that is found there is not followed, and what another user has put there is not used.
"""

from __future__ import annotations

import os
import secrets
import stat
import sys
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, Final

from target_segment_objects.sandbox.errors import WarehouseError

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

_DATABASE_SUFFIXES: Final = ("", ".wal", ".wal.checkpoint", ".wal.recovery", ".tmp")
"""What DuckDB adds to the name of its file: nothing, its log, its temporary files."""

_NO_FOLLOW: Final = getattr(os, "O_NOFOLLOW", 0)  # Windows has none
_NO_WAIT: Final = getattr(os, "O_NONBLOCK", 0)  # for a pipe that nobody writes to


@contextmanager
def creating_private_files() -> Iterator[None]:
    """Create only files and folders that the user alone can use.

    By the umask, for the whole process: DuckDB creates its log anew whenever it needs one.
    """
    previous = os.umask(0o077)
    try:
        yield
    finally:
        os.umask(previous)


def check_database_files(path: Path) -> None:
    """Check that DuckDB follows no link to another file than the user has named.

    Raises:
        WarehouseError: A name that DuckDB uses is that of a link.
    """
    for file in _list_database_files(path)[1:]:
        if file.is_symlink():
            message = f"{file} is a symbolic link, which the sandbox does not follow. Remove it"
            raise WarehouseError(message)


def restrict_database_files(path: Path) -> None:
    """Close an existing warehouse to other users: an older sandbox may have left it open."""
    for file in _list_database_files(path):
        with suppress(OSError):  # there is none, or it is another user's
            file.chmod(0o700 if file.is_dir() else 0o600)


def open_private_folder(path: Path) -> None:
    """Create a folder, or use an existing one that is the user's alone.

    Raises:
        WarehouseError: It cannot be created, is a link, or another user may have written to it.
    """
    try:
        path.mkdir(mode=0o700)
    except FileExistsError:
        status = path.lstat()
        if not stat.S_ISDIR(status.st_mode):
            message = f"{path} is not a folder, but the sandbox needs one there. Remove it"
            raise WarehouseError(message) from None
        if _is_of_others(status):
            message = (
                f"The folder {path} belongs to another user, or others may write to it, so the "
                "sandbox does not use what is in it. Remove it"
            )
            raise WarehouseError(message) from None
        path.chmod(0o700)
    except OSError as error:
        message = f"Cannot create the folder {path}: {error.strerror}"
        raise WarehouseError(message) from error


def replace_file(path: Path, content: bytes) -> None:
    """Write a file at once. A link of its name is replaced, not followed.

    Raises:
        WarehouseError: It cannot be written.
    """
    temporary = path.with_name(f"{path.name}.{secrets.token_hex(8)}.tmp")
    try:
        try:
            with temporary.open("xb") as file:
                file.write(content)
            temporary.replace(path)
        finally:
            temporary.unlink(missing_ok=True)
    except OSError as error:
        message = f"Cannot write {path}: {error.strerror}"
        raise WarehouseError(message) from error


def read_own_file(path: Path, limit: int) -> bytes | None:
    """Return the first bytes of a file that only the user can have written, or `None`."""
    try:
        descriptor = os.open(path, os.O_RDONLY | _NO_FOLLOW | _NO_WAIT)
    except OSError:
        return None
    with os.fdopen(descriptor, "rb") as file:
        status = os.fstat(descriptor)
        if not stat.S_ISREG(status.st_mode) or _is_of_others(status):
            return None
        return file.read(limit)


def _list_database_files(path: Path) -> list[Path]:
    return [path.with_name(f"{path.name}{suffix}") for suffix in _DATABASE_SUFFIXES]


def _is_of_others(status: os.stat_result) -> bool:
    """Return whether another user owns a file, or may write to it."""
    if sys.platform == "win32":
        return False
    return status.st_uid != os.geteuid() or bool(status.st_mode & (stat.S_IWGRP | stat.S_IWOTH))
