"""The protocol of the ledger against random histories: crashes, lost answers, returning values.

The harness plays the source, delivery and Segment. It can fail: two protocols that look right are
caught by it.
"""

from __future__ import annotations

import random
import shutil
from datetime import datetime, timezone
from typing import TYPE_CHECKING, Protocol

import pytest

from target_segment_objects.delivery.interface import StreamInfo
from target_segment_objects.ledger.file import Destination, LedgerFile
from target_segment_objects.ledger.object_table import ObjectTable

if TYPE_CHECKING:
    from pathlib import Path

IDS = (1, 2, "a")
VALUES = (b"A" * 8, b"B" * 8)
COLLECTION = "users"
HISTORIES = 50


class Ledger(Protocol):
    """What delivery asks of a ledger."""

    def record_chunk(self, ids: list[int | str], digests: list[bytes]) -> list[int]:
        """Return the positions to send."""

    def commit(self) -> None:
        """Be called before Start of each session."""

    def mark_accepted(self, count: int) -> None:
        """Be called with the number of objects of an accepted session."""

    def end(self) -> None:
        """Be called when nothing is under way any more."""

    def crash(self) -> None:
        """Lose what is not on disk, and begin another run."""


class OurLedger:
    """The real one, in a file."""

    def __init__(self, folder: Path) -> None:
        """Begin with an empty ledger."""
        self._folder = folder
        self._path = folder / "0.sqlite"
        self._count = 0
        self._open()

    def _open(self) -> None:
        self._file = LedgerFile.open(self._path, Destination("test", "k"))
        self._objects = ObjectTable(
            self._file, resend_after_days=0, today=datetime.now(timezone.utc).date()
        )
        self._objects.start()
        self._stream = self._objects.register_stream(StreamInfo("users", COLLECTION, (), ()))

    def record_chunk(self, ids: list[int | str], digests: list[bytes]) -> list[int]:
        """Return the positions to send."""
        return self._objects.record_chunk(COLLECTION, ids, digests, [self._stream] * len(ids))

    def commit(self) -> None:
        """Commit."""
        self._objects.commit()

    def mark_accepted(self, count: int) -> None:
        """Count."""
        self._objects.mark_accepted(COLLECTION, count)

    def end(self) -> None:
        """Fold, and begin another run."""
        self._objects.end(is_complete=True)
        self._objects.close()
        self._open()

    def crash(self) -> None:
        """Go on with the files as a killed process would leave them."""
        self._count += 1
        path = self._folder / f"{self._count}.sqlite"
        for suffix in ("", "-journal"):
            shutil.copy(f"{self._path}{suffix}", f"{path}{suffix}")
        self._objects.close()
        self._path = path
        self._open()


class _MemoryLedger:
    """A ledger whose disk is a dict; what is not committed is lost in a crash."""

    invalidates: bool

    def __init__(self) -> None:
        self._disk: dict[int | str, bytes | None] = {}
        self._table = dict(self._disk)
        self._sent: list[tuple[int | str, bytes]] = []

    def record_chunk(self, ids: list[int | str], digests: list[bytes]) -> list[int]:
        positions = []
        for at, (object_id, digest) in enumerate(zip(ids, digests, strict=True)):
            if self._table.get(object_id) != digest:
                positions.append(at)
                self._sent.append((object_id, digest))
                if self.invalidates:
                    self._table[object_id] = None
        return positions

    def commit(self) -> None:
        self._disk = dict(self._table)

    def mark_accepted(self, count: int) -> None:
        self._table.update(self._sent[:count])
        del self._sent[:count]

    def end(self) -> None:
        self.commit()
        self._sent.clear()

    def crash(self) -> None:
        self._table = dict(self._disk)
        self._sent.clear()


class RenewingLedger(_MemoryLedger):
    """Invalidates, then renews each batch on acceptance, whatever came between."""

    invalidates = True


class TrustingLedger(_MemoryLedger):
    """Writes after acceptance, and does not invalidate."""

    invalidates = False


class History:
    """Some runs over a source whose values change and return."""

    def __init__(self, rng: random.Random, ledger: Ledger) -> None:
        """Begin with an empty Segment."""
        self._rng = rng
        self._ledger = ledger
        self._segment: dict[int | str, bytes] = {}
        self.skips = 0
        self.wrong_skips = 0

    def play(self, runs: int) -> None:
        """Play runs."""
        for _ in range(runs):
            self._play_run()

    def _play_run(self) -> None:
        """Send chunks in batches, one after the other, until all are accepted or one fails."""
        rng = self._rng
        queue: list[tuple[int | str, bytes]] = []  # recorded, and in no accepted batch
        chunks = [self._read_chunk() for _ in range(rng.randint(1, 4))]
        while chunks or queue:
            if chunks and (not queue or rng.random() < 0.5):
                self._record(chunks.pop(0), queue)
                continue
            batch = queue[: rng.randint(1, 3)]
            self._ledger.commit()
            outcome = rng.choice(("accepted",) * 6 + ("crash", "lost", "refused", "crash late"))
            if outcome in {"accepted", "crash late"} or rng.random() < 0.5:
                self._segment.update(batch)  # also where the answer does not arrive
            if outcome == "accepted":
                del queue[: len(batch)]
                self._ledger.mark_accepted(len(batch))
            elif outcome in {"lost", "refused"}:
                self._ledger.end()
                return
            else:
                self._ledger.crash()
                return
        if rng.random() < 0.2:
            self._ledger.crash()
        else:
            self._ledger.end()

    def _read_chunk(self) -> list[tuple[int | str, bytes]]:
        count = self._rng.randint(1, 4)
        return [(self._rng.choice(IDS), self._rng.choice(VALUES)) for _ in range(count)]

    def _record(
        self, chunk: list[tuple[int | str, bytes]], queue: list[tuple[int | str, bytes]]
    ) -> None:
        """Record a chunk, and compare what is skipped with what Segment will then have."""
        ids, digests = ([part[at] for part in chunk] for at in (0, 1))
        positions = self._ledger.record_chunk(ids, digests)  # type: ignore[arg-type]
        for at, (object_id, digest) in enumerate(chunk):
            if at in positions:
                queue.append((object_id, digest))
                continue
            self.skips += 1
            if dict([*self._segment.items(), *queue]).get(object_id) != digest:
                self.wrong_skips += 1


@pytest.mark.slow
def test_nothing_is_skipped_wrongly(tmp_path: Path) -> None:
    """What is skipped is what Segment has, or will have once what was sent before is accepted."""
    skips = 0
    for seed in range(HISTORIES):
        folder = tmp_path / str(seed)
        folder.mkdir()
        history = History(random.Random(seed), OurLedger(folder))  # noqa: S311 - not a secret
        history.play(runs=8)
        assert history.wrong_skips == 0, seed
        skips += history.skips
    assert skips > HISTORIES


@pytest.mark.parametrize("protocol", [RenewingLedger, TrustingLedger])
def test_wrong_protocols_are_caught(protocol: type[_MemoryLedger]) -> None:
    """The same histories find the wrong skips of protocols that look right."""
    wrong_skips = 0
    for seed in range(HISTORIES):
        history = History(random.Random(seed), protocol())  # noqa: S311 - not a secret
        history.play(runs=8)
        wrong_skips += history.wrong_skips
    assert wrong_skips > 0
