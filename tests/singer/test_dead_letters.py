"""The dead-letter file: Singer input with reasons, on disk in time, and ready for a replay."""

from __future__ import annotations

import datetime
import json
import os
import signal
import stat
import sys
import tempfile
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from target_segment_objects.exceptions import InvalidRecordError, SpoolError
from target_segment_objects.singer.dead_letters import DeadLetterFile
from target_segment_objects.singer.reader import MessageReader

if sys.platform == "win32":
    pytest.skip("the disk failures need POSIX", allow_module_level=True)

SCHEMA = b'{"type": "SCHEMA", "stream": "users", "schema": {}, "key_properties": ["id"]}\n'
OTHER_SCHEMA = SCHEMA.replace(b'["id"]', b'["key"]')
RECORD = b'{"type": "RECORD", "stream": "users", "record": {"id": 1.500, "\\u00e4": "\xc3\xa4"}}\n'


def make_error(stream: str = "users", field: str | None = "id") -> InvalidRecordError:
    """Return the error of an invalid record."""
    return InvalidRecordError(stream, 'it is "odd"', field=field)


def read_back(path: Path) -> list[dict[str, Any]]:
    """Read a dead-letter file as the target would."""
    messages: list[dict[str, Any]] = []
    with path.open("rb") as file:
        MessageReader().process_lines(file, {"SCHEMA": messages.append, "RECORD": messages.append})
    return messages


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """Return the path of the dead-letter file, which does not exist yet."""
    return tmp_path / "rejects.singer"


def test_no_file_without_rejected_records(path: Path) -> None:
    """Without rejected records, no file is created."""
    dead_letters = DeadLetterFile(path)
    dead_letters.flush()
    dead_letters.close()
    assert not path.exists()


def test_record_is_written_as_the_tap_wrote_it(path: Path) -> None:
    """The file has the SCHEMA, and the bytes of the RECORD plus the reason and the time."""
    dead_letters = DeadLetterFile(path)
    before = datetime.datetime.now(tz=datetime.timezone.utc).replace(microsecond=0)
    dead_letters.append_record(SCHEMA, RECORD, make_error())
    dead_letters.close()
    schema, record = path.read_bytes().splitlines(keepends=True)
    assert schema == SCHEMA
    assert record.startswith(RECORD.rstrip()[:-1] + b',"rejected":{')
    assert record.endswith(b"}}\n")
    rejected = json.loads(record)["rejected"]
    assert rejected["reason"] == 'it is "odd"'
    assert rejected["field"] == "id"
    at = datetime.datetime.fromisoformat(rejected["at"])
    assert before <= at <= datetime.datetime.now(tz=datetime.timezone.utc)
    assert json.loads(RECORD)["record"] == json.loads(record)["record"]


@pytest.mark.parametrize(
    "end",
    [b"", b"\n", b"\r\n", b"  \n"],
    ids=["none", "newline", "windows", "blanks"],
)
def test_line_endings(path: Path, end: bytes) -> None:
    """Each message is on its own line, whatever line ending it had."""
    dead_letters = DeadLetterFile(path)
    dead_letters.append_record(SCHEMA.strip() + end, RECORD.strip() + end, make_error())
    dead_letters.append_record(SCHEMA.strip() + end, RECORD.strip() + end, make_error())
    dead_letters.close()
    assert [message["type"] for message in read_back(path)] == ["SCHEMA", "RECORD", "RECORD"]


def test_schema_is_written_once_until_it_changes(path: Path) -> None:
    """The SCHEMA precedes the first record of a stream, and is repeated only when it changes."""
    dead_letters = DeadLetterFile(path)
    orders = SCHEMA.replace(b"users", b"orders")
    for schema, stream in [
        (SCHEMA, "users"),
        (SCHEMA, "users"),
        (orders, "orders"),
        (SCHEMA, "users"),
        (OTHER_SCHEMA, "users"),
        (OTHER_SCHEMA, "users"),
        (SCHEMA, "users"),
        (orders, "orders"),
    ]:
        dead_letters.append_record(
            schema, RECORD.replace(b"users", stream.encode()), make_error(stream)
        )
    dead_letters.close()
    sequence = "".join(message["type"][0] for message in read_back(path))
    assert sequence == "SRRSRRSRRSRR"


