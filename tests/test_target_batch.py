"""BATCH messages: order, validation, decoding, and files that cannot be read."""

from __future__ import annotations

import gzip
import io
import json
import os
import signal
from concurrent.futures import ThreadPoolExecutor
from contextlib import redirect_stdout
from typing import TYPE_CHECKING, Any

import pytest

from target_segment_objects.run.output import SegmentOutput
from target_segment_objects.sinks import SegmentObjectsSink
from target_segment_objects.target import TargetSegmentObjects
from tests.support import record_line, state_line, wait_for
from tests.support.in_process import USERS, run_target_in_process
from tests.support.two_decoders import run_and_collect

if TYPE_CHECKING:
    from pathlib import Path

    from target_segment_objects.sandbox.server import Sandbox


posix_only = pytest.mark.skipif(os.name != "posix", reason="needs POSIX signals")


def batch_line(stream: str, *files: Path, **encoding: str) -> str:
    """Return a BATCH message."""
    return json.dumps(
        {
            "type": "BATCH",
            "stream": stream,
            "encoding": {"format": "jsonl", "compression": "none", **encoding},
            "manifest": [file.as_uri() for file in files],
        }
    )


def test_batch_records_keep_their_order_among_other_records(
    sandbox: Sandbox, tmp_path: Path
) -> None:
    """Pending records go first, later ones last, and files in the order of the manifest."""
    plain, gzipped = tmp_path / "1.jsonl", tmp_path / "2.jsonl.gz"
    plain.write_text('{"id": 1, "name": "batch"}\n{"id": 2, "name": "batch"}\n')
    gzipped.write_bytes(gzip.compress(b'{"id": 2, "name": "later"}\n{"id": 3, "name": "batch"}\n'))
    code, states = run_target_in_process(
        sandbox,
        USERS,
        record_line("users", {"id": 1, "name": "before"}),
        batch_line("users", plain),
        batch_line("users", gzipped, compression="gzip"),
        record_line("users", {"id": 3, "name": "after"}),
        state_line({"at": "end"}),
        batch_size_rows=2,
    )
    assert (code, states[-1]) == (0, {"at": "end"})
    rows = {row["id"]: row["name"] for row in sandbox.warehouse.rows("users")}
    assert rows == {"1": "batch", "2": "later", "3": "after"}


def test_parquet_file_is_loaded(sandbox: Sandbox, tmp_path: Path) -> None:
    """The rows of a Parquet file are loaded like RECORD messages."""
    pyarrow = pytest.importorskip("pyarrow")
    parquet = pytest.importorskip("pyarrow.parquet")
    file = tmp_path / "users.parquet"
    parquet.write_table(pyarrow.table({"id": [1, 2], "name": ["a", None]}), file)
    code, _ = run_target_in_process(sandbox, USERS, batch_line("users", file, format="parquet"))
    assert code == 0
    rows = {row["id"]: row["name"] for row in sandbox.warehouse.rows("users")}
    assert rows == {"1": "a", "2": None}


def test_batch_records_are_validated(sandbox: Sandbox, tmp_path: Path) -> None:
    """An invalid record of a BATCH file becomes a RECORD line of the dead-letter file."""
    file, rejects = tmp_path / "1.jsonl", tmp_path / "rejects.singer"
    file.write_text('{"id": 1}\n{"id": "two"}\n')
    code, _ = run_target_in_process(
        sandbox,
        USERS,
        batch_line("users", file),
        invalid_records="dead_letter",
        dead_letter_path=str(rejects),
    )
    assert code == 0
    _, record = map(json.loads, rejects.read_text(encoding="utf-8").splitlines())
    assert (record["stream"], record["record"]) == ("users", {"id": "two"})


@pytest.mark.parametrize(
    "broken",
    ['{"secret', '{"id": 2},"record":{"id": 3}'],
    ids=["truncated", "valid only inside a message"],
)
def test_invalid_line_of_a_batch_file_is_refused(
    sandbox: Sandbox, tmp_path: Path, caplog: pytest.LogCaptureFixture, broken: str
) -> None:
    """The error has the number of the record and the line of the message, not the content."""
    file = tmp_path / "1.jsonl"
    file.write_text(f'{{"id": 1}}\n{broken}\n')
    code, _ = run_target_in_process(sandbox, USERS, batch_line("users", file))
    assert code == 1
    assert "Record 2 of the BATCH files of stream 'users' (line 2 of the input)" in caplog.text
    assert "secret" not in caplog.text
    assert [row["id"] for row in sandbox.warehouse.rows("users")] == ["1"]


