"""The dead-letter file: Singer input that says why, is on disk when it must be, and comes back."""

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
    pytest.skip("POSIX's ways to break a disk", allow_module_level=True)

SCHEMA = b'{"type": "SCHEMA", "stream": "users", "schema": {}, "key_properties": ["id"]}\n'
OTHER_SCHEMA = SCHEMA.replace(b'["id"]', b'["key"]')
RECORD = b'{"type": "RECORD", "stream": "users", "record": {"id": 1.500, "\\u00e4": "\xc3\xa4"}}\n'


def error(stream: str = "users", field: str | None = "id") -> InvalidRecordError:
    """Return why a record is refused."""
    return InvalidRecordError(stream, 'it is "odd"', field=field)


def replayed(path: Path) -> list[dict[str, Any]]:
    """Read a dead-letter file as the target would."""
    messages: list[dict[str, Any]] = []
    with path.open("rb") as file:
        MessageReader().process_lines(file, {"SCHEMA": messages.append, "RECORD": messages.append})
    return messages


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """Where the file will be."""
    return tmp_path / "rejects.singer"


def test_nothing_rejected_is_no_file(path: Path) -> None:
    """A run without invalid records makes no file."""
    letters = DeadLetterFile(path)
    letters.flush()
    letters.close()
    assert not path.exists()


def test_a_record_comes_back_as_it_came(path: Path) -> None:
    """The file has the SCHEMA, and the RECORD's bytes with one more member that says why."""
    letters = DeadLetterFile(path)
    before = datetime.datetime.now(tz=datetime.timezone.utc).replace(microsecond=0)
    letters.append_record(SCHEMA, RECORD, error())
    letters.close()
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


@pytest.mark.parametrize("end", [b"", b"\n", b"\r\n", b"  \n"])
def test_line_ends(path: Path, end: bytes) -> None:
    """However a line ended, or if it did not, it is a line of its own here."""
    letters = DeadLetterFile(path)
    letters.append_record(SCHEMA.strip() + end, RECORD.strip() + end, error())
    letters.append_record(SCHEMA.strip() + end, RECORD.strip() + end, error())
    letters.close()
    assert [message["type"] for message in replayed(path)] == ["SCHEMA", "RECORD", "RECORD"]


def test_a_schema_is_written_once_until_it_changes(path: Path) -> None:
    """Each stream's SCHEMA precedes its first record, and is said again only when it changes."""
    letters = DeadLetterFile(path)
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
        letters.append_record(schema, RECORD.replace(b"users", stream.encode()), error(stream))
    letters.close()
    short = "".join(message["type"][0] for message in replayed(path))
    assert short == "SRRSRRSRRSRR"


def test_a_second_run_appends(path: Path) -> None:
    """What an earlier run rejected stays; the new run says its SCHEMA again."""
    for _ in range(2):
        letters = DeadLetterFile(path)
        letters.append_record(SCHEMA, RECORD, error())
        letters.close()
    assert [message["type"] for message in replayed(path)] == ["SCHEMA", "RECORD"] * 2


def test_after_a_run_that_died_in_a_line(path: Path) -> None:
    """Half a line of an earlier run spoils no line of this one."""
    path.write_bytes(SCHEMA + RECORD[:20])
    letters = DeadLetterFile(path)
    letters.append_record(SCHEMA, RECORD, error())
    letters.close()
    lines = path.read_bytes().splitlines()
    assert lines[:3] == [SCHEMA.strip(), RECORD[:20], SCHEMA.strip()]
    assert len(lines) == 4


def test_flush_has_it_on_disk(path: Path) -> None:
    """After a flush the file has the record, though nobody closed it."""
    letters = DeadLetterFile(path)
    letters.append_record(SCHEMA, RECORD, error())
    letters.flush()
    assert [message["type"] for message in replayed(path)] == ["SCHEMA", "RECORD"]
    letters.append_record(SCHEMA, RECORD, error())
    letters.flush()
    assert len(replayed(path)) == 3
    letters.close()


def test_what_is_closed_opens_again(path: Path) -> None:
    """Close may come twice, and a record after it is appended."""
    letters = DeadLetterFile(path)
    letters.append_record(SCHEMA, RECORD, error())
    letters.close()
    letters.close()
    letters.append_record(SCHEMA, RECORD, error())
    letters.close()
    assert [message["type"] for message in replayed(path)] == ["SCHEMA", "RECORD", "RECORD"]


def test_the_file_is_private(path: Path) -> None:
    """Rejected records are personal data: nobody else may read a file that we make."""
    letters = DeadLetterFile(path)
    letters.append_record(SCHEMA, RECORD, error())
    letters.close()
    assert stat.S_IMODE(path.stat().st_mode) == 0o600


