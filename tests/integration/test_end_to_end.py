"""The real command line, against the sandbox as a real server, with files as taps write them."""

from __future__ import annotations

import gzip
import json
import os
import re
import signal
import subprocess
import time
from datetime import datetime
from typing import TYPE_CHECKING, Any

import psutil
import pytest

from target_segment_objects.sandbox.server import Sandbox
from target_segment_objects.sandbox.warehouse import Warehouse
from tests.support import DATA, RUN_SECONDS, TARGET, record_line, schema_line, state_line, wait_for
from tests.support.faulty_proxy import FaultyProxy

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.support import RunTarget

CHINOOK = DATA / "chinook.singer.gz"
USERS = schema_line("users", {"id": {"type": "integer"}, "name": {"type": ["string", "null"]}})
NO_SERVER = "http://127.0.0.1:9"  # the discard port: nothing listens there


def user(number: int, name: str = "Ada") -> str:
    """Return a RECORD of the stream `users`."""
    return record_line("users", {"id": number, "name": name})


def records_of(path: Path) -> dict[str, list[dict[str, Any]]]:
    """Return a Singer file's records by stream."""
    streams: dict[str, list[dict[str, Any]]] = {}
    with gzip.open(path, "rt", encoding="utf-8") as lines:
        for message in map(json.loads, lines):
            if message["type"] == "RECORD":
                streams.setdefault(message["stream"], []).append(message["record"])
    return streams


def as_stored(value: object, kind: str) -> object:
    """Return what a column of this type holds of a value that the tap wrote."""
    if kind.startswith("TIMESTAMP") and isinstance(value, str):
        return datetime.fromisoformat(value).replace(tzinfo=None)
    return value


def in_order(row: dict[str, object]) -> str:
    """Return a row as a text that does not hang on the order of its columns."""
    return repr(sorted(row.items()))


def without_zone(value: object) -> object:
    """Return a stored value so that it compares with `as_stored`."""
    return value.replace(tzinfo=None) if isinstance(value, datetime) else value


def test_every_row_of_a_real_database_lands_value_for_value(
    tmp_path: Path, run_target: RunTarget
) -> None:
    """Chinook, as a Postgres tap wrote it: 15,607 objects in 11 tables equal to the input."""
    file = tmp_path / "warehouse.duckdb"
    done = run_target("--sandbox", str(file), "--input", str(CHINOOK))
    assert done.returncode == 0, done.stderr
    streams = records_of(CHINOOK)
    with Warehouse.open(file, read_only=True) as warehouse:
        assert len(warehouse.collections()) == len(streams) == 11
        assert sum(map(warehouse.count, warehouse.collections())) == 15607
        assert warehouse.losses() == []
        for stream, records in streams.items():
            collection = stream.replace("-", "_")
            kinds = warehouse.columns(collection)
            landed = [
                {name: without_zone(value) for name, value in row.items() if name != "id"}
                for row in warehouse.rows(collection)
            ]
            expected = [
                {name: as_stored(value, kinds[name]) for name, value in record.items()}
                for record in records
            ]
            assert sorted(map(in_order, landed)) == sorted(map(in_order, expected))


def test_the_types_of_chinook_are_those_of_its_schema(
    tmp_path: Path, run_target: RunTarget
) -> None:
    """A number column is a double though values be whole; dates are timestamps."""
    file = tmp_path / "warehouse.duckdb"
    run_target("--sandbox", str(file), "--input", str(CHINOOK))
    with Warehouse.open(file, read_only=True) as warehouse:
        invoice = warehouse.columns("public_invoice")
        assert invoice["total"] == "DOUBLE"
        assert invoice["invoice_date"].startswith("TIMESTAMP")
        assert invoice["billing_state"] == "VARCHAR"
        assert invoice["customer_id"] == "BIGINT"


def test_state_of_a_whole_run_goes_out_in_order_and_once(
    sandbox: Sandbox, run_target: RunTarget
) -> None:
    """With a batch for each record, every STATE goes out, in the tap's order, each once."""
    lines = [USERS]
    for number in range(5):
        lines += [user(number), state_line({"at": number}), state_line({"at": number})]
    done = run_target(
        lines=lines, config={"write_key": "k", "api_url": sandbox.url, "batch_size_rows": 1}
    )
    assert done.returncode == 0, done.stderr
    told = [json.loads(line)["at"] for line in done.stdout.splitlines()]
    assert told == sorted(set(told))
    assert told[-1] == 4


def test_a_decimal_in_a_state_is_written_as_the_tap_wrote_it(
    sandbox: Sandbox, run_target: RunTarget
) -> None:
    """STATE is the tap's: its digits stay."""
    done = run_target(
        lines=['{"type": "STATE", "value": {"cursor": 12.340}}'],
        config={"write_key": "k", "api_url": sandbox.url},
    )
    assert (done.returncode, done.stdout) == (0, '{"cursor":12.340}\n')


