"""Uvicorn's HTTP protocol, with a timeout for the headers of a request.

Uvicorn closes connections that are idle between two requests, but waits for ever for the first
request of a connection, and for the rest of headers that have begun.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import h11
from uvicorn.protocols.http.h11_impl import H11Protocol

if TYPE_CHECKING:
    import asyncio


class TimedProtocol(H11Protocol):
    """Closes a connection whose headers do not arrive in time."""

    def __init__(self, *args: object, timeout_seconds: float, **kwargs: object) -> None:
        """Create the protocol of a connection.

        Args:
            *args: Uvicorn's own.
            timeout_seconds: How long the headers of a request may take.
            **kwargs: Uvicorn's own.
        """
        super().__init__(*args, **kwargs)  # type: ignore[arg-type]  # passed on unchanged
        self._timeout_seconds = timeout_seconds
        self._header_timer: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]  # as uvicorn
        """Wait for the first request."""
        super().connection_made(transport)
        self._start_timer()

    def connection_lost(self, exc: Exception | None) -> None:
        """Stop waiting."""
        self._stop_timer()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """Stop waiting when the headers are complete; wait for the rest of headers that are not."""
        super().data_received(data)
        if self.conn.their_state is not h11.IDLE:
            self._stop_timer()
        elif self._header_timer is None:
            self._start_timer()

    def _start_timer(self) -> None:
        self._header_timer = self.loop.call_later(
            self._timeout_seconds, self.timeout_keep_alive_handler
        )

    def _stop_timer(self) -> None:
        if self._header_timer is not None:
            self._header_timer.cancel()
            self._header_timer = None
