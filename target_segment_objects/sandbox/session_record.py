"""What is known of a session: the one record that API, queue, warehouse, report and page share.

It is replaced, never changed, so that any thread may keep it. The warehouse stores the fields up to
`error`. The others are known of sessions of this run only.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime  # noqa: TC003 - msgspec stores a record of accepted sessions
from typing import Final

LOADED: Final = "loaded"
"""The outcome of a session whose objects were accepted."""


@dataclass(frozen=True, slots=True)
class Call:
    """A call that was made for a session.

    Attributes:
        step: `upload`, `keep-alive` or `finish`.
        started: When it arrived; UTC.
        ended: When it was answered; `None` while it is running.
        was_accepted: Whether it was successful.
        objects: Number of objects of an accepted upload.
        gzip_bytes: Their compressed size.
    """

    step: str
    started: datetime
    ended: datetime | None = None
    was_accepted: bool = False
    objects: int = 0
    gzip_bytes: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class SessionRecord:
    """A session at one time. All times are in UTC.

    Attributes:
        sync_id: Its id.
        outcome: `loaded`; `error` if it was finished with an error; `expired`; `open` if the
            sandbox was stopped before it was finished; or empty while nothing of these is true.
        collections: Names of its collections, sorted.
        parts: Number of its accepted uploads.
        objects: Number of objects in them.
        raw_bytes: Their uncompressed size.
        gzip_bytes: Their compressed size.
        started: When it was started.
        ended: When its Finish was accepted, or when it ended without one.
        error: The error that it was finished with, or why it could not be loaded.
        load_started: When its load began.
        loaded: When its load ended.
        keep_alives: Number of its Keep Alives; `None` if an earlier run has counted them.
        calls: Its newest calls, in the order of their arrival.
    """

    sync_id: str
    outcome: str = ""
    collections: tuple[str, ...] = ()
    parts: int = 0
    objects: int = 0
    raw_bytes: int = 0
    gzip_bytes: int = 0
    started: datetime
    ended: datetime | None = None
    error: str = ""
    load_started: datetime | None = None
    loaded: datetime | None = None
    keep_alives: int | None = None
    calls: tuple[Call, ...] = ()

    @property
    def state(self) -> str:
        """Its outcome or, before that, `running`, `accepted`, `loading` or `failed`."""
        if self.outcome:
            return self.outcome
        if self.load_started is not None:
            return "failed" if self.error else "loading"
        return "running" if self.ended is None else "accepted"

    @property
    def settled(self) -> datetime | None:
        """When it got its outcome; `None` before."""
        return (self.loaded or self.ended) if self.outcome else None

    @property
    def open_seconds(self) -> float | None:
        """Seconds from its start to its end."""
        return None if self.ended is None else (self.ended - self.started).total_seconds()

    @property
    def load_seconds(self) -> float | None:
        """Seconds that its load took."""
        if self.load_started is None or self.loaded is None:
            return None
        return (self.loaded - self.load_started).total_seconds()
