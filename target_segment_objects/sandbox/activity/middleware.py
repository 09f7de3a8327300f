"""ASGI middleware that keeps each request in the log."""

from __future__ import annotations

import time
from datetime import datetime, timezone
from typing import TYPE_CHECKING, Final

from target_segment_objects.sandbox.activity.requests import RequestRecord, shorten_text

if TYPE_CHECKING:
    from starlette.types import ASGIApp, Message, Receive, Scope, Send

    from target_segment_objects.sandbox.activity.requests import RequestLog

_DISCONNECTED: Final = 499
"""Status of a request without a response, as in nginx's log: the client has disconnected."""


class ActivityMiddleware:
    """Keeps each request. Must be the outermost, so that it sees every response.

    An exception handler below it leaves the rejection in the request's state, as `rejection`.
    """

    def __init__(self, app: ASGIApp, *, log: RequestLog) -> None:
        """Wrap an application."""
        self._app = app
        self._log = log

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle a request."""
        request = _Request(scope, receive, send)
        self._log.begin_request()
        try:
            await self._app(scope, request.receive, request.send)
        finally:
            self._log.end_request(request.build_record())


class _Request:
    """A request while it is handled."""

    def __init__(self, scope: Scope, receive: Receive, send: Send) -> None:
        self._scope = scope
        self._receive = receive
        self._send = send
        self._started = datetime.now(timezone.utc)
        self._began = time.monotonic()
        self._status = _DISCONNECTED
        self._body_bytes = 0

    async def receive(self) -> Message:
        message = await self._receive()
        self._body_bytes += len(message.get("body", b""))
        return message

    async def send(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            self._status = message["status"]
        await self._send(message)

    def build_record(self) -> RequestRecord:
        rejection = self._scope.get("state", {}).get("rejection")
        return RequestRecord(
            started=self._started,
            method=shorten_text(self._scope["method"]),
            path=shorten_text(self._scope["raw_path"].decode("ascii", "backslashreplace")),
            status=self._status,
            seconds=time.monotonic() - self._began,
            body_bytes=self._body_bytes,
            reason="" if rejection is None else shorten_text(rejection.reason),
            line=None if rejection is None else rejection.line,
        )
