"""What each kind of tap says of deleted rows, and what becomes of it: the table of docs/deletes.md.

The messages are captured from real taps: tests/data/README.md says how. Each folder has the runs of
one tap. Row 3 is deleted before the third run, and inserted again before the fifth.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest

from tests.support import DATA
from tests.support.in_process import run_target_in_process

if TYPE_CHECKING:
    from pathlib import Path

    from target_segment_objects.sandbox.server import Sandbox

CAPTURES = DATA / "deletes"

GONE = "deleted in run "
"""What a tap's folder stands for: the run from which on row 3 is marked; the fifth unmarks it."""

CLOSING_TAPS = [
    "singer_io_postgres_full_table",
    "singer_io_mysql_full_table",
    "pipelinewise_postgres_full_table",
    "pipelinewise_mysql_full_table",
]
PARTIAL_TAPS = [
    "singer_io_postgres_incremental",
    "pipelinewise_postgres_incremental",
    "pipelinewise_mysql_incremental",
    "sdk_postgres_incremental",
]


class TapRuns:
    """The runs of a tap, loaded one after the other with one ledger."""

    def __init__(self, sandbox: Sandbox, folder: Path, tap: str, **config: Any) -> None:  # noqa: ANN401 - settings of any type
        """Begin before the first run."""
        self._sandbox = sandbox
        self._config = {
            "ledger_path": str(folder / "ledger.sqlite"),
            "deleted_records": "mark",
            "deleted_hours_between_runs": 0,
            **config,
        }
        self.files = sorted((CAPTURES / tap).iterdir())
        self.collection = ""

    def load(self, file: Path) -> dict[int, Any]:
        """Load a run; return each row's `sdc_deleted_at`."""
        lines = file.read_text(encoding="utf-8").splitlines()
        code, states = run_target_in_process(self._sandbox, *lines, **self._config)
        assert code == 0
        last = [json.loads(line)["value"] for line in lines if '"STATE"' in line][-1]
        assert states[-1] == last
        warehouse = self._sandbox.warehouse
        return {
            int(row["id"]): row.get("sdc_deleted_at")
            for collection in warehouse.collections()
            for row in warehouse.rows(collection)
        }


@pytest.mark.parametrize("tap", [*CLOSING_TAPS, "sdk_postgres_full_table"])
def test_full_table(sandbox: Sandbox, tmp_path: Path, tap: str) -> None:
    """A row that two runs did not have is marked by the second; when it returns, it is not."""
    runs = TapRuns(sandbox, tmp_path, tap)
    marks = [runs.load(file)[3] for file in runs.files]
    assert [mark is not None for mark in marks] == [False, False, False, True, False]


@pytest.mark.parametrize("tap", PARTIAL_TAPS)
def test_incremental(sandbox: Sandbox, tmp_path: Path, tap: str) -> None:
    """An incremental tap does not say which rows are gone: none is marked."""
    runs = TapRuns(sandbox, tmp_path, tap)
    for file in (*runs.files, *runs.files[1:4]):
        assert not any(runs.load(file).values())


@pytest.mark.parametrize("tap", ["pipelinewise_postgres_log_based"])
@pytest.mark.parametrize("ledger", [True, False], ids=["with ledger", "without ledger"])
@pytest.mark.parametrize("null_properties", ["send", "omit"])
def test_log_based(
    sandbox: Sandbox, tmp_path: Path, tap: str, null_properties: str, *, ledger: bool
) -> None:
    """The tap itself says that a row is gone, and that it is back, which is always sent."""
    config: dict[str, Any] = {"null_properties": null_properties}
    if not ledger:
        config |= {"ledger_path": None, "deleted_records": None}
    runs = TapRuns(sandbox, tmp_path, tap, **config)
    rows = [runs.load(file) for file in runs.files]
    assert [row[3] is not None for row in rows] == [False, False, True, True, False]
    assert not any(mark for row in rows for number, mark in row.items() if number != 3)


