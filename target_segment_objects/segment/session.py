"""One bulk session, as a context manager: start → upload… → finish, with Keep Alive in between.

    with Session(client) as session:
        session.upload(path)

Leaving the block finishes the session: with a blank error when all went well, else with a short one
that says what failed. Segment keeps nothing of a session that is finished with an error.

The steps that are legal, and where each leads:

| state    | open | upload | finish   | abandon  |
|----------|------|--------|----------|----------|
| NEW      | OPEN |        |          | ENDED    |
| OPEN     |      | OPEN   | ENDED    | ENDED    |
| ENDED    |      |        |          | ENDED    |

Every other step is a `SessionStateError`. `abort` may come from another thread at any time; the
rest belongs to one. A session that is abandoned while it is being opened is finished with an error
as soon as it is there, and one that is abandoned while it uploads cannot be finished any more.

Keep Alive runs on its own clock, from Start until just before Finish: whenever the session has seen
no call for `keep_alive_seconds`, be it that an upload takes so long, that a try is being waited
for, or that nothing is sent. Its failures are logged, and do not end the session; the next
one comes the sooner.
"""

from __future__ import annotations

import enum
import logging
import threading
import time
from typing import TYPE_CHECKING, Final

from target_segment_objects.exceptions import (
    ApiError,
    PermanentApiError,
    SessionExpiredError,
    SessionStateError,
)

if TYPE_CHECKING:
    from pathlib import Path
    from types import TracebackType

    from typing_extensions import Self

    from target_segment_objects.segment.api import BulkApi

DEFAULT_KEEP_ALIVE_INTERVAL_SECONDS: Final = 180
"""A third of the silence after which Segment drops a session, so that two more may fail."""

KEEP_ALIVE_RETRY_SECONDS: Final = 20
"""Longest wait after a Keep Alive that failed: the silence that it should have ended goes on."""

_SHORT_ERROR: Final = 200  # characters of the error that Finish carries

logger = logging.getLogger(__name__)


class _State(enum.Enum):
    NEW = "new"
    OPEN = "open"
    ENDED = "ended"


class Session:
    """One bulk session.

    Attributes:
        part_ids: What Segment called each uploaded file, in order.
    """

    def __init__(
        self,
        api: BulkApi,
        *,
        keep_alive_seconds: float = DEFAULT_KEEP_ALIVE_INTERVAL_SECONDS,
    ) -> None:
        """Prepare a session; nothing is sent yet.

        Args:
            api: Makes the calls.
            keep_alive_seconds: Silence after which Keep Alive is sent.
        """
        self.part_ids: list[str] = []
        self._api = api
        self._keep_alive_seconds = keep_alive_seconds
        self._state = _State.NEW
        self._sync_id = ""
        self._ending = threading.Lock()
        self._last_call = 0.0
        self._quiet = threading.Event()
        self._keeper: threading.Thread | None = None

    @property
    def sync_id(self) -> str:
        """What Segment calls the session; empty before it is open."""
        return self._sync_id

    def __enter__(self) -> Self:
        """Start the session."""
        self.open()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Finish the session, with what failed when something did."""
        if error is None:
            self.finish()
        else:
            self.abort(str(error) or type(error).__name__)

    def open(self) -> None:
        """Start the session, and keep it alive from now on."""
        self._require(_State.NEW, "open")
        self._sync_id = self._api.start()
        self._touch()
        with self._ending:
            if self._state is not _State.NEW:
                self._end_with("abandoned while it was opened")
                self._require(_State.NEW, "open")
            self._state = _State.OPEN
        self._keeper = threading.Thread(
            target=self._keep_alive, name=f"keep-alive-{self._sync_id}", daemon=True
        )
        self._keeper.start()

    def upload(self, file: Path) -> None:
        """Send a file: gzip of JSON lines.

        Raises:
            SessionExpiredError: Segment does not know the session any more; try a new one.
            ApiError: Segment does not take the file.
        """
        self._require(_State.OPEN, "upload to")
        self._touch()
        try:
            self.part_ids.append(self._api.upload(self._sync_id, file))
        except SessionExpiredError as error:
            self._raise_unless_lost(error)
            raise
        self._touch()

    def finish(self) -> None:
        """Finish the session with a blank error: its objects count from now on.

        Raises:
            SessionExpiredError: Segment does not know the session, so whether its objects count
                cannot be told; a new session can send them again.
            ApiError: Segment does not take it.
        """
        self._require(_State.OPEN, "finish")
        self._stop_keeping()
        with self._ending:
            self._require(_State.OPEN, "finish")
            try:
                self._finish()
            except BaseException as error:
                self._end_with(str(error) or type(error).__name__)
                raise
            self._state = _State.ENDED

    def _finish(self) -> None:
        try:
            self._api.finish(self._sync_id)
        except SessionExpiredError as error:
            self._raise_unless_lost(error)
            raise

    def abort(self, reason: str, *, wait_seconds: float = -1) -> None:
        """Finish the session with an error, unless it has ended.

        A failure to do so is logged: it must not hide the first one.

        Args:
            reason: What failed; the first of it is what Segment gets.
            wait_seconds: For a Finish that is under way already; -1 for as long as it takes.
        """
        self._stop_keeping(None if wait_seconds < 0 else wait_seconds)
        if not self._ending.acquire(timeout=wait_seconds):
            return
        try:
            if self._state is _State.OPEN:
                self._end_with(reason)
            self._state = _State.ENDED
        finally:
            self._ending.release()

    def _end_with(self, reason: str) -> None:
        self._state = _State.ENDED
        said = reason.strip()[:_SHORT_ERROR] or "failed"  # a blank error would say that all is well
        try:
            self._api.abort_session(self._sync_id, said)
        except SessionExpiredError:
            logger.debug("Session %s was gone before it could be finished.", self._sync_id)
        except ApiError as failure:
            logger.warning(
                "%s. Segment drops the session by itself after a while; nothing of it counts.",
                failure,
            )

    def _raise_unless_lost(self, error: SessionExpiredError) -> None:
        """Tell a session that is gone from a request that is wrong, which answer alike.

        Segment's documentation knows only 400 for both. Keep Alive tells: it answers 200 while the
        session lives.
        """
        try:
            self._api.keep_alive(self._sync_id)
        except ApiError:
            return
        raise PermanentApiError(str(error), status=error.status) from error

    def _require(self, state: _State, step: str) -> None:
        if self._state is not state:
            msg = f"cannot {step} a session that is {self._state.value}"
            raise SessionStateError(msg)

    # Keep Alive

    def _touch(self) -> None:
        self._last_call = time.monotonic()

    def _stop_keeping(self, wait_seconds: float | None = None) -> None:
        self._quiet.set()
        if self._keeper is not None:
            self._keeper.join(wait_seconds)

    def _keep_alive(self) -> None:
        while not self._quiet.wait(self._until_silent()):
            if self._until_silent() > 0:
                continue
            self._touch()
            try:
                self._api.keep_alive(self._sync_id)
            except ApiError as failure:
                if not self._quiet.is_set():
                    logger.warning("%s. The session goes on.", failure)
                self._last_call -= max(0, self._keep_alive_seconds - KEEP_ALIVE_RETRY_SECONDS)

    def _until_silent(self) -> float:
        return max(0.0, self._last_call + self._keep_alive_seconds - time.monotonic())
