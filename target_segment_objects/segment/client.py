"""The calls of the Objects Bulk API: what is sent, how often, and how much at once.

Each call is prepared here, sent by `transport`, and its response read by `responses`. The rules
that others may rely on:

- A call returns when Segment responded as documented, and raises an `ApiError` otherwise.
- Transient failures are retried with exponential backoff and full jitter, or as `Retry-After` asks:
  no response (refused, reset, timed out), 408, 429 and every 5xx. Any other response is final.
- There are never more than `limits.MAX_CONCURRENT_REQUESTS` requests under way. One slot is
  reserved for Keep Alive and for aborting, so that long uploads cannot let a session expire.
- The write key is in no message, no log and no `repr`, nor is what an upload holds.
"""

from __future__ import annotations

import logging
import threading
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import quote

import backoff

from target_segment_objects import limits
from target_segment_objects.exceptions import TransientApiError
from target_segment_objects.segment.responses import (
    MAX_RETRY_AFTER_SECONDS,
    Call,
    Response,
    parse_identifier,
)
from target_segment_objects.segment.transport import HttpTransport

if TYPE_CHECKING:
    from collections.abc import Generator
    from pathlib import Path
    from types import TracebackType

    from typing_extensions import Self

DEFAULT_API_URL: Final = "https://objects-bulk-api.segmentapis.com"

DEFAULT_REQUEST_TIMEOUT_SECONDS: Final = 300
"""Longest wait for one response."""

DEFAULT_MAX_RETRIES: Final = 10
"""Retries of a call, after the first attempt."""

MAX_BACKOFF_SECONDS: Final = 60.0
"""Longest wait between two attempts, unless a response asks for another."""

KEEP_ALIVE_TIMEOUT_SECONDS: Final = 30.0
"""Longest wait for a slot, and again for the response, of a Keep Alive."""

ABORT_TIMEOUT_SECONDS: Final = 3.0
"""Longest wait for a slot, a connection and a response each, while the process is stopping."""

logger = logging.getLogger(__name__)


