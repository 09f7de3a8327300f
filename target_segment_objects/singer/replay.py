"""Log how old the records of a replayed dead-letter file are.

Segment merges objects by id, and the last one wins. A replayed record may be older than what was
loaded since, so the user has to know its age.
"""

from __future__ import annotations

import datetime
from typing import TYPE_CHECKING, Any, Final

import msgspec

from target_segment_objects.plurals import format_count
from target_segment_objects.singer.dead_letters import parse_time

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

_UNITS: Final = (("day", 86_400), ("hour", 3600), ("minute", 60))


class _ReplayedStream(msgspec.Struct):
    records: int
    oldest: datetime.datetime
    newest: datetime.datetime


class ReplayLog:
    """Collects the times of replayed records, stream by stream."""

    def __init__(self) -> None:
        """Start without records."""
        self._streams: dict[str, _ReplayedStream] = {}

    def add_record(self, message: Mapping[str, Any]) -> bool:
        """Note a RECORD message if it comes from a dead-letter file.

        Returns:
            Whether it does.
        """
        time = parse_time(message.get("rejected"))
        if time is None:
            return False
        stream = self._streams.setdefault(message["stream"], _ReplayedStream(0, time, time))
        stream.records += 1
        stream.oldest = min(stream.oldest, time)
        stream.newest = max(stream.newest, time)
        return True

    def log_streams(self, log_warning: Callable[[str, str], object]) -> None:
        """Log the age of each stream's replayed records.

        Args:
            log_warning: Takes the stream and the message.
        """
        now = datetime.datetime.now(tz=datetime.timezone.utc)
        for name, stream in self._streams.items():
            verb = "was" if stream.records == 1 else "were"
            ages = dict.fromkeys(_format_age(now - time) for time in (stream.newest, stream.oldest))
            log_warning(
                name,
                f"Stream '{name}': {format_count(stream.records, 'replayed record')} {verb} "
                f"rejected {' to '.join(ages)} ago. A replayed record replaces a newer version of "
                "its object, if one was loaded since.",
            )


def _format_age(age: datetime.timedelta) -> str:
    """Return an age in its largest unit: "1 day", "5 hours"."""
    seconds = max(0, int(age.total_seconds()))
    for unit, length in _UNITS:
        if seconds >= length:
            return format_count(seconds // length, unit)
    return format_count(seconds, "second")
