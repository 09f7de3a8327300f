"""Whatever kills the process, at any moment: a run from the last STATE completes the load."""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import threading
import time
from contextlib import suppress
from typing import TYPE_CHECKING

import pytest

from tests.support import RUN_SECONDS, TARGET, record_line, schema_line, state_line

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from target_segment_objects.sandbox.server import Sandbox

pytestmark = pytest.mark.skipif(os.name != "posix", reason="needs POSIX signals")

RECORDS = 3000
IDS = 40
SCHEMAS = [
    schema_line(stream, {"id": {"type": "integer"}, "n": {"type": "integer"}})
    for stream in ("a", "b")
]


def generate_messages(after: int) -> Iterator[str]:
    """Yield the messages of a tap after a STATE: the same ids with growing numbers."""
    yield from SCHEMAS
    for number in range(after, RECORDS):
        yield record_line("ab"[number % 2], {"id": number % IDS, "n": number})
        if number % 10 == 9:
            yield state_line({"at": number + 1})


def build_expected_rows(stream: int) -> dict[str, int]:
    """Return the last number of each id in the whole input."""
    return {str(number % IDS): number for number in range(RECORDS) if number % 2 == stream}


def run_target(
    config: Path, after: int, kill: tuple[signal.Signals, float] | None
) -> tuple[int, int]:
    """Run the target and kill it after some seconds; return its exit code and last STATE."""
    process = subprocess.Popen(
        [*TARGET, "--config", str(config)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stdin is not None
    assert process.stdout is not None
    assert process.stderr is not None
    # Without a reader, the target would block on a full pipe.
    states: list[str] = []
    errors: list[str] = []
    readers = [
        threading.Thread(target=states.extend, args=(process.stdout,)),
        threading.Thread(target=errors.extend, args=(process.stderr,)),
    ]
    for reader in readers:
        reader.start()
    killer = None if kill is None else threading.Timer(kill[1], process.send_signal, kill[:1])
    if killer is not None:
        killer.start()
    try:
        for message in generate_messages(after):
            process.stdin.write(f"{message}\n")
            if kill is not None:
                process.stdin.flush()
                time.sleep(0.0003)
        process.stdin.close()
    except BrokenPipeError:
        pass
    process.wait(RUN_SECONDS)
    if killer is not None:
        killer.cancel()
    for reader in readers:
        reader.join(10)
    for stream in (process.stdout, process.stderr):
        stream.close()
    with suppress(BrokenPipeError):
        process.stdin.close()
    assert "Traceback" not in "".join(errors)
    complete = [line for line in states if line.endswith("\n")]
    return process.returncode, json.loads(complete[-1])["at"] if complete else after


@pytest.mark.slow
@pytest.mark.parametrize("with_ledger", [False, True], ids=["without ledger", "with ledger"])
@pytest.mark.parametrize(
    "number", [signal.SIGTERM, signal.SIGINT, signal.SIGKILL], ids=lambda number: number.name
)
def test_run_from_the_last_state_completes_a_killed_one(
    sandbox: Sandbox, tmp_path: Path, number: signal.Signals, *, with_ledger: bool
) -> None:
    """Killed at random moments: the warehouse equals the input at the end, with a ledger, too."""
    moments = random.Random(number)  # noqa: S311 - not a secret
    config = tmp_path / "config.json"
    config.write_text(
        json.dumps(
            {
                "write_key": "k",
                "api_url": sandbox.url,
                "batch_size_rows": 97,
                **({"ledger_path": str(tmp_path / "ledger.sqlite")} if with_ledger else {}),
            }
        ),
        encoding="utf-8",
    )
    at = 0
    for _ in range(2 if with_ledger else 3):
        code, reached = run_target(config, at, (number, moments.uniform(0.8, 1.8)))
        assert code in {0, 128 + number, -number}
        assert reached >= at
        at = reached
    code, at = run_target(config, at, None)
    assert (code, at) == (0, RECORDS)
    for stream, collection in enumerate(("a", "b")):
        rows = {row["id"]: row["n"] for row in sandbox.warehouse.rows(collection)}
        assert rows == build_expected_rows(stream)
