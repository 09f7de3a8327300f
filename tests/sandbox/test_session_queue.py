"""Loading after Finish: accepted sessions survive a kill, in order, and are loaded once."""

from __future__ import annotations

import shutil
import signal
import subprocess
import sys
import threading
import time
from typing import TYPE_CHECKING

import duckdb
import pytest

from target_segment_objects.sandbox import WarehouseError
from target_segment_objects.sandbox.objects import MAX_PROPERTIES
from target_segment_objects.sandbox.server import Sandbox
from target_segment_objects.sandbox.warehouse import database
from target_segment_objects.sandbox.warehouse.database import Warehouse
from target_segment_objects.sandbox.warehouse.database_file import connect_to_file
from target_segment_objects.sandbox.warehouse.table_loader import ObjectLoader
from tests.support.bare_http import BareClient, object_line

if TYPE_CHECKING:
    from pathlib import Path

LOSING = object_line({"a": 1}) + object_line({"a": "lost"}, object_id="2")


def test_finish_is_answered_before_the_session_is_loaded(
    tmp_path: Path, loading_gate: threading.Event
) -> None:
    """Accepted is not loaded: Finish answers 202 at once; who reads the warehouse waits."""
    with Sandbox(tmp_path / "w.duckdb") as sandbox:
        client = BareClient(sandbox.url)
        client.load_files(object_line({"a": 1}))
        client.load_files(object_line({"a": 2}))
        threading.Timer(0.3, loading_gate.set).start()
        assert sandbox.warehouse.rows("users") == [{"id": "1", "a": 2}]
        assert loading_gate.is_set()


def test_stop_loads_what_was_accepted(tmp_path: Path, loading_gate: threading.Event) -> None:
    """A sandbox that is stopped loads accepted sessions first, and leaves no other file."""
    with Sandbox(tmp_path / "w.duckdb") as sandbox:
        BareClient(sandbox.url).load_files(object_line())
        threading.Timer(0.3, loading_gate.set).start()
    with Warehouse.open(tmp_path / "w.duckdb", read_only=True) as warehouse:
        assert warehouse.count("users") == 1
    assert [path.name for path in tmp_path.iterdir()] == ["w.duckdb"]


SERVE_WITHOUT_LOADING = """
import sys, threading
from pathlib import Path
from target_segment_objects.sandbox.server import Sandbox
from target_segment_objects.sandbox.warehouse import database
from target_segment_objects.sandbox.warehouse.database import Warehouse
from target_segment_objects.sandbox.warehouse.database_file import connect_to_file
from target_segment_objects.sandbox.warehouse.table_loader import ObjectLoader

Warehouse.load_session = lambda *_: threading.Event().wait()
with Sandbox(Path(sys.argv[1])) as sandbox:
    print(sandbox.url, flush=True)
    threading.Event().wait()
"""


