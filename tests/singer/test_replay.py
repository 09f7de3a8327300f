"""The age of replayed records: which messages count, and how it is logged."""

from __future__ import annotations

import datetime

import pytest

from target_segment_objects.singer.replay import ReplayLog


def log_replay(*ages: datetime.timedelta) -> list[tuple[str, str]]:
    """Return what is logged when records that were rejected so long ago are replayed."""
    replay_log = ReplayLog()
    now = datetime.datetime.now(tz=datetime.timezone.utc)
    for age in ages:
        rejected = {"reason": "x", "field": None, "at": (now - age).isoformat()}
        assert replay_log.add_record({"stream": "users", "record": {}, "rejected": rejected})
    logged: list[tuple[str, str]] = []
    replay_log.log_streams(lambda stream, message: logged.append((stream, message)))
    return logged


@pytest.mark.parametrize(
    ("age", "text"),
    [
        (datetime.timedelta(seconds=1.5), "1 second ago"),
        (datetime.timedelta(minutes=59, seconds=59), "59 minutes ago"),
        (datetime.timedelta(hours=1), "1 hour ago"),
        (datetime.timedelta(hours=47), "1 day ago"),
        (datetime.timedelta(days=400), "400 days ago"),
        (datetime.timedelta(hours=-1), "0 seconds ago"),
    ],
    ids=["second", "minutes", "hour", "day", "days", "clock set back"],
)
def test_age_of_one_record(age: datetime.timedelta, text: str) -> None:
    """The age is in its largest unit, and the warning says what a replay can do."""
    ((stream, message),) = log_replay(age)
    assert stream == "users"
    assert f"1 replayed record was rejected {text}." in message
    assert "replaces a newer version" in message


def test_age_of_several_records() -> None:
    """Several records of a stream have one warning, with the ages of the newest and the oldest."""
    hours = [datetime.timedelta(hours=number) for number in (3, 50, 1)]
    ((_, message),) = log_replay(*hours)
    assert "3 replayed records were rejected 1 hour to 2 days ago." in message


@pytest.mark.parametrize(
    "rejected",
    [None, "x", {}, {"at": None}, {"at": 5}, {"at": "yesterday"}, {"at": "2024-01-31T00:00:00"}],
    ids=["absent", "string", "empty", "null", "number", "not a time", "no time zone"],
)
def test_other_records_are_not_replayed(rejected: object) -> None:
    """A message without the time of its rejection is not from a dead-letter file."""
    replay_log = ReplayLog()
    assert not replay_log.add_record({"stream": "users", "record": {}, "rejected": rejected})
    replay_log.log_streams(lambda *_: pytest.fail("nothing was replayed"))