def test_a_healthy_run_prints_neither_error_nor_exception(
    tmp_path: Path, run_target: RunTarget
) -> None:
    """Meltano's test of a loader takes either word for a failure."""
    done = run_target("--sandbox", str(tmp_path / "w.duckdb"), lines=[USERS, user(1)])
    assert done.returncode == 0
    assert not re.search("error|exception", done.stdout + done.stderr, re.IGNORECASE)


def test_the_log_says_of_each_session_what_support_will_ask(
    sandbox: Sandbox, run_target: RunTarget
) -> None:
    """Collection, objects, bytes raw and gzipped, parts, sync_id and seconds."""
    done = run_target(
        lines=[USERS, user(1), user(2)], config={"write_key": "k", "api_url": sandbox.url}
    )
    (session,) = sandbox.warehouse.sessions()
    assert re.search(
        rf"Session {session.sync_id} is finished: collection users, 2 objects, \d+ bytes "
        r"\(\d+ gzipped\), 1 part\(s\), \d+\.\d+ s\.",
        done.stderr,
    )


# What is wrong on purpose: a message of a line or two, and no STATE for what did not land


def problem_lines(done: subprocess.CompletedProcess[str]) -> list[str]:
    """Return what a run said of problems, and check that no traceback is among it."""
    assert "Traceback" not in done.stderr
    return [line for line in done.stderr.splitlines() if "| ERROR " in line]


def test_a_wrong_key_is_told_and_no_state_goes_out(tmp_path: Path, run_target: RunTarget) -> None:
    """401: check write_key; the key itself is nowhere."""
    with Sandbox(tmp_path / "w.duckdb", write_key="right") as sandbox:
        done = run_target(
            lines=[USERS, user(1), state_line({"at": 1})],
            config={"write_key": "wrong-key", "api_url": sandbox.url},
        )
    (problem,) = problem_lines(done)
    assert "Check write_key" in problem
    assert "wrong-key" not in done.stderr
    assert (done.returncode, done.stdout) == (1, "")


def test_an_unknown_host_is_told_after_the_retries(run_target: RunTarget) -> None:
    """The host and what to do; the waits between tries are logged with their reason."""
    done = run_target(
        lines=[USERS, user(1), state_line({"at": 1})],
        config={"write_key": "k", "api_url": "https://segment.invalid", "max_retries": 1},
    )
    (problem,) = problem_lines(done)
    assert "segment.invalid" in problem
    assert "Check the network" in problem
    assert "Trying again in" in done.stderr
    assert (done.returncode, done.stdout) == (1, "")


def test_a_broken_line_ends_the_run_and_what_came_before_is_delivered(
    sandbox: Sandbox, run_target: RunTarget
) -> None:
    """The message names the line, not its content; STATE vouches for what landed."""
    done = run_target(
        lines=[USERS, user(1), state_line({"at": 1}), '{"type": "RECORD", "secret'],
        config={"write_key": "k", "api_url": sandbox.url},
    )
    (problem,) = problem_lines(done)
    assert "Line 4 of the input" in problem
    assert "secret" not in done.stderr
    assert (done.returncode, done.stdout) == (1, '{"at":1}\n')
    assert sandbox.warehouse.count("users") == 1


