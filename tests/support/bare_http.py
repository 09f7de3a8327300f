"""HTTP by hand for the sandbox's tests: no client of this project comes in between."""

from __future__ import annotations

import base64
import gzip
import http.client
import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

if TYPE_CHECKING:
    from collections.abc import Mapping
    from http.client import HTTPMessage

UPLOAD_HEADERS = {"Content-Type": "binary/octet-stream", "Content-Encoding": "gzip"}
FINISH_HEADERS = {"Content-Type": "application/json"}


@dataclass(frozen=True, slots=True)
class Answer:
    """What came back; `json` is `None` where there was no body."""

    status: int
    headers: HTTPMessage
    json: Any

    @property
    def reason(self) -> str:
        """The reason of a refusal."""
        return str(self.json["error"]["reason"])

    @property
    def line(self) -> int | None:
        """The line that a refusal names."""
        line: int | None = self.json["error"].get("line")
        return line


def authorization(credentials: str | bytes) -> str:
    """Make the header's value from `user:password`."""
    raw = credentials if isinstance(credentials, bytes) else credentials.encode()
    return "Basic " + base64.b64encode(raw).decode()


def line(
    properties: Mapping[str, object] | None = None,
    *,
    object_id: str = "1",
    collection: str = "users",
) -> bytes:
    """Make a line of an uploaded file."""
    said = {
        "id": object_id,
        "collection": collection,
        "properties": {"a": 1} if properties is None else properties,
    }
    return json.dumps(said, ensure_ascii=False).encode() + b"\n"


@dataclass(frozen=True, slots=True)
class Caller:
    """Makes calls, each on a connection of its own."""

    url: str
    key: str = "key"

    def connect(self) -> http.client.HTTPConnection:
        """Open a connection; the caller closes it."""
        address = urlsplit(self.url)
        return http.client.HTTPConnection(str(address.hostname), address.port, timeout=30)

    def call(
        self,
        path: str,
        body: bytes = b"",
        headers: Mapping[str, str] | None = None,
        *,
        method: str = "POST",
    ) -> Answer:
        """Send a request and read its answer."""
        connection = self.connect()
        sent = {"Authorization": authorization(f"{self.key}:"), **(headers or {})}
        try:
            connection.request(method, path, body, {k: v for k, v in sent.items() if v})
            return read(connection)
        finally:
            connection.close()

    def start(self) -> str:
        """Start a session."""
        answer = self.call("/v0/start")
        assert answer.status == 201, answer
        return str(answer.json["sync_id"])

    def upload(self, sync_id: str, lines: bytes) -> Answer:
        """Compress and upload."""
        return self.call(f"/v0/upload/{sync_id}", gzip.compress(lines, 1), UPLOAD_HEADERS)

    def keep_alive(self, sync_id: str) -> Answer:
        """Keep a session alive."""
        return self.call(f"/v0/keep-alive/{sync_id}")

    def finish(self, sync_id: str, error: str = "") -> Answer:
        """Finish a session."""
        body = json.dumps({"error": error}).encode()
        return self.call(f"/v0/finish/{sync_id}", body, FINISH_HEADERS)

    def load(self, *files: bytes) -> str:
        """Run a whole session in which all goes well."""
        sync_id = self.start()
        for lines in files:
            answer = self.upload(sync_id, lines)
            assert answer.status == 201, answer
        answer = self.finish(sync_id)
        assert answer.status == 202, answer
        return sync_id


def read(connection: http.client.HTTPConnection) -> Answer:
    """Read the answer to a request that was sent."""
    response = connection.getresponse()
    body = response.read()
    return Answer(response.status, response.headers, json.loads(body) if body else None)