def test_a_replay_has_one_reason(path: Path) -> None:
    """A record that is rejected again, and again, says why once: the last time."""
    line = RECORD
    for reason in ("first", "second", "third"):
        path.unlink(missing_ok=True)
        letters = DeadLetterFile(path)
        letters.append_record(SCHEMA, line, InvalidRecordError("users", reason))
        letters.close()
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
)
@pytest.mark.parametrize("separators", [(",", ":"), (", ", ": ")])
def test_a_record_that_looks_like_ours(
    path: Path, record: dict[str, Any], separators: tuple[str, str]
) -> None:
    """A property called `rejected` is the record's own, and stays."""
    message = {"type": "RECORD", "stream": "users", "record": record}
    line = json.dumps(message, separators=separators).encode()
    letters = DeadLetterFile(path)
    letters.append_record(SCHEMA, line + b"\n", error())
    letters.close()
    written = path.read_bytes().splitlines()[1]
    assert written.startswith(line[:-1])
    assert replayed(path)[1]["record"] == record


@given(
    st.dictionaries(st.text(), st.text() | st.integers() | st.none()),
    st.text(st.characters()),
    st.none() | st.text(st.characters()),
)
def test_any_record_comes_back(record: dict[str, Any], reason: str, field: str | None) -> None:
    """Whatever the record and the reason, half surrogates included: valid Singer, same record."""
    line = json.dumps({"type": "RECORD", "stream": "users", "record": record}).encode() + b"\n"
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "rejects.singer")
        letters = DeadLetterFile(path)
        letters.append_record(SCHEMA, line, InvalidRecordError("users", reason, field=field))
        letters.close()
        _, message = replayed(path)
    assert message["record"] == record
    assert message["rejected"]["reason"] == reason
    assert message["rejected"]["field"] == field


def test_threads(path: Path) -> None:
    """Records, flushes and closes of many threads leave whole lines, none lost."""
    letters = DeadLetterFile(path)

    def work(number: int) -> None:
        letters.append_record(
            SCHEMA, b'{"type":"RECORD","stream":"users","n":%d}' % number, error()
        )
        letters.flush()

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(work, range(100)))
    letters.close()
    numbers = [message["n"] for message in replayed(path) if message["type"] == "RECORD"]
    assert sorted(numbers) == list(range(100))


# Failures


@pytest.mark.parametrize(
    ("where", "cause"), [("no/such/folder", "No such file or directory"), (".", "Is a directory")]
)
def test_a_file_that_cannot_be_opened(tmp_path: Path, where: str, cause: str) -> None:
    """A file that cannot be made is named, with the cause."""
    letters = DeadLetterFile(tmp_path / where)
    with pytest.raises(SpoolError, match=f"Cannot write {tmp_path}.*: {cause}"):
        letters.append_record(SCHEMA, RECORD, error())
    letters.close()


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="no disk that is always full")
def test_a_disk_that_is_full(tmp_path: Path) -> None:
    """A disk that takes nothing is told of before a STATE may pass; close leaves no open file."""
    link = tmp_path / "rejects.singer"
    link.symlink_to("/dev/full")
    letters = DeadLetterFile(link)
    letters.append_record(SCHEMA, RECORD, error())
    for _ in range(2):
        with pytest.raises(SpoolError, match=r"rejects\.singer: No space left on device"):
            letters.flush()
    with pytest.raises(SpoolError, match=r"No space left on device"):
        letters.close()
    letters.close()


def test_a_file_that_may_not_grow(path: Path) -> None:
    """A flush that took a part only is an error every time: the STATE behind it never goes."""
    resource = pytest.importorskip("resource", reason="Windows has no such limits")
    letters = DeadLetterFile(path)
    old = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    try:
        resource.setrlimit(resource.RLIMIT_FSIZE, (100, hard))
        letters.append_record(SCHEMA, RECORD, error())
        for _ in range(2):
            with pytest.raises(SpoolError, match=r"File too large"):
                letters.flush()
        with pytest.raises(SpoolError):
            letters.close()
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
        signal.signal(signal.SIGXFSZ, old)


@pytest.mark.parametrize("device", ["/dev/null", "a pipe"])
def test_what_is_no_disk(tmp_path: Path, device: str) -> None:
    """A pipe or a device has no disk to be flushed to, and is written all the same."""
    path = Path(device)
    if device == "a pipe":
        path = tmp_path / "pipe"
        os.mkfifo(path)
        got: list[bytes] = []
        reading = threading.Thread(target=lambda: got.append(path.read_bytes()))
        reading.start()
    letters = DeadLetterFile(path)
    letters.append_record(SCHEMA, RECORD, error())
    letters.flush()
    letters.close()
    if device == "a pipe":
        reading.join(10)
        assert got[0].startswith(SCHEMA)
