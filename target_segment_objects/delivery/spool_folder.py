"""The folder of a run's batch files, and what killed runs have left beside it.

A run that is killed cannot remove its folder. The next one does. It must never remove the folder of
a run that is alive, so each run holds a lock on a file in its folder, which the operating system
releases when the process ends, however it ends; process ids would be reused. The rules:

- A folder without a lock file, or whose lock is held, is left alone.
- So is a folder of another host: a file system may not show the locks of one host to another. The
  lock file holds the host's name, written once the lock is held.
- So is whatever is not a folder of the same user; links are not followed.
"""

from __future__ import annotations

import os
import platform
import shutil
import sys
import tempfile
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Iterator

    from typing_extensions import Self

if sys.platform == "win32":
    import msvcrt

    def _lock_file(descriptor: int) -> None:
        msvcrt.locking(descriptor, msvcrt.LK_NBLCK, 1)

    def _is_own(_: os.DirEntry[str]) -> bool:
        return True  # the permissions of a temporary folder keep other users out

else:
    import fcntl

    def _lock_file(descriptor: int) -> None:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)

    def _is_own(entry: os.DirEntry[str]) -> bool:
        return entry.stat(follow_symlinks=False).st_uid == os.getuid()


FOLDER_PREFIX: Final = "segment-objects-"
LOCK_NAME: Final = "lock"

_MAX_CREATE_ATTEMPTS: Final = 10
_MAX_HOST_BYTES: Final = 1024


@dataclass(frozen=True, slots=True)
class SpoolFolder:
    """A new, private folder that is locked until it is removed.

    Attributes:
        path: Its path.
    """

    path: Path
    _lock: int | None  # the descriptor of its lock file; None where files cannot be locked

    @classmethod
    def create(cls, parent: str | None) -> Self:
        """Create a folder in another, or in the system's temporary one.

        Raises:
            OSError: It cannot be created.
        """
        for _ in range(_MAX_CREATE_ATTEMPTS):
            path = Path(tempfile.mkdtemp(prefix=FOLDER_PREFIX, dir=parent))
            lock = os.open(path / LOCK_NAME, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o600)
            try:
                _lock_file(lock)
                os.write(lock, platform.node().encode())
            except (BlockingIOError, PermissionError):  # another run is just looking at it
                os.close(lock)
                shutil.rmtree(path, ignore_errors=True)
            except OSError:  # this file system has no locks
                os.close(lock)
                (path / LOCK_NAME).unlink()
                return cls(path, None)
            else:
                return cls(path, lock)
        return cls(Path(tempfile.mkdtemp(prefix=FOLDER_PREFIX, dir=parent)), None)

    def remove(self) -> None:
        """Remove the folder with everything in it, and release the lock.

        The lock file is the last to go: what a kill leaves in between is found by the next run.
        """
        for file in self.path.glob("*"):
            if file.name != LOCK_NAME:
                with suppress(OSError):
                    file.unlink()
        shutil.rmtree(self.path, ignore_errors=True)
        if self._lock is not None:
            os.close(self._lock)
            shutil.rmtree(self.path, ignore_errors=True)  # Windows keeps a file that is open


@dataclass(slots=True)
class AbandonedFolders:
    """What killed runs have left.

    Attributes:
        removed: The number of folders that were removed.
        removed_bytes: The bytes of their files.
        foreign: The folders of other hosts, which are not removed.
    """

    removed: int = 0
    removed_bytes: int = 0
    foreign: list[Path] = field(default_factory=list)


def remove_abandoned_folders(parent: Path) -> AbandonedFolders:
    """Remove the folders of runs that have ended without removing them."""
    abandoned = AbandonedFolders()
    for path in _find_own_folders(parent):
        lock = _acquire_lock(path)
        if lock is None:
            continue
        host = os.read(lock, _MAX_HOST_BYTES).decode(errors="replace")
        if host == platform.node():
            abandoned.removed_bytes += _measure_files(path)
            abandoned.removed += 1
            SpoolFolder(path, lock).remove()
            continue
        os.close(lock)
        if host:  # else its run has created the file, but not locked it yet
            abandoned.foreign.append(path)
    return abandoned


def _find_own_folders(parent: Path) -> Iterator[Path]:
    """Yield the spool folders of this user."""
    try:
        entries = list(os.scandir(parent))
    except OSError:  # a folder that cannot be listed may still be written to
        return
    for entry in entries:
        try:
            is_folder = entry.name.startswith(FOLDER_PREFIX) and entry.is_dir(follow_symlinks=False)
            if is_folder and _is_own(entry):
                yield Path(entry.path)
        except OSError:  # it is gone
            continue


def _acquire_lock(folder: Path) -> int | None:
    """Lock a folder's lock file; None if there is none, or another process holds it."""
    try:
        lock = os.open(folder / LOCK_NAME, os.O_RDWR | getattr(os, "O_NOFOLLOW", 0))
    except OSError:
        return None
    try:
        _lock_file(lock)
    except OSError:
        os.close(lock)
        return None
    return lock


def _measure_files(folder: Path) -> int:
    return sum(file.lstat().st_size for file in folder.glob("*.gz"))
