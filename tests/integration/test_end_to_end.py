"""The real command against the sandbox as a real server, with files as taps write them."""

from __future__ import annotations

import gzip
import json
import os
import re
import signal
import subprocess
import time
from contextlib import contextmanager
from datetime import datetime
from typing import TYPE_CHECKING, Any

import psutil
import pytest

from target_segment_objects.sandbox.server import Sandbox
from target_segment_objects.sandbox.warehouse.database import Warehouse
from tests.support import (
    DATA,
    RUN_SECONDS,
    SIGNAL_GAP_SECONDS,
    TARGET,
    record_line,
    schema_line,
    state_line,
    wait_for,
)
from tests.support.faulty_proxy import FaultyProxy

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.support import RunTarget

pytestmark = pytest.mark.slow  # most of them start a process or wait

CHINOOK = DATA / "chinook.singer.gz"
USERS_SCHEMA = schema_line(
    "users", {"id": {"type": "integer"}, "name": {"type": ["string", "null"]}}
)
CLOSED_PORT_URL = "http://127.0.0.1:9"  # the discard port: nothing listens there


def user_line(number: int, name: str = "Ada") -> str:
    """Return a RECORD message of the stream `users`."""
    return record_line("users", {"id": number, "name": name})


def read_records(path: Path) -> dict[str, list[dict[str, Any]]]:
    """Return the records of a Singer file by stream."""
    streams: dict[str, list[dict[str, Any]]] = {}
    with gzip.open(path, "rt", encoding="utf-8") as lines:
        for message in map(json.loads, lines):
            if message["type"] == "RECORD":
                streams.setdefault(message["stream"], []).append(message["record"])
    return streams


def to_stored(value: object, column_type: str) -> object:
    """Return the value that a column of this type holds for a value that the tap wrote."""
    if column_type.startswith("TIMESTAMP") and isinstance(value, str):
        return datetime.fromisoformat(value).replace(tzinfo=None)
    return value


def sort_columns(row: dict[str, object]) -> str:
    """Return a row as a string that does not depend on the order of its columns."""
    return repr(sorted(row.items()))


def drop_zone(value: object) -> object:
    """Return a stored value in a form that compares with `to_stored`."""
    return value.replace(tzinfo=None) if isinstance(value, datetime) else value


@pytest.mark.slow
def test_every_value_of_a_real_database_is_loaded(tmp_path: Path, run_target: RunTarget) -> None:
    """Chinook, as a Postgres tap wrote it: 15,607 objects in 11 tables equal to the input.

    The types of columns follow the schema: a number is a double even if its values are whole, and a
    date is a timestamp.
    """
    file = tmp_path / "warehouse.duckdb"
    done = run_target("--sandbox", str(file), "--input", str(CHINOOK))
    assert done.returncode == 0, done.stderr
    streams = read_records(CHINOOK)
    with Warehouse.open(file, read_only=True) as warehouse:
        assert len(warehouse.collections()) == len(streams) == 11
        assert sum(map(warehouse.count, warehouse.collections())) == 15607
        assert warehouse.losses() == []
        for stream, records in streams.items():
            collection = stream.replace("-", "_")
            types = warehouse.columns(collection)
            loaded = [
                {name: drop_zone(value) for name, value in row.items() if name != "id"}
                for row in warehouse.rows(collection)
            ]
            expected = [
                {name: to_stored(value, types[name]) for name, value in record.items()}
                for record in records
            ]
            assert sorted(map(sort_columns, loaded)) == sorted(map(sort_columns, expected))
        invoice = warehouse.columns("public_invoice")
        assert invoice["total"] == "DOUBLE"
        assert invoice["invoice_date"].startswith("TIMESTAMP")
        assert invoice["billing_state"] == "VARCHAR"
        assert invoice["customer_id"] == "BIGINT"


def test_states_are_written_in_order_and_once(sandbox: Sandbox, run_target: RunTarget) -> None:
    """With a batch for each record, every STATE is written once, in the order of the tap."""
    lines = [USERS_SCHEMA]
    for number in range(5):
        lines += [user_line(number), state_line({"at": number}), state_line({"at": number})]
    done = run_target(
        lines=lines, config={"write_key": "k", "api_url": sandbox.url, "batch_size_rows": 1}
    )
    assert done.returncode == 0, done.stderr
    states = [json.loads(line)["at"] for line in done.stdout.splitlines()]
    assert states == sorted(set(states))
    assert states[-1] == 4