def test_batch_records_are_decoded_with_types(tmp_path: Path) -> None:
    """Only a record that the types do not fit is decoded untyped, and all keep their order."""
    file = tmp_path / "1.jsonl"
    records = [{"id": n, "name": f"{n}"} for n in range(9)]
    records[5]["undeclared"] = True
    file.write_text("".join(f"{json.dumps(record)}\n" for record in records))
    lines = [f"{line}\n".encode() for line in (USERS, batch_line("users", file), state_line({}))]
    outcome = run_and_collect(lines, SegmentObjectsSink, tmp_path, batch_size_rows=100)
    assert (outcome.code, outcome.records, outcome.untyped_records) == (
        0,
        {"users": 9},
        {"users": 1},
    )
    sent = [json.loads(line) for file in outcome.files for line in file.splitlines()]
    assert [each["properties"]["name"] for each in sent] == [f"{n}" for n in range(9)]


def test_missing_batch_file_ends_the_run(
    sandbox: Sandbox, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """The file is named, everything before is delivered, and no later STATE is written."""
    code, states = run_target_in_process(
        sandbox,
        USERS,
        record_line("users", {"id": 1}),
        state_line({"at": 1}),
        batch_line("users", tmp_path / "gone.jsonl"),
        state_line({"at": 2}),
    )
    assert (code, states) == (1, [{"at": 1}])
    assert "gone.jsonl cannot be read: No such file or directory" in caplog.text


def run_until_signal(
    sandbox: Sandbox,
    batch_file: Path,
    *lines: str,
    records_before: int,
    while_waiting: bool = False,
) -> tuple[int, list[Any], int]:
    """Run the target in this process; send SIGTERM once it has read some records (and waits).

    Returns:
        The exit code, the STATEs that were written, and the number of records that were read.
    """
    target = TargetSegmentObjects(config={"write_key": "k", "api_url": sandbox.url})
    context = target.prepare_run(SegmentOutput(target.settings, user_agent=target.user_agent))
    messages = [USERS, *lines, batch_line("users", batch_file), state_line({"at": "end"})]

    def send_signal() -> None:
        wait_for(lambda: context.stats.records_read >= records_before)
        wait_for(lambda: target.message_reader.is_waiting or not while_waiting)
        os.kill(os.getpid(), signal.SIGTERM)

    with ThreadPoolExecutor(1) as pool, redirect_stdout(io.StringIO()) as stdout:
        sent = pool.submit(send_signal)
        outcome = target.run(io.BytesIO("".join(f"{line}\n" for line in messages).encode()))
        sent.result(timeout=30)
    states = [json.loads(line) for line in stdout.getvalue().splitlines()]
    return outcome.exit_code, states, context.stats.records_read


@posix_only
def test_signal_stops_reading_between_the_records_of_a_batch_file(
    sandbox: Sandbox, tmp_path: Path
) -> None:
    """What was read is delivered. The STATE after a partly read message is not written."""
    file = tmp_path / "many.jsonl"
    with file.open("w", encoding="utf-8") as lines:
        lines.writelines(f'{{"id": {number}}}\n' for number in range(300_000))
    code, states, records_read = run_until_signal(
        sandbox,
        file,
        record_line("users", {"id": -1}),
        state_line({"at": 1}),
        records_before=1000,
    )
    assert code == 128 + signal.SIGTERM
    assert states == [{"at": 1}]
    assert 1000 <= records_read < 300_000
    assert sandbox.warehouse.count("users") == records_read


@posix_only
@pytest.mark.parametrize("records", [None, 0, 5], ids=["no writer", "empty", "some records"])
def test_signal_stops_waiting_for_a_pipe(
    sandbox: Sandbox, tmp_path: Path, records: int | None
) -> None:
    """The first signal ends a run that waits for the writer of a named pipe, or for its records."""
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    # A descriptor for reading and writing opens the pipe at once and keeps it open.
    writer = None if records is None else os.open(pipe, os.O_RDWR)
    try:
        if writer is not None:
            os.write(writer, b"".join(b'{"id":%d}\n' % number for number in range(records or 0)))
        code, states, records_read = run_until_signal(
            sandbox,
            pipe,
            record_line("users", {"id": -1}),
            records_before=1 + (records or 0),
            while_waiting=True,
        )
    finally:
        if writer is not None:
            os.close(writer)
    assert code == 128 + signal.SIGTERM
    assert states == []
    assert sandbox.warehouse.count("users") == records_read == 1 + (records or 0)
