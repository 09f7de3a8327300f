"""The calls of the Objects Bulk API: what is sent, how often, and how much at once.

Each call is prepared here, sent by `transport`, and its response read by `responses`. The rules
that others may rely on:

- A call returns when Segment responded as documented, and raises an `ApiError` otherwise.
- Transient failures are retried with exponential backoff and full jitter, or as `Retry-After` asks:
  no response (refused, reset, timed out), 408, 429 and every 5xx. Any other response is final.
- Retries are logged as warnings, but only those of one call if several meet the same outage.
- There are never more than `limits.MAX_CONCURRENT_REQUESTS` requests under way. One slot is
  reserved for Keep Alive and for aborting, so that long uploads cannot let a session expire.
- The write key is in no message, no log and no `repr`, nor is what an upload holds.
"""

from __future__ import annotations

import logging
import math
import re
import threading
import time
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import quote

import backoff
import msgspec

from target_segment_objects import limits
from target_segment_objects.exceptions import (
    ApiError,
    InvalidWriteKeyError,
    PermanentApiError,
    TransientApiError,
    UnreachableError,
)
from target_segment_objects.segment.responses import (
    MAX_RETRY_AFTER_SECONDS,
    Call,
    Response,
    parse_identifier,
)
from target_segment_objects.segment.transport import HttpTransport

if TYPE_CHECKING:
    from collections.abc import Callable, Generator
    from pathlib import Path

    from typing_extensions import Self

    from target_segment_objects.segment.authentication import AuthForm

DEFAULT_API_URL: Final = "https://objects-bulk-api.segmentapis.com"

DEFAULT_REQUEST_TIMEOUT_SECONDS: Final = 300
"""Longest wait for one response."""

DEFAULT_MAX_RETRIES: Final = 10
"""Retries of a call, after the first attempt."""

MAX_BACKOFF_SECONDS: Final = 60.0
"""Longest wait between two attempts, unless a response asks for another."""

FIRST_CONNECTION_ATTEMPTS: Final = 3
"""Attempts to connect before there was any response: an address that is wrong stays wrong."""

MAX_FINISH_TIMEOUT_FACTOR: Final = 8
"""Longest wait for the response to Finish, in units of the request timeout."""

KEEP_ALIVE_TIMEOUT_SECONDS: Final = 30.0
"""Longest wait for a slot, and again for the response, of a Keep Alive."""

ABORT_TIMEOUT_SECONDS: Final = 3.0
"""Longest wait for a slot, a connection and a response each, while the process is stopping."""

_WRITE_KEY: Final = re.compile(r"[!-~]+")  # as in the settings; a header can hold no more

logger = logging.getLogger(__name__)


class _Attempts(msgspec.Struct):
    """The failed attempts of one call.

    Attributes:
        limit: Returns how often a call is sent at most, if it fails with an error.
        on_lost_response: Called when an attempt may be carried out later.
        outages: Which calls report.
        failures: Their number.
        began: When the first attempt was made.
        ended: When the last attempt failed.
    """

    limit: Callable[[Exception], int]
    on_lost_response: Callable[[], object]
    outages: _Outages
    failures: int = 0
    began: float = msgspec.field(default_factory=time.monotonic)
    ended: float | None = None

    def add_failure(self, error: Exception) -> bool:
        """Count a failure, and return whether it was the last attempt."""
        self.failures += 1
        if isinstance(error, TransientApiError) and error.is_response_lost:
            self.on_lost_response()
        return self.failures >= self.limit(error)

    def log_retry(self, details: Any) -> None:  # noqa: ANN401 - backoff has no public type for it
        """Log the wait before the next attempt."""
        error = details["exception"]
        logger.log(
            logging.WARNING if self.outages.has_to_report(self, error) else logging.DEBUG,
            "%s. Retrying in %.1f s (attempt %d of %d).",
            error,
            details["wait"],
            self.failures + 1,
            self.limit(error),
        )


