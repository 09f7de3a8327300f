"""The requests of the API: the newest ones, the rejected ones, and how many there were a second.

It has no content of a request but the reason of a rejection and, for the page, the rejected line
with those beside it, which are never printed. Thread-safe.
"""

from __future__ import annotations

import threading
import time
from contextlib import suppress
from dataclasses import dataclass, field, replace
from datetime import datetime, timezone
from typing import TYPE_CHECKING, Final

import click

from target_segment_objects.sandbox.wording import escape_text, shorten_text

if TYPE_CHECKING:
    from collections.abc import Callable

    from starlette.types import ASGIApp, Message, Receive, Scope, Send

MAX_REQUESTS: Final = 500
MAX_REJECTIONS: Final = 200
"""Requests, and rejected requests, that are kept: the newest ones."""

SHOWN_SECONDS: Final = 60
"""Seconds for which the load is kept."""

_MAX_TEXT_CHARACTERS: Final = 500

_DISCONNECTED: Final = 499
"""Status of a request without a response, as in nginx's log: the client has disconnected."""


@dataclass(frozen=True, slots=True)
class RequestRecord:
    """A request that was answered.

    Attributes:
        started: When it arrived; UTC.
        method: Its method.
        path: Its path as it was sent, with the percent-encoding.
        status: Status of the response; 499 if the client disconnected before it.
        seconds: Time until the response was sent.
        body_bytes: Bytes of its body that were received.
        reason: Why it was rejected, or an empty string.
        line: Number of the invalid line in the uploaded file, if there is one.
        lines: It and those beside it, with their numbers.
        rejection_number: Number of the rejected request, from 1; 0 for one that was accepted.
    """

    started: datetime
    method: str
    path: str
    status: int
    seconds: float
    body_bytes: int
    reason: str = ""
    line: int | None = None
    lines: tuple[tuple[int, str], ...] = field(default=(), repr=False)
    rejection_number: int = 0

    @property
    def is_rejected(self) -> bool:
        """Whether it was not successful."""
        return self.status >= 400  # noqa: PLR2004 - 4xx and 5xx


@dataclass(frozen=True, slots=True)
class LoadSample:
    """The load in one second.

    Attributes:
        requests: Number of requests that arrived in it.
        peak: The highest number of simultaneous requests.
    """

    requests: int
    peak: int


@dataclass(frozen=True, slots=True)
class RequestSnapshot:
    """The requests at one time. It is replaced, never changed, as a record of a session is.

    Attributes:
        count: Number of requests since the start.
        rejected_count: Number of those that were rejected.
        running: Number of requests that are not answered yet.
        peak: The highest number of simultaneous requests since the start.
        seconds: The load in the last `SHOWN_SECONDS` seconds; the current second is the last.
        requests: The newest requests, the newest first.
        rejections: The newest rejected requests, the newest first.
    """

    count: int = 0
    rejected_count: int = 0
    running: int = 0
    peak: int = 0
    seconds: tuple[LoadSample, ...] = (LoadSample(0, 0),) * SHOWN_SECONDS
    requests: tuple[RequestRecord, ...] = ()
    rejections: tuple[RequestRecord, ...] = ()


class RequestLog:
    """Keeps the newest requests and counts all.

    Args:
        on_request: Called with each request that was answered.
        clock: Returns seconds. Must be monotonic.
    """

    def __init__(
        self,
        *,
        on_request: Callable[[RequestRecord], None] | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._on_request = on_request
        self._clock = clock
        self._lock = threading.Lock()
        self._second = int(clock())
        self._snapshot = RequestSnapshot()

    def begin_request(self) -> None:
        """Count a request that has arrived."""
        with self._lock:
            now = self._advance()
            running, second = now.running + 1, now.seconds[-1]
            current = LoadSample(second.requests + 1, max(second.peak, running))
            self._snapshot = replace(
                now,
                count=now.count + 1,
                running=running,
                peak=max(now.peak, running),
                seconds=(*now.seconds[:-1], current),
            )

    def end_request(self, record: RequestRecord) -> None:
        """Count a request that is answered, and keep its record."""
        with self._lock:
            now = self._advance()
            if record.is_rejected:
                record = replace(record, rejection_number=now.rejected_count + 1)
            rejected = (record,) if record.is_rejected else ()
            self._snapshot = replace(
                now,
                running=now.running - 1,
                requests=(record, *now.requests)[:MAX_REQUESTS],
                rejected_count=now.rejected_count + len(rejected),
                rejections=(*rejected, *now.rejections)[:MAX_REJECTIONS],
            )
        if self._on_request is not None:
            self._on_request(record)

    def take_snapshot(self) -> RequestSnapshot:
        """Return the requests as they are now."""
        with self._lock:
            return self._advance()

    def _advance(self) -> RequestSnapshot:
        """Begin the current second, and those before it in which nothing happened."""
        second = int(self._clock())
        if second > self._second:
            idle_seconds = min(second - self._second, SHOWN_SECONDS)
            idle = (LoadSample(0, self._snapshot.running),) * idle_seconds
            seconds = (*self._snapshot.seconds, *idle)[-SHOWN_SECONDS:]
            self._snapshot, self._second = replace(self._snapshot, seconds=seconds), second
        return self._snapshot


def log_requests(app: ASGIApp, log: RequestLog) -> ASGIApp:
    """Log each request. Must be the outermost middleware, so that it sees every response.

    Whoever rejects a request leaves the rejection in its state, as `rejection`.
    """

    async def handle(scope: Scope, receive: Receive, send: Send) -> None:
        started, began = datetime.now(timezone.utc), time.monotonic()
        status, body_bytes = _DISCONNECTED, 0

        async def count_body() -> Message:
            nonlocal body_bytes
            message = await receive()
            body_bytes += len(message.get("body", b""))
            return message

        async def note_status(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
            await send(message)

        log.begin_request()
        try:
            await app(scope, count_body, note_status)
        finally:
            rejection = scope.get("state", {}).get("rejection")
            log.end_request(
                RequestRecord(
                    started=started,
                    method=shorten_text(scope["method"], _MAX_TEXT_CHARACTERS),
                    path=shorten_text(
                        scope["raw_path"].decode("ascii", "backslashreplace"), _MAX_TEXT_CHARACTERS
                    ),
                    status=status,
                    seconds=time.monotonic() - began,
                    body_bytes=body_bytes,
                    reason=""
                    if rejection is None
                    else shorten_text(rejection.reason, _MAX_TEXT_CHARACTERS),
                    line=None if rejection is None else rejection.line,
                    lines=() if rejection is None else rejection.lines,
                )
            )

    return handle


def print_request(record: RequestRecord) -> None:
    """Print a request to standard error. A terminal that is gone is no reason to stop."""
    with suppress(OSError, ValueError):
        click.echo(format_request(record), err=True)


def format_request(record: RequestRecord) -> str:
    """Return the line: local time, method, path, status, milliseconds, reason of a rejection."""
    time = record.started.astimezone().strftime("%H:%M:%S")
    line = f"{time} {record.method} {record.path} {record.status} {record.seconds * 1000:.0f} ms"
    if record.reason:
        place = "" if record.line is None else f"line {record.line}: "
        line += f": {place}{record.reason}"
    return escape_text(line)
