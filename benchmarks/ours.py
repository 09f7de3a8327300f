"""Our target with an API that answers at once instead of Segment.

`python -m benchmarks.run_ours --config config.json < input`. What would have been uploaded is kept
in the folder that the variable `BENCHMARK_OUTPUT` names, which must be on the same disk as
`spool_dir`: a file is not copied, but linked.
"""

from __future__ import annotations

import json
import os
import sys
import threading
from pathlib import Path
from typing import Final

from target_segment_objects.cli.command import build_command
from target_segment_objects.cli.load import load_input
from target_segment_objects.target import TargetSegmentObjects

OUTPUT: Final = "BENCHMARK_OUTPUT"


class LocalApi:
    """Answers every call at once, and keeps what is uploaded.

    Args:
        folder: Where files are kept. Their names are in the order in which they came.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._lock = threading.Lock()
        self._calls = 0

    def start(self) -> str:
        """Start a session."""
        return f"session-{self._count_call():06}"

    def upload(self, sync_id: str, file: Path, **_: object) -> str:
        """Keep a file."""
        part_id = f"{self._count_call():06}-{sync_id}"
        os.link(file, self._folder / f"{part_id}.jsonl.gz")
        return part_id

    def keep_alive(self, sync_id: str) -> None:
        """Do nothing."""

    def finish(self, sync_id: str, error: str = "", **_: object) -> None:
        """Do nothing."""

    def abort_session(self, sync_id: str, error: str) -> None:
        """Do nothing."""

    def _count_call(self) -> int:
        with self._lock:
            self._calls += 1
            return self._calls


def run_benchmark() -> None:
    """Load standard input as the command does, with `--config FILE`."""
    build_command()  # sets up logging, as the command does
    config = json.loads(Path(sys.argv[-1]).read_bytes())
    api = LocalApi(Path(os.environ[OUTPUT]))
    sys.exit(load_input(TargetSegmentObjects(config=config), None, api=api))