def test_second_run_appends(path: Path) -> None:
    """A second run keeps the records of the first and writes the SCHEMA again."""
    for _ in range(2):
        dead_letters = DeadLetterFile(path)
        dead_letters.append_record(SCHEMA, RECORD, make_error())
        dead_letters.close()
    assert [message["type"] for message in read_back(path)] == ["SCHEMA", "RECORD"] * 2


def test_incomplete_line_of_a_killed_run(path: Path) -> None:
    """An incomplete line of a killed run is ended before the first record of this run."""
    path.write_bytes(SCHEMA + RECORD[:20])
    dead_letters = DeadLetterFile(path)
    dead_letters.append_record(SCHEMA, RECORD, make_error())
    dead_letters.close()
    lines = path.read_bytes().splitlines()
    assert lines[:3] == [SCHEMA.strip(), RECORD[:20], SCHEMA.strip()]
    assert len(lines) == 4


def test_flush_writes_to_disk(path: Path) -> None:
    """After a flush the file contains the record, although it is still open."""
    dead_letters = DeadLetterFile(path)
    dead_letters.append_record(SCHEMA, RECORD, make_error())
    dead_letters.flush()
    assert [message["type"] for message in read_back(path)] == ["SCHEMA", "RECORD"]
    dead_letters.append_record(SCHEMA, RECORD, make_error())
    dead_letters.flush()
    assert len(read_back(path)) == 3
    dead_letters.close()


def test_closed_file_is_opened_again(path: Path) -> None:
    """`close` may be called twice, and a later record is appended."""
    dead_letters = DeadLetterFile(path)
    dead_letters.append_record(SCHEMA, RECORD, make_error())
    dead_letters.close()
    dead_letters.close()
    dead_letters.append_record(SCHEMA, RECORD, make_error())
    dead_letters.close()
    assert [message["type"] for message in read_back(path)] == ["SCHEMA", "RECORD", "RECORD"]


def test_file_is_private(path: Path) -> None:
    """Only the user may read the file, because records are personal data."""
    dead_letters = DeadLetterFile(path)
    dead_letters.append_record(SCHEMA, RECORD, make_error())
    dead_letters.close()
    assert stat.S_IMODE(path.stat().st_mode) == 0o600


def test_replayed_record_has_one_reason(path: Path) -> None:
    """A record that is rejected again has only the latest reason."""
    line = RECORD
    for reason in ("first", "second", "third"):
        path.unlink(missing_ok=True)
        dead_letters = DeadLetterFile(path)
        dead_letters.append_record(SCHEMA, line, InvalidRecordError("users", reason))
        dead_letters.close()
        line = path.read_bytes().splitlines(keepends=True)[1]
        assert line.count(b'"rejected"') == 1
        assert json.loads(line)["rejected"]["reason"] == reason
    assert line.startswith(RECORD.rstrip()[:-1])


@pytest.mark.parametrize(
    "record",
    [
        {"rejected": {"reason": "mine"}},
        {"a": ',"rejected":{"reason":"x"}'},
        {"a": 1, "rejected": {"reason": {"deep": [{}]}}},
        {},
    ],
    ids=["property", "value", "nested", "empty"],
)
@pytest.mark.parametrize("separators", [(",", ":"), (", ", ": ")], ids=["compact", "spaced"])
def test_property_named_rejected_is_kept(
    path: Path, record: dict[str, Any], separators: tuple[str, str]
) -> None:
    """A property `rejected` of the record itself is kept."""
    message = {"type": "RECORD", "stream": "users", "record": record}
    line = json.dumps(message, separators=separators).encode()
    dead_letters = DeadLetterFile(path)
    dead_letters.append_record(SCHEMA, line + b"\n", make_error())
    dead_letters.close()
    written = path.read_bytes().splitlines()[1]
    assert written.startswith(line[:-1])
    assert read_back(path)[1]["record"] == record


