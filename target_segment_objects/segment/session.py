"""One bulk session, as a context manager: Start, uploads, Finish, with Keep Alive in between.

    with Session(client) as session:
        session.upload(path)

Leaving the block finishes the session: with a blank error on success, else with a short one that
says what failed. Segment keeps nothing of a session that is finished with an error.

The legal steps, and the state that each leads to:

| state    | open | upload | finish   | abort    |
|----------|------|--------|----------|----------|
| NEW      | OPEN |        |          | ENDED    |
| OPEN     |      | OPEN   | ENDED    | ENDED    |
| ENDED    |      |        |          | ENDED    |

Any other step is a `SessionStateError`. `abort` may be called by another thread at any time; all
else belongs to one thread. A session that is aborted while it is being opened is finished with an
error as soon as it is open, and `abort` waits for that. One that is aborted during an upload can no
longer be finished.

The order of uploads holds even if a response is lost and Segment carries out an upload late, behind
the next one: after such an upload, the session takes no other one, and raises `UploadOrderError`.
The last upload needs no such care. Nothing follows it in its session, and to apply it twice changes
nothing. Segment accepts no upload after Finish, so later sessions are safe, too.

A Finish whose response was lost may still be under way, and so may an upload. Segment then refuses
the next Finish although the session exists. So Finish is repeated for `FINISH_WAIT_SECONDS`, before
the session is given up as expired.

Keep Alive has a thread of its own, from Start until just before Finish. It is sent whenever the
session has seen no call for `keep_alive_seconds`: during a long upload, between two attempts, or
while nothing is sent. Its failures are logged and do not end the session; the next one follows
sooner.
"""

from __future__ import annotations

import enum
import logging
import threading
import time
from typing import TYPE_CHECKING, Final

from target_segment_objects import limits
from target_segment_objects.exceptions import (
    ApiError,
    PermanentApiError,
    SessionExpiredError,
    SessionStateError,
    UploadOrderError,
)

if TYPE_CHECKING:
    from pathlib import Path

    from typing_extensions import Self

    from target_segment_objects.segment.api import BulkApi

DEFAULT_KEEP_ALIVE_INTERVAL_SECONDS: Final = 180
"""Less than a third of the silence after which Segment drops a session: two may fail in a row."""

KEEP_ALIVE_RETRY_SECONDS: Final = 20
"""Longest wait after a Keep Alive that failed, as the session is still silent."""

FINISH_WAIT_SECONDS: Final = float(limits.SESSION_TIMEOUT_SECONDS)
"""How long Finish is repeated while Segment may still carry out a call whose response was lost."""

MIN_FINISH_INTERVAL_SECONDS: Final = 1.0
"""First wait before Finish is repeated; it doubles each time."""

MAX_FINISH_INTERVAL_SECONDS: Final = 30.0
"""Longest wait before Finish is repeated."""

_MAX_ERROR_CHARACTERS: Final = 200  # of the error that Finish carries

logger = logging.getLogger(__name__)


class _State(enum.Enum):
    NEW = "new"
    OPEN = "open"
    ENDED = "ended"


