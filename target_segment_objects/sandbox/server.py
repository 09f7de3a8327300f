"""The sandbox as a server on this machine, in a thread of the process that uses it."""

from __future__ import annotations

import time
from contextlib import ExitStack
from typing import TYPE_CHECKING, Final, TypeVar

from target_segment_objects.limits import MAX_FILE_BYTES, SESSION_TIMEOUT_SECONDS
from target_segment_objects.loopback import is_loopback, parse_address
from target_segment_objects.sandbox.credentials import AuthForm
from target_segment_objects.sandbox.endpoints import ApiOptions, SandboxApi
from target_segment_objects.sandbox.errors import WarehouseInUseError
from target_segment_objects.sandbox.http_server import open_listener, serving_thread
from target_segment_objects.sandbox.private_files import (
    creating_private_files,
    restrict_database_files,
)
from target_segment_objects.sandbox.request_log import RequestLog, log_requests
from target_segment_objects.sandbox.running_server import find_server, publish_address
from target_segment_objects.sandbox.session_queue import SessionQueue
from target_segment_objects.sandbox.sessions import SessionRegistry
from target_segment_objects.sandbox.warehouse.database import Warehouse

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path
    from types import TracebackType

    from starlette.types import ASGIApp
    from typing_extensions import Self

    from target_segment_objects.sandbox.page.security import PageToken
    from target_segment_objects.sandbox.request_log import RequestRecord
    from target_segment_objects.sandbox.session_record import SessionRecord

_Component = TypeVar("_Component")

_CLIENT_TIMEOUT_SECONDS: Final = 30
"""How long a client may send nothing in the middle of a request."""


class Sandbox:
    """A local Segment. It runs while it is used as a context manager.

    What is only known of one that runs, or has run, raises RuntimeError before it is started.

    with Sandbox(Path("warehouse.duckdb")) as sandbox:
        ...  # send to sandbox.url
        sandbox.warehouse.rows("users")

    Args:
        warehouse: The DuckDB file. It is created if it is missing.
        host: Address to listen on. Must be a loopback address, unless `allow_remote` is set.
        port: Port to listen on; 0 picks a free one.
        allow_remote: Whether other machines may reach it. There is no TLS: whoever reaches it can
            send objects.
        write_key: The only write key to accept; `None` accepts any.
        auth_form: The form of the credentials to accept.
        session_timeout_seconds: Seconds without a call after which a session expires.
        client_timeout_seconds: How long a client may send nothing in the middle of a request.
        max_file_bytes: Limit of a file's uncompressed size.
        clock: Returns the seconds by which sessions expire. Must be monotonic.
        serve_page: Whether to serve pages for a browser, and to keep the history of objects.
        on_request: Called with each request that was answered, on the thread of the server.
        wrap: Wraps the ASGI application, for example to add faults or delays.

    Raises:
        ValueError: The host is not a loopback address, and `allow_remote` is not set.
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
        serve_page: bool = False,
        on_request: Callable[[RequestRecord], None] | None = None,
        wrap: Callable[[ASGIApp], ASGIApp] | None = None,
    ) -> None:
        if not (allow_remote or is_loopback(host)):
            message = (
                f"The sandbox listens on loopback addresses only, and {host} is not one. To let "
                "other machines reach it, give --allow-remote"
            )
            raise ValueError(message)
        self._path = warehouse
        self._port = port
        self._options = ApiOptions(
            host, write_key, auth_form, client_timeout_seconds, max_file_bytes
        )
        self._serve_page = serve_page
        self._token: PageToken | None = None
        self._sessions = SessionRegistry(idle_timeout=session_timeout_seconds, clock=clock)
        self._requests = RequestLog(on_request=on_request)
        self._wrap = wrap
        self._resources = ExitStack()
        self._warehouse: Warehouse | None = None
        self._queue: SessionQueue | None = None
        self._api: SandboxApi | None = None

    @property
    def url(self) -> str:
        """The address to use as `api_url` on this machine."""
        host = self._options.host
        address = parse_address(host)
        if address is not None and address.is_unspecified:  # 0.0.0.0 is to listen on only
            host = "127.0.0.1" if address.version == 4 else "::1"  # noqa: PLR2004 - of the protocol
        return f"http://{f'[{host}]' if ':' in host else host}:{self._port}"

    @property
    def page_url(self) -> str:
        """The address of the page, with the token that it asks for."""
        return f"{self.url}/?token={_require_running(self._token).value}"

    def make_single_use_url(self) -> str:
        """Return an address of the page that works once."""
        return f"{self.url}/?token={_require_running(self._token).make_single_use()}"

    @property
    def warehouse(self) -> Warehouse:
        """The warehouse, once every accepted session is loaded into it.

        Raises:
            WarehouseError: A session cannot be loaded.
        """
        _require_running(self._queue).wait_until_loaded()
        return _require_running(self._warehouse)

    @property
    def peak_concurrency(self) -> int:
        """The highest number of simultaneous requests of one write key so far."""
        return _require_running(self._api).peak_concurrency

    @property
    def waiting_sessions(self) -> list[SessionRecord]:
        """The accepted sessions that are not loaded yet, without waiting for them."""
        return _require_running(self._queue).list_waiting()

    def record_open_sessions(self) -> None:
        """Record the sessions that are open now as never finished, as the end of the sandbox does.

        Only for a time when nobody uses them any more.
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
            folder = self._path.with_name(f"{self._path.name}.sessions")
            self._queue = SessionQueue(
                self._warehouse, folder, self._sessions, keep_history=self._serve_page
            )
            self._queue.open(is_new_warehouse=is_new)
            resources.callback(self._queue.close)
            self._api = SandboxApi(self._sessions, self._queue, self._options)
            resources.callback(self._api.record_open_sessions)
            listener = resources.enter_context(open_listener(self._options.host, self._port))
            self._port = listener.getsockname()[1]
            server = serving_thread(
                self._build_app(self._api, self._warehouse, self._queue),
                listener,
                on_tick=self._api.expire_sessions,
                timeout_seconds=self._options.client_timeout_seconds,
            )
            resources.enter_context(server)
            if self._token is not None:
                publishing = publish_address(self._path, self.url, self._token.value)
                resources.enter_context(publishing)
            self._resources = resources.pop_all()
        return self

    def _build_app(self, api: SandboxApi, warehouse: Warehouse, queue: SessionQueue) -> ASGIApp:
        app = log_requests(api.build_app(), self._requests)
        if self._serve_page:
            # Not at the start, which every load into a sandbox waits for.
            from target_segment_objects.sandbox.page.pages import Pages, dispatch_pages  # noqa: PLC0415
            from target_segment_objects.sandbox.page.security import PageToken  # noqa: PLC0415

            self._token = PageToken()
            pages = Pages(
                warehouse,
                self._sessions,
                self._requests,
                queue,
                token=self._token,
                host=self._options.host,
            )
            app = dispatch_pages(app, pages.build_app())
        return app if self._wrap is None else self._wrap(app)

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
        raise RuntimeError("the sandbox is not running: use it as a context manager")
    return component
