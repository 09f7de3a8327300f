"""Delivery without the target: its four invariants, against the sandbox over HTTP."""

from __future__ import annotations

import functools
import itertools
import json
import threading
import time
import tracemalloc
from collections import Counter
from typing import TYPE_CHECKING, Any

import psutil
import pytest

from target_segment_objects.delivery import batch_queue
from target_segment_objects.delivery.batch_queue import MAX_QUEUED_PER_COLLECTION
from target_segment_objects.delivery.interface import DeliveryStatus, StreamInfo
from target_segment_objects.delivery.scheduler import (
    DeliveryOptions,
    DeliveryScheduler,
)
from target_segment_objects.delivery.spool import Spool
from target_segment_objects.exceptions import (
    AuthenticationError,
    OutputError,
    SpoolError,
    TransientApiError,
    UnreachableError,
    UploadOrderError,
)
from target_segment_objects.sandbox.server import Sandbox
from target_segment_objects.sandbox.warehouse.database import Warehouse
from target_segment_objects.segment.client import Client
from tests.support import wait_for
from tests.support.faulty_proxy import FaultyProxy, ManualClock

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator
    from pathlib import Path

    from target_segment_objects.delivery.uploader import SessionReport

pytestmark = pytest.mark.slow  # most of them start a process or wait


def object_line(collection: str, number: int, **properties: object) -> bytes:
    """Return an object's JSON."""
    properties = properties or {"n": number}
    return json.dumps(
        {"id": str(number), "collection": collection, "properties": properties}
    ).encode()


class Run:
    """A delivery and its recorded output."""

    def __init__(self, url: str, folder: Path, options: DeliveryOptions, **client: Any) -> None:  # noqa: ANN401 - the client's own options
        """Prepare the delivery."""
        self.client = Client("key", api_url=url, **client)
        self.spool = Spool(str(folder))
        self.states: list[Any] = []
        self.reports: list[SessionReport] = []
        self.failed = threading.Event()
        self.delivery = DeliveryScheduler(
            self.client,
            self.spool,
            write_state=self.states.append,
            on_session_finished=self.reports.append,
            on_failure=self.failed.set,
            options=options,
        )

    def add(self, collection: str, number: int, **properties: object) -> None:
        """Add an object to the delivery."""
        self.delivery.add_object(collection, object_line(collection, number, **properties))

    def has_written(self, state: object) -> bool:
        """Return whether a STATE is the last that was written."""
        return self.states[-1:] == [state]

    def close(self) -> None:
        """Close the client and remove the spool."""
        self.client.close()
        self.spool.close()


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Callable[..., Run]]:
    """Create deliveries that are closed at the end of the test."""
    (folder := tmp_path / "spool").mkdir()
    runs: list[Run] = []

    def start_run(url: str, options: DeliveryOptions | None = None, **client: Any) -> Run:  # noqa: ANN401 - the client's own options
        runs.append(Run(url, folder, options or DeliveryOptions(), **client))
        return runs[-1]

    yield start_run
    for run in runs:
        run.close()


def test_objects_of_a_collection_land_in_order(sandbox: Sandbox, start: Callable[..., Run]) -> None:
    """Over many sessions, in parallel with another collection, the last value wins."""
    run = start(sandbox.url, DeliveryOptions(batch_size_rows=3, max_parallel_sessions=4))
    for number in range(50):
        run.add("a", 1, n=number)
        run.add("b", 1, n=-number)
    run.delivery.drain()
    assert [row["n"] for row in sandbox.warehouse.rows("a")] == [49]
    assert [row["n"] for row in sandbox.warehouse.rows("b")] == [-49]


def test_sessions_of_a_collection_do_not_overlap(
    sandbox: Sandbox, start: Callable[..., Run]
) -> None:
    """Those of different collections run in parallel."""
    with FaultyProxy(sandbox.url, latency_seconds=0.03) as proxy:
        run = start(proxy.url, DeliveryOptions(batch_size_rows=1, max_parallel_sessions=4))
        for number in range(4):
            for collection in ("a", "b", "c", "d"):
                run.add(collection, number)
        run.delivery.drain()
        assert proxy.peak_concurrency == 4
    sessions = sorted(sandbox.warehouse.sessions(), key=lambda session: session.started)
    for collection in ("a", "b", "c", "d"):
        own = [session for session in sessions if collection in session.collections]
        assert len(own) == 4
        for earlier, later in itertools.pairwise(own):
            assert earlier.ended is not None
            assert earlier.ended <= later.started


