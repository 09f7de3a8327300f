"""What tests share: the real command line, Singer lines, and waiting for a condition."""

from __future__ import annotations

import json
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias

if TYPE_CHECKING:
    import subprocess
    from collections.abc import Callable, Mapping, Sequence

RunTarget: TypeAlias = "Callable[..., subprocess.CompletedProcess[str]]"
"""Runs the command line in a process of its own: the fixture `run_target`."""

DATA = Path(__file__).parents[1] / "data"
TARGET = (sys.executable, "-m", "target_segment_objects")
RUN_SECONDS = 120
SIGNAL_GAP_SECONDS = 1.2
"""Between two signals that are two requests, the second one to abort."""


def schema_line(
    stream: str, properties: Mapping[str, Any], key_properties: Sequence[str] = ("id",)
) -> str:
    """Return a SCHEMA message."""
    return json.dumps(
        {
            "type": "SCHEMA",
            "stream": stream,
            "schema": {"type": "object", "properties": dict(properties)},
            "key_properties": list(key_properties),
        }
    )


def record_line(stream: str, record: Mapping[str, Any]) -> str:
    """Return a RECORD message."""
    return json.dumps({"type": "RECORD", "stream": stream, "record": dict(record)})


def state_line(value: object) -> str:
    """Return a STATE message."""
    return json.dumps({"type": "STATE", "value": value})


def wait_for(condition: Callable[[], object], seconds: float = 20) -> None:
    """Wait until a condition holds, and fail when it does not in time."""
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "it did not come true in time"
        time.sleep(0.01)
