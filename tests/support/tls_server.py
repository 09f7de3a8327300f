"""A loopback server with TLS, and one that answers a request for a tunnel as a proxy does."""

from __future__ import annotations

import ssl
import threading
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

CERTIFICATES = Path(__file__).parents[1] / "data" / "tls"
"""Self-signed, each with its key: `localhost`, `other` (of other.invalid), `expired`."""


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_POST(self) -> None:
        self._answer(201, b'{"sync_id": "s1"}')

    def do_CONNECT(self) -> None:
        assert isinstance(self.server, _Server)
        self._answer(self.server.connect_status, b"")

    def _answer(self, status: int, body: bytes) -> None:
        self.send_response(status)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the base's name
        """Log nothing."""


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    connect_status = 407

    def handle_error(self, request: object, client_address: object) -> None:
        """Ignore it: handshakes fail on purpose."""


@contextmanager
def serve_tls(certificate: str | None, *, connect_status: int = 407) -> Iterator[int]:
    """Serve until the end of the block, and yield the port.

    Args:
        certificate: Which of `CERTIFICATES` to show; None for a plain port.
        connect_status: The answer to CONNECT, with which a client asks a proxy for a tunnel.
    """
    server = _Server(("127.0.0.1", 0), _Handler)
    server.connect_status = connect_status
    if certificate is not None:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(CERTIFICATES / f"{certificate}.pem")
        server.socket = context.wrap_socket(
            server.socket, server_side=True, do_handshake_on_connect=False
        )
    thread = threading.Thread(target=server.serve_forever, args=(0.01,))
    thread.start()
    try:
        yield server.server_port
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