def test_decimals_in_a_state_keep_their_digits(sandbox: Sandbox, run_target: RunTarget) -> None:
    """A decimal in a STATE is written with the digits of the tap."""
    done = run_target(
        lines=['{"type": "STATE", "value": {"cursor": 12.340}}'],
        config={"write_key": "k", "api_url": sandbox.url},
    )
    assert (done.returncode, done.stdout) == (0, '{"cursor":12.340}\n')


def test_successful_run_prints_neither_error_nor_exception(
    tmp_path: Path, run_target: RunTarget
) -> None:
    """Meltano's test of a loader treats either word as a failure."""
    done = run_target("--sandbox", str(tmp_path / "w.duckdb"), lines=[USERS_SCHEMA, user_line(1)])
    assert done.returncode == 0
    assert not re.search("error|exception", done.stdout + done.stderr, re.IGNORECASE)


def test_each_session_is_logged_for_support(sandbox: Sandbox, run_target: RunTarget) -> None:
    """Its log line has collection, objects, raw and gzipped bytes, parts, sync_id and seconds."""
    done = run_target(
        lines=[USERS_SCHEMA, user_line(1), user_line(2)],
        config={"write_key": "k", "api_url": sandbox.url},
    )
    (session,) = sandbox.warehouse.sessions()
    assert re.search(
        rf"Session {session.sync_id} finished: collection users, 2 objects, \d+ bytes "
        r"\(\d+ gzipped\), 1 part, \d+\.\d+ s\.",
        done.stderr,
    )


# Failures: one error of a line or two, and no STATE for what was not delivered


def list_error_lines(done: subprocess.CompletedProcess[str]) -> list[str]:
    """Return the errors in the log of a run, and check that it has no traceback."""
    assert "Traceback" not in done.stderr
    return [line for line in done.stderr.splitlines() if "| ERROR " in line]


def test_wrong_write_key_is_an_error_without_state(tmp_path: Path, run_target: RunTarget) -> None:
    """The error says to check write_key; the key itself is not in the log."""
    with Sandbox(tmp_path / "w.duckdb", write_key="right") as sandbox:
        done = run_target(
            lines=[USERS_SCHEMA, user_line(1), state_line({"at": 1})],
            config={"write_key": "wrong-key", "api_url": sandbox.url},
        )
    (error,) = list_error_lines(done)
    assert "Check write_key" in error
    assert "wrong-key" not in done.stderr
    assert (done.returncode, done.stdout) == (1, "")


def test_unknown_host_is_an_error_after_the_retries(run_target: RunTarget) -> None:
    """The error names the host and what to do; each retry is logged with its reason."""
    done = run_target(
        lines=[USERS_SCHEMA, user_line(1), state_line({"at": 1})],
        config={"write_key": "k", "api_url": "https://segment.invalid", "max_retries": 1},
    )
    (error,) = list_error_lines(done)
    assert "segment.invalid" in error
    assert "Check api_url, the proxy and the network" in error
    assert "Retrying in" in done.stderr
    assert (done.returncode, done.stdout) == (1, "")


def test_invalid_line_ends_the_run_after_delivery(sandbox: Sandbox, run_target: RunTarget) -> None:
    """The error names the line, not its content; STATE covers the lines before it."""
    done = run_target(
        lines=[USERS_SCHEMA, user_line(1), state_line({"at": 1}), '{"type": "RECORD", "secret'],
        config={"write_key": "k", "api_url": sandbox.url},
    )
    (error,) = list_error_lines(done)
    assert "Line 4 of the input" in error
    assert "secret" not in done.stderr
    assert (done.returncode, done.stdout) == (1, '{"at":1}\n')
    assert sandbox.warehouse.count("users") == 1


def test_tap_that_ends_inside_a_line_is_an_error(sandbox: Sandbox) -> None:
    """The error says that the tap has crashed; what came before is delivered."""
    done = subprocess.run(
        [*TARGET, "--config=ENV"],
        input=f'{USERS_SCHEMA}\n{user_line(1)}\n{{"type": "RECO',
        env=os.environ
        | {
            "TARGET_SEGMENT_OBJECTS_WRITE_KEY": "k",
            "TARGET_SEGMENT_OBJECTS_API_URL": sandbox.url,
        },
        capture_output=True,
        text=True,
        timeout=RUN_SECONDS,
        check=False,
    )
    (error,) = list_error_lines(done)
    assert "the tap has probably crashed" in error
    assert done.returncode == 1
    assert sandbox.warehouse.count("users") == 1


