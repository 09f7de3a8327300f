"""The requests that docs/sandbox-rules.md names in words: what is sent, and the last response."""

from __future__ import annotations

import gzip
import socket
from contextlib import ExitStack, closing
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, TypeAlias
from urllib.parse import urlsplit

from target_segment_objects import limits
from target_segment_objects.sandbox.credentials import AuthForm
from target_segment_objects.sandbox.server import Sandbox
from tests.support import wait_for
from tests.support.bare_http import (
    UPLOAD_HEADERS,
    ApiResponse,
    BareClient,
    basic_auth,
    begin_upload,
    object_line,
    open_upload,
    read_response,
    send_slowly,
)
from tests.support.frozen_clock import FrozenClock

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path


@dataclass(frozen=True, slots=True)
class Lab:
    """Where a request is made.

    Attributes:
        client: A client of a sandbox with the default options.
        folder: An empty folder, for a sandbox of the request's own.
    """

    client: BareClient
    folder: Path

    @property
    def warehouse(self) -> Path:
        """The file of a sandbox of the request's own."""
        return self.folder / "w.duckdb"

    def upload(self, body: bytes, **headers: str) -> ApiResponse:
        """Upload a body to a new session; a header with an empty value is not sent."""
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        path = f"/v0/upload/{self.client.start_session()}"
        return self.client.send_request(path, body, {**UPLOAD_HEADERS, **named})

    def upload_lines(self, lines: bytes) -> ApiResponse:
        """Upload lines to a new session."""
        return self.upload(gzip.compress(lines, 1))

    def finish(self, body: bytes, content_type: str = "application/json") -> ApiResponse:
        """Finish a new session with any body."""
        path = f"/v0/finish/{self.client.start_session()}"
        return self.client.send_request(path, body, {"Content-Type": content_type})


Scenario: TypeAlias = "Callable[[Lab], ApiResponse]"
LINE: Final = object_line()
FILE: Final = gzip.compress(LINE)
SESSION_SECONDS: Final = limits.SESSION_TIMEOUT_SECONDS


def pad_line(size: int) -> bytes:
    """Return a line of an exact size, not counting its newline."""
    return LINE[:-2].ljust(size - 1) + b"}\n"


def make_properties(count: int, first: int = 0) -> dict[str, object]:
    """Return properties with different names."""
    return {f"p{number}": 1 for number in range(first, first + count)}


def start_beside_uploads(lab: Lab, key: str, other_keys: tuple[str, ...]) -> ApiResponse:
    """Start a session while 20 uploads are running."""
    with Sandbox(lab.warehouse) as sandbox, ExitStack() as stack:
        clients = [BareClient(sandbox.url, key) for key in other_keys]
        for number in range(limits.MAX_CONCURRENT_REQUESTS):
            client = clients[number % len(clients)]
            stack.enter_context(open_upload(client, client.start_session(), FILE))
        per_key = limits.MAX_CONCURRENT_REQUESTS // len(clients)
        wait_for(lambda: sandbox.peak_concurrency >= per_key)
        response = BareClient(sandbox.url, key).send_request("/v0/start")
        assert response.headers["Retry-After"] == "1"
        return response


def start_with_options(lab: Lab, key: str, auth_form: AuthForm = AuthForm.ANY) -> ApiResponse:
    """Start a session with the bare key in a sandbox that accepts one key."""
    with Sandbox(lab.warehouse, write_key="key", auth_form=auth_form) as sandbox:
        headers = {"Authorization": basic_auth(key)}
        return BareClient(sandbox.url).send_request("/v0/start", headers=headers)


def stop_upload(lab: Lab) -> ApiResponse:
    """Send an upload without its last byte, and wait."""
    with Sandbox(lab.warehouse, client_timeout_seconds=0.2) as sandbox:
        client = BareClient(sandbox.url)
        with open_upload(client, client.start_session(), FILE) as connection:
            return read_response(connection)


