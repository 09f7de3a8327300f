"""A server on loopback that answers as it is told, and remembers what it was asked.

It has no rules of its own: what the API would refuse, or no server should do, can be had from it.
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
    from types import TracebackType

    from typing_extensions import Self

LONGEST_SECONDS = 20.0
"""For everything that waits here, so that a test that fails does not hang."""


class Cut(Enum):
    """When a connection is reset instead of answered."""

    BEFORE_BODY = "before the request's body is read"
    AFTER_BODY = "after the request was handled"
    IN_ANSWER = "in the middle of the answer"


@dataclass(frozen=True, slots=True)
class Reply:
    """What is to become of one request.

    Attributes:
        status: The answer's status.
        body: The answer's body.
        headers: Headers of the answer besides its length.
        seconds: How long the answer takes.
        until: What the answer waits for, too.
        cut: When the connection is reset instead.
    """

    status: int
    body: bytes = b""
    headers: Mapping[str, str] = field(default_factory=dict)
    seconds: float = 0.0
    until: threading.Event | None = None
    cut: Cut | None = None


@dataclass(frozen=True, slots=True)
class Request:
    """What was asked; `call` is the step of the path that names it."""

    method: str
    path: str
    headers: Message
    body: bytes
    at: float

    @property
    def call(self) -> str:
        """The call's name in the path."""
        return self.path.split("/")[2]

    @property
    def json(self) -> Any:  # noqa: ANN401 - JSON is anything
        """The body as JSON."""
        return json.loads(self.body)


DOCUMENTED = {
    "start": Reply(201, b'{"sync_id": "hjWdsur28j49LCQ"}'),
    "upload": Reply(201, b'{"part_id": "dkf539GFfmj50fnm"}'),
    "keep-alive": Reply(200),
    "finish": Reply(202),
}


class ScriptedServer:
    """Answers from a script for each call, and as documented where that has nothing more."""

    def __init__(self) -> None:
        """Listen; nothing is answered before the block is entered."""
        self.requests: list[Request] = []
        self.most_at_once = 0
        self._at_once = 0
        self._lock = threading.Lock()
        self._arrived = threading.Condition(self._lock)
        self._scripts: dict[str, deque[Reply]] = defaultdict(deque)
        self._always: dict[str, Reply] = dict(DOCUMENTED)
        self._connections: set[socket.socket] = set()
        outer = self

        class Handler(_Handler):
            server_of = outer

        self._server = _Server(("127.0.0.1", 0), Handler)
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.01,))
        self.url = f"http://127.0.0.1:{self._server.server_port}"

    def __enter__(self) -> Self:
        """Begin to answer."""
        self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Stop, and end the connections that there are."""
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()
        with self._lock:
            connections = list(self._connections)
        for connection in connections:
            reset(connection)

    def script(self, call: str, *replies: Reply) -> None:
        """Answer the next requests of a call so."""
        self._scripts[call].extend(replies)

    def always(self, call: str, reply: Reply) -> None:
        """Answer a call so whenever its script has nothing more."""
        self._always[call] = reply

    def calls(self, names: Iterable[str] = DOCUMENTED) -> list[str]:
        """Return the calls that came, of these names, in order."""
        wanted = set(names)
        with self._lock:
            return [request.call for request in self.requests if request.call in wanted]

    def requests_to(self, call: str) -> list[Request]:
        """Return the requests of a call, in order."""
        with self._lock:
            return [request for request in self.requests if request.call == call]

    def wait_for(self, call: str, count: int = 1) -> None:
        """Wait until so many requests of a call have come."""

        def come() -> bool:
            return sum(request.call == call for request in self.requests) >= count

        with self._arrived:
            assert self._arrived.wait_for(come, LONGEST_SECONDS), f"no {count} requests {call}"

    def _take(self, request: Request) -> Reply:
        with self._arrived:
            self.requests.append(request)
            self._arrived.notify_all()
            script = self._scripts[request.call]
            return script.popleft() if script else self._always[request.call]

    def _count(self, difference: int) -> None:
        with self._lock:
            self._at_once += difference
            self.most_at_once = max(self.most_at_once, self._at_once)

    def _peek(self, call: str) -> Reply:
        with self._lock:
            script = self._scripts[call]
            return script[0] if script else self._always[call]


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 64

    def handle_error(self, request: object, client_address: object) -> None:
        """Say nothing: connections are broken here on purpose."""

    def shutdown_request(self, request: Any) -> None:  # noqa: ANN401 - as the base has it
        """Close at once, so that what is to be a reset is none after a polite end."""
        self.close_request(request)


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    timeout = LONGEST_SECONDS
    server_of: ScriptedServer

    def setup(self) -> None:
        super().setup()
        with self.server_of._lock:  # noqa: SLF001 - one class in two
            self.server_of._connections.add(self.connection)  # noqa: SLF001

    def finish(self) -> None:
        with self.server_of._lock:  # noqa: SLF001
            self.server_of._connections.discard(self.connection)  # noqa: SLF001
        super().finish()

    def do_POST(self) -> None:
        self.server_of._count(1)  # noqa: SLF001
        try:
            self._serve()
        finally:
            self.server_of._count(-1)  # noqa: SLF001

    def _serve(self) -> None:
        at = time.monotonic()
        early = self.server_of._peek(self.path.split("/")[2]).cut is Cut.BEFORE_BODY  # noqa: SLF001
        body = b"" if early else self.rfile.read(int(self.headers.get("Content-Length") or 0))
        request = Request(self.command, self.path, self.headers, body, at)
        reply = self.server_of._take(request)  # noqa: SLF001
        time.sleep(reply.seconds)
        if reply.until is not None:
            reply.until.wait(LONGEST_SECONDS)
        if reply.cut in {Cut.BEFORE_BODY, Cut.AFTER_BODY}:
            self._end()
            return
        self.send_response(reply.status)
        cut = reply.cut is Cut.IN_ANSWER
        self.send_header("Content-Length", str(len(reply.body) + cut))
        for name, value in reply.headers.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(reply.body)
        if cut:
            self._end()

    def _end(self) -> None:
        self.close_connection = True
        self.wfile.flush()
        _end_with_reset(self.connection)

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the base's name
        """Say nothing."""


def reset(connection: socket.socket) -> None:
    """End a connection with a reset, as a machine does that went away."""
    with suppress(OSError):
        _end_with_reset(connection)
        connection.shutdown(socket.SHUT_RDWR)  # wakes who reads


def _end_with_reset(connection: socket.socket) -> None:
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
