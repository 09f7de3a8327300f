"""Batch files: limits, bytes, the folder, and disk failures."""

from __future__ import annotations

import gzip
import itertools
import os
import random
import shutil
import stat
import subprocess
import sys
import tracemalloc
from pathlib import Path

import psutil
import pytest
from hypothesis import given
from hypothesis import strategies as st

from target_segment_objects.delivery.batch import Batch
from target_segment_objects.delivery.spool import Spool
from target_segment_objects.exceptions import SpoolError

if sys.platform == "win32":
    pytest.skip("breaks the disk in POSIX ways", allow_module_level=True)

LINE = b'{"id":"1","collection":"users","properties":{"a":1}}'


@pytest.fixture
def spool(tmp_path: Path) -> Spool:
    """A spool in the test's temporary folder."""
    return Spool(str(tmp_path))


def read_lines(batch: Batch) -> list[list[bytes]]:
    """Return the lines of each file, as Python's gzip reads them."""
    return [gzip.decompress(file.path.read_bytes()).splitlines() for file in batch.files]


# Limits


@pytest.mark.parametrize(
    ("limit", "files"),
    [
        pytest.param(40, [4], id="four lines exactly"),
        pytest.param(39, [3, 1], id="one byte less than four lines"),
        pytest.param(30, [3, 1], id="three lines exactly"),
        pytest.param(29, [2, 2], id="one byte less than three lines"),
    ],
)
def test_file_never_exceeds_its_limit(spool: Spool, limit: int, files: list[int]) -> None:
    """With lines of ten bytes, a file is filled up to its limit exactly, and never beyond."""
    batch = Batch("users", spool, max_file_bytes=limit)
    for _ in range(4):
        batch.add_lines([b"123456789"])
    batch.close()
    assert [file.objects for file in batch.files] == files
    assert all(file.raw_bytes <= limit for file in batch.files)


@given(
    st.lists(st.binary(min_size=1, max_size=40).filter(lambda line: b"\n" not in line)),
    st.integers(41, 200),
)
def test_files_hold_the_lines_in_order(lines: list[bytes], limit: int) -> None:
    """For any lines and limit: all lines are there, in order, in as few files as possible."""
    spool = Spool()
    batch = Batch("users", spool, max_file_bytes=limit)
    for line in lines:
        batch.add_lines([line])
    batch.close()
    contents = [gzip.decompress(file.path.read_bytes()) for file in batch.files]
    spool.close()
    assert b"".join(contents) == b"".join(line + b"\n" for line in lines)
    assert [file.raw_bytes for file in batch.files] == [len(content) for content in contents]
    assert all(0 < len(content) <= limit for content in contents)
    for content, following in itertools.pairwise(contents):
        assert len(content) + following.index(b"\n") + 1 > limit
    assert batch.objects == len(lines) == sum(file.objects for file in batch.files)


@given(
    st.lists(st.lists(st.sampled_from([1, 5, 9, 30_000, 40_000]), max_size=8), max_size=8),
    st.sampled_from([41_000, 65_536, 65_537, 100_000, 1_000_000]),
)
def test_groups_of_lines_give_the_files_of_single_lines(
    groups: list[list[int]], limit: int
) -> None:
    """For any lengths, groups and limit: the same files, sizes and number of objects."""
    numbers = random.Random(7)  # noqa: S311 - not a secret
    lines = [
        [numbers.randbytes(length).hex()[:length].encode() for length in group] for group in groups
    ]
    spool = Spool()
    batch, single = (Batch("users", spool, max_file_bytes=limit) for _ in range(2))
    for group in lines:
        batch.add_lines(group)
        for line in group:
            single.add_lines([line])
        assert batch.objects == single.objects
    batch.close()
    single.close()
    assert [file.path.read_bytes() for file in batch.files] == [
        file.path.read_bytes() for file in single.files
    ]
    assert [(file.objects, file.raw_bytes, file.gzip_bytes) for file in batch.files] == [
        (file.objects, file.raw_bytes, file.gzip_bytes) for file in single.files
    ]
    spool.close()


def test_line_longer_than_a_file_is_refused(spool: Spool) -> None:
    """The lines before it are written, it and those after it are not; the batch remains usable."""
    batch = Batch("users", spool, max_file_bytes=10)
    with pytest.raises(ValueError, match=r"line of 11 bytes does not fit into a file of 10"):
        batch.add_lines([b"123456789", b"1234567890", b"1"])
    batch.add_lines([b"2"])
    batch.close()
    assert read_lines(batch) == [[b"123456789"], [b"2"]]
    assert batch.objects == 2


# Bytes


def _write_batch(folder: Path, count: int = 30_000) -> Batch:
    batch = Batch("users", Spool(str(folder)), max_file_bytes=1_000_000)
    numbers = random.Random(7)  # noqa: S311 - not a secret
    for number in range(count):
        batch.add_lines([b'{"id":"%d","v":"%x"}' % (number, numbers.getrandbits(200))])
    batch.close()
    return batch


