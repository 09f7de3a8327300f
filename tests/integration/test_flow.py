"""Reading, compressing and uploading overlap: against a service that takes its time.

Times are ratios within one run, and the best of some, because machines are shared.
"""

from __future__ import annotations

import io
import os
import time
from contextlib import redirect_stdout
from typing import TYPE_CHECKING, Any

import pytest

from target_segment_objects.cli.load import load
from target_segment_objects.target import TargetSegmentObjects
from tests.support import record_line, schema_line
from tests.support.faulty_proxy import FaultyProxy

if TYPE_CHECKING:
    from collections.abc import Iterator

    from target_segment_objects.sandbox.server import Sandbox

pytestmark = pytest.mark.slow

SCHEMA = {"id": {"type": "integer"}, "text": {"type": "string"}}
LATENCY_SECONDS = 0.2
BYTES_PER_SECOND = 20_000_000
ROUNDS = 3


class SlowTap(io.RawIOBase):
    """Lines that come at a pace of their own."""

    def __init__(self, lines: list[bytes], seconds_per_line: float) -> None:
        """Begin at the first line."""
        super().__init__()
        self._lines = iter(lines)
        self._pause = seconds_per_line
        self._owed = 0.0

    def readable(self) -> bool:
        """It is."""
        return True

    def readinto(self, buffer: Any) -> int:  # noqa: ANN401 - a buffer of any kind
        """Give the next line, in its time."""
        self._owed += self._pause
        if self._owed > 0.01:
            began = time.monotonic()
            time.sleep(self._owed)
            self._owed -= time.monotonic() - began
        line = next(self._lines, b"")
        buffer[: len(line)] = line
        return len(line)


def lines_of(streams: int, records: int, size: int) -> list[bytes]:
    """Return a tap's lines: streams in turns, with text that does not compress."""
    lines = [schema_line(f"s{chr(97 + n)}", SCHEMA).encode() + b"\n" for n in range(streams)]
    for number in range(records):
        stream = f"s{chr(97 + number % streams)}"
        text = os.urandom(size // 2).hex()
        lines.append(record_line(stream, {"id": number, "text": text}).encode() + b"\n")
    return lines


def seconds_of(url: str, tap: io.IOBase, **config: Any) -> float:  # noqa: ANN401 - settings
    """Return how long a run takes in this process."""
    target = TargetSegmentObjects(config={"write_key": "k", "api_url": url, **config})
    with redirect_stdout(io.StringIO()):
        began = time.monotonic()
        assert load(target, tap) == 0  # type: ignore[arg-type]  # it reads, no more
        return time.monotonic() - began


@pytest.fixture
def slow(sandbox: Sandbox) -> Iterator[FaultyProxy]:
    """A service that takes 200 ms an answer and 20 MB/s."""
    with FaultyProxy(
        sandbox.url, latency_seconds=LATENCY_SECONDS, bytes_per_second=BYTES_PER_SECOND
    ) as proxy:
        yield proxy


def test_one_stream_takes_hardly_longer_than_the_longer_of_reading_and_uploading(
    sandbox: Sandbox, slow: FaultyProxy
) -> None:
    """At most 1.15 times the longer, though either alone takes seconds."""
    lines = lines_of(streams=1, records=3000, size=2000)
    size = {"batch_size_rows": 300}
    pause = 0.0025
    ratios: list[float] = []
    while not ratios or (min(ratios) > 1.15 and len(ratios) < ROUNDS):
        reading = seconds_of(sandbox.url, SlowTap(lines, pause), **size, max_parallel_sessions=1)
        uploading = seconds_of(slow.url, SlowTap(lines, 0.0), **size)
        both = seconds_of(slow.url, SlowTap(lines, pause), **size)
        ratios.append(both / max(reading, uploading))
    assert min(ratios) <= 1.15, ratios


def test_eight_collections_side_by_side_take_a_third_of_the_time_of_one_by_one(
    slow: FaultyProxy,
) -> None:
    """`max_parallel_sessions` 8 against 1."""
    lines = lines_of(streams=8, records=160, size=100)
    size = {"batch_size_rows": 10}
    ratios: list[float] = []
    while not ratios or (min(ratios) > 1 / 3 and len(ratios) < ROUNDS):
        one = seconds_of(slow.url, SlowTap(lines, 0.0), **size, max_parallel_sessions=1)
        eight = seconds_of(slow.url, SlowTap(lines, 0.0), **size, max_parallel_sessions=8)
        ratios.append(eight / one)
    assert min(ratios) <= 1 / 3, ratios
