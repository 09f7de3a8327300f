"""What the target and its sinks share during a run."""

from __future__ import annotations

import itertools
import logging
from typing import TYPE_CHECKING

from target_segment_objects import limits
from target_segment_objects.cli.dry_run import DryRun
from target_segment_objects.reporting.stats import RunStats
from target_segment_objects.run.context import RunContext
from target_segment_objects.settings import Settings

if TYPE_CHECKING:
    import pytest


def test_too_many_collections_are_warned_of_once(caplog: pytest.LogCaptureFixture) -> None:
    """The stream that makes more collections than Segment selects is warned of, and no other."""
    context = RunContext(
        Settings.from_config({"write_key": "k"}),
        DryRun(),
        RunStats(),
        on_failure=lambda: None,
        logger=logging.getLogger("test"),
    )
    letters = "abcdefghijklmnopqrstuvwxyz"
    streams = ["".join(name) for name in itertools.product(letters, repeat=3)]
    streams = streams[: limits.MAX_COLLECTIONS + 2]
    for stream in streams[: limits.MAX_COLLECTIONS]:
        context.resolve_collection(stream)
    assert not [record for record in caplog.records if record.levelno >= logging.WARNING]
    for stream in streams[limits.MAX_COLLECTIONS :]:
        context.resolve_collection(stream)
    (warned,) = [record for record in caplog.records if record.levelno >= logging.WARNING]
    assert "more than 5,000 collections" in warned.getMessage()
    assert streams[limits.MAX_COLLECTIONS] in warned.getMessage()
    context.close()
