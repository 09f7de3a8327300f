"""The HTTP server: uvicorn in a thread of its own, which waits for no client for ever."""

from __future__ import annotations

import functools
import socket
import threading
import time
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, Final

import h11
import uvicorn
from uvicorn.protocols.http.h11_impl import H11Protocol

if TYPE_CHECKING:
    import asyncio
    from collections.abc import Awaitable, Callable, Iterator

    from starlette.types import ASGIApp

_START_TIMEOUT_SECONDS: Final = 30
_STOP_TIMEOUT_SECONDS: Final = 10
"""How long running requests may take to end, and how long once more after they are cancelled."""

_KEEP_ALIVE_SECONDS: Final = 60
"""How long an idle connection stays open: longer than clients pause between two requests."""


def open_listener(host: str, port: int) -> socket.socket:
    """Bind the socket. Uvicorn would do it in its thread, where a picked port is known later.

    Raises:
        socket.gaierror: There is no such host.
        UnicodeError: It cannot be a host.
        OSError: The address cannot be used.
    """
    # `create_server` hides which error it is.
    socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    listener = socket.create_server((host, port), family=family, backlog=128)
    # Connections inherit it. Without it the body of a response waits until the client acknowledges
    # the headers, up to 40 ms; asyncio sets it only where the socket's protocol is given.
    listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return listener


@contextmanager
def serving_thread(
    app: ASGIApp,
    listener: socket.socket,
    *,
    on_tick: Callable[[], Awaitable[None]],
    timeout_seconds: float,
) -> Iterator[None]:
    """Run uvicorn in a thread, and call `on_tick` every second.

    The headers of a request may take `timeout_seconds`.
    """
    protocol = functools.partial(_TimedProtocol, timeout_seconds=timeout_seconds)
    server = uvicorn.Server(
        uvicorn.Config(
            app,
            loop="asyncio",
            http=protocol,  # type: ignore[arg-type]  # uvicorn only calls it
            ws="none",
            lifespan="off",
            log_config=None,
            log_level="warning",
            access_log=False,
            timeout_keep_alive=_KEEP_ALIVE_SECONDS,
            callback_notify=on_tick,
            timeout_notify=1,
        )
    )
    # A non-daemon thread would keep Python from exiting.
    thread = threading.Thread(
        target=server.run, args=([listener],), name="segment-sandbox", daemon=True
    )
    thread.start()
    try:
        _wait_until_started(server, thread)
        yield
    finally:
        _stop_server(server, thread)


def _wait_until_started(server: uvicorn.Server, thread: threading.Thread) -> None:
    deadline = time.monotonic() + _START_TIMEOUT_SECONDS
    while not server.started:
        if not thread.is_alive() or time.monotonic() > deadline:
            raise RuntimeError("the sandbox did not start: see its log")
        time.sleep(0.005)


def _stop_server(server: uvicorn.Server, thread: threading.Thread) -> None:
    server.should_exit = True
    thread.join(_STOP_TIMEOUT_SECONDS)
    # Not uvicorn's timeout, which logs a line of its own.
    for task in list(server.server_state.tasks):
        with suppress(RuntimeError):  # its loop has ended
            task.get_loop().call_soon_threadsafe(task.cancel)
    thread.join(_STOP_TIMEOUT_SECONDS)
    server.force_exit = True
    thread.join(_STOP_TIMEOUT_SECONDS)


class _TimedProtocol(H11Protocol):
    """Closes a connection whose headers do not arrive in time.

    Uvicorn closes connections that are idle between two requests, but waits for ever for the first
    request of a connection, and for the rest of headers that have begun.
    """

    def __init__(self, *args: object, timeout_seconds: float, **kwargs: object) -> None:
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
