"""The folder of a run's batch files, and what they share in memory.

The rule for others: see `batch`.
"""

from __future__ import annotations

import logging
import weakref
from typing import TYPE_CHECKING

from target_segment_objects.delivery.part_writer import WriteMemory
from target_segment_objects.delivery.spool_folder import SpoolFolder, remove_abandoned_folders
from target_segment_objects.exceptions import SpoolError
from target_segment_objects.plurals import format_count

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

logger = logging.getLogger(__name__)


class Spool:
    """The folder of a run's batch files, private to the user.

    It is created with the first file, and removed by `close` or when the process exits. If the
    process is killed, the next run removes it.

    Attributes:
        memory: What its open batches hold in memory.

    Args:
        parent: The folder to create it in; None for the system's temporary folder.
    """

    def __init__(self, parent: str | None = None) -> None:
        self.memory = WriteMemory()
        self._parent = parent
        self._folder: Path | None = None
        self._remove_folder: Callable[[], object] | None = None
        self._file_count = 0

    def new_path(self) -> Path:
        """Return the path of a new file; its folder exists.

        Raises:
            SpoolError: The folder cannot be created.
        """
        if self._folder is None:
            self._folder = self._create_folder()
        self._file_count += 1
        return self._folder / f"{self._file_count:06}.jsonl.gz"

    def _create_folder(self) -> Path:
        try:
            folder = SpoolFolder.create(self._parent)
        except OSError as cause:
            where = self._parent or "the system's temporary folder"
            raise SpoolError("create a folder for batch files in", where, cause) from cause
        self._remove_folder = weakref.finalize(self, folder.remove)
        _log_abandoned_folders(folder.path.parent)
        return folder.path

    def close(self) -> None:
        """Remove the folder and the files that are left in it."""
        if self._remove_folder is not None:
            self._remove_folder()
        self._folder = None


def _log_abandoned_folders(parent: Path) -> None:
    """Remove what killed runs have left, and report it in one line."""
    abandoned = remove_abandoned_folders(parent)
    if abandoned.removed:
        logger.warning(
            "Removed %s with %.1f MB of batch files that killed runs had left in %s.",
            format_count(abandoned.removed, "folder"),
            abandoned.removed_bytes / 1e6,
            parent,
        )
    if abandoned.foreign:
        logger.info(
            "Batch files of other hosts are in %s. If no run uses them, remove them: %s",
            parent,
            ", ".join(path.name for path in abandoned.foreign),
        )