def test_a_tap_that_ends_in_the_middle_of_a_line_is_told(sandbox: Sandbox) -> None:
    """The tap seems to have died; what came before is delivered."""
    done = subprocess.run(
        [*TARGET, "--config=ENV"],
        input=f'{USERS}\n{user(1)}\n{{"type": "RECO',
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
    (problem,) = problem_lines(done)
    assert "the tap has probably crashed" in problem
    assert done.returncode == 1
    assert sandbox.warehouse.count("users") == 1


@pytest.mark.parametrize(
    ("lines", "said"),
    [
        ([user(1)], "has a record before its SCHEMA"),
        ([USERS, '{"type": "RECORD", "stream": "users"}'], "it has no record"),
        (['{"type": "RECORD", "stream": 5, "record": {}}'], "its stream is not a string"),
        (['{"type": "RECORD", "stream": "a", "record": 1}'], "its record is not an object"),
        (['{"type": "SCHEMA", "stream": "a", "schema": {}}'], "its schema has no properties"),
        ([schema_line("a", {}).replace('["id"]', "[1]")], "not a list of names"),
        (
            ['{"type": "ACTIVATE_VERSION", "stream": [], "version": 1}'],
            "its stream is not a string",
        ),
        ([USERS, record_line("users", {"name": "secret"})], "the key property is missing"),
        ([USERS, record_line("users", {"id": "secret"})], "the schema asks for type"),
        ([USERS, record_line("users", {"id": 7, "name": ["secret"]})], "object '7', property"),
        ([schema_line("users", {"id": {"type": "nonsense"}})], "no valid JSON schema"),
        ([schema_line("users", {"---": {}})], "has no letter or digit"),
        ([schema_line("a-b", {}), schema_line("a_b", {})], "collection_map"),
    ],
)
def test_what_cannot_be_read_on_from_is_told(
    sandbox: Sandbox, run_target: RunTarget, lines: list[str], said: str
) -> None:
    """One problem, in words, without a value of a record."""
    done = run_target(lines=lines, config={"write_key": "k", "api_url": sandbox.url})
    (problem,) = problem_lines(done)
    assert said in problem
    assert "secret" not in done.stderr
    assert done.returncode == 1


def test_a_refused_setting_ends_the_run_before_it_begins(run_target: RunTarget) -> None:
    """The setting, what was given and what is allowed; near names for unknown ones."""
    done = run_target(
        config={"write_key": "k", "max_parallel_sessions": 21, "batch_size_row": 5},
    )
    assert done.returncode == 1
    assert "max_parallel_sessions cannot be 21" in done.stderr
    assert "from 1 to 20" in done.stderr
    assert "'batch_size_row' is ignored. Did you mean batch_size_rows?" in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        pytest.param(None, "Config file not found: ", id="missing"),
        pytest.param("[1]", "is not a JSON object", id="a-list"),
        pytest.param("{", "is not a JSON object", id="not-json"),
    ],
)
def test_a_configuration_file_that_cannot_be_read_is_named(
    tmp_path: Path, run_target: RunTarget, content: str | None, expected: str
) -> None:
    """No traceback for a file that is missing or not a JSON object."""
    path = tmp_path / "broken.json"
    if content is not None:
        path.write_text(content, encoding="utf-8")
    done = run_target("--config", str(path))
    assert done.returncode == 2
    assert "broken.json" in done.stderr
    assert expected in done.stderr
    assert "Traceback" not in done.stderr


def test_the_sandbox_wins_over_the_configured_address(
    tmp_path: Path, run_target: RunTarget
) -> None:
    """What is for the sandbox never goes to Segment, whatever file and environment say."""
    done = run_target(
        "--sandbox",
        str(tmp_path / "w.duckdb"),
        "--config=ENV",
        lines=[USERS, user(1)],
        config={"write_key": "k", "api_url": NO_SERVER},
        environment=os.environ | {"TARGET_SEGMENT_OBJECTS_API_URL": NO_SERVER},
    )
    assert done.returncode == 0, done.stderr


# Signals


class Pipe:
    """A running target whose standard input the test writes."""

    def __init__(self, *arguments: str, config: dict[str, Any], folder: Path) -> None:
        """Start it."""
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

    def say(self, *lines: str) -> None:
        """Write lines as the tap."""
        assert self.process.stdin is not None
        self.process.stdin.write("".join(f"{line}\n" for line in lines))
        self.process.stdin.flush()

    def end(self, seconds: float) -> tuple[int, str, str]:
        """Wait without closing the input; return the code and what was printed."""
        self.process.wait(seconds)
        out, err = self.process.communicate(timeout=5)
        return self.process.returncode, out, err


@pytest.fixture
def pipes() -> Iterator[list[Pipe]]:
    """Keep the processes that a test starts, to end those that are left."""
    started: list[Pipe] = []
    yield started
    for pipe in started:
        if pipe.process.poll() is None:
            pipe.process.kill()
        pipe.process.wait()
        for stream in (pipe.process.stdin, pipe.process.stdout, pipe.process.stderr):
            if stream is not None and not stream.closed:
                stream.close()


posix_only = pytest.mark.skipif(os.name != "posix", reason="Windows has no such signals")


@posix_only
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_delivers_what_was_read(
    sandbox: Sandbox, tmp_path: Path, pipes: list[Pipe], number: signal.Signals
) -> None:
    """Once: reading stops though the tap be silent, what was read lands, and its STATE goes out."""
    spool = tmp_path / "spool"
    spool.mkdir()
    pipe = Pipe(
        config={"write_key": "k", "api_url": sandbox.url, "spool_dir": str(spool)},
        folder=tmp_path,
    )
    pipes.append(pipe)
    pipe.say(USERS, *map(user, range(100)), state_line({"at": 99}))
    wait_for(lambda: list(spool.rglob("*.gz")))
    time.sleep(0.3)  # the first record is read, so the few others are soon
    pipe.process.send_signal(number)
    code, out, err = pipe.end(20)
    assert code == 128 + number
    assert json.loads(out) == {"at": 99}
    assert sandbox.warehouse.count("users") == 100
    assert "Traceback" not in err
    assert "Stopped reading after 102 lines" in err


