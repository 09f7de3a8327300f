"""A line without an end takes no more memory than the longest line that is read."""

from __future__ import annotations

import json
import subprocess
import sys
import zlib
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from tests.support import RUN_SECONDS
from tests.support.in_process import USERS

if TYPE_CHECKING:
    from collections.abc import Iterator

    from target_segment_objects.sandbox.server import Sandbox

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(sys.platform != "linux", reason="the peak of memory is read as on Linux"),
]

MAX_PEAK_KILOBYTES = 500_000
GZIP_WINDOW = 16 + zlib.MAX_WBITS
RUN_AND_MEASURE = """
import re, sys
from pathlib import Path
from target_segment_objects.__main__ import main
try:
    main()
finally:
    peak = re.search(r"VmHWM:\\s+(\\d+)", Path("/proc/self/status").read_text())
    print("peak", peak[1], file=sys.stderr)
"""
LINE = USERS.encode() + b"\n" + b'{"type":"RECORD","stream":"users","record":{"id":1}}\n'


@pytest.fixture(scope="module")
def bomb(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A gzip file of 1 MB that is a line of 1 GB, and goes on after it."""
    path = tmp_path_factory.mktemp("bomb") / "bomb.gz"
    compressor = zlib.compressobj(wbits=GZIP_WINDOW)
    start, block = (
        compressor.compress(text) + compressor.flush(zlib.Z_FULL_FLUSH)
        for text in (b'{"id":"', b"x" * 1_000_000)
    )
    path.write_bytes(start + 1000 * block)  # after a full flush, a block repeats what it was
    yield path
    path.unlink()


def run(
    sandbox: Sandbox, tmp_path: Path, source: Path, content: bytes = b""
) -> subprocess.CompletedProcess[str]:
    """Run the target with an input in a process that prints its peak memory.

    Args:
        sandbox: Takes the objects.
        tmp_path: The folder of the configuration.
        source: Standard input comes from there.
        content: What is in front of it.
    """
    config = tmp_path / "config.json"
    config.write_text(json.dumps({"write_key": "k", "api_url": sandbox.url}))
    command = f'cat - "{source}" 2>/dev/null' if content else f'cat "{source}"'
    with subprocess.Popen(
        ["/bin/sh", "-c", command], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as tap:
        assert tap.stdin is not None
        tap.stdin.write(content)
        tap.stdin.close()
        try:
            return subprocess.run(
                [sys.executable, "-c", RUN_AND_MEASURE, "--config", str(config)],
                stdin=tap.stdout,
                capture_output=True,
                text=True,
                timeout=RUN_SECONDS,
                check=False,
            )
        finally:
            tap.kill()


def check(done: subprocess.CompletedProcess[str], reason: str) -> None:
    """Expect an error with a reason, no traceback, and bounded memory."""
    assert done.returncode == 1
    assert reason in done.stderr
    assert "Traceback" not in done.stderr
    assert "xxxx" not in done.stderr
    assert int(done.stderr.split()[-1]) < MAX_PEAK_KILOBYTES


@pytest.mark.parametrize("source", ["gzip", "/dev/zero"])
def test_endless_line_on_standard_input(
    sandbox: Sandbox, tmp_path: Path, bomb: Path, source: str
) -> None:
    """The error names the line."""
    path = bomb if source == "gzip" else Path(source)
    check(run(sandbox, tmp_path, path), "line 1 is longer than 64 MiB, or has no end")


def test_lines_before_an_endless_one_are_delivered(sandbox: Sandbox, tmp_path: Path) -> None:
    """Everything up to it, as before any line that cannot be read."""
    done = run(sandbox, tmp_path, Path("/dev/zero"), LINE)
    check(done, "cannot be read beyond line 2: line 3 is longer than 64 MiB")
    assert [row["id"] for row in sandbox.warehouse.rows("users")] == ["1"]


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("bomb", "bomb.gz cannot be read: line 1 is longer than 64 MiB, or has no end"),
        ("/dev/zero", "/dev/zero cannot be read: it is neither a file nor a named pipe"),
        ("/dev", "/dev cannot be read: Is a directory"),
    ],
)
def test_endless_batch_file(
    sandbox: Sandbox, tmp_path: Path, bomb: Path, name: str, reason: str
) -> None:
    """Devices are not opened, and a line of a file is as long as one of the input at most."""
    path = bomb if name == "bomb" else Path(name)
    message: dict[str, Any] = {"type": "BATCH", "stream": "users", "manifest": [str(path)]}
    message["encoding"] = {"format": "jsonl"}
    source = tmp_path / "input.singer"
    source.write_bytes(LINE + json.dumps(message).encode() + b"\n")
    check(run(sandbox, tmp_path, source), reason)
