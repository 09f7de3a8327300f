"""A second signal aborts a run with a ledger: the next one sends what was not accepted."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import time
from typing import IO, TYPE_CHECKING

import pytest

from tests.support import RUN_SECONDS, SIGNAL_GAP_SECONDS, TARGET, record_line, state_line
from tests.support.faulty_proxy import FaultyProxy
from tests.support.in_process import USERS

if TYPE_CHECKING:
    from pathlib import Path

    from target_segment_objects.sandbox.server import Sandbox
    from tests.support import RunTarget

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(os.name != "posix", reason="Windows has no such signals"),
]

BATCH = 10


def users(first: int, name: str) -> list[str]:
    """Return the messages of one batch, with a STATE."""
    numbers = range(first, first + BATCH)
    records = [record_line("users", {"id": number, "name": name}) for number in numbers]
    return [USERS, *records, state_line(first + BATCH)]


def write_lines(stream: IO[str] | None, lines: list[str]) -> None:
    """Write lines to a process, as a tap does."""
    assert stream is not None
    stream.write("".join(f"{line}\n" for line in lines))
    stream.flush()


def read_line(stream: IO[str] | None, part: str) -> str:
    """Read lines of a process up to one with a text."""
    assert stream is not None
    while line := stream.readline():
        if part in line:
            return line
    pytest.fail(f"no line contains {part!r}")


@pytest.mark.parametrize("call", [0, 1, 2], ids=["Start", "upload", "Finish"])
def test_run_after_an_aborted_one(
    sandbox: Sandbox, tmp_path: Path, run_target: RunTarget, call: int
) -> None:
    """It sends the batch that was not accepted, and skips the one that was."""
    old, new = ([*users(0, name), *users(BATCH, name)] for name in ("old", "new"))
    with FaultyProxy(sandbox.url) as proxy:
        config = {
            "write_key": "k",
            "api_url": proxy.url,
            "ledger_path": str(tmp_path / "ledger.sqlite"),
            "batch_size_rows": BATCH,
        }
        assert run_target(lines=old, config=config).returncode == 0
        proxy.script.extend([*[None] * (3 + call), "hold"])
        with subprocess.Popen(
            [*TARGET, "--config", str(tmp_path / "config.json")],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        ) as process:
            try:
                write_lines(process.stdin, users(0, "new"))
                assert json.loads(read_line(process.stdout, "")) == BATCH  # it is accepted
                write_lines(process.stdin, users(BATCH, "new"))
                assert proxy.held.wait(RUN_SECONDS)
                process.send_signal(signal.SIGINT)
                assert "press Ctrl-C again" in read_line(process.stderr, "Stopped reading")
                time.sleep(SIGNAL_GAP_SECONDS)
                process.send_signal(signal.SIGINT)
                out, err = process.communicate(timeout=RUN_SECONDS)
            finally:
                process.kill()
        assert (process.returncode, out) == (128 + signal.SIGINT, "")
        assert "Traceback" not in err
        assert "Aborted: objects of unfinished sessions are not" in err.splitlines()[-1]
        proxy.released.set()
        for sent in (BATCH, 0):
            done = run_target(lines=new, config=config)
            assert done.returncode == 0, done.stderr
            assert json.loads(done.stdout.splitlines()[-1]) == 2 * BATCH
            assert f"{2 * BATCH} records read, {sent} objects sent in" in done.stderr
            assert f"{2 * BATCH - sent} unchanged" in done.stderr
    rows = sandbox.warehouse.rows("users", limit=100)
    assert [row["name"] for row in rows] == ["new"] * 2 * BATCH