class Session:
    """One bulk session: Start, uploads, Finish, with Keep Alive in between.

        with Client(write_key) as client, Session(client) as session:
            session.upload(Path("users.jsonl.gz"))
        print(session.sync_id, session.part_ids)

    Leaving the block finishes the session: with a blank error on success, so that Segment loads the
    files, and otherwise with an error, so that Segment drops them. Files take effect in the order
    of their uploads. A thread sends Keep Alive, so the block may last as long as you like. A
    session is for one block and one thread; `abort` may be called by any thread.

    Attributes:
        part_ids: Segment's names for the uploaded files, in order.

    Args:
        api: Makes the calls.
        keep_alive_seconds: Silence after which Keep Alive is sent.
    """

    def __init__(
        self,
        api: BulkApi,
        *,
        keep_alive_seconds: float = DEFAULT_KEEP_ALIVE_INTERVAL_SECONDS,
    ) -> None:
        self.part_ids: list[str] = []
        self._api = api
        self._keep_alive_seconds = keep_alive_seconds
        self._state = _State.NEW
        self._sync_id = ""
        self._end_lock = threading.Lock()
        self._last_call = 0.0
        self._stopped = threading.Event()
        self._abort_requested = threading.Event()
        self._opening = threading.Lock()  # held from Start until the session is open or ended
        self._is_upload_lost = False  # whether an upload may be carried out late
        self._is_finish_lost = False
        self._keepalive_thread: threading.Thread | None = None

    @property
    def sync_id(self) -> str:
        """Segment's name for the session; empty until it is open."""
        return self._sync_id

    def __enter__(self) -> Self:
        """Start the session."""
        self.open()
        return self

    def __exit__(self, _: object, error: BaseException | None, __: object) -> None:
        """Finish the session, with what failed when something did."""
        if error is None:
            self.finish()
        else:
            self.abort(str(error) or type(error).__name__)

    def open(self) -> None:
        """Start the session and its Keep Alive."""
        with self._opening:
            self._require_state(_State.NEW, "open")
            self._sync_id = self._api.start()
            self._record_call()
            with self._end_lock:
                if self._state is not _State.NEW:
                    self._finish_with_error("aborted while it was being opened")
                    self._require_state(_State.NEW, "open")
                self._state = _State.OPEN
        self._keepalive_thread = threading.Thread(
            target=self._run_keepalive, name=f"keep-alive-{self._sync_id}", daemon=True
        )
        self._keepalive_thread.start()

    def upload(self, file: Path) -> None:
        """Upload a file: gzip of JSON lines.

        Raises:
            SessionExpiredError: Segment no longer knows the session; start a new one.
            UploadOrderError: An earlier upload may be carried out behind this one; start a new
                session, and upload all files again.
            ApiError: The upload failed.
        """
        self._require_state(_State.OPEN, "upload to")
        if self._is_upload_lost:
            msg = (
                f"Upload of session {self._sync_id}: not sent, as the response to an earlier one "
                "was lost, which may still be carried out"
            )
            raise UploadOrderError(msg)
        self._record_call()
        try:
            part_id = self._api.upload(
                self._sync_id, file, on_lost_response=self._record_lost_upload
            )
        except SessionExpiredError as error:
            self._distinguish_bad_request(error)
            raise
        self.part_ids.append(part_id)
        self._record_call()

    def finish(self) -> None:
        """Finish the session with a blank error: Segment processes its objects.

        Raises:
            SessionExpiredError: Segment does not know the session. Whether it has the objects is
                unknown; send them again in a new one.
            ApiError: The call failed.
        """
        self._require_state(_State.OPEN, "finish")
        self._stop_keepalive()
        with self._end_lock:
            self._require_state(_State.OPEN, "finish")
            try:
                self._send_finish()
            except BaseException as error:
                self._finish_with_error(str(error) or type(error).__name__)
                raise
            self._state = _State.ENDED

    def _send_finish(self) -> None:
        deadline = time.monotonic() + FINISH_WAIT_SECONDS
        interval = MIN_FINISH_INTERVAL_SECONDS
        while True:
            try:
                self._api.finish(self._sync_id, on_lost_response=self._record_lost_finish)
            except SessionExpiredError as error:
                if not (self._is_upload_lost or self._is_finish_lost):
                    self._distinguish_bad_request(error)
                    raise
                if not self._exists() or time.monotonic() >= deadline:
                    raise
                logger.warning(
                    "%s. An earlier call may still be under way. Asking again in %.0f s.",
                    error,
                    interval,
                )
                if self._abort_requested.wait(interval):
                    raise
                interval = min(2 * interval, MAX_FINISH_INTERVAL_SECONDS)
            else:
                return

    def _record_lost_upload(self) -> None:
        self._is_upload_lost = True

    def _record_lost_finish(self) -> None:
        self._is_finish_lost = True

    def abort(
        self, reason: str, *, wait_seconds: float = -1, start_wait_seconds: float = 0
    ) -> None:
        """Finish the session with an error, unless it has ended.

        A failure to do so is logged and not raised: it must not hide the first one.

        Args:
            reason: What failed; Segment gets its beginning.
            wait_seconds: Longest wait for another call that is under way; -1 for no limit.
            start_wait_seconds: Longest wait for a Start that is under way, after which the session
                is finished: before, it has no name. Without the wait, the process may end first.
        """
        self._abort_requested.set()
        self._stop_keepalive(None if wait_seconds < 0 else wait_seconds)
        if not self._end_lock.acquire(timeout=wait_seconds):
            return
        try:
            if self._state is _State.OPEN:
                self._finish_with_error(reason)
            self._state = _State.ENDED
        finally:
            self._end_lock.release()
        if self._opening.acquire(timeout=start_wait_seconds):
            self._opening.release()

    def _finish_with_error(self, reason: str) -> None:
        self._state = _State.ENDED
        # A blank error would mean success.
        error = reason.strip()[:_MAX_ERROR_CHARACTERS] or "failed"
        try:
            self._api.abort_session(self._sync_id, error)
        except SessionExpiredError:
            logger.debug("Session %s had expired before it could be finished.", self._sync_id)
        except ApiError as failure:
            logger.warning(
                "%s. If the session is still open, it expires and Segment drops its objects.",
                failure,
            )

    def _distinguish_bad_request(self, error: SessionExpiredError) -> None:
        """Raise another error if it was the request that was bad, not the session that expired.

        Segment documents 400 for both. Keep Alive tells them apart: it succeeds as long as the
        session exists.
        """
        if self._exists():
            msg = (
                f"{error}. Segment still has the session, so it refuses this call. Send the id of "
                "the session to Segment's support."
            )
            raise PermanentApiError(msg, status=error.status) from error

    def _exists(self) -> bool:
        try:
            self._api.keep_alive(self._sync_id)
        except ApiError:
            return False
        return True

    def _require_state(self, state: _State, step: str) -> None:
        if self._state is not state:
            msg = f"Cannot {step} a session that is {self._state.value}."
            raise SessionStateError(msg)

    # Keep Alive

    def _record_call(self) -> None:
        self._last_call = time.monotonic()

    def _stop_keepalive(self, wait_seconds: float | None = None) -> None:
        self._stopped.set()
        if self._keepalive_thread is not None:
            self._keepalive_thread.join(wait_seconds)

    def _run_keepalive(self) -> None:
        while not self._stopped.wait(self._seconds_until_silent()):
            if self._seconds_until_silent() > 0:
                continue
            self._record_call()
            try:
                self._api.keep_alive(self._sync_id)
            except ApiError as failure:
                if not self._stopped.is_set():
                    logger.warning("%s. The session continues.", failure)
                self._last_call -= max(0, self._keep_alive_seconds - KEEP_ALIVE_RETRY_SECONDS)

    def _seconds_until_silent(self) -> float:
        return max(0.0, self._last_call + self._keep_alive_seconds - time.monotonic())