def trickle_upload(lab: Lab) -> ApiResponse:
    """Send an upload a byte at a time, until it is answered."""
    with Sandbox(lab.warehouse, client_timeout_seconds=0.5) as sandbox:
        client = BareClient(sandbox.url)
        with closing(begin_upload(client, client.start_session(), 1_000_000)) as connection:
            return send_slowly(connection)


def upload_large_body(lab: Lab) -> ApiResponse:
    """Upload a body that uncompresses to nothing, where a file may have 100,000 bytes."""
    with Sandbox(lab.warehouse, max_file_bytes=100_000) as sandbox:
        client = BareClient(sandbox.url)
        sync_id = client.start_session()
        body = gzip.compress(b"") * 5_100
        return client.send_request(f"/v0/upload/{sync_id}", body, UPLOAD_HEADERS)


def upload_after(lab: Lab, seconds: float, *calls: str) -> ApiResponse:
    """Upload to a session some time after each of some calls, on a clock that is moved."""
    clock = FrozenClock()
    with Sandbox(lab.warehouse, clock=clock) as sandbox:
        client = BareClient(sandbox.url)
        sync_id = client.start_session()
        for call in calls:
            clock.now += seconds
            if call == "upload":
                assert client.upload_lines(sync_id, LINE).status == 201
            else:
                assert client.keep_alive(sync_id).status == 200
        clock.now += seconds
        return client.upload_lines(sync_id, LINE)


def finish_during_upload(lab: Lab) -> ApiResponse:
    """Finish a session while an upload of it is running."""
    with Sandbox(lab.warehouse) as sandbox:
        client = BareClient(sandbox.url)
        sync_id = client.start_session()
        with open_upload(client, sync_id, FILE):
            # Once the upload is running, a Keep Alive is a second request beside it.
            wait_for(
                lambda: client.keep_alive(sync_id).json is None and sandbox.peak_concurrency == 2
            )
            return client.finish_session(sync_id)


def finish_after(lab: Lab, *uploads: dict[str, object]) -> ApiResponse:
    """Finish a session with some files, the last of which are in other collections."""
    with Sandbox(lab.warehouse) as sandbox:
        client = BareClient(sandbox.url)
        sync_id = client.start_session()
        for number, properties in enumerate(uploads):
            collection = "users" if len(uploads) == 2 else "abcdef"[number]
            lines = object_line(properties, collection=collection)
            assert client.upload_lines(sync_id, lines).status == 201
        return client.finish_session(sync_id)


def call_finished(lab: Lab, call: str, error: str = "") -> ApiResponse:
    """Make a call to a finished session."""
    client = lab.client
    sync_id = client.start_session()
    assert client.finish_session(sync_id, error).status == 202
    return make_call(client, call, sync_id)


def make_call(client: BareClient, call: str, sync_id: str) -> ApiResponse:
    """Make one of the calls of a session."""
    if call == "upload":
        return client.upload_lines(sync_id, LINE)
    return client.keep_alive(sync_id) if call == "keep-alive" else client.finish_session(sync_id)


def upload_after_rejection(lab: Lab) -> ApiResponse:
    """Upload a file after one that was rejected."""
    sync_id = lab.client.start_session()
    assert lab.client.upload_lines(sync_id, b"x").status == 400
    return lab.client.upload_lines(sync_id, LINE)


def finish_loaded(lab: Lab) -> ApiResponse:
    """Finish a session with a file."""
    sync_id = lab.client.start_session()
    assert lab.client.upload_lines(sync_id, LINE).status == 201
    return lab.client.finish_session(sync_id)


def upload_largest_file(lab: Lab) -> ApiResponse:
    """Upload a file with one byte more than the limit, of lines that are accepted."""
    block = gzip.compress(pad_line(399_999) * 32, 1)
    assert limits.MAX_FILE_BYTES == 400_000 * 32 * 40
    last = gzip.compress(pad_line(399_999) * 31 + pad_line(199_999) + pad_line(200_000))
    return lab.upload(block * 39 + last)