@pytest.mark.parametrize(
    ("lines", "expected"),
    [
        pytest.param([user_line(1)], "has a record before its SCHEMA", id="record before schema"),
        pytest.param(
            [USERS_SCHEMA, '{"type": "RECORD", "stream": "users"}'],
            "it has no record",
            id="no record",
        ),
        pytest.param(
            ['{"type": "RECORD", "stream": 5, "record": {}}'],
            "its stream is not a string",
            id="stream not a string",
        ),
        pytest.param(
            ['{"type": "RECORD", "stream": "a", "record": 1}'],
            "its record is not an object",
            id="record not an object",
        ),
        pytest.param(
            ['{"type": "SCHEMA", "stream": "a", "schema": {}}'],
            "its schema has no properties",
            id="no properties",
        ),
        pytest.param(
            [schema_line("a", {}).replace('["id"]', "[1]")],
            "not a list of names",
            id="invalid key properties",
        ),
        pytest.param(
            ['{"type": "ACTIVATE_VERSION", "stream": [], "version": 1}'],
            "its stream is not a string",
            id="activate version without stream",
        ),
        pytest.param(
            [USERS_SCHEMA, record_line("users", {"name": "secret"})],
            "the key property is missing",
            id="missing key",
        ),
        pytest.param(
            [USERS_SCHEMA, record_line("users", {"id": "secret"})],
            "the schema requires type",
            id="wrong key type",
        ),
        pytest.param(
            [USERS_SCHEMA, record_line("users", {"id": 7, "name": "x" * 40_000})],
            "object '7', property",
            id="too long",
        ),
        pytest.param(
            ['{"type": "SCHEMA", "stream": "a", "schema": []}'],
            "its schema is not an object",
            id="schema is a list",
        ),
        pytest.param(
            [schema_line("users", {"---": {}})],
            "has no letter or digit",
            id="unusable property name",
        ),
        pytest.param(
            [schema_line("a-b", {}), schema_line("a_b", {})],
            "collection_map",
            id="same collection twice",
        ),
    ],
)
def test_unusable_message_is_an_error_without_record_content(
    sandbox: Sandbox, run_target: RunTarget, lines: list[str], expected: str
) -> None:
    """One error that says what is wrong, without a value of the record."""
    done = run_target(lines=lines, config={"write_key": "k", "api_url": sandbox.url})
    (error,) = list_error_lines(done)
    assert expected in error
    assert "secret" not in done.stderr
    assert done.returncode == 1


def test_invalid_setting_ends_the_run_at_the_start(run_target: RunTarget) -> None:
    """The error has the setting, its value and what is allowed; a warning corrects a name."""
    done = run_target(
        config={"write_key": "k", "max_parallel_sessions": 21, "batch_size_row": 5},
    )
    assert done.returncode == 2
    assert "max_parallel_sessions cannot be 21" in done.stderr
    assert "from 1 to 20" in done.stderr
    assert "'batch_size_row' is ignored. Did you mean batch_size_rows?" in done.stderr
    assert "max_parallel_sessions cannot be 21" in done.stderr.splitlines()[-1]
    assert "Traceback" not in done.stderr


def test_sandbox_overrides_the_configured_url(tmp_path: Path, run_target: RunTarget) -> None:
    """With --sandbox nothing goes to Segment, whatever the file and the environment say."""
    done = run_target(
        "--sandbox",
        str(tmp_path / "w.duckdb"),
        "--config=ENV",
        lines=[USERS_SCHEMA, user_line(1)],
        config={"write_key": "k", "api_url": CLOSED_PORT_URL},
        environment=os.environ | {"TARGET_SEGMENT_OBJECTS_API_URL": CLOSED_PORT_URL},
    )
    assert done.returncode == 0, done.stderr


# Signals


class RunningTarget:
    """A running target; the test writes its standard input."""

    def __init__(self, *arguments: str, config: dict[str, Any], folder: Path) -> None:
        path = folder / "config.json"
        path.write_text(json.dumps(config), encoding="utf-8")
        self.process = subprocess.Popen(
            [*TARGET, "--config", str(path), *arguments],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            encoding="utf-8",
        )

    def write_lines(self, *lines: str) -> None:
        """Write lines to its standard input, as a tap does."""
        assert self.process.stdin is not None
        self.process.stdin.write("".join(f"{line}\n" for line in lines))
        self.process.stdin.flush()

    def wait_for_exit(self, seconds: float) -> tuple[int, str, str]:
        """Wait without closing the input; return exit code, standard output and standard error."""
        self.process.wait(seconds)
        out, err = self.process.communicate(timeout=5)
        return self.process.returncode, out, err


