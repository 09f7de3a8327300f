"""Batch files: limits, bytes, the folder, and a disk that does not do as it should."""

from __future__ import annotations

import gzip
import itertools
import os
import random
import stat
import subprocess
import sys
import tracemalloc
from pathlib import Path

import psutil
import pytest
from hypothesis import given
from hypothesis import strategies as st

from target_segment_objects.delivery.spool import Batch, Spool
from target_segment_objects.exceptions import SpoolError

if sys.platform == "win32":
    pytest.skip("POSIX's ways to break a disk", allow_module_level=True)

LINE = b'{"id":"1","collection":"users","properties":{"a":1}}'


@pytest.fixture
def spool(tmp_path: Path) -> Spool:
    """A spool in the test's own folder."""
    return Spool(str(tmp_path))


def lines_of(batch: Batch) -> list[list[bytes]]:
    """Return the lines of each file, as Python's gzip reads them."""
    return [gzip.decompress(file.path.read_bytes()).splitlines() for file in batch.files]


# Limits


@pytest.mark.parametrize(("limit", "files"), [(40, [4]), (39, [3, 1]), (30, [3, 1]), (29, [2, 2])])
def test_a_file_ends_before_its_limit(spool: Spool, limit: int, files: list[int]) -> None:
    """Lines of ten bytes: a file takes them up to its limit exactly, and never one past it."""
    batch = Batch("users", spool, max_file_bytes=limit)
    for _ in range(4):
        batch.add(b"123456789")
    batch.close()
    assert [file.objects for file in batch.files] == files
    assert all(file.raw_bytes <= limit for file in batch.files)


@given(
    st.lists(st.binary(min_size=1, max_size=40).filter(lambda one: b"\n" not in one)),
    st.integers(41, 200),
)
def test_files_hold_the_lines_in_order(lines: list[bytes], limit: int) -> None:
    """Whatever the lines and the limit: all lines, in order, no file over it, none needlessly."""
    spool = Spool()
    batch = Batch("users", spool, max_file_bytes=limit)
    for line in lines:
        batch.add(line)
    batch.close()
    contents = [gzip.decompress(file.path.read_bytes()) for file in batch.files]
    spool.close()
    assert b"".join(contents) == b"".join(line + b"\n" for line in lines)
    assert [file.raw_bytes for file in batch.files] == [len(content) for content in contents]
    assert all(0 < len(content) <= limit for content in contents)
    for content, following in itertools.pairwise(contents):
        assert len(content) + following.index(b"\n") + 1 > limit
    assert batch.objects == len(lines) == sum(file.objects for file in batch.files)


def test_a_line_longer_than_a_file_is_refused(spool: Spool) -> None:
    """A line that no file could take raises before anything is written, and can be left out."""
    batch = Batch("users", spool, max_file_bytes=10)
    batch.add(b"123456789")
    with pytest.raises(ValueError, match=r"11 bytes in files of at most 10"):
        batch.add(b"1234567890")
    batch.close()
    assert lines_of(batch) == [[b"123456789"]]


# Bytes


def _written(folder: Path, count: int = 30_000) -> Batch:
    batch = Batch("users", Spool(str(folder)), max_file_bytes=1_000_000)
    numbers = random.Random(7)  # noqa: S311 - not a secret
    for number in range(count):
        batch.add(b'{"id":"%d","v":"%x"}' % (number, numbers.getrandbits(200)))
    batch.close()
    return batch


def test_bytes_are_a_function_of_the_lines(tmp_path: Path) -> None:
    """The same lines give the same bytes, in whatever folder and at whatever time."""
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
    first, second = _written(tmp_path / "a"), _written(tmp_path / "b")
    os.utime(first.files[0].path, (0, 0))
    assert len(first.files) > 1
    for one, other in zip(first.files, second.files, strict=True):
        assert one.path.read_bytes() == other.path.read_bytes()
        assert one.path.read_bytes()[:8] == b"\x1f\x8b\x08\x00\x00\x00\x00\x00", "no name, no time"


def test_sizes(tmp_path: Path) -> None:
    """What a batch says of its sizes is what its files are, and they are compressed."""
    batch = _written(tmp_path)
    assert [file.gzip_bytes for file in batch.files] == [
        file.path.stat().st_size for file in batch.files
    ]
    raw = [len(gzip.decompress(file.path.read_bytes())) for file in batch.files]
    assert [file.raw_bytes for file in batch.files] == raw
    assert batch.raw_bytes == sum(raw)
    assert batch.gzip_bytes == sum(file.gzip_bytes for file in batch.files) < batch.raw_bytes
    assert batch.objects == 30_000


