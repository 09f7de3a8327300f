"""Unchanged objects are sent again after some days, an equal part of them each day."""

from __future__ import annotations

from collections import Counter
from datetime import date, timedelta
from itertools import chain
from typing import TYPE_CHECKING

import pytest

from target_segment_objects.delivery.interface import StreamInfo
from target_segment_objects.ledger.file import Destination, LedgerFile
from target_segment_objects.ledger.objects import ObjectTable

if TYPE_CHECKING:
    from pathlib import Path

IDS: list[int | str] = list(range(90))
DIGESTS = [b"8 bytes!"] * len(IDS)
FIRST = date(2026, 1, 1)


def send(path: Path, day: int, resend_after_days: int) -> list[int]:
    """Run on a day; return which objects were sent."""
    file = LedgerFile.open(path, Destination("test", "k"))
    today = FIRST + timedelta(day)
    objects = ObjectTable(file, resend_after_days=resend_after_days, today=today)
    objects.start()
    stream = objects.register_stream(StreamInfo("users", "users", ("id",), ()))
    sent = objects.record_chunk("users", IDS, DIGESTS, [stream] * len(IDS))
    objects.commit()
    objects.mark_accepted("users", len(sent))
    objects.end(is_complete=True)
    objects.close()
    return sent


def test_each_day_sends_an_equal_part(tmp_path: Path) -> None:
    """Of 90 objects, 30 of 3 days each; none waits longer than 3 days, none is sent more often."""
    path = tmp_path / "ledger.sqlite"
    assert send(path, 0, 3) == IDS
    for days in ((1, 2, 3), (4, 5, 6)):
        sent = [send(path, day, 3) for day in days]
        assert [len(found) for found in sent] == [30] * 3
        assert sorted(chain.from_iterable(sent)) == IDS


@pytest.mark.parametrize("pause", [1, 2, 3, 4, 10])
def test_a_pause_delays_no_object_further(tmp_path: Path, pause: int) -> None:
    """After days without a run, everything that became due is sent, and nothing else."""
    path = tmp_path / "ledger.sqlite"
    send(path, 0, 3)
    assert len(send(path, pause, 3)) == min(3, pause) * 30


def test_a_second_run_of_a_day_sends_nothing(tmp_path: Path) -> None:
    """What was sent today is due on another day."""
    path = tmp_path / "ledger.sqlite"
    assert len(send(path, 0, 45)) == 90
    counts = Counter(len(send(path, day, 45)) for day in (0, 0, 1, 1))
    assert counts == {0: 3, 2: 1}


def test_zero_days_means_never(tmp_path: Path) -> None:
    """Nothing unchanged is sent again."""
    path = tmp_path / "ledger.sqlite"
    send(path, 0, 0)
    assert send(path, 10_000, 0) == []


def test_a_clock_that_was_wrong_is_no_reason_to_wait(tmp_path: Path) -> None:
    """What was sent on a day that is still to come is sent again."""
    path = tmp_path / "ledger.sqlite"
    send(path, 1000, 45)
    assert send(path, 0, 45) == IDS