@contextmanager
def running_upload(
    sandbox: Sandbox, folder: Path, targets: list[RunningTarget]
) -> Iterator[tuple[RunningTarget, FaultyProxy]]:
    """Run a target until its only upload, of ten users, is under way; the proxy holds it."""
    with FaultyProxy(sandbox.url, [None, "hold"]) as proxy:
        target = RunningTarget(
            config={"write_key": "k", "api_url": proxy.url, "batch_size_rows": 10}, folder=folder
        )
        targets.append(target)
        target.write_lines(USERS_SCHEMA, *map(user_line, range(10)), state_line({"at": 9}))
        assert proxy.held.wait(20)
        yield target, proxy


@pytest.fixture
def targets() -> Iterator[list[RunningTarget]]:
    """Collect the targets that a test starts, and kill those that still run at its end."""
    started: list[RunningTarget] = []
    yield started
    for target in started:
        if target.process.poll() is None:
            target.process.kill()
        target.process.wait()
        for stream in (target.process.stdin, target.process.stdout, target.process.stderr):
            if stream is not None and not stream.closed:
                stream.close()


posix_only = pytest.mark.skipif(os.name != "posix", reason="Windows has no such signals")


@posix_only
@pytest.mark.parametrize("number", ["SIGINT", "SIGTERM", "SIGHUP"])
def test_one_signal_delivers_what_was_read(
    sandbox: Sandbox, tmp_path: Path, targets: list[RunningTarget], number: str
) -> None:
    """Reading stops although the tap is silent; what was read is delivered, STATE included."""
    spool = tmp_path / "spool"
    spool.mkdir()
    target = RunningTarget(
        config={"write_key": "k", "api_url": sandbox.url, "spool_dir": str(spool)},
        folder=tmp_path,
    )
    targets.append(target)
    target.write_lines(USERS_SCHEMA, *map(user_line, range(100)), state_line({"at": 99}))
    wait_for(lambda: list(spool.rglob("*.gz")))
    time.sleep(0.3)  # the first record is read, so the few others are soon
    target.process.send_signal(signal.Signals[number])
    code, out, err = target.wait_for_exit(20)
    assert code == 128 + signal.Signals[number]
    assert json.loads(out) == {"at": 99}
    assert sandbox.warehouse.count("users") == 100
    assert "Traceback" not in err
    assert "Stopped reading after 102 lines" in err


@posix_only
@pytest.mark.parametrize("second", ["SIGINT", "SIGTERM", "SIGHUP"])
def test_signals_at_the_same_time_are_one(
    sandbox: Sandbox, tmp_path: Path, targets: list[RunningTarget], second: str
) -> None:
    """A terminal and Meltano, or systemd and a shell, send two: the run still stops gracefully."""
    with running_upload(sandbox, tmp_path, targets) as (target, proxy):
        target.process.send_signal(signal.SIGINT)
        target.process.send_signal(signal.Signals[second])
        time.sleep(0.3)
        target.process.send_signal(signal.Signals[second])
        proxy.released.set()
        code, out, err = target.wait_for_exit(20)
    assert code - 128 in {signal.SIGINT, signal.Signals[second]}  # the lower number may be first
    assert json.loads(out) == {"at": 9}
    assert "Stopped reading" in err
    assert sandbox.warehouse.count("users") == 10


@posix_only
def test_ignored_hangup_stays_ignored(
    sandbox: Sandbox, tmp_path: Path, targets: list[RunningTarget]
) -> None:
    """What `nohup` has started goes on when its terminal is closed."""
    handler = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        target = RunningTarget(
            config={"write_key": "k", "api_url": sandbox.url, "batch_size_rows": 1},
            folder=tmp_path,
        )
    finally:
        signal.signal(signal.SIGHUP, handler)
    targets.append(target)
    target.write_lines(USERS_SCHEMA, user_line(1))
    wait_for(sandbox.warehouse.sessions)
    target.process.send_signal(signal.SIGHUP)
    out, _ = target.process.communicate(f"{user_line(2)}\n{state_line(2)}\n", timeout=20)
    assert (target.process.returncode, out) == (0, "2\n")


@posix_only
def test_second_signal_aborts_the_open_session(
    sandbox: Sandbox, tmp_path: Path, targets: list[RunningTarget]
) -> None:
    """The open session is finished with an error, no STATE is written, the process ends soon."""
    with running_upload(sandbox, tmp_path, targets) as (target, _):
        target.process.send_signal(signal.SIGINT)
        time.sleep(SIGNAL_GAP_SECONDS)
        target.process.send_signal(signal.SIGINT)
        began = time.monotonic()
        code, out, err = target.wait_for_exit(15)
        assert time.monotonic() - began < 8
    assert (code, out) == (130, "")
    assert "Traceback" not in err
    assert "Aborted: objects of unfinished sessions are not in Segment" in err
    (session,) = sandbox.warehouse.sessions()
    assert session.outcome == "error"
    assert sandbox.warehouse.collections() == []


