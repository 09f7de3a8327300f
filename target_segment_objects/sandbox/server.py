"""The sandbox as a server on this machine, in a thread of the process that uses it."""

from __future__ import annotations

import functools
import socket
import threading
import time
from contextlib import ExitStack, suppress
from typing import TYPE_CHECKING, Final, TypeVar

import uvicorn

from target_segment_objects.limits import MAX_FILE_BYTES, SESSION_TIMEOUT_SECONDS
from target_segment_objects.sandbox.activity import Activity
from target_segment_objects.sandbox.activity.middleware import ActivityMiddleware
from target_segment_objects.sandbox.activity.requests import RequestLog
from target_segment_objects.sandbox.api.application import ApiOptions, SandboxApi
from target_segment_objects.sandbox.api.loader import SessionLoader
from target_segment_objects.sandbox.api.middleware import AuthForm
from target_segment_objects.sandbox.api.protocol import TimedProtocol
from target_segment_objects.sandbox.errors import WarehouseInUseError
from target_segment_objects.sandbox.loopback import is_loopback, to_client_host
from target_segment_objects.sandbox.private_files import (
    creating_private_files,
    restrict_database_files,
)
from target_segment_objects.sandbox.running_server import find_server, publish_address
from target_segment_objects.sandbox.warehouse.database import Warehouse

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable
    from pathlib import Path
    from types import TracebackType

    from starlette.types import ASGIApp
    from typing_extensions import Self

    from target_segment_objects.sandbox.activity.requests import RequestRecord
    from target_segment_objects.sandbox.page.security import PageToken
    from target_segment_objects.sandbox.warehouse.database import SessionRow

_Component = TypeVar("_Component")

_START_TIMEOUT_SECONDS: Final = 30
_STOP_TIMEOUT_SECONDS: Final = 10
"""How long running requests may take to end, and how long once more after they are cancelled."""

_KEEP_ALIVE_SECONDS: Final = 60
"""How long an idle connection stays open: longer than clients pause between two requests."""


_CLIENT_TIMEOUT_SECONDS: Final = 30
"""How long a client may send nothing in the middle of a request."""