def test_state_is_written_after_every_session(sandbox: Sandbox, start: Callable[..., Run]) -> None:
    """A long load of one stream checkpoints as it goes, not only at its end."""
    run = start(sandbox.url, DeliveryOptions(batch_size_rows=2))
    for number in range(6):
        run.add("a", number)
        run.delivery.add_state(number)
        if number % 2:
            wait_for(functools.partial(run.has_written, number))
    assert run.states == [1, 3, 5]
    run.delivery.drain()


def test_state_without_objects_is_written_at_once(
    sandbox: Sandbox, start: Callable[..., Run]
) -> None:
    """And not again when it is repeated."""
    run = start(sandbox.url)
    run.delivery.add_state({"at": 0})
    run.delivery.add_state({"at": 0})
    assert run.states == [{"at": 0}]
    run.delivery.drain()


def test_state_waits_for_objects_of_every_collection(
    sandbox: Sandbox, start: Callable[..., Run]
) -> None:
    """An object of an open batch holds back the STATE after it, not the one before it."""
    run = start(sandbox.url, DeliveryOptions(batch_size_rows=2))
    run.add("fast", 1)
    run.add("fast", 2)
    run.delivery.add_state(1)
    run.add("slow", 1)
    run.delivery.add_state(2)
    run.add("fast", 3)
    run.add("fast", 4)
    run.delivery.add_state(3)
    wait_for(lambda: len(run.reports) == 2)
    assert run.states == [1]
    run.delivery.drain()
    assert run.states == [1, 3]


def test_superseded_states_are_not_kept(sandbox: Sandbox, start: Callable[..., Run]) -> None:
    """A tap that sends STATE after every record needs no memory: the newest of a batch suffices."""
    run = start(sandbox.url)
    run.add("a", 0)
    tracemalloc.start()
    for number in range(1, 2000):
        run.add("a", number)
        run.delivery.add_state({"at": number, "padding": "x" * 1000 + str(number)})
    kept, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert kept < 700_000  # all STATEs have 2,000,000
    run.delivery.drain()
    assert [state["at"] for state in run.states] == [1999]


class GateApi:
    """Answers each call at once, except Start: it waits for the gate.

    Attributes:
        gate: Opens all Starts.
        started: Calls of Start, answered or not.
    """

    def __init__(self) -> None:
        """Begin with a closed gate."""
        self.gate = threading.Event()
        self.started = 0
        self._lock = threading.Lock()

    def start(self) -> str:
        """Start a session once the gate is open."""
        with self._lock:
            self.started += 1
            number = self.started
        assert self.gate.wait(30)
        return f"s{number}"

    def upload(self, sync_id: str, file: Path, **_: object) -> str:
        """Accept a file."""
        return f"{sync_id}-{file.name}"

    def keep_alive(self, sync_id: str) -> None:
        """Accept a session that is in use."""

    def finish(self, sync_id: str, error: str = "", **_: object) -> None:
        """Accept a session."""

    def abort_session(self, sync_id: str, error: str) -> None:
        """Accept the end of a session."""


class GatedRun:
    """A delivery to a `GateApi`, with a thread that adds objects."""

    def __init__(self, folder: Path, options: DeliveryOptions) -> None:
        """Prepare the delivery.

        Args:
            folder: Where batch files wait.
            options: Its options.
        """
        self.api = GateApi()
        self.spool = Spool(str(folder))
        self.reports: list[SessionReport] = []
        self.delivery = DeliveryScheduler(
            self.api,
            self.spool,
            write_state=lambda _: None,
            on_session_finished=self.reports.append,
            options=options,
        )
        self.added = 0

    def add_until_full(self, collections: Iterable[str]) -> threading.Thread:
        """Add an object of each collection, in a thread, which waits while the queue is full."""

        def add() -> None:
            for number, collection in enumerate(collections):
                self.delivery.add_object(collection, object_line(collection, number))
                self.added += 1

        thread = threading.Thread(target=add, daemon=True)
        thread.start()
        return thread

    def finish(self, thread: threading.Thread) -> None:
        """Open the gate, and deliver everything."""
        self.api.gate.set()
        thread.join(30)
        assert not thread.is_alive()
        self.delivery.drain()
        self.spool.close()


