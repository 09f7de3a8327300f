"""Whatever the runs are: no row that is at the source is marked, and every other one is, in time.

Each history is loaded by the real target with a ledger, into an API in memory that merges objects
as Segment does.
"""

from __future__ import annotations

import gzip
import io
import itertools
import json
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import HealthCheck, event, example, given, settings
from hypothesis import strategies as st

from target_segment_objects.exceptions import PermanentApiError
from target_segment_objects.run.output import RunOutput
from target_segment_objects.target import TargetSegmentObjects
from tests.ledger.histories import RESUMED_TWICE, STREAM, History, Run, Tap, find_due, histories

if TYPE_CHECKING:
    from collections.abc import Iterator


class MemoryApi:
    """Segment in memory.

    Attributes:
        objects: The properties of each object, merged.
        refuses: Whether it refuses every session.
    """

    def __init__(self) -> None:
        """Begin empty."""
        self.objects: dict[str, dict[str, Any]] = {}
        self.refuses = False
        self._parts: dict[str, list[dict[str, Any]]] = {}
        self._numbers = itertools.count()

    def start(self) -> str:
        """Start a session."""
        sync_id = str(next(self._numbers))
        self._parts[sync_id] = []
        return sync_id

    def upload(self, sync_id: str, file: Path, **_: object) -> str:
        """Keep a part."""
        with gzip.open(file) as lines:
            self._parts[sync_id] += map(json.loads, lines)
        return sync_id

    def keep_alive(self, sync_id: str) -> None:
        """Do nothing."""

    def finish(self, sync_id: str, error: str = "", **_: object) -> None:
        """Merge the objects."""
        if self.refuses:
            msg = "refused"
            raise PermanentApiError(msg, status=400)
        for each in () if error else self._parts[sync_id]:
            assert "\0" not in each["id"]
            self.objects.setdefault(each["id"], {}).update(each["properties"])

    def abort_session(self, sync_id: str, error: str) -> None:
        """Do nothing."""

    def list_marked(self) -> set[int]:
        """Return the ids of the objects that are marked as deleted."""
        return {int(key) for key, value in self.objects.items() if value.get("sdc_deleted_at")}


def load_run(run: Run, api: MemoryApi, config: dict[str, Any]) -> int:
    """Load a run's input; return the exit code."""
    api.refuses = run.is_refused
    target = TargetSegmentObjects(config={"write_key": "k", **config, **run.config})
    target.prepare_run(RunOutput(api))
    return target.run(io.BytesIO("\n".join(run.lines).encode())).exit_code


def load_history(history: History, after_runs: int) -> Iterator[tuple[list[Run], MemoryApi]]:
    """Load a history; yield the runs so far and what Segment has after each."""
    tap, api = Tap(history.style), MemoryApi()
    runs: list[Run] = []
    with tempfile.TemporaryDirectory() as folder:
        config = {
            "ledger_path": str(Path(folder) / "ledger.sqlite"),
            "deleted_records": "mark",
            "deleted_hours_between_runs": 0,
            "deleted_after_runs": after_runs,
            "full_table_streams": [STREAM] if history.style == "listed" else [],
        }
        for step in history.steps:
            run = tap.build_run(step)
            code = load_run(run, api, config)
            assert run.kind in {"failed", "refused"} or code == 0 or not run.rows
            runs.append(run)
            yield runs, api


@pytest.mark.slow
@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(history=histories(), after_runs=st.integers(1, 3))
@example(history=RESUMED_TWICE, after_runs=2)
def test_only_rows_that_are_gone_are_marked(history: History, after_runs: int) -> None:
    """No live row is marked by any run; a row that was gone for enough complete runs is marked."""
    marked_before: set[int] = set()
    for runs, api in load_history(history, after_runs):
        run, marked = runs[-1], api.list_marked()
        newly = marked - marked_before
        assert not newly & run.rows, (history.style, run.kind)
        if run.kind in {"complete", "reset"}:
            due = find_due(runs, after_runs)
            assert due <= marked
            event(f"{history.style}: {'some' if due else 'none'} due")
            assert run.rows or not newly  # an empty table is marked when the user accepts it
            if run.is_clean:
                assert not marked & run.rows  # what has returned is not marked any more
        marked_before = marked


@pytest.mark.slow
@settings(max_examples=15, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(history=histories())
def test_same_input_has_the_same_outcome(history: History) -> None:
    """Two ledgers that get the same runs mark the same rows."""
    outcomes = [
        [sorted(api.list_marked()) for _, api in load_history(history, 2)] for _ in range(2)
    ]
    assert outcomes[0] == outcomes[1]
