"""What tests share: a running sandbox, the real command line, and Singer lines."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from target_segment_objects.sandbox.server import Sandbox

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

    RunTarget = Callable[..., subprocess.CompletedProcess[str]]

DATA = Path(__file__).parent / "data"
TARGET = (sys.executable, "-m", "target_segment_objects")
RUN_SECONDS = 120


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


@pytest.fixture
def sandbox(tmp_path: Path) -> Iterator[Sandbox]:
    """A running sandbox with an empty warehouse."""
    with Sandbox(tmp_path / "warehouse.duckdb") as running:
        yield running


@pytest.fixture
def run_target(tmp_path: Path) -> RunTarget:
    """Run the real command line in a process of its own."""

    def run(
        *arguments: str,
        lines: Sequence[str] = (),
        config: Mapping[str, Any] | None = None,
        environment: Mapping[str, str] | None = None,
    ) -> subprocess.CompletedProcess[str]:
        if config is not None:
            path = tmp_path / "config.json"
            path.write_text(json.dumps(dict(config)), encoding="utf-8")
            arguments = (*arguments, "--config", str(path))
        return subprocess.run(
            [*TARGET, *arguments],
            input="".join(f"{line}\n" for line in lines),
            capture_output=True,
            text=True,
            encoding="utf-8",
            env=None if environment is None else dict(environment),
            cwd=tmp_path,
            timeout=RUN_SECONDS,
            check=False,
        )

    return run


@pytest.fixture
def environment() -> dict[str, str]:
    """The environment, without settings of ours."""
    ours = ("TARGET_SEGMENT_OBJECTS_", "LOGLEVEL", "SINGER_SDK_")
    return {name: value for name, value in os.environ.items() if not name.startswith(ours)}
