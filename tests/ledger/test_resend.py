"""Unchanged objects are sent again after some days, an equal part of them each day."""

from __future__ import annotations

from collections import Counter
from datetime import date, timedelta
from itertools import chain
from typing import TYPE_CHECKING

import pytest

from target_segment_objects.delivery.interface import StreamInfo
from target_segment_objects.ledger.file import Destination, LedgerFile
from target_segment_objects.ledger.object_table import ObjectTable

if TYPE_CHECKING:
    from collections.abc import Sequence
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
    for day in range(3):
        send(path, day, 3)
    assert len(send(path, 2 + pause, 3)) == min(3, pause) * 30


@pytest.mark.parametrize(
    "days",
    [
        range(0, 150, 7),
        [0, 30, 61, 91, 122, 152, 183],
        [day for day in range(100) if day % 7 < 5],
        [day for day in range(100) if day % 10 not in {3, 4}],
        range(0, 200, 45),
    ],
    ids=["weekly", "monthly", "Monday to Friday", "irregular", "every 45 days"],
)
def test_no_object_waits_longer_than_the_setting(tmp_path: Path, days: Sequence[int]) -> None:
    """An object is sent by the last run before it would have waited longer, not by the next one."""
    path = tmp_path / "ledger.sqlite"
    last_sent = dict.fromkeys(IDS, days[0])
    longest = 0
    for day in days:
        for at in send(path, day, 45):
            longest = max(longest, day - last_sent[IDS[at]])
            last_sent[IDS[at]] = day
        assert day - min(last_sent.values()) <= 45
    assert 30 <= longest <= 45


def test_a_late_run_now_and_then_sends_nothing_early(tmp_path: Path) -> None:
    """Daily runs send each object once in 45 days, or nearly so, also with runs after midnight."""
    path = tmp_path / "ledger.sqlite"
    days = [day for day in range(135) if day % 16 not in {0, 6}]
    sent = sum(len(send(path, day, 45)) for day in days)
    assert sent <= len(IDS) * (1 + 3 * 1.1)


def test_one_long_pause_does_not_make_runs_send_more(tmp_path: Path) -> None:
    """After the run that ends it, each day sends its part again."""
    path = tmp_path / "ledger.sqlite"
    for day in range(5):
        send(path, day, 45)
    assert len(send(path, 100, 45)) == len(IDS)
    assert [len(send(path, day, 45)) for day in (101, 102, 103)] == [2, 2, 2]


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
