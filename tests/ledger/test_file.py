"""The ledger's file: its lock, what it is bound to, and what happens when it is damaged."""

from __future__ import annotations

import os
import random
import shutil
import sqlite3
import stat
from contextlib import closing
from datetime import datetime, timezone
from typing import TYPE_CHECKING

import pytest

from target_segment_objects.delivery.interface import StreamInfo
from target_segment_objects.exceptions import LedgerError
from target_segment_objects.ledger.file import Destination, LedgerFile
from target_segment_objects.ledger.object_table import ObjectTable
from target_segment_objects.ledger.read_only import check_ledger, copy_ledger, read_ledger

if TYPE_CHECKING:
    from pathlib import Path

HERE = Destination("https://here", "key")
IDS: list[int | str] = [*range(200), *(f"id-{number}" for number in range(200))]
DIGESTS = [bytes([number % 251] * 8) for number in range(400)]


def open_objects(path: Path) -> ObjectTable:
    """Open a ledger for a run with the stream users."""
    objects = ObjectTable(
        LedgerFile.open(path, HERE), resend_after_days=0, today=datetime.now(timezone.utc).date()
    )
    objects.start()
    objects.register_stream(StreamInfo("users", "users", ("id",), ()))
    return objects


def create_ledger(path: Path) -> None:
    """Create a ledger in which the objects of `IDS` are accepted."""
    objects = open_objects(path)
    assert len(record(objects, DIGESTS)) == len(IDS)
    objects.commit()
    objects.mark_accepted("users", len(IDS))
    objects.end(is_complete=True)
    objects.close()


def record(objects: ObjectTable, digests: list[bytes]) -> list[int]:
    """Return which of the objects of `IDS` have to be sent."""
    return objects.record_chunk("users", IDS, digests, [1] * len(IDS))


def kill(objects: ObjectTable, path: Path, *, with_journal: bool = True) -> None:
    """Leave the files as a killed process would."""
    left = path.parent / "left"
    left.mkdir()
    for file in path.parent.glob(f"{path.name}*"):
        if with_journal or file == path:
            shutil.copy(file, left)
    objects.close()
    for file in left.iterdir():
        file.replace(path.parent / file.name)


@pytest.mark.skipif(os.name != "posix", reason="needs POSIX permissions")
def test_only_its_owner_can_read_it(tmp_path: Path) -> None:
    """It has ids of the user's data."""
    path = tmp_path / "ledger.sqlite"
    objects = open_objects(path)
    record(objects, DIGESTS)
    for file in (path, tmp_path / "ledger.sqlite-journal"):
        assert stat.S_IMODE(file.stat().st_mode) == 0o600
    objects.close()


def test_at_rest_it_is_one_file(tmp_path: Path) -> None:
    """After a run, nothing is beside it, and reading it writes nothing."""
    path = tmp_path / "ledger.sqlite"
    create_ledger(path)
    content = path.read_bytes()
    assert "It knows 400 objects" in check_ledger(path, HERE)
    copy_ledger(path, tmp_path / "copy.sqlite", HERE)
    (tmp_path / "copy.sqlite").unlink()
    assert list(tmp_path.iterdir()) == [path]
    assert path.read_bytes() == content


def test_second_run_is_refused(tmp_path: Path) -> None:
    """While a run has it open, neither a run nor a dry run nor a check can use it."""
    path = tmp_path / "ledger.sqlite"
    objects = open_objects(path)
    for use in (
        lambda: LedgerFile.open(path, HERE),
        lambda: copy_ledger(path, tmp_path / "copy.sqlite", HERE),
        lambda: check_ledger(path, HERE),
    ):
        with pytest.raises(LedgerError, match=r"^Another run is using the ledger .*Wait until"):
            use()
    objects.close()
    open_objects(path).close()


@pytest.mark.parametrize(
    ("destination", "message"),
    [
        pytest.param(
            Destination("https://there", "key"), "is for https://here, not for", id="address"
        ),
        pytest.param(Destination("https://here", "other"), "another write key", id="write key"),
    ],
)
def test_foreign_ledger_is_refused(tmp_path: Path, destination: Destination, message: str) -> None:
    """What was sent to another source says nothing of this one. The file stays as it is."""
    path = tmp_path / "ledger.sqlite"
    create_ledger(path)
    content = path.read_bytes()
    with pytest.raises(LedgerError, match=message):
        LedgerFile.open(path, destination)
    with pytest.raises(LedgerError, match=message):
        check_ledger(path, destination)
    assert path.read_bytes() == content