class Sandbox:
    """A local Segment. It runs while it is used as a context manager.

    with Sandbox(Path("warehouse.duckdb")) as sandbox:
        ...  # send to sandbox.url
        sandbox.warehouse.rows("users")
    """

    def __init__(  # noqa: PLR0913 - keyword-only options with defaults
        self,
        warehouse: Path,
        *,
        host: str = "127.0.0.1",
        port: int = 0,
        allow_remote: bool = False,
        write_key: str | None = None,
        auth_form: AuthForm = AuthForm.ANY,
        session_timeout_seconds: float = SESSION_TIMEOUT_SECONDS,
        client_timeout_seconds: float = _CLIENT_TIMEOUT_SECONDS,
        max_file_bytes: int = MAX_FILE_BYTES,
        clock: Callable[[], float] = time.monotonic,
        has_page: bool = False,
        on_request: Callable[[RequestRecord], None] | None = None,
        wrap: Callable[[ASGIApp], ASGIApp] | None = None,
    ) -> None:
        """Create a sandbox that does not run yet.

        Args:
            warehouse: The DuckDB file. It is created if it is missing.
            host: Address to listen on. Must be a loopback address, unless `allow_remote` is set.
            port: Port to listen on; 0 picks a free one.
            allow_remote: Whether other machines may reach it. There is no TLS: whoever reaches it
                can send objects.
            write_key: The only write key to accept; `None` accepts any.
            auth_form: The form of the credentials to accept.
            session_timeout_seconds: Seconds without a call after which a session expires.
            client_timeout_seconds: How long a client may send nothing in the middle of a request.
            max_file_bytes: Limit of a file's uncompressed size.
            clock: Returns the seconds by which sessions expire. Must be monotonic.
            has_page: Whether to serve pages for a browser, and to keep the history of objects.
            on_request: Called with each request that was answered, on the thread of the server.
            wrap: Wraps the ASGI application, for example to add faults or delays.

        Raises:
            ValueError: The host is not a loopback address, and `allow_remote` is not set.
        """
        if not (allow_remote or is_loopback(host)):
            message = (
                f"The sandbox listens on loopback addresses only, and {host} is not one. To let "
                "other machines reach it, give --allow-remote"
            )
            raise ValueError(message)
        self._path = warehouse
        self._host = host
        self._port = port
        self._options = ApiOptions(
            host,
            write_key,
            auth_form,
            session_timeout_seconds,
            client_timeout_seconds,
            max_file_bytes,
            clock,
        )
        self._has_page = has_page
        self._token: PageToken | None = None
        self._activity = Activity(RequestLog(on_request=on_request))
        self._wrap = wrap
        self._resources = ExitStack()
        self._warehouse: Warehouse | None = None
        self._loader: SessionLoader | None = None
        self._api: SandboxApi | None = None

    @property
    def url(self) -> str:
        """The address to use as `api_url` on this machine."""
        host = to_client_host(self._host)
        return f"http://{f'[{host}]' if ':' in host else host}:{self._port}"

    @property
    def page_url(self) -> str:
        """The address of the page, with the token that it asks for.

        Raises:
            RuntimeError: The sandbox was never started, or has no page.
        """
        return f"{self.url}/?token={_require_running(self._token).value}"

    def make_single_use_url(self) -> str:
        """Return an address of the page that works once.

        Raises:
            RuntimeError: The sandbox was never started, or has no page.
        """
        return f"{self.url}/?token={_require_running(self._token).make_single_use()}"

    @property
    def warehouse(self) -> Warehouse:
        """The warehouse, once every accepted session is loaded into it.

        Raises:
            RuntimeError: The sandbox is not running.
            WarehouseError: A session cannot be loaded.
        """
        _require_running(self._loader).wait_until_loaded()
        return _require_running(self._warehouse)

    @property
    def peak_concurrency(self) -> int:
        """The highest number of simultaneous requests of one write key so far.

        Raises:
            RuntimeError: The sandbox was never started.
        """
        return _require_running(self._api).peak_concurrency

    @property
    def waiting_sessions(self) -> list[SessionRow]:
        """The accepted sessions that are not loaded yet, without waiting for them.

        Raises:
            RuntimeError: The sandbox was never started.
        """
        return _require_running(self._loader).list_waiting()

    def record_open_sessions(self) -> None:
        """Record the sessions that are open now as never finished, as the end of the sandbox does.

        Only for a time when nobody uses them any more.

        Raises:
            RuntimeError: The sandbox was never started.
        """
        _require_running(self._api).record_open_sessions()

    def __enter__(self) -> Self:
        """Start to listen.

        Raises:
            WarehouseError: The file cannot be used.
            OSError: The address cannot be used.
        """
        with ExitStack() as resources:
            resources.enter_context(creating_private_files())
            is_new = not self._path.exists()
            self._warehouse = resources.enter_context(_open_warehouse(self._path))
            restrict_database_files(self._path)
            self._loader = SessionLoader(
                self._warehouse,
                _find_session_folder(self._path),
                keeps_history=self._has_page,
                running_load=self._activity.sessions.running_load,
            )
            self._loader.open(is_new_warehouse=is_new)
            resources.callback(self._loader.close)
            self._api = SandboxApi(self._loader, self._options, self._activity)
            resources.callback(self._api.record_open_sessions)
            listener = resources.enter_context(_open_listener(self._host, self._port))
            self._port = listener.getsockname()[1]
            app = self._build_app(self._api, self._warehouse)
            _start_server(
                app if self._wrap is None else self._wrap(app),
                self._api.expire_sessions,
                listener,
                resources,
                self._options.client_timeout_seconds,
            )
            if self._token is not None:
                publishing = publish_address(self._path, self.url, self._token.value)
                resources.enter_context(publishing)
            self._resources = resources.pop_all()
        return self

    def _build_app(self, api: SandboxApi, warehouse: Warehouse) -> ASGIApp:
        app: ASGIApp = ActivityMiddleware(api.build_app(), log=self._activity.requests)
        if not self._has_page:
            return app
        # Not at the start, which every load into a sandbox waits for.
        from target_segment_objects.sandbox.page.application import (  # noqa: PLC0415
            PageDispatcher,
            Pages,
        )
        from target_segment_objects.sandbox.page.security import PageToken  # noqa: PLC0415

        self._token = PageToken()
        pages = Pages(
            warehouse,
            self._activity,
            token=self._token,
            host=self._host,
            wait_until_loaded=_require_running(self._loader).wait_until_loaded,
        )
        return PageDispatcher(app, pages.build_app())

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Stop: wait some seconds for running requests, load what was accepted, and close.

        Raises:
            WarehouseError: A session cannot be loaded.
        """
        self._warehouse = None
        self._resources.close()


def _find_session_folder(warehouse: Path) -> Path:
    """Return where the sessions of a warehouse wait until they are loaded."""
    return warehouse.with_name(f"{warehouse.name}.sessions")


def _open_warehouse(path: Path) -> Warehouse:
    """Open a warehouse for loading.

    Raises:
        WarehouseError: It cannot be used. If another sandbox serves it, the error has its address.
    """
    try:
        return Warehouse.open(path)
    except WarehouseInUseError as error:
        url = find_server(path)
        if url is None:
            raise
        message = (
            f"The warehouse {path} is in use by a sandbox at {url}. To load into it, set api_url "
            "to this address; otherwise stop it, or choose another file"
        )
        raise WarehouseInUseError(message) from error


def _require_running(component: _Component | None) -> _Component:
    if component is None:
        message = "the sandbox is not running: use it as a context manager"
        raise RuntimeError(message)
    return component


def _open_listener(host: str, port: int) -> socket.socket:
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


def _start_server(
    app: ASGIApp,
    expire_sessions: Callable[[], Awaitable[None]],
    listener: socket.socket,
    resources: ExitStack,
    timeout_seconds: float,
) -> None:
    """Run uvicorn in a thread, and register its stop."""
    protocol = functools.partial(TimedProtocol, timeout_seconds=timeout_seconds)
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
            callback_notify=expire_sessions,
            timeout_notify=1,
        )
    )
    # A non-daemon thread would keep Python from exiting.
    thread = threading.Thread(
        target=server.run, args=([listener],), name="segment-sandbox", daemon=True
    )
    thread.start()
    resources.callback(_stop_server, server, thread)
    _wait_until_started(server, thread)


def _wait_until_started(server: uvicorn.Server, thread: threading.Thread) -> None:
    deadline = time.monotonic() + _START_TIMEOUT_SECONDS
    while not server.started:
        if not thread.is_alive() or time.monotonic() > deadline:
            message = "the sandbox did not start: see its log"
            raise RuntimeError(message)
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
