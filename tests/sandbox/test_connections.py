"""The sandbox's server: its addresses, slow clients, and how many requests it takes at once."""

from __future__ import annotations

import asyncio
import gzip
import random
import socket
import subprocess
import sys
import threading
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, closing
from time import perf_counter, process_time
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

import pytest

from target_segment_objects import limits
from target_segment_objects.sandbox.middleware import MIN_BYTES_PER_SECOND
from target_segment_objects.sandbox.server import Sandbox
from target_segment_objects.sandbox.warehouse.database import Warehouse
from tests.support import wait_for
from tests.support.bare_http import (
    UPLOAD_HEADERS,
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
    import http.client
    from pathlib import Path

    from starlette.types import ASGIApp, Message, Receive, Scope, Send

SHORT_OBJECT = b'{"id":"1","collection":"users","properties":{"a":1}}'
CALLS = ("upload", "keep-alive", "finish")


# Clients that stop in the middle of a request


def test_client_that_stops_in_a_body_is_timed_out(tmp_path: Path, session_folder: Path) -> None:
    """It gets 408 and a closed connection; its file is deleted, and the session stays open."""
    with Sandbox(tmp_path / "w.duckdb", client_timeout_seconds=0.2) as sandbox:
        client = BareClient(sandbox.url)
        sync_id = client.start_session()
        with open_upload(client, sync_id, gzip.compress(object_line())) as upload:
            response = read_response(upload)
        assert response.status == 408
        assert response.headers["Connection"] == "close"
        assert "within 0.2 seconds" in response.reason
        assert list(session_folder.iterdir()) == []
        assert client.upload_lines(sync_id, object_line()).status == 201
        assert client.finish_session(sync_id).status == 202


def test_rejected_client_that_stops_in_a_body_sees_the_reason(tmp_path: Path) -> None:
    """The rest of a rejected body is not waited for longer than that of another one."""
    with Sandbox(tmp_path / "w.duckdb", client_timeout_seconds=0.2) as sandbox:
        client = BareClient(sandbox.url)
        with open_upload(client, "unknown", gzip.compress(object_line())) as upload:
            response = read_response(upload)
        assert response.status == 400
        assert "no such session" in response.reason


def test_body_that_arrives_too_slowly_is_timed_out(tmp_path: Path) -> None:
    """One byte now and then, each in time, does not keep a place among the 20 for ever."""
    with Sandbox(tmp_path / "w.duckdb", client_timeout_seconds=0.5) as sandbox:
        client = BareClient(sandbox.url)
        sync_id = client.start_session()
        with closing(begin_upload(client, sync_id, 1000)) as upload:
            began = time.monotonic()
            response = send_slowly(upload)
            assert time.monotonic() - began < 8
        assert response.status == 408
        assert "too slowly" in response.reason


def test_clients_that_stop_do_not_lock_out_others(tmp_path: Path) -> None:
    """Half requests up to the limit of simultaneous ones do not count after the timeout."""
    with (
        Sandbox(tmp_path / "w.duckdb", client_timeout_seconds=0.5) as sandbox,
        ExitStack() as stack,
    ):
        client = BareClient(sandbox.url)
        sync_id = client.start_session()
        uploads = [
            stack.enter_context(open_upload(client, sync_id, gzip.compress(object_line())))
            for _ in range(limits.MAX_CONCURRENT_REQUESTS)
        ]
        assert [read_response(upload).status for upload in uploads] == [408] * len(uploads)
        assert client.send_request("/v0/start").status == 201


@pytest.mark.parametrize(
    "sent", [b"", b"POST /v0/start HTTP/1.1\r\nHost: x\r\n"], ids=["no byte", "half"]
)
def test_client_that_stops_in_the_headers_is_disconnected(tmp_path: Path, sent: bytes) -> None:
    """The connection is closed if the headers do not arrive in time."""
    with Sandbox(tmp_path / "w.duckdb", client_timeout_seconds=0.2) as sandbox:
        address = urlsplit(sandbox.url)
        with socket.create_connection((address.hostname, address.port), timeout=30) as connection:
            connection.sendall(sent)
            assert connection.recv(1) == b""


def test_client_that_stops_in_later_headers_is_disconnected(tmp_path: Path) -> None:
    """The timeout applies to every request of a connection."""
    with (
        Sandbox(tmp_path / "w.duckdb", client_timeout_seconds=0.2) as sandbox,
        closing(BareClient(sandbox.url).open_connection()) as connection,
    ):
        connection.request("POST", "/v0/start", headers={"Authorization": basic_auth("key:")})
        assert read_response(connection).status == 201
        connection.sock.sendall(b"POST /v0/start HTTP/1.1\r\nHost: x\r\n")
        assert connection.sock.recv(1) == b""


def test_time_is_earned_by_bytes(tmp_path: Path) -> None:
    """A large body over a slow link takes as long as it takes: what has arrived prolongs it."""
    noise = random.Random(0).randbytes(60_000).hex()  # noqa: S311 - not for security
    lines = b"".join(
        object_line({"a": noise[at : at + 200]}, object_id=str(at))
        for at in range(0, len(noise), 200)
    )
    body = gzip.compress(lines)
    assert len(body) > 6 * MIN_BYTES_PER_SECOND
    with Sandbox(tmp_path / "w.duckdb", client_timeout_seconds=1) as sandbox:
        client = BareClient(sandbox.url)
        connection = begin_upload(client, client.start_session(), len(body))
        try:
            connection.send(body[:-4])
            for at in (-4, -3, -2, -1):  # longer than the first second, in gaps that are shorter
                subprocess.run([sys.executable, "-c", "import time; time.sleep(0.4)"], check=True)
                connection.send(body[at : at + 1 or None])
            assert read_response(connection).status == 201
        finally:
            connection.close()


def test_compressed_body_is_bounded(tmp_path: Path) -> None:
    """A body without an end, which would uncompress to nothing, does not fill the disk."""
    with Sandbox(tmp_path / "w.duckdb", max_file_bytes=100_000) as sandbox:
        client = BareClient(sandbox.url)
        sync_id = client.start_session()
        body = gzip.compress(b"") * 5_060
        response = client.send_request(f"/v0/upload/{sync_id}", body, UPLOAD_HEADERS)
        assert response.status == 413
        assert "the body is larger than 101000 bytes" in response.reason


# Simultaneous requests


class HeldResponses:
    """Holds successful responses back until `released` is set."""

    def __init__(self) -> None:
        """Start to hold."""
        self.released = threading.Event()
        self.waiting = 0

    def wrap(self, app: ASGIApp) -> ASGIApp:
        """Wrap an application."""

        async def held(scope: Scope, receive: Receive, send: Send) -> None:
            async def late(message: Message) -> None:
                if message["type"] == "http.response.start" and message["status"] < 400:
                    self.waiting += 1
                    while not self.released.is_set():  # noqa: ASYNC110 - another thread sets it
                        await asyncio.sleep(0.01)
                await send(message)

            await app(scope, receive, late)

        return held


@pytest.mark.parametrize("limited", ["write key", "address"])
def test_twenty_simultaneous_requests_are_allowed(tmp_path: Path, limited: str) -> None:
    """Twenty simultaneous requests are answered; the next gets 429 with Retry-After."""
    held = HeldResponses()
    keys = ["key"] * 20 if limited == "write key" else [f"key {number % 2}" for number in range(20)]
    with Sandbox(tmp_path / "w.duckdb", wrap=held.wrap) as sandbox, ThreadPoolExecutor(20) as pool:
        try:
            responses = [
                pool.submit(BareClient(sandbox.url, key).send_request, "/v0/start") for key in keys
            ]
            wait_for(lambda: held.waiting == 20)
            rejected = BareClient(sandbox.url, keys[0]).send_request("/v0/start")
        finally:
            held.released.set()
        assert [response.result().status for response in responses] == [201] * 20
        assert rejected.status == 429
        assert rejected.headers["Retry-After"] == "1"
        assert f"more than 20 simultaneous requests for one {limited}" in rejected.reason
        assert sandbox.peak_concurrency == (21 if limited == "write key" else 11)
        assert BareClient(sandbox.url, keys[0]).send_request("/v0/start").status == 201


# The server


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "192.0.2.1", "example.com"])  # noqa: S104 - refused
def test_host_that_is_not_loopback_is_rejected(tmp_path: Path, host: str) -> None:
    """A sandbox does not listen on an address that other machines can reach."""
    with pytest.raises(ValueError, match="loopback addresses only"):
        Sandbox(tmp_path / "w.duckdb", host=host)