def test_memory_is_flat(spool: Spool) -> None:
    """Thirty megabytes of lines leave no more in memory than three do."""
    batch = Batch("users", spool, max_file_bytes=10_000_000)
    line = bytes(random.Random(1).choices(range(48, 123), k=1000))  # noqa: S311 - not a secret
    tracemalloc.start()
    peaks = []
    for _ in range(10):
        for _ in range(3000):
            batch.add(line)
        peaks.append(tracemalloc.get_traced_memory()[1])
    tracemalloc.stop()
    batch.close()
    assert len(batch.files) == 4
    assert peaks[-1] < 1_000_000
    assert peaks[-1] < peaks[4] + 100_000  # the first files are closed by then


def test_no_file_is_held_open(spool: Spool) -> None:
    """A hundred open batches need no file descriptor: some systems give a process 256."""
    before = psutil.Process().num_fds()
    batches = [Batch(f"c{number}", spool, max_file_bytes=1000) for number in range(100)]
    for batch in batches:
        batch.add(LINE)
    assert psutil.Process().num_fds() == before
    for batch in batches:
        batch.close()
    assert all(lines_of(batch) == [[LINE]] for batch in batches)


def test_an_empty_batch(spool: Spool, tmp_path: Path) -> None:
    """A batch to which nothing was added writes nothing, not even the folder."""
    batch = Batch("users", spool, max_file_bytes=100)
    batch.close()
    batch.delete()
    assert (batch.files, batch.objects, batch.raw_bytes, batch.gzip_bytes) == ([], 0, 0, 0)
    assert list(tmp_path.iterdir()) == []


def test_adding_goes_on_after_close(spool: Spool) -> None:
    """A closed batch may be closed again; what is added after goes to a further file."""
    batch = Batch("users", spool, max_file_bytes=100)
    batch.add(b"1")
    batch.close()
    batch.close()
    batch.add(b"2")
    batch.close()
    assert lines_of(batch) == [[b"1"], [b"2"]]


def test_delete(spool: Spool) -> None:
    """Delete removes the files, closed and open; one that is gone already is no matter."""
    batch = Batch("users", spool, max_file_bytes=20)
    for _ in range(5):
        batch.add(b"123456789")
    folder = batch.files[0].path.parent
    batch.files[0].path.unlink()
    batch.delete()
    batch.delete()
    assert list(folder.iterdir()) == []


def test_delete_without_the_right_to(spool: Spool, caplog: pytest.LogCaptureFixture) -> None:
    """A file that cannot be removed is told of, and stops nobody: it was delivered."""
    batch = Batch("users", spool, max_file_bytes=100)
    batch.add(LINE)
    batch.close()
    path = batch.files[0].path
    path.unlink()
    path.mkdir()  # stands for whatever `unlink` refuses: root may remove any file
    batch.delete()
    assert f"Cannot remove {path}" in caplog.text


# The folder


def test_the_folder_is_private(spool: Spool, tmp_path: Path) -> None:
    """The folder is the user's own; a second spool has another."""
    first, second = spool.new_path(), Spool(str(tmp_path)).new_path()
    assert first.parent != second.parent
    assert first.parent.parent == tmp_path
    assert stat.S_IMODE(first.parent.stat().st_mode) == 0o700


def test_close_removes_the_folder(spool: Spool, tmp_path: Path) -> None:
    """Close removes the folder with all that is in it, once; a spool may be used again after."""
    batch = Batch("users", spool, max_file_bytes=10)
    batch.add(b"1")
    batch.close()
    spool.close()
    spool.close()
    assert list(tmp_path.iterdir()) == []
    assert spool.new_path().parent.is_dir()
    spool.close()
    assert list(tmp_path.iterdir()) == []


def _python(code: str, folder: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-W", "error", "-c", code, str(folder)],
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )


