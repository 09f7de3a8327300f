"""Measure how well reading and uploading overlap, with a paced tap and a slow network.

`python -m benchmarks.overlap` prints the table; `--page` also writes it to the docs.

Two ratios are measured, each within one round, so that a slow machine affects both sides:

- one collection: the target against the longer of reading alone and uploading alone. 1.0 is ideal.
- eight collections: eight parallel sessions against one session at a time.

The target runs in this process, and all objects are loaded into a sandbox.
"""

from __future__ import annotations

import io
import json
import os
import statistics
import time
from contextlib import redirect_stdout
from typing import TYPE_CHECKING, Any, Final, cast

import click

from benchmarks import docs_page
from benchmarks.end_to_end import Network, SlowNetwork
from benchmarks.runs import bench_options
from target_segment_objects.cli.load import load_input
from target_segment_objects.sandbox.server import Sandbox
from target_segment_objects.target import TargetSegmentObjects

if TYPE_CHECKING:
    from typing import IO

    from benchmarks.runs import Bench

_SLOW: Final = Network("200 ms, 20 MB/s", 0.2, 20_000_000)
_FAST: Final = Network("no delay")
_RECORDS: Final = 3000
_BATCHES: Final = 10
_RECORD_BYTES: Final = 2000
_SECONDS_PER_LINE: Final = 0.0025
_COLLECTIONS: Final = 8
_COLLECTION_RECORDS: Final = 160  # of all collections; in two batches of each
_MIN_SLEEP_SECONDS: Final = 0.01  # shorter sleeps are not accurate


class PacedInput(io.RawIOBase):
    """A tap's output that arrives with a fixed time per line."""

    def __init__(self, lines: list[bytes], seconds_per_line: float) -> None:
        """Start at the first line."""
        super().__init__()
        self._lines = iter(lines)
        self._seconds_per_line = seconds_per_line
        self._delay = 0.0

    def readable(self) -> bool:
        """Return that it can be read."""
        return True

    def readinto(self, buffer: Any) -> int:  # noqa: ANN401 - a buffer of any kind
        """Read the next line, at its time."""
        self._delay += self._seconds_per_line
        if self._delay > _MIN_SLEEP_SECONDS:
            began = time.monotonic()
            time.sleep(self._delay)
            self._delay -= time.monotonic() - began
        line = next(self._lines, b"")
        buffer[: len(line)] = line
        return len(line)


@click.command(help=__doc__)
@bench_options
def main(bench: Bench) -> None:
    """Measure both ratios and publish the table."""
    rows = [
        _format_row("one collection", "longer of the two", _measure_one_collection(bench)),
        _format_row(
            "eight collections", "one session at a time", _measure_eight_collections(bench)
        ),
    ]
    header = ["", "target", "compared with", "seconds", "ratio"]
    table = docs_page.format_table(header, rows)
    bench.publish_result("overlap", f"{docs_page.describe_machine()}.\n\n{table}")


def _measure_one_collection(bench: Bench) -> list[tuple[float, float]]:
    """Return for each round the seconds of the target, and of the longer of its two parts."""
    records = bench.scale_count(_RECORDS)
    lines = _generate_lines(1, records, _RECORD_BYTES)
    config = {"batch_size_rows": max(1, records // _BATCHES)}
    rounds = []
    for _ in range(bench.rounds):
        reading = _run_target(bench, _FAST, PacedInput(lines, _SECONDS_PER_LINE), config)
        uploading = _run_target(bench, _SLOW, PacedInput(lines, 0), config)
        both = _run_target(bench, _SLOW, PacedInput(lines, _SECONDS_PER_LINE), config)
        rounds.append((both, max(reading, uploading)))
    return rounds


def _measure_eight_collections(bench: Bench) -> list[tuple[float, float]]:
    """Return for each round the seconds of eight parallel sessions, and of one at a time."""
    records = max(_COLLECTIONS, bench.scale_count(_COLLECTION_RECORDS))
    lines = _generate_lines(_COLLECTIONS, records, 100)
    config = {"batch_size_rows": max(1, records // _COLLECTIONS // 2)}
    rounds = []
    for _ in range(bench.rounds):
        serial, parallel = (
            _run_target(bench, _SLOW, PacedInput(lines, 0), config | {"max_parallel_sessions": n})
            for n in (1, _COLLECTIONS)
        )
        rounds.append((parallel, serial))
    return rounds


def _run_target(bench: Bench, network: Network, tap: io.IOBase, config: dict[str, Any]) -> float:
    """Return the seconds of a run in this process."""
    warehouse = bench.empty_folder("overlap") / "warehouse.duckdb"
    with Sandbox(warehouse, wrap=lambda app: SlowNetwork(app, network)) as sandbox:
        target = TargetSegmentObjects(config={"write_key": "k", "api_url": sandbox.url, **config})
        with redirect_stdout(io.StringIO()):
            began = time.monotonic()
            exit_code = load_input(target, cast("IO[bytes]", tap))
            seconds = time.monotonic() - began
    if exit_code:
        msg = f"the target failed with exit code {exit_code}"
        raise RuntimeError(msg)
    return seconds


def _generate_lines(streams: int, records: int, size: int) -> list[bytes]:
    """Return a tap's output: streams in turn, with text that does not compress."""
    names = [f"stream_{chr(ord('a') + number)}" for number in range(streams)]
    properties = {"id": {"type": "integer"}, "text": {"type": "string"}}
    messages: list[dict[str, Any]] = [
        {
            "type": "SCHEMA",
            "stream": name,
            "schema": {"type": "object", "properties": properties},
            "key_properties": ["id"],
        }
        for name in names
    ]
    messages += [
        {
            "type": "RECORD",
            "stream": names[number % streams],
            "record": {"id": number, "text": os.urandom(size // 2).hex()},
        }
        for number in range(records)
    ]
    return [json.dumps(message).encode() + b"\n" for message in messages]


def _format_row(name: str, reference: str, rounds: list[tuple[float, float]]) -> list[str]:
    target = statistics.median(seconds for seconds, _ in rounds)
    compared = statistics.median(seconds for _, seconds in rounds)
    ratio = statistics.median(seconds / other for seconds, other in rounds)
    return [name, f"{target:.2f} s", reference, f"{compared:.2f} s", f"{ratio:.2f}"]


if __name__ == "__main__":
    main()
