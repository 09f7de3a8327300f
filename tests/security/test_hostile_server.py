"""What a server that is not Segment, or not any more, can do to a run."""

from __future__ import annotations

import functools
import gzip
import io
import subprocess
import sys

import pytest

from tests.support.scripted_server import Reply, ScriptedServer

PEAK = """
import re, sys
from pathlib import Path
from target_segment_objects.exceptions import ApiError
from target_segment_objects.segment.client import Client
with Client("a-write-key", api_url=sys.argv[1], max_retries=0) as client:
    try:
        client.start()
    except ApiError:
        peak = re.search(r"VmHWM:\\s+(\\d+)", Path("/proc/self/status").read_text())
        print(int(peak[1]) // 1024)
"""


@functools.cache
def compress_zeros(megabytes: int) -> bytes:
    """Return what so many zeros are compressed to."""
    buffer = io.BytesIO()
    with gzip.GzipFile(fileobj=buffer, mode="wb") as file:
        for _ in range(megabytes):
            file.write(bytes(1_000_000))
    return buffer.getvalue()


@pytest.mark.skipif(sys.platform != "linux", reason="the peak of memory is read as on Linux")
@pytest.mark.parametrize("status", [201, 302, 503])
def test_it_cannot_fill_the_memory_with_a_compressed_response(status: int) -> None:
    """Of 400 MB that were compressed twice, to some kB, only the beginning is read."""
    body = gzip.compress(compress_zeros(400))
    assert len(body) < 10_000
    with ScriptedServer() as server:
        headers = {"Content-Encoding": "gzip, gzip", "Location": "/elsewhere"}
        server.always("start", Reply(status, body, headers))
        done = subprocess.run(
            [sys.executable, "-c", PEAK, server.url],
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )
        assert len(server.requests) == 1, "no redirect is followed"
    assert int(done.stdout) < 200, done.stderr