@pytest.mark.skipif(sys.platform == "win32", reason="there is no SIGKILL")
def test_kill_between_acceptance_and_loading_loses_nothing(tmp_path: Path) -> None:
    """What was accepted before `kill -9` is loaded by the next sandbox, in order; the rest goes."""
    path = tmp_path / "w.duckdb"
    with subprocess.Popen(
        [sys.executable, "-c", SERVE_WITHOUT_LOADING, str(path)], stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        client = BareClient(process.stdout.readline().strip())
        client.load_files(object_line({"a": 1, "b": 1}), object_line({"a": 2}))
        client.load_files(object_line({"a": 3}))
        unfinished = client.start_session()
        assert client.upload_lines(unfinished, object_line({"a": 4})).status == 201
        process.send_signal(signal.SIGKILL)
        process.wait()
    with Sandbox(path) as sandbox:
        assert sandbox.warehouse.rows("users") == [{"id": "1", "a": 3, "b": 1}]
        assert [row.outcome for row in sandbox.warehouse.sessions()] == ["loaded", "loaded"]
        assert list((tmp_path / "w.duckdb.sessions").iterdir()) == []


def test_session_is_not_loaded_twice(tmp_path: Path, loading_gate: threading.Event) -> None:
    """A kill after the transaction and before its files are removed changes nothing."""
    path, folder, copy = tmp_path / "w.duckdb", tmp_path / "w.duckdb.sessions", tmp_path / "copy"
    with Sandbox(path) as sandbox:
        BareClient(sandbox.url).load_files(LOSING)
        shutil.copytree(folder, copy)
        loading_gate.set()
    copy.rename(folder)
    with Sandbox(path) as sandbox:
        assert [loss.count for loss in sandbox.warehouse.losses()] == [1]
        assert len(sandbox.warehouse.sessions()) == 1
    assert not folder.exists()


def test_new_warehouse_does_not_get_sessions_of_a_removed_one(
    tmp_path: Path, loading_gate: threading.Event
) -> None:
    """Whoever removes the warehouse's file starts over: accepted sessions of the old one go."""
    path, folder, copy = tmp_path / "w.duckdb", tmp_path / "w.duckdb.sessions", tmp_path / "copy"
    with Sandbox(path) as sandbox:
        BareClient(sandbox.url).load_files(object_line())
        shutil.copytree(folder, copy)
        loading_gate.set()
    copy.rename(folder)
    path.unlink()
    with Sandbox(path) as sandbox:
        assert sandbox.warehouse.collections() == []


def test_failure_to_load_stops_loading(tmp_path: Path) -> None:
    """The reader and the next Finish get the reason; the next start loads all, in order."""
    path = tmp_path / "w.duckdb"
    sandbox = Sandbox(path)
    sandbox.__enter__()
    with connect_to_file(path) as other:
        client = BareClient(sandbox.url)
        other.execute("ALTER TABLE sandbox_metadata.losses RENAME TO hidden")
        client.load_files(LOSING)
        with pytest.raises(WarehouseError, match=r"The next start of the sandbox loads them"):
            _ = sandbox.warehouse
        sync_id = client.start_session()
        assert client.upload_lines(sync_id, object_line({"a": 5})).status == 201
        response = client.finish_session(sync_id)
        assert response.status == 500
        assert "cannot be loaded into the warehouse" in response.reason
        other.execute("ALTER TABLE sandbox_metadata.hidden RENAME TO losses")
    with pytest.raises(WarehouseError, match="cannot be loaded into the warehouse"):
        sandbox.__exit__(None, None, None)
    with Sandbox(path) as restarted:
        assert restarted.warehouse.count("users") == 2
        assert restarted.warehouse.losses()[0].count == 1


def test_damaged_part_stops_loading(tmp_path: Path, loading_gate: threading.Event) -> None:
    """A part that was damaged on the disk is a reason like any other: nobody waits for ever."""
    sandbox = Sandbox(tmp_path / "w.duckdb")
    sandbox.__enter__()
    BareClient(sandbox.url).load_files(object_line())
    [part] = (tmp_path / "w.duckdb.sessions").glob("*.gz")
    part.write_bytes(part.read_bytes()[:-1])
    loading_gate.set()
    reason = "cannot be loaded into the warehouse: the body is not valid gzip"
    with pytest.raises(WarehouseError, match=reason):
        _ = sandbox.warehouse
    with pytest.raises(WarehouseError, match=reason):
        sandbox.__exit__(None, None, None)


def test_load_that_fails_once_is_repeated(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A failure that passes is not seen: the transaction left nothing behind."""
    load_session = Warehouse.load_session
    failures = [duckdb.IOException("try again")]

    def fail_once(*arguments: object) -> None:
        load_session(*arguments)  # type: ignore[arg-type]
        if failures:
            raise failures.pop()

    monkeypatch.setattr(Warehouse, "load_session", fail_once)
    with Sandbox(tmp_path / "w.duckdb") as sandbox:
        BareClient(sandbox.url).load_files(LOSING)
        assert [loss.count for loss in sandbox.warehouse.losses()] == [1]
        assert len(sandbox.warehouse.sessions()) == 1


def test_load_that_needs_more_memory_is_repeated(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A session that DuckDB's memory does not suffice for is loaded with more of it."""
    # DuckDB 1.4 and 1.5 need more than 1 MB to open the file.
    monkeypatch.setattr(database, "MEMORY_LIMIT_MB", 4)
    lines = b"".join(object_line({"a": "x" * 400}, object_id=f"{n:050}") for n in range(10_000))
    allow_more_memory = Warehouse.allow_more_memory
    allowed = []

    def note_memory(warehouse: Warehouse) -> bool:
        allowed.append(allow_more_memory(warehouse))
        return allowed[-1]

    monkeypatch.setattr(Warehouse, "allow_more_memory", note_memory)
    with Sandbox(tmp_path / "w.duckdb") as sandbox:
        BareClient(sandbox.url).load_files(lines)
        assert sandbox.warehouse.count("users") == 10_000
        assert len(sandbox.warehouse.sessions()) == 1
    assert allowed
    assert all(allowed)


def test_finish_is_rejected_where_the_table_would_have_too_many_properties(
    tmp_path: Path, loading_gate: threading.Event
) -> None:
    """Properties of accepted sessions count, also while these wait to be loaded."""
    with Sandbox(tmp_path / "w.duckdb") as sandbox:
        client = BareClient(sandbox.url)
        client.load_files(object_line({f"p{n}": n for n in range(MAX_PROPERTIES)}))
        sync_id = client.start_session()
        assert client.upload_lines(sync_id, object_line({"more": 1})).status == 201
        response = client.finish_session(sync_id)
        assert response.status == 400
        assert f"users has more than {MAX_PROPERTIES} properties" in response.reason
        client.load_files(object_line({"p0": 1, "more": None}, object_id="2"))
        loading_gate.set()
        assert sandbox.warehouse.count("users") == 2


def test_finish_of_a_new_collection_does_not_wait_for_a_load(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The columns of its table are read beside the transaction that loads another session."""
    gate, load_objects = threading.Event(), ObjectLoader.load_objects

    def load_later(*arguments: object) -> None:
        assert gate.wait(60)
        load_objects(*arguments)  # type: ignore[arg-type]

    monkeypatch.setattr(ObjectLoader, "load_objects", load_later)
    timer = threading.Timer(20, gate.set)
    timer.start()
    with Sandbox(tmp_path / "w.duckdb") as sandbox:
        client = BareClient(sandbox.url)
        client.load_files(object_line())
        client.load_files(object_line(collection="teams"))
        assert not gate.is_set()
        timer.cancel()
        gate.set()
        assert sandbox.warehouse.collections() == ["teams", "users"]


def test_finish_with_an_error_is_answered_while_another_session_is_loaded(
    tmp_path: Path, loading_gate: threading.Event
) -> None:
    """No call waits for the warehouse; sessions are recorded in the order of their ends."""
    with Sandbox(tmp_path / "w.duckdb") as sandbox:
        client = BareClient(sandbox.url)
        client.load_files(object_line())
        began = time.monotonic()
        assert client.finish_session(client.start_session(), "no").status == 202
        assert time.monotonic() - began < 10
        loading_gate.set()
        assert [row.outcome for row in sandbox.warehouse.sessions()] == ["loaded", "error"]