class _Outages:
    """Which call reports an outage, as calls of several collections meet the same one at once.

    The first one that meets it reports all its retries. When it succeeds, another one takes over.
    When it fails, those that began before its end stay silent: their next attempts say nothing new.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._reporters: dict[tuple[type[ApiError], int | None], _Attempts] = {}

    def has_to_report(self, attempts: _Attempts, error: TransientApiError) -> bool:
        """Return whether a call is the one that reports the outage behind its failure."""
        outage = type(error), error.status
        with self._lock:
            reporter = self._reporters.get(outage)
            if reporter is None or (reporter.ended or math.inf) < attempts.began:
                reporter = self._reporters[outage] = attempts
        return reporter is attempts

    def remove_reporter(self, attempts: _Attempts) -> None:
        """Let another call report, as this one has succeeded."""
        with self._lock:
            for outage in [key for key, value in self._reporters.items() if value is attempts]:
                del self._reporters[outage]


class Client:
    """Segment's Objects Bulk API with one write key. Threads may share it.

    Each method is one call of the API, which is repeated while that may help: after refused, reset
    and timed-out connections, and after the status 408, 429 and 5xx. `Session` calls them in the
    right order. As a context manager, a client closes its connections at the end.

    Args:
        write_key: The source's write key.
        api_url: The API's base address.
        timeout_seconds: Longest wait for one response.
        max_retries: Retries of a call, after the first attempt. While there was no response to
            any call, a failure to connect is retried twice at most: the address may be wrong.
        max_wait_seconds: Longest wait between two attempts, whatever a response asks for.
        user_agent: The User-Agent header; None for the HTTP library's.

    Raises:
        InvalidWriteKeyError: `write_key` is not a string of printable ASCII without spaces.
        InvalidUrlError: `api_url` is malformed, or plain `http://` to another machine.
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
        if not isinstance(write_key, str) or not _WRITE_KEY.fullmatch(write_key):
            raise InvalidWriteKeyError(write_key)
        self._transport = HttpTransport(write_key, api_url, user_agent=user_agent)
        self._timeout_seconds = timeout_seconds
        self._max_attempts = max_retries + 1
        self._max_wait_seconds = max_wait_seconds
        self._slots = threading.BoundedSemaphore(limits.MAX_CONCURRENT_REQUESTS - 1)
        self._reserved_slot = threading.Lock()
        self._is_reachable = False  # whether there was a response, to any call
        self._outages = _Outages()
        self._finish_timeout_seconds = timeout_seconds

    def __enter__(self) -> Self:
        """Return the client."""
        return self

    def __exit__(self, *_: object) -> None:
        """Close the connections."""
        self.close()

    @property
    def auth_form(self) -> AuthForm | None:
        """The form of credentials that Segment accepted; None before a call has succeeded."""
        return self._transport.auth.form if self._transport.auth.is_accepted else None

    def close(self) -> None:
        """Close the connections."""
        self._transport.close()

    def start(self) -> str:
        """Start a bulk session.

        Returns:
            Its `sync_id`.
        """
        call = Call("Start", "/v0/start", 201)
        sync_id = parse_identifier(call, self._send_with_retry(call), "sync_id")
        _quote_id(sync_id)  # or no other call could be made
        return sync_id

    def upload(
        self,
        sync_id: str,
        file: Path,
        *,
        on_lost_response: Callable[[], object] = lambda: None,
    ) -> str:
        """Upload a file to a session; each attempt sends it from its first byte.

        Args:
            sync_id: The session.
            file: Gzip of JSON lines.
            on_lost_response: Called when an attempt may be carried out later, unnoticed.

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
        response = self._send_with_retry(call, on_lost_response=on_lost_response)
        return parse_identifier(call, response, "part_id")

    def keep_alive(self, sync_id: str) -> None:
        """Tell Segment that a session is still in use; one attempt, as the next one comes soon."""
        call = Call("Keep Alive", f"/v0/keep-alive/{_quote_id(sync_id)}", 200, sync_id)
        self._send_once(call, KEEP_ALIVE_TIMEOUT_SECONDS)

    def finish(
        self,
        sync_id: str,
        error: str = "",
        *,
        on_lost_response: Callable[[], object] = lambda: None,
    ) -> None:
        """Finish a session: Segment processes its objects, or drops them.

        When a response is lost, the next Finish waits twice as long: to ask again does not help, as
        Segment refuses a second Finish of the same session.

        Args:
            sync_id: The session.
            error: Blank on success, else what failed.
            on_lost_response: Called when an attempt may be carried out later, unnoticed.
        """
        timeout_seconds = self._finish_timeout_seconds

        def extend_timeout() -> None:
            self._finish_timeout_seconds = min(
                2 * timeout_seconds, MAX_FINISH_TIMEOUT_FACTOR * self._timeout_seconds
            )
            on_lost_response()

        self._send_with_retry(
            _prepare_finish(sync_id, error),
            timeout_seconds=timeout_seconds,
            on_lost_response=extend_timeout,
        )

    def abort_session(self, sync_id: str, error: str) -> None:
        """Finish a failed session with one short attempt."""
        self._send_once(_prepare_finish(sync_id, error), ABORT_TIMEOUT_SECONDS)

    def _send_with_retry(
        self,
        call: Call,
        *,
        timeout_seconds: float | None = None,
        on_lost_response: Callable[[], object] = lambda: None,
    ) -> Response:
        """Send a call until the response is final."""
        timeout_seconds = timeout_seconds or self._timeout_seconds
        attempts = _Attempts(self._limit_attempts, on_lost_response, self._outages)
        retrying = backoff.on_exception(
            _generate_waits,
            TransientApiError,
            max_wait_seconds=self._max_wait_seconds,
            giveup=attempts.add_failure,
            jitter=None,  # _generate_waits adds it, but not to what Retry-After asks for
            on_backoff=[attempts.log_retry],
            logger=None,
        )
        try:
            response = retrying(self._send_in_slot)(call, timeout_seconds)
        except TransientApiError as error:
            attempts.ended = time.monotonic()
            count = f", {attempts.failures} times" if attempts.failures > 1 else ""
            msg = f"{error}{count}. {self._advise(error)}"
            raise type(error)(msg, status=error.status) from error
        if attempts.failures:
            self._outages.remove_reporter(attempts)
        return response

    def _limit_attempts(self, error: Exception) -> int:
        """Return how often a call is sent at most, if it fails like this."""
        if isinstance(error, UnreachableError) and not self._is_reachable:
            return min(self._max_attempts, FIRST_CONNECTION_ATTEMPTS)
        return self._max_attempts

    def _advise(self, error: TransientApiError) -> str:
        if isinstance(error, UnreachableError) and not self._is_reachable:
            return "Check api_url, the proxy and the network."
        return "Check the network and Segment's status page."

    def _send_in_slot(self, call: Call, timeout_seconds: float) -> Response:
        with self._slots:
            return self._send_request(call, timeout_seconds)

    def _send_request(self, call: Call, timeout_seconds: float) -> Response:
        try:
            response = self._transport.send_call(call, timeout_seconds)
        except ApiError as error:
            self._is_reachable |= error.status is not None
            raise
        self._is_reachable = True
        return response

    def _send_once(self, call: Call, seconds: float) -> None:
        """Send a call once, in a free slot or in the reserved one."""
        seconds = min(seconds, self._timeout_seconds)
        has_slot = self._slots.acquire(blocking=False)
        if not has_slot and not self._reserved_slot.acquire(timeout=seconds):
            msg = f"{call}: not sent, {limits.MAX_CONCURRENT_REQUESTS} requests are under way"
            raise TransientApiError(msg)
        try:
            self._send_request(call, seconds)
        finally:
            (self._slots if has_slot else self._reserved_slot).release()


def _prepare_finish(sync_id: str, error: str) -> Call:
    return Call("Finish", f"/v0/finish/{_quote_id(sync_id)}", 202, sync_id, json={"error": error})


def _quote_id(sync_id: str) -> str:
    """Escape an id so that it stays one segment of the path.

    Raises:
        PermanentApiError: It cannot: a path of dots is resolved, escaped or not.
    """
    if sync_id in {"", ".", ".."}:
        msg = f"The sync_id '{sync_id}' cannot be part of a path. Check that api_url is Segment's."
        raise PermanentApiError(msg)
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