@posix_only
def test_a_second_signal_ends_at_once_with_an_error_in_the_session(
    sandbox: Sandbox, tmp_path: Path, pipes: list[Pipe]
) -> None:
    """Twice: the open session is finished with an error, no STATE, the end within seconds."""
    with FaultyProxy(sandbox.url, [None, "hold"]) as proxy:
        pipe = Pipe(
            config={"write_key": "k", "api_url": proxy.url, "batch_size_rows": 10},
            folder=tmp_path,
        )
        pipes.append(pipe)
        pipe.say(USERS, *map(user, range(10)), state_line({"at": 9}))
        assert proxy.held.wait(20)
        pipe.process.send_signal(signal.SIGINT)
        time.sleep(0.5)
        pipe.process.send_signal(signal.SIGINT)
        began = time.monotonic()
        code, out, err = pipe.end(15)
        assert time.monotonic() - began < 8
    assert (code, out) == (130, "")
    assert "Traceback" not in err
    assert "Aborted: objects of unfinished sessions are not in Segment" in err
    (session,) = sandbox.warehouse.sessions()
    assert session.outcome == "error"
    assert sandbox.warehouse.collections() == []


@posix_only
def test_a_failed_delivery_wakes_a_target_that_waits_for_a_silent_tap(
    tmp_path: Path, pipes: list[Pipe]
) -> None:
    """The process ends soon though the tap neither speaks nor ends."""
    with Sandbox(tmp_path / "w.duckdb", write_key="right") as sandbox:
        pipe = Pipe(
            config={"write_key": "wrong", "api_url": sandbox.url, "batch_size_rows": 1},
            folder=tmp_path,
        )
        pipes.append(pipe)
        pipe.say(USERS, user(1))
        code, out, err = pipe.end(20)
    assert (code, out) == (1, "")
    assert "Check write_key" in err


@posix_only
def test_a_silent_tap_s_batch_is_delivered_when_it_comes_of_age(
    sandbox: Sandbox, tmp_path: Path, pipes: list[Pipe]
) -> None:
    """The batch and its STATE go out although no message arrives."""
    pipe = Pipe(
        config={"write_key": "k", "api_url": sandbox.url, "batch_max_age_seconds": 0.5},
        folder=tmp_path,
    )
    pipes.append(pipe)
    pipe.say(USERS, user(1), state_line({"at": 1}))
    assert pipe.process.stdout is not None
    assert json.loads(pipe.process.stdout.readline()) == {"at": 1}
    assert sandbox.warehouse.count("users") == 1


@posix_only
def test_a_reader_of_state_that_goes_away_is_told(
    sandbox: Sandbox, tmp_path: Path, pipes: list[Pipe]
) -> None:
    """STATE cannot be written: a message, not a traceback, and not exit code 0."""
    pipe = Pipe(config={"write_key": "k", "api_url": sandbox.url}, folder=tmp_path)
    pipes.append(pipe)
    assert pipe.process.stdin is not None
    assert pipe.process.stdout is not None
    pipe.process.stdout.close()
    pipe.say(USERS, user(1), state_line({"at": 1}))
    pipe.process.stdin.close()
    pipe.process.wait(20)
    assert pipe.process.stderr is not None
    err = pipe.process.stderr.read()
    assert pipe.process.returncode == 1
    assert "Cannot write STATE to standard output: Broken pipe" in err
    assert "Traceback" not in err
    assert "Exception ignored" not in err


# What is left behind, and what it takes


def test_a_run_leaves_nothing_in_the_spool_folder(
    sandbox: Sandbox, tmp_path: Path, run_target: RunTarget
) -> None:
    """Batch files and their folder are gone, whether the run succeeded or failed."""
    spool = tmp_path / "spool"
    spool.mkdir()
    for url in (sandbox.url, NO_SERVER):
        run_target(
            lines=[USERS, user(1)],
            config={"write_key": "k", "api_url": url, "spool_dir": str(spool), "max_retries": 0},
        )
        assert list(spool.iterdir()) == []


@pytest.mark.skipif(os.name != "posix", reason="peak memory is read as Linux and macOS tell it")
def test_a_batch_of_a_quarter_of_a_gigabyte_stays_below_200_mb(
    sandbox: Sandbox, tmp_path: Path
) -> None:
    """250,000 records of 1 KB in one batch: memory does not grow with the batch."""
    source = tmp_path / "large.singer"
    with source.open("w", encoding="utf-8") as file:
        file.write(f"{USERS}\n")
        for number in range(250_000):
            file.write(f"{user(number, f'{number:07}' * 136)}\n")
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
    most = 0
    while process.poll() is None:
        try:
            most = max(most, psutil.Process(process.pid).memory_info().rss)
        except psutil.NoSuchProcess:
            break
        time.sleep(0.05)
    _, err = process.communicate(timeout=RUN_SECONDS)
    assert process.returncode == 0, err
    assert sandbox.warehouse.count("users") == 250_000
    assert most < 200_000_000
