"""The folders of killed runs: found and removed, and nothing else is."""

from __future__ import annotations

import os
import platform
import signal
import subprocess
import sys
from contextlib import contextmanager
from typing import TYPE_CHECKING

import pytest

from target_segment_objects.delivery import spool_folder
from target_segment_objects.delivery.batch import Batch
from target_segment_objects.delivery.spool import Spool
from target_segment_objects.delivery.spool_folder import (
    FOLDER_PREFIX,
    LOCK_NAME,
    SpoolFolder,
    remove_abandoned_folders,
)
from tests.support import RUN_SECONDS

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="kills processes in POSIX ways")

RUN = """
import sys
from target_segment_objects.delivery.batch import Batch
from target_segment_objects.delivery.spool import Spool

batch = Batch("users", Spool(sys.argv[1]), max_file_bytes=10)
for _ in range(3):
    batch.add_lines([b"123456789"])
print(batch.files[0].path.parent, flush=True)
sys.stdin.read()
"""


@contextmanager
def running_process(parent: Path) -> Iterator[subprocess.Popen[str]]:
    """Run a process that has batch files, until the end of the block."""
    with subprocess.Popen(
        [sys.executable, "-c", RUN, str(parent)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stdout is not None
        assert str(parent) in process.stdout.readline()
        try:
            yield process
        finally:
            process.kill()
            process.wait(RUN_SECONDS)


def create_abandoned_folder(parent: Path, host: str | None = None) -> Path:
    """Create a folder as a killed run on a host leaves it."""
    path = parent / f"{FOLDER_PREFIX}abandoned"
    path.mkdir()
    (path / LOCK_NAME).write_text(platform.node() if host is None else host, encoding="utf-8")
    (path / "000001.jsonl.gz").write_bytes(bytes(2_000_000))
    return path


def use_spool(parent: Path) -> None:
    """Write a batch file and remove it, as a run does."""
    spool = Spool(str(parent))
    batch = Batch("users", spool, max_file_bytes=100)
    batch.add_lines([b"{}"])
    batch.close()
    spool.close()


def test_folder_of_a_killed_run_is_removed(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """The next run removes it, with one line in the log."""
    with running_process(tmp_path) as process:
        process.send_signal(signal.SIGKILL)
        process.wait(RUN_SECONDS)
    (left,) = tmp_path.iterdir()
    assert len(list(left.glob("*.gz"))) == 3
    use_spool(tmp_path)
    assert list(tmp_path.iterdir()) == []
    (record,) = caplog.records
    assert record.levelname == "WARNING"
    assert (
        f"Removed 1 folder with 0.0 MB of batch files that killed runs had left in {tmp_path}"
        in (record.message)
    )


def test_folder_of_a_running_process_is_left_alone(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Its lock is held."""
    with running_process(tmp_path):
        use_spool(tmp_path)
        (folder,) = tmp_path.iterdir()
        assert len(list(folder.glob("*.gz"))) == 3
    assert caplog.records == []


def test_folder_of_this_process_is_left_alone(tmp_path: Path) -> None:
    """Two spools of one process, as in a check during a run."""
    spool = Spool(str(tmp_path))
    first = spool.new_path()
    use_spool(tmp_path)
    assert first.parent.is_dir()
    spool.close()


def test_reported_size_is_that_of_the_batch_files(tmp_path: Path) -> None:
    """In bytes, as they are on disk."""
    create_abandoned_folder(tmp_path)
    abandoned = remove_abandoned_folders(tmp_path)
    assert (abandoned.removed, abandoned.removed_bytes, abandoned.foreign) == (1, 2_000_000, [])
    assert list(tmp_path.iterdir()) == []


def test_folder_of_another_host_is_reported(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Its lock may not be visible here, so it is not removed."""
    folder = create_abandoned_folder(tmp_path, host="another")
    caplog.set_level("INFO")
    use_spool(tmp_path)
    assert (folder / "000001.jsonl.gz").exists()
    assert f"Batch files of other hosts are in {tmp_path}" in caplog.text
    assert folder.name in caplog.text


@pytest.mark.parametrize("content", ["no lock file", "empty lock file"])
def test_folder_that_is_being_created_is_left_alone(tmp_path: Path, content: str) -> None:
    """Its run has not written its host's name yet."""
    folder = create_abandoned_folder(tmp_path, host="")
    if content == "no lock file":
        (folder / LOCK_NAME).unlink()
    assert remove_abandoned_folders(tmp_path).removed == 0
    assert folder.is_dir()


def test_links_and_files_are_left_alone(tmp_path: Path) -> None:
    """Only a folder can be a run's, and only under its own name."""
    other = tmp_path / "other"
    other.mkdir()
    folder = create_abandoned_folder(other)
    (tmp_path / f"{FOLDER_PREFIX}link").symlink_to(folder)
    (tmp_path / f"{FOLDER_PREFIX}file").write_text("x", encoding="utf-8")
    (other / "unrelated").mkdir()
    assert remove_abandoned_folders(tmp_path).removed == 0
    assert (folder / "000001.jsonl.gz").exists()


@pytest.mark.skipif(
    sys.platform == "win32" or os.geteuid() != 0,
    reason="only root can create another user's folder",
)
def test_folder_of_another_user_is_left_alone(tmp_path: Path) -> None:
    """Also if permissions would allow its removal."""
    folder = create_abandoned_folder(tmp_path)
    os.chown(folder, 12345, -1)
    assert remove_abandoned_folders(tmp_path).removed == 0
    assert folder.is_dir()


def test_folder_whose_lock_is_taken_is_not_used(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """If another run is just looking at a new folder, the next attempt creates another one."""
    lock_file = spool_folder._lock_file  # noqa: SLF001 - the moment cannot be had otherwise
    attempts: list[int] = []

    def fail_once(descriptor: int) -> None:
        attempts.append(descriptor)
        if len(attempts) == 1:
            raise BlockingIOError
        lock_file(descriptor)

    monkeypatch.setattr(spool_folder, "_lock_file", fail_once)
    folder = SpoolFolder.create(str(tmp_path))
    assert list(tmp_path.iterdir()) == [folder.path]
    folder.remove()
    assert len(attempts) == 2


def test_file_system_without_locks_is_usable(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The folder has no lock file, so that no other run takes it for abandoned."""

    def fail(_: int) -> None:
        raise OSError(95, "Operation not supported")

    monkeypatch.setattr(spool_folder, "_lock_file", fail)
    folder = SpoolFolder.create(str(tmp_path))
    assert list(folder.path.iterdir()) == []
    assert remove_abandoned_folders(tmp_path).removed == 0
    folder.remove()
    assert list(tmp_path.iterdir()) == []


def test_parent_that_cannot_be_listed_is_usable(tmp_path: Path) -> None:
    """Nothing is removed, and nothing fails."""
    assert remove_abandoned_folders(tmp_path / "gone").removed == 0