@given(
    st.dictionaries(st.text(), st.text() | st.integers() | st.none()),
    st.text(st.characters()),
    st.none() | st.text(st.characters()),
)
def test_any_record_can_be_read_back(
    record: dict[str, Any], reason: str, field: str | None
) -> None:
    """Any record and reason, even with lone surrogates, is read back unchanged."""
    line = json.dumps({"type": "RECORD", "stream": "users", "record": record}).encode() + b"\n"
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "rejects.singer")
        dead_letters = DeadLetterFile(path)
        dead_letters.append_record(SCHEMA, line, InvalidRecordError("users", reason, field=field))
        dead_letters.close()
        _, message = read_back(path)
    assert message["record"] == record
    assert message["rejected"]["reason"] == reason
    assert message["rejected"]["field"] == field


def test_concurrent_writes(path: Path) -> None:
    """Several threads may write and flush: every line is complete, and none is lost."""
    dead_letters = DeadLetterFile(path)

    def append_and_flush(number: int) -> None:
        dead_letters.append_record(
            SCHEMA, b'{"type":"RECORD","stream":"users","n":%d}' % number, make_error()
        )
        dead_letters.flush()

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(append_and_flush, range(100)))
    dead_letters.close()
    numbers = [message["n"] for message in read_back(path) if message["type"] == "RECORD"]
    assert sorted(numbers) == list(range(100))


# Failures


@pytest.mark.parametrize(
    ("path", "cause"),
    [("no/such/folder", "No such file or directory"), (".", "Is a directory")],
    ids=["missing folder", "folder"],
)
def test_file_that_cannot_be_created(tmp_path: Path, path: str, cause: str) -> None:
    """A file that cannot be created is named, with the cause."""
    dead_letters = DeadLetterFile(tmp_path / path)
    with pytest.raises(SpoolError, match=f"Cannot write {tmp_path}.*: {cause}"):
        dead_letters.append_record(SCHEMA, RECORD, make_error())
    dead_letters.close()


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs /dev/full")
def test_full_disk(tmp_path: Path) -> None:
    """A full disk fails every flush, so no STATE is written; `close` leaves no file open."""
    link = tmp_path / "rejects.singer"
    link.symlink_to("/dev/full")
    dead_letters = DeadLetterFile(link)
    dead_letters.append_record(SCHEMA, RECORD, make_error())
    for _ in range(2):
        with pytest.raises(SpoolError, match=r"rejects\.singer: No space left on device"):
            dead_letters.flush()
    with pytest.raises(SpoolError, match=r"No space left on device"):
        dead_letters.close()
    dead_letters.close()


def test_file_size_limit(path: Path) -> None:
    """A partial flush fails every time, so no STATE is written."""
    resource = pytest.importorskip("resource", reason="Windows has no resource limits")
    dead_letters = DeadLetterFile(path)
    old = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    try:
        resource.setrlimit(resource.RLIMIT_FSIZE, (100, hard))
        dead_letters.append_record(SCHEMA, RECORD, make_error())
        for _ in range(2):
            with pytest.raises(SpoolError, match=r"File too large"):
                dead_letters.flush()
        with pytest.raises(SpoolError):
            dead_letters.close()
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
        signal.signal(signal.SIGXFSZ, old)


@pytest.mark.parametrize("device", ["/dev/null", "a pipe"])
def test_pipe_or_device(tmp_path: Path, device: str) -> None:
    """A pipe or a device can be the dead-letter file, although it cannot be synced to disk."""
    path = Path(device)
    if device == "a pipe":
        path = tmp_path / "pipe"
        os.mkfifo(path)
        received: list[bytes] = []
        reader = threading.Thread(target=lambda: received.append(path.read_bytes()))
        reader.start()
    dead_letters = DeadLetterFile(path)
    dead_letters.append_record(SCHEMA, RECORD, make_error())
    dead_letters.flush()
    dead_letters.close()
    if device == "a pipe":
        reader.join(10)
        assert received[0].startswith(SCHEMA)
