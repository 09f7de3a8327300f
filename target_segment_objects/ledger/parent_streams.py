"""Finds streams that a tap reads in the course of another one, from the order of its messages.

A tap on the Singer SDK reads the children of a parent's row before it writes that row: SCHEMA,
version, records and STATE of the child, then the record of the parent. If the parent is
incremental, only children of rows that have changed come, and their version looks like that of a
whole table. What tells them apart:

- A record of another stream comes after the version, though that stream had begun before it.
- Where the user has not selected the parent, neither its SCHEMA nor its records come. Yet the STATE
  after the version has what the SDK keeps of a stream only while it reads it.

Streams that are read at the same time look like that, too.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Mapping

_OPEN_BOOKMARK: Final = frozenset(
    {"progress_markers", "replication_key_signpost", "starting_replication_value"}
)
"""Members of an SDK stream's bookmark while it is read. They go when it has been read."""


@dataclass(slots=True)
class _Course:
    """When the messages of a stream came. Times count the first versions of all streams.

    Attributes:
        begun: When its first SCHEMA came.
        activated: When its first version came.
        last_record: When its last record came.
        records: Its records, when they were last looked at.
        open_bookmark: Another stream that its first STATE after the version says is being read.
    """

    begun: int
    activated: int | None = None
    last_record: int = -1
    records: int = 0
    open_bookmark: str | None = None


class ParentSearch:
    """Follows the order in which the messages of streams come, named as the tap does."""

    def __init__(self) -> None:
        self._courses: dict[str, _Course] = {}
        self._now = 0
        self._awaits_state: str | None = None  # the last stream that was activated

    def add_schema(self, stream: str) -> None:
        """Note a SCHEMA."""
        self._courses.setdefault(stream, _Course(self._now))

    def add_activation(self, stream: str, records: Mapping[str, int]) -> None:
        """Note a version, and how many records of each stream came before it."""
        course = self._courses.setdefault(stream, _Course(self._now))
        if course.activated is not None:
            return  # one that is repeated shows nothing of itself
        self._note_records(records)
        self._now += 1
        course.activated = self._now
        self._awaits_state = stream

    def add_state(self, state: object) -> None:
        """Note a STATE."""
        if self._awaits_state is not None:
            stream, self._awaits_state = self._awaits_state, None
            self._courses[stream].open_bookmark = _find_open_bookmark(state, stream)

    def find_parent(self, stream: str, records: Mapping[str, int]) -> str | None:
        """Return a stream in whose course another one was perhaps read; None if there is none."""
        self._note_records(records)
        course = self._courses.get(stream)
        if course is None or course.activated is None:
            return None
        for name, other in self._courses.items():
            if (
                name != stream
                and other.begun < course.activated <= other.last_record
                and (other.activated is None or other.activated < course.activated)
            ):
                return name
        return course.open_bookmark

    def _note_records(self, records: Mapping[str, int]) -> None:
        """Note which streams have had records since the last version."""
        for name, course in self._courses.items():
            count = records.get(name, 0)
            if count != course.records:
                course.records, course.last_record = count, self._now


def _find_open_bookmark(state: object, stream: str) -> str | None:
    """Return another stream that a STATE of the SDK says is being read."""
    bookmarks = state.get("bookmarks") if isinstance(state, dict) else None
    if not isinstance(bookmarks, dict):
        return None
    return next(
        (
            str(name)
            for name, bookmark in bookmarks.items()
            if name != stream
            and isinstance(bookmark, dict)
            and not _OPEN_BOOKMARK.isdisjoint(bookmark)
        ),
        None,
    )