def send_bytes(lab: Lab, sent: bytes) -> str:
    """Send bytes on a connection, and return what the sandbox does with it."""
    with Sandbox(lab.warehouse, client_timeout_seconds=0.2) as sandbox:
        address = urlsplit(sandbox.url)
        with socket.create_connection((address.hostname, address.port), timeout=30) as connection:
            connection.sendall(sent)
            return "answered" if connection.recv(1) else "closed"


CONNECTIONS: Final[dict[str, bytes]] = {
    "A connection that sends nothing": b"",
    "A connection that sends half of the headers": b"POST /v0/start HTTP/1.1\r\nHost: x\r\n",
}
"""What the documentation calls a connection, to what is sent on it."""

REQUESTS: Final[dict[str, Scenario]] = {
    "Start with the bare key where only the user name is accepted": lambda lab: start_with_options(
        lab, "key", AuthForm.USER_NAME
    ),
    "Start with another write key than the sandbox's": lambda lab: start_with_options(
        lab, "other:"
    ),
    "Call of an unknown path": lambda lab: lab.client.send_request("/v0/nothing"),
    "Start with a slash at the end of its path": lambda lab: lab.client.send_request("/v0/start/"),
    "Start with GET": lambda lab: lab.client.send_request("/v0/start", method="GET"),
    "Start with another name in its Host": lambda lab: lab.client.send_request(
        "/v0/start", headers={"Host": "sandbox.example"}
    ),
    "Start with another website in its Origin": lambda lab: lab.client.send_request(
        "/v0/start", headers={"Origin": "http://sandbox.example"}
    ),
    "Start with a body": lambda lab: lab.client.send_request("/v0/start", b"{}"),
    "Upload with Content-Type application/json": lambda lab: lab.upload(
        FILE, Content_Type="application/json"
    ),
    "Upload without Content-Type": lambda lab: lab.upload(FILE, Content_Type=""),
    "Upload with a parameter in its Content-Type": lambda lab: lab.upload(
        FILE, Content_Type="binary/octet-stream; x=y"
    ),
    "Upload with Content-Encoding identity": lambda lab: lab.upload(
        FILE, Content_Encoding="identity"
    ),
    "Upload without Content-Encoding": lambda lab: lab.upload(FILE, Content_Encoding=""),
    "Finish without Content-Type": lambda lab: lab.finish(b'{"error": ""}', ""),
    "Finish with the body {}": lambda lab: lab.finish(b"{}"),
    'Finish with the body {"error": null}': lambda lab: lab.finish(b'{"error": null}'),
    'Finish with the body {"error": " "}': lambda lab: lab.finish(b'{"error": " "}'),
    'Finish with the body {"error": "", "more": 1}': lambda lab: lab.finish(
        b'{"error": "", "more": 1}'
    ),
    'Finish with the body {"error": "x", "error": ""}': lambda lab: lab.finish(
        b'{"error": "x", "error": ""}'
    ),
    "Finish with a body of more than 1,000,000 bytes": lambda lab: lab.finish(
        b'{"error": "%b"}' % (b"x" * 1_000_000)
    ),
    "Start while 20 uploads of its write key are running": lambda lab: start_beside_uploads(
        lab, "key", ("key",)
    ),
    "Start with another write key while 20 uploads are running": lambda lab: start_beside_uploads(
        lab, "third", ("first", "second")
    ),
    "Upload that stops before its last byte": stop_upload,
    "Upload that sends a byte now and then": trickle_upload,
    "Upload of a body that is 2 % larger than a file may be": upload_large_body,
    "Start": lambda lab: lab.client.send_request("/v0/start"),
    "Upload of a file": lambda lab: lab.upload(FILE),
    "Keep Alive of an open session": lambda lab: lab.client.keep_alive(lab.client.start_session()),
    "Finish of a session with a file": finish_loaded,
    "Finish of a session without a file": lambda lab: lab.finish(b'{"error": ""}'),
    "Finish with an error": lambda lab: lab.finish(b'{"error": "the tap failed"}'),
    "Upload to an unknown session": lambda lab: make_call(lab.client, "upload", "x"),
    "Keep Alive of an unknown session": lambda lab: make_call(lab.client, "keep-alive", "x"),
    "Finish of an unknown session": lambda lab: make_call(lab.client, "finish", "x"),
    "Upload to the session of another write key": lambda lab: make_call(
        BareClient(lab.client.url, "other"), "upload", lab.client.start_session()
    ),
    "Upload to a finished session": lambda lab: call_finished(lab, "upload"),
    "Keep Alive of a finished session": lambda lab: call_finished(lab, "keep-alive"),
    "Finish of a finished session": lambda lab: call_finished(lab, "finish"),
    "Finish of a session that was finished with an error": lambda lab: call_finished(
        lab, "finish", "it failed"
    ),
    "Upload 600 seconds after the last call": lambda lab: upload_after(lab, SESSION_SECONDS),
    "Upload 599 seconds after the last call": lambda lab: upload_after(lab, SESSION_SECONDS - 1),
    "Upload 599 seconds after a Keep Alive": lambda lab: upload_after(
        lab, SESSION_SECONDS - 1, "keep-alive"
    ),
    "Upload 599 seconds after an upload": lambda lab: upload_after(
        lab, SESSION_SECONDS - 1, "upload"
    ),
    "Upload after a rejected file": upload_after_rejection,
    "Finish while an upload is running": finish_during_upload,
    "Upload of a file that is not compressed": lambda lab: lab.upload(LINE),
    "Upload of a file without its last byte": lambda lab: lab.upload(FILE[:-1]),
    "Upload of a file with a byte after its end": lambda lab: lab.upload(FILE + b"x"),
    "Upload of two gzip members": lambda lab: lab.upload(FILE + FILE),
    "Upload of an empty file": lambda lab: lab.upload_lines(b""),
    "Upload of a file without a newline at its end": lambda lab: lab.upload_lines(LINE[:-1]),
    "Upload of lines that end with a carriage return": lambda lab: lab.upload_lines(
        LINE[:-1] + b"\r\n"
    ),
    "Upload of a file with an empty line": lambda lab: lab.upload_lines(LINE + b"\n" + LINE),
    "Upload of a file in Latin-1": lambda lab: lab.upload_lines(
        object_line({"a": "é"}).decode().encode("latin-1")
    ),
    "Upload of a file with a byte order mark": lambda lab: lab.upload_lines(b"\xef\xbb\xbf" + LINE),
    "Upload of a file with a good and a bad line": lambda lab: lab.upload_lines(
        LINE + b'{"collection":"users","properties":{"a":1}}\n'
    ),
    "Upload of a file of 512,000,001 bytes": upload_largest_file,
    "Upload of an object of 409,600 bytes": lambda lab: lab.upload_lines(pad_line(409_600)),
    "Upload of an object of 409,601 bytes": lambda lab: lab.upload_lines(pad_line(409_601)),
    "Upload of an object with 1,600 properties": lambda lab: lab.upload_lines(
        object_line(make_properties(1_600))
    ),
    "Upload of an object with 1,601 properties": lambda lab: lab.upload_lines(
        object_line(make_properties(1_601))
    ),
    "Finish of a session with 1,601 properties in a collection": lambda lab: finish_after(
        lab, make_properties(1_600), make_properties(1, 1_600)
    ),
    "Finish of a session with 4,801 properties in four collections": lambda lab: finish_after(
        lab, *(make_properties(count) for count in (1_600, 1_600, 1_600, 1))
    ),
}
"""What the documentation calls a request, to what makes it."""

SLOW_REQUESTS: Final = frozenset({"Upload of a file of 512,000,001 bytes"})
"""Requests whose tests take more than about 5 seconds."""
