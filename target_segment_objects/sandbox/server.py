"""The sandbox as a server on this machine, in a thread of the process that wants it."""

from __future__ import annotations

import ipaddress
import socket
import tempfile
import threading
import time
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Final, TypeVar

import uvicorn

from target_segment_objects.limits import MAX_FILE_BYTES, SESSION_TIMEOUT_SECONDS
from target_segment_objects.sandbox.api import Api, Rules
from target_segment_objects.sandbox.warehouse import Warehouse

if TYPE_CHECKING:
    from collections.abc import Callable
    from types import TracebackType

    from starlette.types import ASGIApp
    from typing_extensions import Self

_Part = TypeVar("_Part")

_START_SECONDS: Final = 30
_STOP_SECONDS: Final = 10
"""What requests under way get to finish; a second time for what is left after that."""

_IDLE_SECONDS: Final = 60
"""How long an idle connection stays open: longer than clients pause between two requests."""


class Sandbox:
    """A local Segment; runs while it is used as a context manager.

    with Sandbox(Path("warehouse.duckdb")) as sandbox:
        ...  # send to sandbox.url
        sandbox.warehouse.rows("users")
    """

    def __init__(
        self,
        warehouse: Path,
        *,
        host: str = "127.0.0.1",
        port: int = 0,
        write_key: str | None = None,
        session_seconds: float = SESSION_TIMEOUT_SECONDS,
        file_bytes: int = MAX_FILE_BYTES,
        clock: Callable[[], float] = time.monotonic,
        wrap: Callable[[ASGIApp], ASGIApp] | None = None,
    ) -> None:
        """Prepare a sandbox.

        Args:
            warehouse: The DuckDB file; made when it is missing.
            host: Address to listen on; one of this machine's own.
            port: Port to listen on; 0 picks a free one.
            write_key: The only key to accept; `None` accepts any.
            session_seconds: Seconds without a call after which a session is gone.
            file_bytes: Limit of a file, uncompressed.
            clock: Gives the seconds that sessions are measured with; must never go back.
            wrap: Puts something around the ASGI application, such as a fault or a delay.

        Raises:
            ValueError: The host is not one of this machine's own.
        """
        if not _is_loopback(host):
            message = f"The sandbox listens on this machine alone: {host} is not such an address"
            raise ValueError(message)
        self._path = warehouse
        self._host = host
        self._port = port
        self._rules = Rules(write_key, session_seconds, file_bytes, clock)
        self._wrap = wrap
        self._running = ExitStack()
        self._warehouse: Warehouse | None = None
        self._api: Api | None = None

    @property
    def url(self) -> str:
        """The address to use as `api_url`."""
        host = f"[{self._host}]" if ":" in self._host else self._host
        return f"http://{host}:{self._port}"

    @property
    def warehouse(self) -> Warehouse:
        """The warehouse, to read it while the sandbox runs.

        Raises:
            RuntimeError: The sandbox does not run.
        """
        return _running(self._warehouse)

    @property
    def most_at_once(self) -> int:
        """The most requests of one write key that were ever under way at once.

        Raises:
            RuntimeError: The sandbox was never started.
        """
        return _running(self._api).most_at_once

    def __enter__(self) -> Self:
        """Start to listen.

        Raises:
            WarehouseError: The file cannot be used.
            OSError: The address cannot be used.
        """
        with ExitStack() as started:
            self._warehouse = started.enter_context(Warehouse.open(self._path))
            folder = started.enter_context(tempfile.TemporaryDirectory(prefix="segment-sandbox-"))
            self._api = Api(self._warehouse, Path(folder), self._rules)
            started.callback(self._api.close)
            listener = started.enter_context(_listen(self._host, self._port))
            self._port = listener.getsockname()[1]
            _serve(self._api, self._wrap, listener, started)
            self._running = started.pop_all()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Stop: requests under way are waited for, for some seconds; then all is closed."""
        self._warehouse = None
        self._running.close()


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def _running(part: _Part | None) -> _Part:
    if part is None:
        message = "the sandbox does not run: use it as a context manager"
        raise RuntimeError(message)
    return part


def _listen(host: str, port: int) -> socket.socket:
    """Bind here and not in uvicorn, so that a picked port is known before anyone listens."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    return socket.create_server((host, port), family=family, backlog=128)


def _serve(
    api: Api,
    wrap: Callable[[ASGIApp], ASGIApp] | None,
    listener: socket.socket,
    started: ExitStack,
) -> None:
    """Run uvicorn in a thread, and register how it is stopped."""
    app = api.app()
    server = uvicorn.Server(
        uvicorn.Config(
            app if wrap is None else wrap(app),
            loop="asyncio",
            http="h11",
            ws="none",
            lifespan="off",
            log_config=None,
            log_level="warning",
            access_log=False,
            timeout_keep_alive=_IDLE_SECONDS,
            timeout_graceful_shutdown=_STOP_SECONDS,
            callback_notify=api.expire,
            timeout_notify=1,
        )
    )
    # Python takes a thread that is no daemon as a reason not to exit.
    thread = threading.Thread(
        target=server.run, args=([listener],), name="segment-sandbox", daemon=True
    )
    thread.start()
    started.callback(_stop, server, thread)
    deadline = time.monotonic() + _START_SECONDS
    while not server.started:
        if not thread.is_alive() or time.monotonic() > deadline:
            message = "the sandbox did not start: see its log"
            raise RuntimeError(message)
        time.sleep(0.005)


def _stop(server: uvicorn.Server, thread: threading.Thread) -> None:
    server.should_exit = True
    thread.join(2 * _STOP_SECONDS)
    server.force_exit = True
    thread.join(_STOP_SECONDS)