@posix_only
def test_failed_delivery_ends_a_run_with_a_silent_tap(
    tmp_path: Path, targets: list[RunningTarget]
) -> None:
    """The process ends soon although the tap neither writes nor ends."""
    with Sandbox(tmp_path / "w.duckdb", write_key="right") as sandbox:
        target = RunningTarget(
            config={"write_key": "wrong", "api_url": sandbox.url, "batch_size_rows": 1},
            folder=tmp_path,
        )
        targets.append(target)
        target.write_lines(USERS_SCHEMA, user_line(1))
        code, out, err = target.wait_for_exit(20)
    assert (code, out) == (1, "")
    assert "Check write_key" in err


@posix_only
def test_batch_is_delivered_at_its_maximum_age(
    sandbox: Sandbox, tmp_path: Path, targets: list[RunningTarget]
) -> None:
    """The batch is delivered and its STATE written although no message arrives."""
    target = RunningTarget(
        config={"write_key": "k", "api_url": sandbox.url, "batch_max_age_seconds": 0.5},
        folder=tmp_path,
    )
    targets.append(target)
    target.write_lines(USERS_SCHEMA, user_line(1), state_line({"at": 1}))
    assert target.process.stdout is not None
    assert json.loads(target.process.stdout.readline()) == {"at": 1}
    assert sandbox.warehouse.count("users") == 1


@posix_only
def test_closed_reader_of_state_is_an_error(
    sandbox: Sandbox, tmp_path: Path, targets: list[RunningTarget]
) -> None:
    """If STATE cannot be written, the run exits with 1 and an error, without a traceback."""
    target = RunningTarget(config={"write_key": "k", "api_url": sandbox.url}, folder=tmp_path)
    targets.append(target)
    assert target.process.stdin is not None
    assert target.process.stdout is not None
    target.process.stdout.close()
    target.write_lines(USERS_SCHEMA, user_line(1), state_line({"at": 1}))
    target.process.stdin.close()
    target.process.wait(20)
    assert target.process.stderr is not None
    err = target.process.stderr.read()
    assert target.process.returncode == 1
    assert "Cannot write STATE to standard output: Broken pipe" in err
    assert "Traceback" not in err
    assert "Exception ignored" not in err


# Disk and memory


def test_run_leaves_nothing_in_the_spool_folder(
    sandbox: Sandbox, tmp_path: Path, run_target: RunTarget
) -> None:
    """Batch files and their folder are removed after success and after failure."""
    spool = tmp_path / "spool"
    spool.mkdir()
    for url in (sandbox.url, CLOSED_PORT_URL):
        run_target(
            lines=[USERS_SCHEMA, user_line(1)],
            config={"write_key": "k", "api_url": url, "spool_dir": str(spool), "max_retries": 0},
        )
        assert list(spool.iterdir()) == []


@pytest.mark.slow
@pytest.mark.skipif(os.name != "posix", reason="measured on Linux and macOS only")
def test_memory_does_not_grow_with_the_batch(sandbox: Sandbox, tmp_path: Path) -> None:
    """A batch of 100,000 records of 1 KB takes less than 120 MB; a process without one takes 60."""
    source = tmp_path / "large.singer"
    with source.open("w", encoding="utf-8") as file:
        file.write(f"{USERS_SCHEMA}\n")
        for number in range(100_000):
            file.write(f"{user_line(number, f'{number:07}' * 136)}\n")
    config = tmp_path / "config.json"
    config.write_text(
        json.dumps({"write_key": "k", "api_url": sandbox.url, "batch_size_rows": 1_000_000}),
        encoding="utf-8",
    )
    process = subprocess.Popen(
        [*TARGET, "--config", str(config), "--input", str(source)],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
    )
    peak = 0
    while process.poll() is None:
        try:
            peak = max(peak, psutil.Process(process.pid).memory_info().rss)
        except psutil.NoSuchProcess:
            break
        time.sleep(0.05)
    _, err = process.communicate(timeout=RUN_SECONDS)
    assert process.returncode == 0, err
    assert sandbox.warehouse.count("users") == 100_000
    assert peak < 120_000_000