class Client:
    """Segment's Objects Bulk API with one write key. Threads may share it.

    As a context manager, it closes its connections at the end.
    """

    def __init__(
        self,
        write_key: str,
        *,
        api_url: str = DEFAULT_API_URL,
        timeout_seconds: float = DEFAULT_REQUEST_TIMEOUT_SECONDS,
        max_retries: int = DEFAULT_MAX_RETRIES,
        max_wait_seconds: float = MAX_RETRY_AFTER_SECONDS,
        user_agent: str | None = None,
    ) -> None:
        """Store what every call needs; nothing is sent yet.

        Args:
            write_key: The source's write key.
            api_url: The API's base address.
            timeout_seconds: Longest wait for one response.
            max_retries: Retries of a call, after the first attempt.
            max_wait_seconds: Longest wait between two attempts, whatever a response asks for.
            user_agent: The User-Agent header; None for the HTTP library's.

        Raises:
            InvalidUrlError: `api_url` is malformed, or plain `http://` to another machine.
        """
        self._transport = HttpTransport(write_key, api_url, user_agent=user_agent)
        self._timeout_seconds = timeout_seconds
        self._max_attempts = max_retries + 1
        self._max_wait_seconds = max_wait_seconds
        self._slots = threading.BoundedSemaphore(limits.MAX_CONCURRENT_REQUESTS - 1)
        self._reserved_slot = threading.Lock()

    def __enter__(self) -> Self:
        """Return the client."""
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Close the connections."""
        self.close()

    def close(self) -> None:
        """Close the connections."""
        self._transport.close()

    def start(self) -> str:
        """Start a bulk session.

        Returns:
            Its `sync_id`.
        """
        call = Call("Start", "/v0/start", 201)
        return parse_identifier(call, self._send_with_retry(call), "sync_id")

    def upload(self, sync_id: str, file: Path) -> str:
        """Upload a file to a session; each attempt sends it from its first byte.

        Args:
            sync_id: The session.
            file: Gzip of JSON lines.

        Returns:
            Its `part_id`.

        Raises:
            SpoolError: The file cannot be read.
        """
        call = Call(
            "Upload",
            f"/v0/upload/{_quote_id(sync_id)}",
            201,
            sync_id,
            headers=(("Content-Type", "binary/octet-stream"), ("Content-Encoding", "gzip")),
            file=file,
        )
        return parse_identifier(call, self._send_with_retry(call), "part_id")

    def keep_alive(self, sync_id: str) -> None:
        """Tell Segment that a session is still in use; one attempt, as the next one comes soon."""
        call = Call("Keep Alive", f"/v0/keep-alive/{_quote_id(sync_id)}", 200, sync_id)
        self._send_once(call, KEEP_ALIVE_TIMEOUT_SECONDS)

    def finish(self, sync_id: str, error: str = "") -> None:
        """Finish a session: Segment processes its objects, or drops them.

        Args:
            sync_id: The session.
            error: Blank on success, else what failed.
        """
        self._send_with_retry(_prepare_finish(sync_id, error))

    def abort_session(self, sync_id: str, error: str) -> None:
        """Finish a failed session with one short attempt."""
        self._send_once(_prepare_finish(sync_id, error), ABORT_TIMEOUT_SECONDS)

    def _send_with_retry(self, call: Call) -> Response:
        """Send a call until the response is final."""
        retrying = backoff.on_exception(
            _generate_waits,
            TransientApiError,
            max_tries=self._max_attempts,
            max_wait_seconds=self._max_wait_seconds,
            jitter=None,  # _generate_waits adds it, but not to what Retry-After asks for
            on_backoff=[_log_retry],
            logger=None,
        )
        try:
            return retrying(self._send_in_slot)(call)
        except TransientApiError as error:
            attempts = f", {self._max_attempts} times" if self._max_attempts > 1 else ""
            msg = (
                f"{error}{attempts}. Check the network and Segment's status page, then run again: "
                "the last STATE says where to resume."
            )
            raise TransientApiError(msg, status=error.status) from error

    def _send_in_slot(self, call: Call) -> Response:
        with self._slots:
            return self._transport.send_call(call, self._timeout_seconds)

    def _send_once(self, call: Call, seconds: float) -> None:
        """Send a call once, in a free slot or in the reserved one."""
        seconds = min(seconds, self._timeout_seconds)
        has_slot = self._slots.acquire(blocking=False)
        if not has_slot and not self._reserved_slot.acquire(timeout=seconds):
            msg = f"{call}: not sent, {limits.MAX_CONCURRENT_REQUESTS} requests are under way"
            raise TransientApiError(msg)
        try:
            self._transport.send_call(call, seconds)
        finally:
            (self._slots if has_slot else self._reserved_slot).release()


def _prepare_finish(sync_id: str, error: str) -> Call:
    return Call("Finish", f"/v0/finish/{_quote_id(sync_id)}", 202, sync_id, json={"error": error})


def _quote_id(sync_id: str) -> str:
    """Escape an id so that it stays one segment of the path."""
    return quote(sync_id, safe="")


def _generate_waits(max_wait_seconds: float) -> Generator[Any, Any, None]:
    """Yield the seconds to wait before each retry, as `backoff` asks for them."""
    steps = backoff.expo(max_value=MAX_BACKOFF_SECONDS)
    next(steps)
    error = yield
    while True:
        requested = error.retry_after
        wait = backoff.full_jitter(next(steps)) if requested is None else requested
        error = yield min(wait, max_wait_seconds)


def _log_retry(details: Any) -> None:  # noqa: ANN401 - backoff has no public type for it
    logger.warning(
        "%s. Retrying in %.1f s (attempt %d).",
        details["exception"],
        details["wait"],
        details["tries"] + 1,
    )