def wait_until_still(count: Callable[[], int]) -> int:
    """Return a count that has not changed for half a second."""
    last, since = count(), time.monotonic()
    deadline = since + 30
    while time.monotonic() < min(since + 0.5, deadline):
        time.sleep(0.02)
        if count() != last:
            last, since = count(), time.monotonic()
    return last


def test_long_blocks_of_one_collection_do_not_hold_up_the_others(tmp_path: Path) -> None:
    """Four collections in blocks of 50 batches: each has a session under way, not one by one."""
    run = GatedRun(tmp_path, DeliveryOptions(batch_size_rows=1, max_parallel_sessions=4))
    thread = run.add_until_full(collection for collection in "abcd" for _ in range(50))
    wait_for(lambda: run.api.started == 4)
    run.finish(thread)
    assert Counter(report.collection for report in run.reports) == dict.fromkeys("abcd", 50)


def test_queue_of_a_collection_is_bounded(tmp_path: Path) -> None:
    """With a service that does not answer, one collection waits in 100 batches at most."""
    run = GatedRun(tmp_path, DeliveryOptions(batch_size_rows=1))
    thread = run.add_until_full("a" for _ in range(150))
    assert wait_until_still(lambda: run.added) == MAX_QUEUED_PER_COLLECTION == 100
    run.finish(thread)
    assert len(run.reports) == 150


def test_queue_is_bounded_in_bytes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Beyond two batches for each session, the compressed bytes of all collections count."""
    monkeypatch.setattr(batch_queue, "MAX_QUEUED_BYTES", 0)
    run = GatedRun(tmp_path, DeliveryOptions(batch_size_rows=1, max_parallel_sessions=2))
    thread = run.add_until_full("abcde"[number % 5] for number in range(20))
    assert wait_until_still(lambda: run.added) == 4
    files = len(list(tmp_path.rglob("*.gz")))
    run.finish(thread)
    assert files == 4
    assert len(run.reports) == 20


def test_open_batches_are_not_searched_for_each_session(tmp_path: Path) -> None:
    """The age thread sleeps until the oldest of 2,000 open batches is due, whatever is sent."""
    run = GatedRun(tmp_path, DeliveryOptions(batch_size_rows=2))
    run.api.gate.set()
    checks = 0
    enqueue_aged = run.delivery._enqueue_aged_batches  # noqa: SLF001 - its calls are counted

    def count_check() -> float | None:
        nonlocal checks
        checks += 1
        return enqueue_aged()

    run.delivery._enqueue_aged_batches = count_check  # type: ignore[method-assign] # noqa: SLF001
    thread = run.add_until_full(f"open_{number}" for number in range(2000))
    thread.join(30)
    for number in range(200):
        run.delivery.add_object("sent", object_line("sent", number))
    wait_for(lambda: len(run.reports) == 100)
    assert checks <= 2
    run.finish(thread)
    assert len(run.reports) == 2100


def test_at_most_twenty_requests_are_under_way(sandbox: Sandbox, start: Callable[..., Run]) -> None:
    """With 20 sessions and frequent Keep Alives, the API's limit holds and everything lands."""
    with FaultyProxy(sandbox.url, latency_seconds=0.05) as proxy:
        run = start(
            proxy.url,
            DeliveryOptions(batch_size_rows=1, max_parallel_sessions=20, keep_alive_seconds=0.02),
        )
        for number in range(60):
            run.add("c" + "abcdefghijklmnopqrstuvwxyz"[number % 26], number)
        run.delivery.drain()
        assert proxy.peak_concurrency <= 20
        assert "keep-alive" in proxy.requests
    assert sandbox.peak_concurrency <= 20
    assert {session.outcome for session in sandbox.warehouse.sessions()} == {"loaded"}


def test_expired_session_is_repeated_from_its_first_part(
    tmp_path: Path, start: Callable[..., Run]
) -> None:
    """Nothing of the expired session is loaded, everything of the new one is."""
    clock = ManualClock()
    with (
        Sandbox(tmp_path / "w.duckdb", clock=clock) as sandbox,
        FaultyProxy(sandbox.url, [None, None, None, "expire"], clock=clock) as proxy,
    ):
        run = start(proxy.url, DeliveryOptions(max_file_bytes=60))
        for number in range(4):  # each in a file of its own
            run.add("a", number)
        run.delivery.add_state("all")
        run.delivery.drain()
        assert sandbox.warehouse.count("a") == 4
        outcomes = sorted(session.outcome for session in sandbox.warehouse.sessions())
    assert outcomes == ["expired", "loaded"]
    assert [len(report.part_ids) for report in run.reports] == [4]
    assert run.states == ["all"]


