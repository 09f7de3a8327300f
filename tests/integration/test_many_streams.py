"""A tap with a thousand streams, as a whole process."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import pytest

from benchmarks import inputs
from benchmarks.runs import OURS, Bench

if TYPE_CHECKING:
    from pathlib import Path

STREAMS = 1_000
RECORDS = 40_000
MAX_BYTES_PER_STREAM = 70_000
"""About 55,000 on Linux; 300,000 if every batch kept its own buffer and compressor."""


@pytest.mark.slow
@pytest.mark.skipif(os.name != "posix", reason="measured on Linux and macOS only")
def test_memory_of_a_stream_is_bounded(tmp_path: Path) -> None:
    """Each of a thousand streams, whose records come in turn, takes less than 70 KB of memory."""
    bench = Bench(tmp_path, scale=1, rounds=1, input_names=(), write_page=False)
    one, many = (
        bench.run_candidate(OURS, bench.prepare_sized_input(inputs.A, RECORDS, streams=streams))
        for streams in (1, STREAMS)
    )
    assert len([*many.output.glob("*.gz")]) == STREAMS
    assert (many.peak_bytes - one.peak_bytes) / STREAMS < MAX_BYTES_PER_STREAM
