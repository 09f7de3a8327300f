"""Many batches at a time: bounded memory, and files that are as complete as those of one batch."""

from __future__ import annotations

import subprocess
import sys
import zlib
from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from target_segment_objects.delivery.batch import Batch
from target_segment_objects.delivery.part_writer import WriteMemory
from target_segment_objects.delivery.spool import Spool

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


@pytest.fixture
def spool(tmp_path: Path) -> Spool:
    """A spool in the test's temporary folder."""
    return Spool(str(tmp_path))


def read_single_members(batch: Batch) -> Iterator[bytes]:
    """Yield the content of each file, which must be one member of gzip and nothing else."""
    for file in batch.files:
        member = zlib.decompressobj(16 + zlib.MAX_WBITS)
        content = member.decompress(file.path.read_bytes())
        assert (member.eof, member.unused_data) == (True, b"")
        assert len(content) == file.raw_bytes
        assert content.count(b"\n") == file.objects
        yield content


@given(
    st.lists(st.tuples(st.integers(0, 3), st.binary(min_size=1, max_size=20)), max_size=60),
    st.sampled_from([0, 30, 100, 1_000_000]),
    st.integers(0, 4),
    st.sampled_from([22, 50, 1_000_000]),
)
def test_each_batch_has_its_own_lines(
    lines: list[tuple[int, bytes]], max_buffered: int, max_compressors: int, limit: int
) -> None:
    """For any order of the batches and any bounds: all lines, in order, in single members."""
    spool = Spool()
    spool.memory = WriteMemory(max_buffered_bytes=max_buffered, max_compressors=max_compressors)
    batches = [Batch(str(number), spool, max_file_bytes=limit) for number in range(4)]
    for number, line in lines:
        batches[number].add_lines([line.hex()[:20].encode()])
        assert spool.memory.buffered_bytes <= max_buffered
    for number, batch in enumerate(batches):
        batch.close()
        expected = b"".join(line.hex()[:20].encode() + b"\n" for to, line in lines if to == number)
        assert b"".join(read_single_members(batch)) == expected
    assert (spool.memory.buffered_bytes, spool.memory.writers) == (0, set())
    spool.close()


def test_files_are_split_as_without_other_batches(spool: Spool) -> None:
    """Where a file ends depends on its lines alone."""
    spool.memory = WriteMemory(max_buffered_bytes=100, max_compressors=1)
    first, second = (Batch(name, spool, max_file_bytes=1_000) for name in "ab")
    alone = Batch("a", Spool(str(spool.new_path().parent)), max_file_bytes=1_000)
    for number in range(500):
        line = b"%d" % number**3
        for batch in (first, second, alone):
            batch.add_lines([line])
    for batch in (first, second, alone):
        batch.close()
    assert [*read_single_members(first)] == [*read_single_members(alone)]
    assert len(first.files) == 5


def test_largest_buffers_are_written_first(spool: Spool) -> None:
    """A batch with few lines keeps them in memory, so that it is not written for each of them."""
    spool.memory = WriteMemory(max_buffered_bytes=1_000)
    small, large = (Batch(name, spool, max_file_bytes=1_000_000) for name in "ab")
    small.add_lines([b"1"])
    for _ in range(1_000):
        large.add_lines([b"123456789"])
    assert small.buffered_bytes == 2
    assert large.buffered_bytes < 1_000


def test_compressors_are_available_again(spool: Spool) -> None:
    """Batches that are closed or deleted leave theirs to later ones."""
    spool.memory = WriteMemory(max_buffered_bytes=0, max_compressors=2)
    for end in (Batch.close, Batch.delete):
        batches = [Batch(name, spool, max_file_bytes=100) for name in "abc"]
        for batch in batches:
            batch.add_lines([b"1"])
        assert not spool.memory.reserve_compressor()
        for batch in batches:
            end(batch)
    assert spool.memory.reserve_compressor()
    assert spool.memory.reserve_compressor()
    assert not spool.memory.reserve_compressor()


WITHOUT_ISAL = """
import gzip, sys
sys.modules["isal"] = None
from target_segment_objects.delivery.batch import Batch
from target_segment_objects.delivery.spool import Spool
from target_segment_objects.delivery.part_writer import WriteMemory

spool = Spool(sys.argv[1])
spool.memory = WriteMemory(max_buffered_bytes=50, max_compressors=1)
batches = [Batch(name, spool, max_file_bytes=1000) for name in "ab"]
for number in range(20):
    for batch in batches:
        batch.add_lines([b"%d" % number])
for batch in batches:
    batch.close()
    (file,) = batch.files
    assert gzip.decompress(file.path.read_bytes()).split() == [b"%d" % n for n in range(20)]
print("done", "isal.isal_zlib" in sys.modules)
"""


def test_zlib_takes_the_place_of_isal(tmp_path: Path) -> None:
    """Where isal has no wheel, the files are complete, too."""
    ran = subprocess.run(
        [sys.executable, "-W", "error", "-c", WITHOUT_ISAL, str(tmp_path)],
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )
    assert ran.stdout == "done False\n", ran.stderr