def test_it_has_no_write_key(tmp_path: Path) -> None:
    """Only a salted fingerprint of the write key is in it, another in each file."""
    fingerprints = set()
    key = "write-key-that-nobody-may-see"
    for name in ("a", "b"):
        LedgerFile.open(tmp_path / name, Destination("https://here", key)).close()
        assert key.encode() not in (tmp_path / name).read_bytes()
        with closing(sqlite3.connect(tmp_path / name)) as connection:
            query = "SELECT value FROM meta WHERE key = 'key_fingerprint'"
            fingerprints.add(connection.execute(query).fetchone())
    assert len(fingerprints) == 2


@pytest.mark.parametrize(
    ("version", "message"),
    [
        pytest.param(1, "format 1.*needs the format 2. Move it away", id="older"),
        pytest.param(3, "format 3.*needs the format 2. Install a newer version", id="newer"),
    ],
)
def test_another_format_is_refused(tmp_path: Path, version: int, message: str) -> None:
    """The message says what to do with an older and with a newer file."""
    path = tmp_path / "ledger.sqlite"
    create_ledger(path)
    with closing(sqlite3.connect(path)) as connection:
        connection.execute(f"PRAGMA user_version = {version}")
    with pytest.raises(LedgerError, match=message):
        LedgerFile.open(path, HERE)


def test_another_file_is_refused(tmp_path: Path) -> None:
    """Neither a text file nor another SQLite file is taken for a ledger, or changed."""
    text, database = tmp_path / "notes.txt", tmp_path / "other.sqlite"
    text.write_text("not a database" * 100, encoding="utf-8")
    with closing(sqlite3.connect(database)) as connection:
        connection.execute("CREATE TABLE mine (x)")
    before = database.read_bytes()
    with pytest.raises(
        LedgerError, match=r"notes.txt is not a ledger, or it is damaged: .* Check the"
    ):
        LedgerFile.open(text, HERE)
    with pytest.raises(LedgerError, match=r"is not a ledger. Set ledger_path to another file"):
        LedgerFile.open(database, HERE)
    assert database.read_bytes() == before


def test_folder_that_does_not_exist(tmp_path: Path) -> None:
    """The message names the file, the reason and what to check."""
    path = tmp_path / "missing" / "ledger.sqlite"
    with pytest.raises(LedgerError, match=r"cannot be written: No such file.*Check the folder"):
        LedgerFile.open(path, HERE)
    with pytest.raises(LedgerError, match=r"cannot be written: No such file.*Check the folder"):
        check_ledger(path, HERE)


def test_killed_run_is_completed(tmp_path: Path) -> None:
    """What was accepted before the kill is not sent again; what was not is."""
    path = tmp_path / "ledger.sqlite"
    objects = open_objects(path)
    record(objects, DIGESTS)
    objects.commit()
    objects.mark_accepted("users", 300)
    objects.commit()
    kill(objects, path)
    objects = open_objects(path)
    assert record(objects, DIGESTS) == [*range(300, 400)]
    objects.close()


@pytest.mark.parametrize("with_journal", [True, False], ids=["with journal", "without journal"])
def test_killed_run_is_not_believed(tmp_path: Path, *, with_journal: bool) -> None:
    """What was on its way is sent again, even if only the main file was kept after the kill."""
    path = tmp_path / "ledger.sqlite"
    create_ledger(path)
    objects = open_objects(path)
    record(objects, [b"another!"] * len(IDS))
    objects.commit()
    kill(objects, path, with_journal=with_journal)
    assert "It knows 400 objects" in check_ledger(path, HERE)
    objects = open_objects(path)
    assert record(objects, DIGESTS) == [*range(400)]
    objects.close()


@pytest.mark.parametrize("seed", range(40))
def test_damaged_ledger_never_skips_wrongly(tmp_path: Path, seed: int) -> None:
    """Bytes changed or cut off: it is refused, or what is changed is sent; nothing else happens."""
    rng = random.Random(seed)  # noqa: S311 - not a secret
    path = tmp_path / "ledger.sqlite"
    create_ledger(path)
    content = bytearray(path.read_bytes())
    if seed % 4 == 0:
        del content[rng.randrange(len(content)) :]
    for _ in range(rng.choice((1, 10, 1000))):
        if content:
            content[rng.randrange(len(content))] = rng.randrange(256)
    path.write_bytes(content)
    changed = [bytes([255 - number % 251] * 8) for number in range(400)]
    try:
        objects = open_objects(path)
        assert record(objects, changed) == [*range(400)]
        objects.end(is_complete=True)
        objects.close()
    except LedgerError as error:
        message = str(error)
        assert str(path) in message
        assert "\n" not in message