def test_same_lines_give_the_same_bytes(tmp_path: Path) -> None:
    """In any folder, at any time."""
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
    first, second = _write_batch(tmp_path / "a"), _write_batch(tmp_path / "b")
    os.utime(first.files[0].path, (0, 0))
    assert len(first.files) > 1
    for left, right in zip(first.files, second.files, strict=True):
        assert left.path.read_bytes() == right.path.read_bytes()
        assert left.path.read_bytes()[:8] == b"\x1f\x8b\x08\x00\x00\x00\x00\x00", "no name, no time"


def test_batch_reports_the_sizes_of_its_files(tmp_path: Path) -> None:
    """Raw and compressed, and the sum of both over its files."""
    batch = _write_batch(tmp_path)
    assert [file.gzip_bytes for file in batch.files] == [
        file.path.stat().st_size for file in batch.files
    ]
    raw = [len(gzip.decompress(file.path.read_bytes())) for file in batch.files]
    assert [file.raw_bytes for file in batch.files] == raw
    assert batch.raw_bytes == sum(raw)
    assert batch.gzip_bytes == sum(file.gzip_bytes for file in batch.files) < batch.raw_bytes
    assert batch.objects == 30_000


def test_memory_does_not_grow_with_the_batch(spool: Spool) -> None:
    """Thirty megabytes of lines need no more memory than three."""
    batch = Batch("users", spool, max_file_bytes=10_000_000)
    line = bytes(random.Random(1).choices(range(48, 123), k=1000))  # noqa: S311 - not a secret
    tracemalloc.start()
    peaks = []
    for _ in range(10):
        for _ in range(3000):
            batch.add_lines([line])
        peaks.append(tracemalloc.get_traced_memory()[1])
    tracemalloc.stop()
    batch.close()
    assert len(batch.files) == 4
    assert peaks[-1] < 1_000_000
    assert peaks[-1] < peaks[4] + 100_000  # the first files are closed by then


def test_open_batches_hold_no_file_descriptor(spool: Spool) -> None:
    """A hundred open batches need none: some systems allow a process 256."""
    spool.new_path()
    before = psutil.Process().num_fds()  # with that of the folder's lock
    batches = [Batch(f"c{number}", spool, max_file_bytes=1000) for number in range(100)]
    for batch in batches:
        batch.add_lines([LINE])
    assert psutil.Process().num_fds() == before
    for batch in batches:
        batch.close()
    assert all(read_lines(batch) == [[LINE]] for batch in batches)


def test_empty_batch_writes_nothing(spool: Spool, tmp_path: Path) -> None:
    """Not even the folder is created."""
    batch = Batch("users", spool, max_file_bytes=100)
    batch.close()
    batch.delete()
    assert (batch.files, batch.objects, batch.raw_bytes, batch.gzip_bytes) == ([], 0, 0, 0)
    assert list(tmp_path.iterdir()) == []


def test_closed_batch_continues_in_a_new_file(spool: Spool) -> None:
    """It may be closed again; lines that are added later go to another file."""
    batch = Batch("users", spool, max_file_bytes=100)
    batch.add_lines([b"1"])
    batch.close()
    batch.close()
    batch.add_lines([b"2"])
    batch.close()
    assert read_lines(batch) == [[b"1"], [b"2"]]


def test_delete_removes_open_and_closed_files(spool: Spool) -> None:
    """A file that is already gone is ignored, and so is a second call."""
    batch = Batch("users", spool, max_file_bytes=20)
    for _ in range(5):
        batch.add_lines([b"123456789"])
    folder = batch.files[0].path.parent
    batch.files[0].path.unlink()
    batch.delete()
    batch.delete()
    assert list(folder.glob("*.gz")) == []


def test_file_that_cannot_be_removed_is_logged(
    spool: Spool, caplog: pytest.LogCaptureFixture
) -> None:
    """The run continues: the file was delivered."""
    batch = Batch("users", spool, max_file_bytes=100)
    batch.add_lines([LINE])
    batch.close()
    path = batch.files[0].path
    path.unlink()
    path.mkdir()  # stands for whatever `unlink` refuses: root may remove any file
    batch.delete()
    assert f"Cannot remove {path}" in caplog.text


# The folder


def test_folder_is_private_to_the_user(spool: Spool, tmp_path: Path) -> None:
    """Its mode is 0700, and a second spool has another."""
    first, second = spool.new_path(), Spool(str(tmp_path)).new_path()
    assert first.parent != second.parent
    assert first.parent.parent == tmp_path
    assert stat.S_IMODE(first.parent.stat().st_mode) == 0o700


def test_close_removes_the_folder(spool: Spool, tmp_path: Path) -> None:
    """With its files; the spool may be used again afterwards."""
    batch = Batch("users", spool, max_file_bytes=10)
    batch.add_lines([b"1"])
    batch.close()
    spool.close()
    spool.close()
    assert list(tmp_path.iterdir()) == []
    assert spool.new_path().parent.is_dir()
    spool.close()
    assert list(tmp_path.iterdir()) == []


def _run_python(code: str, folder: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-W", "error", "-c", code, str(folder)],
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )


@pytest.mark.parametrize(
    "end",
    [
        pytest.param("", id="success"),
        pytest.param("raise RuntimeError", id="exception"),
        pytest.param("sys.exit(3)", id="exit"),
        pytest.param(
            "signal.signal(signal.SIGINT, signal.default_int_handler)\n"
            "os.kill(os.getpid(), signal.SIGINT)",
            id="SIGINT",
        ),
    ],
)
def test_folder_is_removed_at_exit(tmp_path: Path, end: str) -> None:
    """A process that exits without closing its spool leaves nothing behind.

    SIGINT gets its default handler: a process that a shell starts in the background ignores it.
    """
    ran = _run_python(
        "import os, signal, sys\n"
        "from target_segment_objects.delivery.batch import Batch\n"
        "from target_segment_objects.delivery.spool import Spool\n"
        "batch = Batch('users', Spool(sys.argv[1]), max_file_bytes=100)\n"
        "batch.add_lines([b'1'])\n"
        "assert len(os.listdir(sys.argv[1])) == 1\n"
        f"{end}\n",
        tmp_path,
    )
    assert (ran.returncode == 0) == (end == ""), ran.stderr
    assert list(tmp_path.iterdir()) == []


# Failures


def test_missing_parent_folder_is_named(tmp_path: Path) -> None:
    """The error holds the folder and the cause."""
    spool = Spool(str(tmp_path / "gone"))
    batch = Batch("users", spool, max_file_bytes=100)
    with pytest.raises(
        SpoolError,
        match=r"Cannot create .* in .*/gone: No such .*\. Check that the folder exists",
    ):
        batch.add_lines([LINE])


def test_parent_folder_without_permission_is_named() -> None:
    """The error holds the folder and the cause."""
    if not Path("/proc/self/fd").is_dir():
        pytest.skip("needs a folder that even root cannot write to")
    with pytest.raises(SpoolError, match=r"Cannot create .* in /proc/self/fd: "):
        Spool("/proc/self/fd").new_path()


def test_missing_temporary_folder_is_reported(monkeypatch: pytest.MonkeyPatch) -> None:
    """On a system without any temporary folder, the error is ours, too."""

    def fail() -> str:
        raise FileNotFoundError(2, "No usable temporary directory found")

    monkeypatch.setattr("tempfile.gettempdir", fail)
    with pytest.raises(SpoolError, match=r"the system's temporary folder: No usable"):
        Spool().new_path()


@pytest.mark.parametrize("when", ["before a file", "in a file"])
def test_folder_removed_during_a_run_is_named(spool: Spool, when: str) -> None:
    """The error holds the path; nothing is written in its place."""
    folder = spool.new_path().parent
    batch = Batch("users", spool, max_file_bytes=1_000_000)
    if when == "in a file":
        batch.add_lines([LINE])
    spool.close()
    folder.mkdir() if when == "in a file" else shutil.rmtree(spool.new_path().parent)
    with pytest.raises(SpoolError, match=r"Cannot write /.*\.gz: No such file or directory"):
        _add_and_close(batch)
    batch.delete()


def _add_and_close(batch: Batch) -> None:
    for _ in range(2000):
        batch.add_lines([LINE])
    batch.close()


DISK_FULL = """
import resource, signal, sys
from target_segment_objects.delivery.batch import Batch
from target_segment_objects.delivery.spool import Spool
from target_segment_objects.exceptions import SpoolError

signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, resource.RLIM_INFINITY))
batch = Batch('users', Spool(sys.argv[1]), max_file_bytes=10_000_000)
errors = []
import random
import shutil
numbers = random.Random(1)
for _ in range(3):
    try:
        for _ in range(5_000):
            batch.add_lines([numbers.randbytes(100).hex().encode()])
    except SpoolError as error:
        errors.append(str(error))
for _ in range(2):
    try:
        batch.close()
    except SpoolError as error:
        errors.append(str(error))
assert batch.files == []
batch.delete()
resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
print(*errors, sep='\\n')
"""


def test_full_disk_is_reported_each_time(tmp_path: Path) -> None:
    """With the path and the cause; an incomplete file is never closed."""
    ran = _run_python(DISK_FULL, tmp_path)
    assert ran.returncode == 0, ran.stderr
    assert ran.stderr == ""
    errors = ran.stdout.splitlines()
    assert len(errors) == 5
    assert len(set(errors)) == 1
    assert errors[0].startswith(f"Cannot write {tmp_path}/segment-objects-")
    assert "000001.jsonl.gz: File too large." in errors[0]
    assert "Free some space" in errors[0]
    assert list(tmp_path.iterdir()) == []


def test_lack_of_file_descriptors_is_recoverable(spool: Spool) -> None:
    """The error says so, and the line can be added later."""
    resource = pytest.importorskip("resource", reason="Windows has no such limits")
    batch = Batch("users", spool, max_file_bytes=1000)
    spool.new_path()
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    try:
        resource.setrlimit(resource.RLIMIT_NOFILE, (3, hard))
        with pytest.raises(SpoolError, match=r"Too many open files\. Raise the limit"):
            batch.add_lines([LINE])
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    batch.add_lines([LINE])
    batch.close()
    assert read_lines(batch) == [[LINE]]