@pytest.mark.parametrize(
    ("host", "url"),
    [
        ("0.0.0.0", "http://127.0.0.1:8080"),  # noqa: S104 - it is not started
        ("::", "http://[::1]:8080"),
        ("192.0.2.1", "http://192.0.2.1:8080"),
        ("example.com", "http://example.com:8080"),
    ],
)
def test_url_of_a_remote_sandbox(tmp_path: Path, host: str, url: str) -> None:
    """The URL is one that this machine can reach, also if it listens on all addresses."""
    assert Sandbox(tmp_path / "w.duckdb", host=host, port=8080, allow_remote=True).url == url


def test_localhost_is_accepted_as_host(tmp_path: Path) -> None:
    """The name localhost can be used, and is in the URL."""
    with Sandbox(tmp_path / "w.duckdb", host="localhost") as sandbox:
        assert sandbox.url.startswith("http://localhost:")
        assert BareClient(sandbox.url).send_request("/v0/start").status == 201


def test_kept_connection_is_not_slower(client: BareClient) -> None:
    """A call on a kept connection does not wait for an acknowledgement by the client."""
    with closing(client.open_connection()) as kept:
        kept_times = [measure_start(kept) for _ in range(50)]
    new_times = []
    for _ in range(50):
        with closing(client.open_connection()) as connection:
            new_times.append(measure_start(connection))
    # The shortest, because the machine may be busy. The first calls are acknowledged at once.
    assert min(kept_times[25:]) < 3 * min(new_times)