@pytest.mark.skipif(os.name != "posix", reason="needs symbolic links")
def test_link_to_a_ledger(tmp_path: Path) -> None:
    """What a killed run has left beside the file is found through a link to it, too."""
    path, link = tmp_path / "ledger.sqlite", tmp_path / "links" / "link"
    link.parent.mkdir()
    link.symlink_to(path)
    create_ledger(link)
    objects = open_objects(link)
    record(objects, [b"another!"] * len(IDS))
    objects.commit()
    with objects._file.access(write=True) as connection:  # noqa: SLF001 - as large changes do
        connection.execute("PRAGMA cache_size = 1")
        connection.execute("UPDATE object SET digest = randomblob(8)")
    kill(objects, path)
    assert path.with_name(f"{path.name}-journal").stat().st_size > 0
    assert "It knows 400 objects" in check_ledger(link, HERE)
    copy_ledger(link, tmp_path / "copy.sqlite", HERE)
    for file in (tmp_path / "copy.sqlite", link):
        objects = open_objects(file)
        assert record(objects, DIGESTS) == [*range(400)]
        objects.close()
    assert list(link.parent.iterdir()) == [link]


@pytest.mark.skipif(os.name != "posix", reason="needs symbolic links")
def test_link_to_nothing(tmp_path: Path) -> None:
    """The ledger is created where the link leads; the message names the link and that place."""
    link, loop = tmp_path / "link", tmp_path / "loop"
    link.symlink_to(tmp_path / "volume" / "ledger.sqlite")
    loop.symlink_to(loop)
    for use in (lambda: LedgerFile.open(link, HERE), lambda: check_ledger(link, HERE)):
        with pytest.raises(LedgerError, match=r"link, a link to .*volume/ledger.sqlite, cannot"):
            use()
    for use in (lambda: LedgerFile.open(loop, HERE), lambda: check_ledger(loop, HERE)):
        with pytest.raises(LedgerError, match=r"a link to .*loop, cannot be written"):
            use()
    (tmp_path / "volume").mkdir()
    assert "can be created" in check_ledger(link, HERE)
    create_ledger(link)
    assert stat.S_IMODE((tmp_path / "volume" / "ledger.sqlite").stat().st_mode) == 0o600
    assert "It knows 400 objects" in check_ledger(link, HERE)


def test_empty_file(tmp_path: Path) -> None:
    """A run takes it for a new ledger, as a check and a dry run say; what shows one, says so."""
    path = tmp_path / "ledger.sqlite"
    path.touch()
    assert "is empty. The next run sends everything" in check_ledger(path, HERE)
    copy_ledger(path, tmp_path / "copy.sqlite", HERE)
    assert not (tmp_path / "copy.sqlite").exists()
    for use in (lambda: read_ledger(path).__enter__(), lambda: LedgerFile.open_existing(path)):
        with pytest.raises(LedgerError, match=r"is empty: no run has used it, or its content is"):
            use()
    assert path.stat().st_size == 0
    create_ledger(path)


def test_file_of_one_byte_is_refused(tmp_path: Path) -> None:
    """SQLite takes it for an empty file, and would overwrite it."""
    path = tmp_path / "marker"
    path.write_bytes(b"1")
    for use in (lambda: LedgerFile.open(path, HERE), lambda: check_ledger(path, HERE)):
        with pytest.raises(LedgerError, match=r"is not a ledger. Set ledger_path to another file"):
            use()
    assert path.read_bytes() == b"1"


def test_no_use_after_an_error(tmp_path: Path) -> None:
    """After a failed write, nothing is committed: the failure may have undone a record."""
    file = LedgerFile.open(tmp_path / "ledger.sqlite", HERE)
    with pytest.raises(LedgerError), file.access(write=True) as connection:
        connection.execute("INSERT INTO nowhere VALUES (1)")
    with pytest.raises(LedgerError):
        file.commit()
    file.close()