@pytest.mark.parametrize(
    "end", ["", "raise RuntimeError", "sys.exit(3)", "os.kill(os.getpid(), signal.SIGINT)"]
)
def test_the_folder_is_removed_at_exit(tmp_path: Path, end: str) -> None:
    """A process that ends without closing its spool, well or not, leaves nothing behind."""
    ran = _python(
        "import os, signal, sys\n"
        "from target_segment_objects.delivery.spool import Batch, Spool\n"
        "batch = Batch('users', Spool(sys.argv[1]), max_file_bytes=100)\n"
        "batch.add(b'1')\n"
        "assert len(os.listdir(sys.argv[1])) == 1\n"
        f"{end}\n",
        tmp_path,
    )
    assert (ran.returncode == 0) == (end == ""), ran.stderr
    assert list(tmp_path.iterdir()) == []


# Failures


def test_a_parent_that_is_none(tmp_path: Path) -> None:
    """A folder that is not there is named, with the cause."""
    spool = Spool(str(tmp_path / "gone"))
    batch = Batch("users", spool, max_file_bytes=100)
    with pytest.raises(SpoolError, match=r"Cannot make .* in .*/gone: No such file or directory"):
        batch.add(LINE)


def test_a_parent_that_is_not_writable() -> None:
    """A folder that nothing can be made in is named, with the cause."""
    if not Path("/proc/self/fd").is_dir():
        pytest.skip("needs a folder that even root cannot write to")
    with pytest.raises(SpoolError, match=r"Cannot make .* in /proc/self/fd: "):
        Spool("/proc/self/fd").new_path()


def test_no_temporary_folder(monkeypatch: pytest.MonkeyPatch) -> None:
    """A system without any temporary folder is an error of ours, too."""

    def none() -> str:
        raise FileNotFoundError(2, "No usable temporary directory found")

    monkeypatch.setattr("tempfile.gettempdir", none)
    with pytest.raises(SpoolError, match=r"the system's temporary folder: No usable"):
        Spool().new_path()


@pytest.mark.parametrize("when", ["before a file", "in a file"])
def test_a_folder_that_vanishes(spool: Spool, when: str) -> None:
    """A folder that is removed under a run is named; nothing is written to where it was."""
    folder = spool.new_path().parent
    batch = Batch("users", spool, max_file_bytes=1_000_000)
    if when == "in a file":
        batch.add(LINE)
    spool.close()
    folder.mkdir() if when == "in a file" else spool.new_path().parent.rmdir()
    with pytest.raises(SpoolError, match=r"Cannot write /.*\.gz: No such file or directory"):
        _add_and_close(batch)
    batch.delete()


def _add_and_close(batch: Batch) -> None:
    for _ in range(2000):
        batch.add(LINE)
    batch.close()


DISK_FULL = """
import resource, signal, sys
from target_segment_objects.delivery.spool import Batch, Spool
from target_segment_objects.exceptions import SpoolError

signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, resource.RLIM_INFINITY))
batch = Batch('users', Spool(sys.argv[1]), max_file_bytes=10_000_000)
said = []
import random
numbers = random.Random(1)
for _ in range(3):
    try:
        for _ in range(5_000):
            batch.add(numbers.randbytes(100).hex().encode())
    except SpoolError as error:
        said.append(str(error))
for _ in range(2):
    try:
        batch.close()
    except SpoolError as error:
        said.append(str(error))
assert batch.files == []
batch.delete()
resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
print(*said, sep='\\n')
"""


def test_a_disk_that_is_full(tmp_path: Path) -> None:
    """A file that may not grow is named with the cause, each time: no half file is ever closed."""
    ran = _python(DISK_FULL, tmp_path)
    assert ran.returncode == 0, ran.stderr
    assert ran.stderr == ""
    said = ran.stdout.splitlines()
    assert len(said) == 5
    assert len(set(said)) == 1
    assert said[0].startswith(f"Cannot write {tmp_path}/segment-objects-")
    assert "000001.jsonl.gz: File too large." in said[0]
    assert "Free some space" in said[0]
    assert list(tmp_path.iterdir()) == []


def test_too_many_open_files(spool: Spool) -> None:
    """A process that may open no further file says so, and the line can be added later."""
    resource = pytest.importorskip("resource", reason="Windows has no such limits")
    batch = Batch("users", spool, max_file_bytes=1000)
    spool.new_path()
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    try:
        resource.setrlimit(resource.RLIMIT_NOFILE, (3, hard))
        with pytest.raises(SpoolError, match=r"Too many open files"):
            batch.add(LINE)
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    batch.add(LINE)
    batch.close()
    assert lines_of(batch) == [[LINE]]
