"""One batch, one bulk session: upload its files in order, and again if the session fails.

A session is repeated from its first file when Segment loses it, and when an upload may take effect
too late (see `segment.session`). Nothing of the failed session is loaded then: it is finished with
an error, or expires.

The rules for others: a batch that `upload_batch` returns from is accepted by Segment, whole and in
order. Several threads may upload batches of different collections at once. `abort_sessions` takes
no lock, so that it works whatever a signal has interrupted.
"""

from __future__ import annotations

import logging
import threading
import time
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from target_segment_objects.exceptions import (
    ApiError,
    DeliveryAbortedError,
    SessionExpiredError,
    TransientApiError,
    UploadOrderError,
)
from target_segment_objects.plurals import format_count
from target_segment_objects.segment.session import Session

if TYPE_CHECKING:
    from collections.abc import Iterator

    from target_segment_objects.delivery.batch import Batch
    from target_segment_objects.segment.api import BulkApi

MAX_SESSION_RETRIES: Final = 3
"""Further sessions for a batch whose first one could not be used."""

ABORT_DEADLINE_SECONDS: Final = 5.0
"""Longest wait for all open sessions to be finished when the user will not wait for delivery."""

_ABORT_WAIT_SECONDS: Final = 1.0  # for a call that a session has under way

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class SessionReport:
    """What one finished session delivered.

    Attributes:
        collection: The collection of its objects.
        sync_id: Segment's name for the session.
        part_ids: Segment's names for its files, in order.
        objects: Its number of objects.
        raw_bytes: Bytes of JSON lines.
        gzip_bytes: Bytes as sent.
        seconds: From before Start until Finish was answered.
    """

    collection: str
    sync_id: str
    part_ids: tuple[str, ...]
    objects: int
    raw_bytes: int
    gzip_bytes: int
    seconds: float


class BatchUploader:
    """Uploads batches, each in a session of its own.

    Attributes:
        uploaded_bytes: Bytes of all parts that were uploaded, those of repeated sessions included.
        is_aborted: Whether the open sessions were finished under their uploads.

    Args:
        api: Makes the calls.
        keep_alive_seconds: Silence in an open session after which Keep Alive is sent.
    """

    def __init__(self, api: BulkApi, *, keep_alive_seconds: float) -> None:
        self.uploaded_bytes = 0
        self.is_aborted = False
        self._api = api
        self._keep_alive_seconds = keep_alive_seconds
        self._count_lock = threading.Lock()
        self._open_sessions: set[Session] = set()

    def upload_batch(self, batch: Batch) -> SessionReport:
        """Upload a batch in one session, and again in a new one if the session cannot be used.

        Raises:
            SegmentObjectsError: The batch could not be delivered, and its session is finished.
        """
        attempt = 0
        while True:
            attempt += 1
            try:
                return self._attempt_upload(batch)
            except (SessionExpiredError, UploadOrderError) as error:
                if self.is_aborted:
                    raise
                if attempt > MAX_SESSION_RETRIES:
                    raise _add_advice(
                        error, f". {attempt} sessions failed. Run again later"
                    ) from error
                logger.warning(
                    "%s. Sending %s again in a new session (retry %d of %d).",
                    error,
                    format_count(len(batch.files), "part"),
                    attempt,
                    MAX_SESSION_RETRIES,
                )
            except TransientApiError as error:
                raise _add_advice(error, " Then run again") from error

    def abort_sessions(self, reason: str) -> None:
        """Finish every open session with an error; takes seconds at most."""
        self.is_aborted = True
        deadline = time.monotonic() + ABORT_DEADLINE_SECONDS
        threads = [
            threading.Thread(
                target=session.abort,
                args=(reason,),
                kwargs={
                    "wait_seconds": _ABORT_WAIT_SECONDS,
                    "start_wait_seconds": ABORT_DEADLINE_SECONDS,
                },
                daemon=True,
            )
            for session in list(self._open_sessions)
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(max(0.0, deadline - time.monotonic()))

    def _attempt_upload(self, batch: Batch) -> SessionReport:
        started = time.monotonic()
        session = Session(self._api, keep_alive_seconds=self._keep_alive_seconds)
        with self._track_session(session):
            self._require_running()  # an abort knows the sessions before it only
            self._upload_files(session, batch)
        return SessionReport(
            batch.collection,
            session.sync_id,
            tuple(session.part_ids),
            batch.objects,
            batch.raw_bytes,
            batch.gzip_bytes,
            time.monotonic() - started,
        )

    def _upload_files(self, session: Session, batch: Batch) -> None:
        with session:
            for file in batch.files:
                self._require_running()
                session.upload(file.path)
                with self._count_lock:
                    self.uploaded_bytes += file.gzip_bytes

    def _require_running(self) -> None:
        if self.is_aborted:
            msg = "Delivery was stopped"
            raise DeliveryAbortedError(msg)

    @contextmanager
    def _track_session(self, session: Session) -> Iterator[None]:
        self._open_sessions.add(session)
        try:
            yield
        finally:
            self._open_sessions.discard(session)


def _add_advice(error: ApiError, advice: str) -> ApiError:
    """Return the same error with what to do: here is a STATE to resume from, unlike in a check."""
    msg = f"{error}{advice}: the last STATE says where to resume."
    return type(error)(msg, status=error.status)