def test_log_based_without_a_null(sandbox: Sandbox, tmp_path: Path) -> None:
    """pipelinewise-tap-mysql sends a row that is back without `_sdc_deleted_at`: the mark stays."""
    runs = TapRuns(sandbox, tmp_path, "pipelinewise_mysql_log_based")
    marks = [runs.load(file)[3] for file in runs.files]
    assert [mark is not None for mark in marks] == [False, False, True, True, True]


def test_resumed_table(sandbox: Sandbox, tmp_path: Path) -> None:
    """A run that resumes an interrupted table has a part of it: nothing is marked.

    Row 1 is read before each interruption, and not after it.
    """
    runs = TapRuns(sandbox, tmp_path, "pipelinewise_postgres_interrupted")
    for file in runs.files:
        assert not any(runs.load(file).values())


def test_child_of_an_incremental_stream(sandbox: Sandbox, tmp_path: Path) -> None:
    """The SDK's taps send a new version for the children of each parent: nothing is marked.

    A run has the children of the parents that have changed alone.
    """
    runs = TapRuns(sandbox, tmp_path, "sdk_child_of_incremental")
    for file in (*runs.files, *runs.files[2:]):
        assert not any(runs.load(file).values())


@pytest.mark.parametrize("selected", [True, False], ids=["parent", "parent not selected"])
def test_child_of_one_parent_in_each_run(
    sandbox: Sandbox, tmp_path: Path, *, selected: bool
) -> None:
    """One version before the rows, as of a whole table, and no partitions: nothing is marked.

    The messages are in the order of the captured ones, and STATE is that of a child whose
    `state_partitioning_keys` are empty.
    """
    runs = TapRuns(sandbox, tmp_path, "sdk_child_of_incremental")
    schemas = [
        json.loads(line)
        for line in runs.files[1].read_text(encoding="utf-8").splitlines()
        if '"SCHEMA"' in line
    ]
    for number in (1, 2, 3, 1, 4, 4, 5):
        bookmark = {"replication_key": "updated_at", "replication_key_value": f"2026-01-0{number}"}
        reading = {**bookmark, "starting_replication_value": "2026-01-01"}
        version = 1000 + number
        messages = [
            *schemas,
            {"type": "ACTIVATE_VERSION", "stream": "order_lines", "version": version},
            *(
                {
                    "type": "RECORD",
                    "stream": "order_lines",
                    "record": {"id": 10 * number + line, "order_id": number},
                    "version": version,
                }
                for line in (1, 2)
            ),
            {"type": "STATE", "value": {"bookmarks": {"orders": reading, "order_lines": {}}}},
            {"type": "RECORD", "stream": "orders", "record": {"id": number}},
            {"type": "STATE", "value": {"bookmarks": {"orders": bookmark, "order_lines": {}}}},
        ]
        file = tmp_path / "run.jsonl"
        lines = [json.dumps(m) for m in messages if selected or m.get("stream") != "orders"]
        file.write_text("\n".join(lines), encoding="utf-8")
        assert not any(runs.load(file).values())


@pytest.mark.parametrize("listed", [["public-users"], []], ids=["listed", "not listed"])
def test_full_table_without_versions(sandbox: Sandbox, tmp_path: Path, listed: list[str]) -> None:
    """Without ACTIVATE_VERSION, `full_table_streams` says that each run reads the whole table."""
    runs = TapRuns(sandbox, tmp_path, "sdk_postgres_full_table", full_table_streams=listed)
    marks = []
    for file in runs.files:
        messages = [json.loads(line) for line in file.read_text(encoding="utf-8").splitlines()]
        plain = tmp_path / file.name
        plain.write_text(
            "\n".join(
                json.dumps({name: value for name, value in message.items() if name != "version"})
                for message in messages
                if message["type"] != "ACTIVATE_VERSION"
            ),
            encoding="utf-8",
        )
        marks.append(runs.load(plain)[3])
    assert [mark is not None for mark in marks] == [False, False, False, bool(listed), False]
