"""A proxy to the sandbox that injects the failures of a network and a service."""

from __future__ import annotations

import email.utils
import http.client
import http.server
import threading
import time
from collections import deque
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from typing_extensions import Self

STATUSES = ("500", "502", "503", "504", "408", "429")
FAULTS = (
    *STATUSES,
    "429 after 0",  # with Retry-After in seconds
    "429 after date",  # … and as a date
    "reset before",  # the connection breaks before the service has seen the request
    "reset after",  # … after it has handled it: the response is lost
    "hang before",  # no response in time; the request is not handled
    "hang after",  # … it is handled
    "expire",  # the service forgets its sessions before the request
    "late",  # a gateway answers 504; an upload is handled just before Finish
)

MAX_HOLD_SECONDS = 30


class ManualClock:
    """A clock for the sandbox's sessions that can be advanced."""

    def __init__(self) -> None:
        self._ahead = 0.0

    def __call__(self) -> float:
        """Return the time in seconds."""
        return time.monotonic() + self._ahead

    def advance(self, seconds: float) -> None:
        """Move the clock forward."""
        self._ahead += seconds


class FaultyProxy:
    """Forwards requests to a sandbox, or injects the faults of a script.

    Each request takes the next step of the script; after its end, all are forwarded. The step
    "hold" keeps a request until the test sets `released`.

    Args:
        url: The sandbox's address.
        script: A fault, or None for a request that is forwarded.
        clock: The sandbox's clock, for "expire".
        hang_seconds: How long "hang" gives no response.
        latency_seconds: Minimum duration of every request.
        bytes_per_second: How fast bodies are read.
    """

    def __init__(
        self,
        url: str,
        script: Iterable[str | None] = (),
        *,
        clock: ManualClock | None = None,
        hang_seconds: float = 0.0,
        latency_seconds: float = 0.0,
        bytes_per_second: float | None = None,
    ) -> None:
        self.upstream = urlsplit(url).netloc
        self.script = deque(script)
        self.clock = clock
        self.hang_seconds = hang_seconds
        self.latency_seconds = latency_seconds
        self.bytes_per_second = bytes_per_second
        self.peak_concurrency = 0
        self.requests: list[str] = []
        self.late_uploads: list[tuple[str, dict[str, str], bytes]] = []
        self.held = threading.Event()
        self.released = threading.Event()
        self._concurrency = 0
        self._lock = threading.Lock()
        self._server = _Server(self)

    @property
    def url(self) -> str:
        """The address to use as `api_url`."""
        return f"http://127.0.0.1:{self._server.server_address[1]}"

    def __enter__(self) -> Self:
        """Start to accept requests."""
        self._thread = threading.Thread(
            target=self._server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True
        )
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        """Stop."""
        self.released.set()
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()

    def begin_request(self, path: str) -> str | None:
        """Take the next step of the script."""
        with self._lock:
            self.requests.append(path.split("/")[2])
            self._concurrency += 1
            self.peak_concurrency = max(self.peak_concurrency, self._concurrency)
            return self.script.popleft() if self.script else None

    def end_request(self) -> None:
        """Count a completed request."""
        with self._lock:
            self._concurrency -= 1


class _Server(http.server.ThreadingHTTPServer):
    daemon_threads = True
    block_on_close = False
    request_queue_size = 128

    def __init__(self, proxy: FaultyProxy) -> None:
        self.proxy = proxy
        super().__init__(("127.0.0.1", 0), _Handler)

    def handle_error(self, request: object, client_address: object) -> None:
        """Ignore clients that disconnect."""


class _Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: _Server
    timeout = 30

    def log_message(self, *_: object) -> None:
        """Log nothing."""

    def do_POST(self) -> None:
        """Handle a request as the script says."""
        proxy = self.server.proxy
        step = proxy.begin_request(self.path)
        try:
            self._run_step(proxy, step)
        finally:
            proxy.end_request()

    def _run_step(self, proxy: FaultyProxy, step: str | None) -> None:
        body = self._read_body(proxy)
        time.sleep(proxy.latency_seconds)
        if step == "expire" and proxy.clock is not None:
            proxy.clock.advance(601)
        if step == "hold":
            self._hold_request(proxy)
        if step == "late":
            if "/upload/" in self.path:
                proxy.late_uploads.append((self.path, dict(self.headers), body))
            self._send_response(504, {}, b"")
            return
        if step in {None, "expire", "hold"}:
            self._send_response(*self._forward(body))
        elif step is not None and step[:3].isdigit():
            self._send_response(int(step[:3]), {"Retry-After": _build_retry_after(step)}, b"")
        else:
            if step is not None and step.endswith("after"):
                self._forward(body)
            if step is not None and step.startswith("hang"):
                time.sleep(proxy.hang_seconds)
            self.close_connection = True

    def _hold_request(self, proxy: FaultyProxy) -> None:
        proxy.held.set()
        proxy.released.wait(MAX_HOLD_SECONDS)

    def _read_body(self, proxy: FaultyProxy) -> bytes:
        length = int(self.headers.get("Content-Length", 0))
        if proxy.bytes_per_second is None:
            return self.rfile.read(length)
        chunks = []
        while length > 0:
            chunk = self.rfile.read(min(length, 64 * 1024))
            chunks.append(chunk)
            length -= len(chunk)
            time.sleep(len(chunk) / proxy.bytes_per_second)
        return b"".join(chunks)

    def _forward(self, body: bytes) -> tuple[int, dict[str, str], bytes]:
        if "/finish/" in self.path:
            self._forward_late_uploads()
        return self._forward_request(self.path, dict(self.headers), body)

    def _forward_late_uploads(self) -> None:
        sync_id = self.path.rsplit("/", 1)[1]
        for path, headers, body in list(self.server.proxy.late_uploads):
            if path.endswith(sync_id):
                self.server.proxy.late_uploads.remove((path, headers, body))
                self._forward_request(path, headers, body)

    def _forward_request(
        self, path: str, headers: dict[str, str], body: bytes
    ) -> tuple[int, dict[str, str], bytes]:
        upstream = http.client.HTTPConnection(self.server.proxy.upstream, timeout=30)
        try:
            upstream.request("POST", path, body, headers)
            answer = upstream.getresponse()
            return answer.status, {}, answer.read()
        finally:
            upstream.close()

    def _send_response(self, status: int, headers: Mapping[str, str | None], body: bytes) -> None:
        self.send_response(status)
        for name, value in headers.items():
            if value is not None:
                self.send_header(name, value)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)


def _build_retry_after(step: str) -> str | None:
    if step.endswith("after 0"):
        return "0"
    return email.utils.formatdate(usegmt=True) if step.endswith("date") else None