@pytest.mark.slow
def test_thousands_of_open_sessions(tmp_path: Path) -> None:
    """The last of 6,000 Starts cost no more than the first; to end the sessions costs less."""
    clock = FrozenClock()
    with Sandbox(tmp_path / "w.duckdb", clock=clock) as sandbox:
        client = BareClient(sandbox.url)
        costs = []
        for _ in range(6):
            costs.append(measure_starts(client, 1000))
            clock.now += 100
        began = process_time()
        clock.now += 250
        client.start_session()
        assert count_outcomes(sandbox.warehouse) == {"expired": 3000}
    assert process_time() - began < sum(costs)
    assert costs[-1] < 3 * costs[0]
    with Warehouse.open(tmp_path / "w.duckdb", read_only=True) as warehouse:
        assert count_outcomes(warehouse) == {"expired": 3000, "open": 3001}


def measure_starts(client: BareClient, count: int) -> float:
    """Start sessions over one connection, and return the CPU time of this process."""
    began = process_time()
    with closing(client.open_connection()) as connection:
        for _ in range(count):
            request_start(connection)
    return process_time() - began


def count_outcomes(warehouse: Warehouse) -> Counter[str]:
    """Return the number of recorded sessions by their outcome."""
    return Counter(session.outcome for session in warehouse.sessions())


def measure_start(connection: http.client.HTTPConnection) -> float:
    """Start a session, and return how long it took."""
    began = perf_counter()
    request_start(connection)
    return perf_counter() - began


def request_start(connection: http.client.HTTPConnection) -> None:
    """Start a session over a connection, which stays open."""
    connection.request("POST", "/v0/start", b"", {"Authorization": basic_auth("key:")})
    assert read_response(connection).status == 201


def test_port_in_use_raises_os_error(tmp_path: Path, shared_sandbox: Sandbox) -> None:
    """A port in use raises OSError, and nothing stays open."""
    port = int(shared_sandbox.url.rpartition(":")[2])
    with pytest.raises(OSError, match="in use"), Sandbox(tmp_path / "w.duckdb", port=port):
        pass
    with Sandbox(tmp_path / "w.duckdb") as sandbox:
        assert sandbox.warehouse.collections() == []


def test_stopped_sandbox_leaves_only_its_warehouse(tmp_path: Path) -> None:
    """After a sandbox has stopped, only the file of its warehouse is left, and no thread."""
    before = threading.active_count()
    with Sandbox(tmp_path / "w.duckdb") as sandbox:
        client = BareClient(sandbox.url)
        client.load_files(object_line())
        assert client.upload_lines(client.start_session(), object_line()).status == 201
    wait_for(lambda: threading.active_count() == before)
    assert [path.name for path in tmp_path.iterdir()] == ["w.duckdb"]


def test_concurrent_sessions_are_all_loaded(tmp_path: Path) -> None:
    """Sessions that are finished at the same time are all loaded."""
    with Sandbox(tmp_path / "w.duckdb") as sandbox, ThreadPoolExecutor(8) as pool:
        client = BareClient(sandbox.url)
        files = [
            b"".join(
                object_line({"n": n}, object_id=f"{n}-{i}", collection="x" * (n % 3 + 1))
                for i in range(50)
            )
            for n in range(16)
        ]
        assert len(set(pool.map(client.load_files, files))) == 16
        assert sum(map(sandbox.warehouse.count, sandbox.warehouse.collections())) == 800
