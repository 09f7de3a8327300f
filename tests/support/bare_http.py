"""A minimal HTTP client for the sandbox's tests, independent of this project's own client."""

from __future__ import annotations

import base64
import gzip
import http.client
import json
import socket
from contextlib import closing, contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from http.client import HTTPMessage

UPLOAD_HEADERS = {"Content-Type": "binary/octet-stream", "Content-Encoding": "gzip"}
FINISH_HEADERS = {"Content-Type": "application/json"}


@dataclass(frozen=True, slots=True)
class ApiResponse:
    """A response. `json` is `None` if there was no body."""

    status: int
    headers: HTTPMessage
    json: Any

    @property
    def reason(self) -> str:
        """The reason of a rejection."""
        return str(self.json["error"]["reason"])

    @property
    def line(self) -> int | None:
        """The line number in a rejection."""
        line: int | None = self.json["error"].get("line")
        return line


def basic_auth(credentials: str | bytes) -> str:
    """Return the value of the header Authorization that encodes these credentials."""
    raw = credentials if isinstance(credentials, bytes) else credentials.encode()
    return "Basic " + base64.b64encode(raw).decode()


def object_line(
    properties: Mapping[str, object] | None = None,
    *,
    object_id: str = "1",
    collection: str = "users",
) -> bytes:
    """Return a line of an uploaded file."""
    item = {
        "id": object_id,
        "collection": collection,
        "properties": {"a": 1} if properties is None else properties,
    }
    return json.dumps(item, ensure_ascii=False).encode() + b"\n"


@dataclass(frozen=True, slots=True)
class BareClient:
    """Makes API calls, each on a new connection."""

    url: str
    key: str = "key"

    def open_connection(self) -> http.client.HTTPConnection:
        """Open a connection. The caller closes it."""
        address = urlsplit(self.url)
        return http.client.HTTPConnection(str(address.hostname), address.port, timeout=30)

    def send_request(
        self,
        path: str,
        body: bytes = b"",
        headers: Mapping[str, str] | None = None,
        *,
        method: str = "POST",
    ) -> ApiResponse:
        """Send a request and read its response. A header with an empty value is not sent."""
        connection = self.open_connection()
        all_headers = {"Authorization": basic_auth(f"{self.key}:"), **(headers or {})}
        try:
            connection.request(method, path, body, {k: v for k, v in all_headers.items() if v})
            return read_response(connection)
        finally:
            connection.close()

    def start_session(self) -> str:
        """Start a session."""
        response = self.send_request("/v0/start")
        assert response.status == 201, response
        return str(response.json["sync_id"])

    def upload_lines(self, sync_id: str, lines: bytes) -> ApiResponse:
        """Compress and upload lines."""
        return self.send_request(f"/v0/upload/{sync_id}", gzip.compress(lines, 1), UPLOAD_HEADERS)

    def keep_alive(self, sync_id: str) -> ApiResponse:
        """Keep a session alive."""
        return self.send_request(f"/v0/keep-alive/{sync_id}")

    def finish_session(self, sync_id: str, error: str = "") -> ApiResponse:
        """Finish a session."""
        body = json.dumps({"error": error}).encode()
        return self.send_request(f"/v0/finish/{sync_id}", body, FINISH_HEADERS)

    def load_files(self, *files: bytes) -> str:
        """Run a whole successful session, and return its `sync_id`."""
        sync_id = self.start_session()
        for lines in files:
            response = self.upload_lines(sync_id, lines)
            assert response.status == 201, response
        response = self.finish_session(sync_id)
        assert response.status == 202, response
        return sync_id


def read_response(connection: http.client.HTTPConnection) -> ApiResponse:
    """Read the response to a request that was sent."""
    response = connection.getresponse()
    body = response.read()
    return ApiResponse(response.status, response.headers, json.loads(body) if body else None)


def begin_upload(client: BareClient, sync_id: str, size: int) -> http.client.HTTPConnection:
    """Send the headers of an upload."""
    connection = client.open_connection()
    connection.putrequest("POST", f"/v0/upload/{sync_id}")
    authorization = basic_auth(f"{client.key}:")
    headers = {**UPLOAD_HEADERS, "Authorization": authorization, "Content-Length": str(size)}
    for name, value in headers.items():
        connection.putheader(name, value)
    connection.endheaders()
    return connection


@contextmanager
def open_upload(
    client: BareClient, sync_id: str, body: bytes
) -> Iterator[http.client.HTTPConnection]:
    """Send an upload without the last byte of its body, and close the connection at the end."""
    with closing(begin_upload(client, sync_id, len(body))) as connection:
        connection.send(body[:-1])
        yield connection


def send_slowly(connection: http.client.HTTPConnection) -> ApiResponse:
    """Send a byte of a body, and another, until the server answers; return its answer."""
    connection.sock.settimeout(0.05)
    for _ in range(1_200):
        connection.send(b"x")
        try:
            connection.sock.recv(1, socket.MSG_PEEK)
        except TimeoutError:
            continue
        connection.sock.settimeout(30)
        return read_response(connection)
    message = "it was not answered"
    raise TimeoutError(message)
