"""BATCH messages: order, validation, the fast path, and files that cannot be read."""

from __future__ import annotations

import gzip
import json
from typing import TYPE_CHECKING, Any

import pytest

from target_segment_objects.sinks import SegmentObjectsSink
from tests.support import record_line, state_line
from tests.support.in_process import USERS, run_target_in_process

if TYPE_CHECKING:
    from pathlib import Path

    from target_segment_objects.sandbox.server import Sandbox


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


def test_batch_records_use_the_fast_path(
    sandbox: Sandbox, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Only the first record, which creates the sink, and unsupported ones use the slow path."""
    seen = []
    slow_path = SegmentObjectsSink.process_record

    def process_record(self: SegmentObjectsSink, record: Any, context: Any) -> None:  # noqa: ANN401
        seen.append(record["id"])
        slow_path(self, record, context)

    monkeypatch.setattr(SegmentObjectsSink, "process_record", process_record)
    file = tmp_path / "1.jsonl"
    lines = [{"id": n, "name": f"{n}"} for n in range(9)]
    lines[5]["undeclared"] = True
    file.write_text("".join(f"{json.dumps(line)}\n" for line in lines))
    code, _ = run_target_in_process(sandbox, USERS, batch_line("users", file), state_line({}))
    assert code == 0
    assert seen == [0, 5]
    rows = {row["id"]: row["name"] for row in sandbox.warehouse.rows("users")}
    assert rows == {f"{n}": f"{n}" for n in range(9)}


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
