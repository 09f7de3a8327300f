"""A loopback server that answers from a script, and records the requests.

It checks nothing: it can also do what the API would refuse, or what no server should do.
"""

from __future__ import annotations

import json
import socket
import struct
import threading
import time
from collections import defaultdict, deque
from contextlib import suppress
from dataclasses import dataclass, field
from enum import Enum
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from email.message import Message

    from typing_extensions import Self

MAX_WAIT_SECONDS = 20.0
"""Bound of every wait, so that a failing test does not hang."""


class Cut(Enum):
    """When a connection is reset instead of answered."""

    BEFORE_BODY = "before the request's body is read"
    AFTER_BODY = "after the request was handled"
    IN_RESPONSE = "in the middle of the response"


@dataclass(frozen=True, slots=True)
class Reply:
    """What to do with one request.

    Attributes:
        status: The response's status.
        body: The response's body.
        headers: Headers of the response besides its length.
        seconds: Delay of the response.
        until: An event that the response waits for, too.
        cut: When the connection is reset instead of answered.
    """

    status: int
    body: bytes = b""
    headers: Mapping[str, str] = field(default_factory=dict)
    seconds: float = 0.0
    until: threading.Event | None = None
    cut: Cut | None = None


@dataclass(frozen=True, slots=True)
class Request:
    """A request that arrived."""

    method: str
    path: str
    headers: Message
    body: bytes
    at: float

    @property
    def call(self) -> str:
        """The name of the call, from the path."""
        return self.path.split("/")[2]

    @property
    def json(self) -> Any:  # noqa: ANN401 - JSON is anything
        """The decoded JSON body."""
        return json.loads(self.body)


DOCUMENTED = {
    "start": Reply(201, b'{"sync_id": "hjWdsur28j49LCQ"}'),
    "upload": Reply(201, b'{"part_id": "dkf539GFfmj50fnm"}'),
    "keep-alive": Reply(200),
    "finish": Reply(202),
}


class ScriptedServer:
    """Answers from a script for each call, then as documented."""

    def __init__(self) -> None:
        self.requests: list[Request] = []
        self.peak_concurrency = 0
        self._concurrency = 0
        self._lock = threading.Lock()
        self._arrived = threading.Condition(self._lock)
        self._scripts: dict[str, deque[Reply]] = defaultdict(deque)
        self._always: dict[str, Reply] = dict(DOCUMENTED)
        self._connections: set[socket.socket] = set()
        outer = self

        class Handler(_Handler):
            scripted_server = outer

        self._server = _Server(("127.0.0.1", 0), Handler)
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.01,))
        self.url = f"http://127.0.0.1:{self._server.server_port}"

    def __enter__(self) -> Self:
        """Start to answer."""
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        """Stop, and reset the open connections."""
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()
        with self._lock:
            connections = list(self._connections)
        for connection in connections:
            reset_connection(connection)

    def script(self, call: str, *replies: Reply) -> None:
        """Set the replies to the next requests of a call."""
        self._scripts[call].extend(replies)

    def always(self, call: str, reply: Reply) -> None:
        """Set the reply to a call when its script is empty."""
        self._always[call] = reply

    def calls(self, names: Iterable[str] = DOCUMENTED) -> list[str]:
        """Return the names of the calls that arrived, in order, limited to `names`."""
        wanted = set(names)
        with self._lock:
            return [request.call for request in self.requests if request.call in wanted]

    def requests_to(self, call: str) -> list[Request]:
        """Return the requests of a call, in order."""
        with self._lock:
            return [request for request in self.requests if request.call == call]

    def wait_for(self, call: str, count: int = 1) -> None:
        """Wait until `count` requests of a call have arrived."""

        def has_arrived() -> bool:
            return sum(request.call == call for request in self.requests) >= count

        with self._arrived:
            assert self._arrived.wait_for(has_arrived, MAX_WAIT_SECONDS), f"no {count} {call}"

    def _next_reply(self, request: Request) -> Reply:
        with self._arrived:
            self.requests.append(request)
            self._arrived.notify_all()
            script = self._scripts[request.call]
            return script.popleft() if script else self._always[request.call]

    def _count_request(self, difference: int) -> None:
        with self._lock:
            self._concurrency += difference
            self.peak_concurrency = max(self.peak_concurrency, self._concurrency)

    def _peek_reply(self, call: str) -> Reply:
        with self._lock:
            script = self._scripts[call]
            return script[0] if script else self._always[call]


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 64

    def handle_error(self, request: object, client_address: object) -> None:
        """Ignore it: connections are broken on purpose."""

    def shutdown_request(self, request: Any) -> None:  # noqa: ANN401 - as the base has it
        """Close without a shutdown, which would come before the reset."""
        self.close_request(request)


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    timeout = MAX_WAIT_SECONDS
    scripted_server: ScriptedServer

    def setup(self) -> None:
        super().setup()
        with self.scripted_server._lock:  # noqa: SLF001 - one class in two parts
            self.scripted_server._connections.add(self.connection)  # noqa: SLF001

    def finish(self) -> None:
        with self.scripted_server._lock:  # noqa: SLF001
            self.scripted_server._connections.discard(self.connection)  # noqa: SLF001
        super().finish()

    def do_POST(self) -> None:
        self.scripted_server._count_request(1)  # noqa: SLF001
        try:
            self._serve()
        finally:
            self.scripted_server._count_request(-1)  # noqa: SLF001

    def _serve(self) -> None:
        at = time.monotonic()
        early = self.scripted_server._peek_reply(self.path.split("/")[2]).cut is Cut.BEFORE_BODY  # noqa: SLF001
        body = b"" if early else self.rfile.read(int(self.headers.get("Content-Length") or 0))
        request = Request(self.command, self.path, self.headers, body, at)
        reply = self.scripted_server._next_reply(request)  # noqa: SLF001
        time.sleep(reply.seconds)
        if reply.until is not None:
            reply.until.wait(MAX_WAIT_SECONDS)
        if reply.cut in {Cut.BEFORE_BODY, Cut.AFTER_BODY}:
            self._reset_connection()
            return
        self.send_response(reply.status)
        cut = reply.cut is Cut.IN_RESPONSE
        self.send_header("Content-Length", str(len(reply.body) + cut))
        for name, value in reply.headers.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(reply.body)
        if cut:
            self._reset_connection()

    def _reset_connection(self) -> None:
        self.close_connection = True
        self.wfile.flush()
        _set_reset_on_close(self.connection)

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the base's name
        """Log nothing."""


def reset_connection(connection: socket.socket) -> None:
    """Reset a connection, as if the other machine had crashed."""
    with suppress(OSError):
        _set_reset_on_close(connection)
        connection.shutdown(socket.SHUT_RDWR)  # wakes the reader


def _set_reset_on_close(connection: socket.socket) -> None:
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