def test_session_retries_are_bounded(tmp_path: Path, start: Callable[..., Run]) -> None:
    """If every session expires, the run fails, and no STATE is written."""
    clock = ManualClock()
    with (
        Sandbox(tmp_path / "w.duckdb", clock=clock) as sandbox,
        FaultyProxy(sandbox.url, [None, "expire"] * 50, clock=clock) as proxy,
    ):
        run = start(proxy.url)
        run.add("a", 1)
        run.delivery.add_state("all")
        with pytest.raises(Exception, match="Upload of session"):
            run.delivery.drain()
        assert proxy.requests.count("start") == 4
    assert run.states == []


def test_finish_without_a_response_is_not_a_success(
    sandbox: Sandbox, start: Callable[..., Run]
) -> None:
    """It is retried; as the session is then unknown, the batch is sent in a new one."""
    with FaultyProxy(sandbox.url, [None, None, "reset after"]) as proxy:
        run = start(proxy.url)
        run.add("a", 1)
        run.delivery.add_state("all")
        run.delivery.drain()
        assert proxy.requests.count("start") == 2
    assert run.states == ["all"]
    assert sandbox.warehouse.count("a") == 1


@pytest.mark.parametrize(
    "late", [pytest.param(0, id="first"), pytest.param(1, id="middle"), pytest.param(2, id="last")]
)
def test_late_upload_does_not_overwrite_newer_objects(
    sandbox: Sandbox, start: Callable[..., Run], late: int
) -> None:
    """A gateway gives up on an upload that the service carries out behind the others.

    The session is repeated, unless it was the last part. A later session is not affected.
    """
    with FaultyProxy(sandbox.url, [None] * (1 + late) + ["late"]) as proxy:
        run = start(proxy.url, DeliveryOptions(max_file_bytes=60, batch_size_rows=3))
        for number in range(6):  # each in a file of its own
            run.add("a", 1, n=number)
            run.delivery.add_state(number)
        run.delivery.drain()
        assert proxy.late_uploads == []
        assert proxy.requests.count("start") == (2 if late == 2 else 3)
    assert [row["n"] for row in sandbox.warehouse.rows("a")] == [5]
    assert run.states == [2, 5]


def test_restarts_for_late_uploads_are_bounded(sandbox: Sandbox, start: Callable[..., Run]) -> None:
    """If every session loses the response to its first upload, the run fails without a STATE."""
    with FaultyProxy(sandbox.url, [None, "late", None, None] * 20) as proxy:
        run = start(proxy.url, DeliveryOptions(max_file_bytes=60))
        for number in range(3):
            run.add("a", 1, n=number)
        run.delivery.add_state("never")
        with pytest.raises(UploadOrderError, match=r"4 sessions failed.*last STATE"):
            run.delivery.drain()
        assert proxy.requests.count("start") == 4
    assert run.states == []
    assert sandbox.warehouse.collections() == []


