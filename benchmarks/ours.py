"""Our target as it is, with a client that answers at once instead of Segment.

`python -m benchmarks.run_ours --config config.json < input`. What would have been uploaded is
kept, as it is, in the folder that the variable `BENCHMARK_OUTPUT` names, which must be on the same
disk as `spool_dir`: a file is not copied, but given a second name.
"""

from __future__ import annotations

import os
import threading
from functools import cached_property
from pathlib import Path
from typing import Final

from target_segment_objects.segment.client import Client
from target_segment_objects.target import TargetSegmentObjects

OUTPUT: Final = "BENCHMARK_OUTPUT"


class KeepingClient(Client):
    """Answers every call at once, and keeps what it is given."""

    def __init__(self, folder: Path) -> None:
        """Begin without a session.

        Args:
            folder: Where files are kept. Their names are in the order in which they came.
        """
        super().__init__("nobody")
        self._folder = folder
        self._lock = threading.Lock()
        self._calls = 0

    def start(self) -> str:
        """Begin a session."""
        return f"session-{self._next():06}"

    def upload(self, sync_id: str, file: Path) -> str:
        """Keep a file."""
        part_id = f"{self._next():06}-{sync_id}"
        os.link(file, self._folder / f"{part_id}.jsonl.gz")
        return part_id

    def keep_alive(self, sync_id: str) -> None:
        """Do nothing."""

    def finish(self, sync_id: str, error: str = "") -> None:
        """Do nothing."""

    def _next(self) -> int:
        with self._lock:
            self._calls += 1
            return self._calls


class OurTarget(TargetSegmentObjects):
    """The target, whose client is the one above."""

    @cached_property
    def _client(self) -> Client:
        return KeepingClient(Path(os.environ[OUTPUT]))