def test_slow_finish_succeeds(
    sandbox: Sandbox, start: Callable[..., Run], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A Finish that takes longer than the request timeout does not fail the run."""
    load_session = Warehouse.load_session

    def load_slowly(*arguments: Any) -> None:  # noqa: ANN401 - as it takes them
        time.sleep(1)
        load_session(*arguments)

    monkeypatch.setattr(Warehouse, "load_session", load_slowly)
    run = start(sandbox.url, timeout_seconds=0.4)
    run.add("a", 1)
    run.delivery.add_state("all")
    run.delivery.drain()
    assert run.states == ["all"]
    assert sandbox.warehouse.count("a") == 1


def test_network_failure_says_where_to_resume(start: Callable[..., Run]) -> None:
    """A run has a STATE to resume from, and its error says so."""
    run = start("http://127.0.0.1:9", max_retries=0)
    run.add("a", 1)
    with pytest.raises(UnreachableError, match=r"Then run again: the last STATE says where"):
        run.delivery.drain()


def test_failure_finishes_what_is_under_way_and_starts_nothing(
    sandbox: Sandbox, start: Callable[..., Run]
) -> None:
    """What is under way lands, its STATE is written, and the failure is raised."""
    with FaultyProxy(sandbox.url, [None, "hold", None, "503"]) as proxy:
        run = start(
            proxy.url, DeliveryOptions(batch_size_rows=1, max_parallel_sessions=2), max_retries=0
        )
        run.add("good", 1)
        run.delivery.add_state("good is done")
        assert proxy.held.wait(10)
        run.add("bad", 1)
        run.delivery.add_state("never")
        assert run.failed.wait(10)
        with pytest.raises(TransientApiError):
            run.add("good", 2)
        proxy.released.set()
        with pytest.raises(TransientApiError, match="503"):
            run.delivery.drain()
    assert run.states == ["good is done"]
    assert sandbox.warehouse.collections() == ["good"]
    outcomes = {session.outcome: session.error for session in sandbox.warehouse.sessions()}
    assert set(outcomes) == {"loaded", "error"}
    assert "503" in outcomes["error"]


def test_batch_is_delivered_at_its_maximum_age(sandbox: Sandbox, start: Callable[..., Run]) -> None:
    """Counted from its first object, even if nothing more is added."""
    run = start(sandbox.url, DeliveryOptions(batch_max_age_seconds=0.2))
    run.add("a", 1)
    run.delivery.add_state("old")
    wait_for(lambda: run.states == ["old"])
    run.delivery.drain()


def test_batches_may_reach_their_maximum_age_during_drain(
    sandbox: Sandbox, start: Callable[..., Run]
) -> None:
    """Drain and the age thread close the same open batches: each is queued once, and all lands."""
    collections = "abcdef"
    with FaultyProxy(sandbox.url, [None, "hold"]) as proxy:
        run = start(
            proxy.url,
            DeliveryOptions(batch_max_age_seconds=0.3, batch_size_rows=2, max_parallel_sessions=1),
        )
        run.add("held", 1)
        run.add("held", 2)
        assert proxy.held.wait(10)
        for collection in collections:
            run.add(collection, 1)
        release = threading.Timer(1, proxy.released.set)
        release.start()
        run.delivery.drain()
        release.join()
    assert sandbox.warehouse.collections() == [*collections, "held"]


def test_abort_finishes_open_sessions_with_an_error(
    sandbox: Sandbox, start: Callable[..., Run]
) -> None:
    """Within seconds, even if an upload hangs; nothing of it is loaded."""
    with FaultyProxy(sandbox.url, [None, "hold"]) as proxy:
        run = start(proxy.url, DeliveryOptions(batch_size_rows=1))
        run.add("a", 1)
        assert proxy.held.wait(10)
        began = time.monotonic()
        run.delivery.abort("enough")
        assert time.monotonic() - began < 3
        (session,) = sandbox.warehouse.sessions()
        assert (session.outcome, session.error) == ("error", "enough")
        proxy.released.set()
        assert run.failed.wait(10)


def test_missing_spool_folder_fails_the_delivery(tmp_path: Path, sandbox: Sandbox) -> None:
    """The error holds the folder and the cause."""
    client = Client("key", api_url=sandbox.url)
    delivery = DeliveryScheduler(client, Spool(str(tmp_path / "gone")), write_state=lambda _: None)
    with pytest.raises(SpoolError, match=r"gone.*No such file or directory"):
        delivery.add_object("a", object_line("a", 1))
    with pytest.raises(SpoolError):
        delivery.drain()
    client.close()


def test_removed_batch_file_fails_the_delivery(
    tmp_path: Path, sandbox: Sandbox, start: Callable[..., Run]
) -> None:
    """If the spool folder is cleaned while a batch waits: no STATE; the error holds the path."""
    run = start(sandbox.url)
    run.add("a", 1)
    run.delivery.add_state("never")
    (file,) = (tmp_path / "spool").rglob("*.gz")
    file.unlink()
    with pytest.raises(SpoolError, match=file.name):
        run.delivery.drain()
    assert run.states == []


def test_unwritable_state_fails_the_delivery(tmp_path: Path, sandbox: Sandbox) -> None:
    """The error is raised if standard output is closed."""

    def write_state(_: object) -> None:
        msg = "STATE cannot be written"
        raise OutputError(msg)

    client = Client("key", api_url=sandbox.url)
    spool = Spool(str(tmp_path))
    delivery = DeliveryScheduler(client, spool, write_state=write_state)
    delivery.add_object("a", object_line("a", 1))
    delivery.add_state("x")
    with pytest.raises(OutputError):
        delivery.drain()
    client.close()
    spool.close()


def test_wrong_key_is_not_retried(tmp_path: Path, start: Callable[..., Run]) -> None:
    """401 is final: one Start in each form of the credentials, no wait."""
    with (
        Sandbox(tmp_path / "w.duckdb", write_key="right") as sandbox,
        FaultyProxy(sandbox.url) as proxy,
    ):
        run = start(proxy.url)
        run.add("a", 1)
        with pytest.raises(AuthenticationError, match="Check write_key"):
            run.delivery.drain()
        assert proxy.requests == ["start"] * 3, "once in each form of the credentials"


@pytest.mark.slow
def test_many_sessions_need_no_more_resources(
    sandbox: Sandbox, tmp_path: Path, start: Callable[..., Run]
) -> None:
    """Threads, file descriptors, spool and memory do not grow with the number of sessions."""
    process = psutil.Process()
    run = start(sandbox.url, DeliveryOptions(batch_size_rows=1, max_parallel_sessions=4))

    def measure_resources() -> tuple[int, int, int]:
        return threading.active_count(), process.num_fds(), process.memory_info().rss

    for number in range(100):
        run.add("abcd"[number % 4], number)
    threads, files, memory = measure_resources()
    for number in range(500):
        run.add("abcd"[number % 4], number)
    later = measure_resources()
    assert later[0] <= threads + 8  # a Keep Alive thread for each open session
    assert later[1] <= files + 8
    assert later[2] <= memory + 30_000_000
    run.delivery.drain()
    assert list((tmp_path / "spool").rglob("*.gz")) == []
    assert not [thread for thread in threading.enumerate() if "delivery" in thread.name]


def test_group_of_objects_fills_batches_exactly(
    sandbox: Sandbox, start: Callable[..., Run]
) -> None:
    """Whatever the group's length, each batch but the last has `batch_size_rows` objects."""
    run = start(sandbox.url, DeliveryOptions(batch_size_rows=3))
    add_objects = run.delivery.open_stream(StreamInfo("A", "a", ("id",), ()))
    add_objects([object_line("a", number) for number in range(8)])
    add_objects([])
    add_objects([object_line("a", number) for number in range(8, 10)])
    run.delivery.drain()
    assert [report.objects for report in run.reports] == [3, 3, 3, 1]
    assert [row["n"] for row in sandbox.warehouse.rows("a")] == [*range(10)]


def test_group_interrupted_by_a_failure_counts_as_not_delivered(
    sandbox: Sandbox, start: Callable[..., Run]
) -> None:
    """All of its objects do, those that no batch could be opened for, too."""
    with FaultyProxy(sandbox.url, [None, None, None, "500"]) as proxy:
        run = start(proxy.url, DeliveryOptions(batch_size_rows=2), max_retries=0)
        with pytest.raises(TransientApiError):
            run.delivery.add_objects("a", [object_line("a", number) for number in range(1000)])
    assert [report.objects for report in run.reports] == [2]
    assert run.delivery.get_status().outstanding == {"a": 998}


def test_status_reports_what_is_not_delivered(sandbox: Sandbox, start: Callable[..., Run]) -> None:
    """Objects by collection, sessions, the age of the oldest batch; nothing at the end."""
    with FaultyProxy(sandbox.url, [None, "hold"]) as proxy:
        run = start(proxy.url, DeliveryOptions(batch_size_rows=2), timeout_seconds=1)
        assert run.delivery.get_status() == DeliveryStatus(0, {}, None, 0)
        for number in range(3):
            run.add("a", number)
        run.add("b", 1)
        wait_for(lambda: run.delivery.get_status().sessions == 1)
        time.sleep(0.05)
        status = run.delivery.get_status()
        assert status.outstanding == {"a": 3, "b": 1}
        assert status.oldest_seconds is not None
        assert 0.05 <= status.oldest_seconds < 20
        run.delivery.drain()
    parts = sandbox.warehouse.sessions()
    uploaded = sum(session.gzip_bytes for session in parts)
    assert run.delivery.get_status() == DeliveryStatus(0, {}, None, uploaded)
