"""The calls over real sockets: what is sent, what a response means, and what is retried."""

from __future__ import annotations

import base64
import datetime
import email.utils
import gzip
import json
import logging
import socket
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from target_segment_objects import limits
from target_segment_objects.exceptions import (
    ApiError,
    AuthenticationError,
    PermanentApiError,
    SessionExpiredError,
    SpoolError,
    TransientApiError,
    UnreachableError,
)
from target_segment_objects.segment import client as client_module
from target_segment_objects.segment.authentication import AuthForm
from target_segment_objects.segment.client import (
    MAX_BACKOFF_SECONDS,
    Client,
)
from target_segment_objects.segment.responses import MAX_RETRY_AFTER_SECONDS
from tests.support.scripted_server import Cut, Reply, ScriptedServer

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    Call = Callable[[Client, Path], object]

KEY = "write-key-to-be-kept-secret"
TOKEN = base64.b64encode(f"{KEY}:".encode()).decode()
CONTENT = b'{"id":"1","collection":"users","properties":{"name":"Ada Lovelace"}}\n'

CALLS: dict[str, Call] = {
    "start": lambda client, _: client.start(),
    "upload": lambda client, file: client.upload("s1", file),
    "keep-alive": lambda client, _: client.keep_alive("s1"),
    "finish": lambda client, _: client.finish("s1"),
}
RETRIED = ("start", "upload", "finish")
EXPECTED = {"start": 201, "upload": 201, "keep-alive": 200, "finish": 202}


@pytest.fixture
def server() -> Iterator[ScriptedServer]:
    """A server that answers as documented unless scripted."""
    with ScriptedServer() as running:
        yield running


@pytest.fixture
def part(tmp_path: Path) -> Path:
    """A file to upload."""
    path = tmp_path / "part.jsonl.gz"
    path.write_bytes(gzip.compress(CONTENT, mtime=0))
    return path


@pytest.fixture
def waits(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """The waits between attempts, which are recorded and skipped."""
    recorded: list[float] = []
    real = time.sleep

    def sleep(seconds: float) -> None:
        if threading.current_thread() is threading.main_thread():
            recorded.append(seconds)
        else:
            real(seconds)

    monkeypatch.setattr(time, "sleep", sleep)
    return recorded


@pytest.fixture
def client(server: ScriptedServer) -> Iterator[Client]:
    """A client with two retries."""
    made = Client(KEY, api_url=server.url, timeout_seconds=10, max_retries=2, user_agent="t/1")
    yield made
    made.close()


# What is sent


def test_start_is_a_post_without_a_body(server: ScriptedServer, client: Client) -> None:
    """And returns the sync_id of the response."""
    assert client.start() == "hjWdsur28j49LCQ"
    (request,) = server.requests
    assert (request.method, request.path, request.body) == ("POST", "/v0/start", b"")


def test_upload_sends_the_file_unchanged(
    server: ScriptedServer, client: Client, part: Path
) -> None:
    """With the documented headers and a length."""
    assert client.upload("hjWdsur28j49LCQ", part) == "dkf539GFfmj50fnm"
    (request,) = server.requests
    assert (request.method, request.path) == ("POST", "/v0/upload/hjWdsur28j49LCQ")
    assert request.headers["Content-Type"] == "binary/octet-stream"
    assert request.headers["Content-Encoding"] == "gzip"
    assert request.headers["Content-Length"] == str(part.stat().st_size)
    assert request.body == part.read_bytes()


def test_keep_alive_is_a_post_without_a_body(server: ScriptedServer, client: Client) -> None:
    """To the path of its session."""
    client.keep_alive("s1")
    (request,) = server.requests
    assert (request.method, request.path, request.body) == ("POST", "/v0/keep-alive/s1", b"")


@pytest.mark.parametrize(
    "error", [pytest.param("", id="blank"), pytest.param("Disk full: \ud800 ü", id="not ASCII")]
)
def test_finish_sends_its_error_as_json(server: ScriptedServer, client: Client, error: str) -> None:
    """Blank on success."""
    client.finish("s1", error)
    (request,) = server.requests
    assert (request.method, request.path) == ("POST", "/v0/finish/s1")
    assert request.headers["Content-Type"] == "application/json"
    assert request.json == {"error": error}


@pytest.mark.parametrize("call", CALLS)
def test_every_call_authenticates(
    server: ScriptedServer, client: Client, part: Path, call: str
) -> None:
    """The key is the user name of HTTP Basic, with an empty password; User-Agent is set."""
    CALLS[call](client, part)
    (request,) = server.requests
    assert request.headers["Authorization"] == f"Basic {TOKEN}"
    assert request.headers["User-Agent"] == "t/1"


def test_api_url_may_have_a_path(server: ScriptedServer) -> None:
    """It precedes the path of the call, with or without a trailing slash."""
    server.always("v0", Reply(201, b'{"sync_id": "s"}'))
    client = Client(KEY, api_url=f"{server.url}/segment/")
    client.start()
    client.close()
    assert server.requests[0].path == "/segment/v0/start"


def test_sync_id_stays_one_segment_of_the_path(server: ScriptedServer, client: Client) -> None:
    """Reserved characters are escaped, so that no other path is called."""
    client.keep_alive("../a?b#c d")
    assert server.requests[0].path == "/v0/keep-alive/..%2Fa%3Fb%23c%20d"


@pytest.mark.parametrize("sync_id", [".", ".."])
def test_sync_id_of_dots_is_refused(server: ScriptedServer, client: Client, sync_id: str) -> None:
    """HTTP clients resolve it, escaped or not, and would call another path."""
    server.script("start", Reply(201, json.dumps({"sync_id": sync_id}).encode()))
    with pytest.raises(PermanentApiError, match=r"cannot be part of a path.*api_url"):
        client.start()
    with pytest.raises(PermanentApiError, match=r"cannot be part of a path"):
        client.keep_alive(sync_id)
    assert [request.path for request in server.requests] == ["/v0/start"]


def test_plain_http_uses_no_proxy(
    server: ScriptedServer, part: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A proxy from the environment does not get the unencrypted key."""
    with ScriptedServer() as proxy:
        for name in ("HTTP_PROXY", "http_proxy", "ALL_PROXY", "all_proxy"):
            monkeypatch.setenv(name, proxy.url)
        for name in ("NO_PROXY", "no_proxy"):
            monkeypatch.delenv(name, raising=False)
        client = Client(KEY, api_url=server.url)
        client.upload("s1", part)
        client.close()
        assert proxy.requests == []


# Response → error

FINAL = [300, 301, 302, 303, 307, 308, 402, 405, 409, 411, 413, 415, 418, 422, 431, 451]
SESSION_UNKNOWN = [400, 404, 410]
TRANSIENT = [408, 429, 500, 501, 502, 503, 504, 520, 599]


@pytest.mark.parametrize("call", CALLS)
@pytest.mark.parametrize(
    ("statuses", "kind"),
    [
        pytest.param(FINAL, PermanentApiError, id="final"),
        pytest.param([401, 403], AuthenticationError, id="key refused"),
        pytest.param(TRANSIENT, TransientApiError, id="transient"),
    ],
)
def test_status_decides_the_error(
    server: ScriptedServer, part: Path, call: str, statuses: list[int], kind: type[ApiError]
) -> None:
    """The error keeps the status and names the call."""
    client = Client(KEY, api_url=server.url, max_retries=0)
    client.start()  # accepts the form of the credentials: after that, a 401 is final
    if call == "start":
        statuses = [status for status in statuses if status != 501]  # final, as no API answers it
    for status in statuses:
        server.script(call, Reply(status))
        with pytest.raises(ApiError) as raised:
            CALLS[call](client, part)
        assert type(raised.value) is kind, status
        assert raised.value.status == status
        assert str(status) in str(raised.value)
        assert call.replace("-", " ") in str(raised.value).lower()
    assert len(server.requests) == 1 + len(statuses), "each status was received once"
    client.close()


@pytest.mark.parametrize("call", CALLS)
@pytest.mark.parametrize("status", SESSION_UNKNOWN)
def test_status_of_an_unknown_session(
    server: ScriptedServer, client: Client, part: Path, call: str, status: int
) -> None:
    """400, 404 and 410 may mean that the session has expired, but not for Start."""
    server.script(call, Reply(status))
    with pytest.raises(PermanentApiError) as raised:
        CALLS[call](client, part)
    assert type(raised.value) is (PermanentApiError if call == "start" else SessionExpiredError)
    assert len(server.requests) == 1


@pytest.mark.parametrize("call", CALLS)
@pytest.mark.parametrize("status", [200, 201, 202, 204])
def test_only_the_documented_success_is_accepted(
    server: ScriptedServer, client: Client, part: Path, call: str, status: int
) -> None:
    """Another 2xx is an error that names both: it is not Segment that responded."""
    if status == EXPECTED[call]:
        return
    server.script(call, Reply(status, b"" if status == 204 else b'{"sync_id":"s","part_id":"p"}'))
    with pytest.raises(
        PermanentApiError, match=f"{status}.*{EXPECTED[call]} was expected.*api_url"
    ):
        CALLS[call](client, part)


def test_errors_say_what_to_do(server: ScriptedServer, client: Client, part: Path) -> None:
    """A refused key and a file that is too large name the setting."""
    server.script("start", *(Reply(401) for _ in AuthForm))
    with pytest.raises(AuthenticationError, match=r"Check write_key"):
        client.start()
    server.script("upload", Reply(413))
    with pytest.raises(PermanentApiError, match=r"Lower max_file_bytes"):
        client.upload("s1", part)


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
@pytest.mark.parametrize(
    "where",
    [
        pytest.param("{other}/v0/start", id="another server"),
        pytest.param("http://[", id="malformed"),
        pytest.param("/v0/start", id="relative"),
        pytest.param("nope://x", id="unknown scheme"),
    ],
)
def test_redirects_are_not_followed(
    server: ScriptedServer, client: Client, status: int, where: str
) -> None:
    """Wherever it leads, a redirect is final: neither the key nor objects go there."""
    with ScriptedServer() as other:
        location = where.format(other=other.url)
        server.script("start", Reply(status, headers={"Location": location}))
        with pytest.raises(PermanentApiError, match=f"answered {status}"):
            client.start()
        assert other.requests == []
    assert len(server.requests) == 1


@pytest.mark.parametrize(
    "body",
    [
        pytest.param(b"", id="empty"),
        pytest.param(b"{}", id="empty object"),
        pytest.param(b"[]", id="array"),
        pytest.param(b"null", id="null"),
        pytest.param(b"7", id="number"),
        pytest.param(b'"sync_id"', id="string"),
        pytest.param(b'{"sync_id": ""}', id="empty id"),
        pytest.param(b'{"sync_id": 7}', id="number as id"),
        pytest.param(b'{"sync_id": null}', id="null as id"),
        pytest.param(b'{"sync_id": "a\\nb"}', id="line break in id"),
        pytest.param(b'{"sync_id": ', id="truncated"),
        pytest.param(b"<html>Welcome to the hotel</html>", id="HTML"),
        pytest.param(b"\xff\xfe", id="not UTF-8"),
        pytest.param(b"[" * 60_000, id="deeply nested"),
    ],
)
def test_malformed_response_is_refused(server: ScriptedServer, client: Client, body: bytes) -> None:
    """A 201 without the required identifier is final, and the error says what is missing."""
    server.script("start", Reply(201, body))
    with pytest.raises(PermanentApiError, match=r"Start: the response.* has no sync_id.*api_url"):
        client.start()
    assert len(server.requests) == 1


def test_upload_response_without_part_id_is_refused(
    server: ScriptedServer, client: Client, part: Path
) -> None:
    """It is not Segment that responded."""
    server.script("upload", Reply(201, b'{"sync_id": "s1"}'))
    with pytest.raises(
        PermanentApiError, match=r"Upload of session s1: the response has no part_id"
    ):
        client.upload("s1", part)


def test_huge_response_is_not_read_completely(server: ScriptedServer, client: Client) -> None:
    """Only its beginning is read, and the next call works."""
    server.script("start", Reply(400, b"x" * 5_000_000))
    with pytest.raises(PermanentApiError) as raised:
        client.start()
    assert len(str(raised.value)) < 500
    assert client.start()


def test_response_text_is_shown(server: ScriptedServer, client: Client) -> None:
    """If the call carried no objects: in one short, printable line."""
    server.script("start", Reply(400, b"no\n \x1b[31msuch\x00 thing " + b"x" * 1000))
    with pytest.raises(PermanentApiError, match=r"answered 400 \(no \[31msuch thing x{150,200}\)"):
        client.start()


def test_html_is_not_shown(server: ScriptedServer, client: Client) -> None:
    """The page of a load balancer adds nothing to the status but that it is one."""
    server.script("start", Reply(404, b"<html><body>404</body></html>"))
    with pytest.raises(PermanentApiError, match=r"answered 404 \(an HTML page\)") as raised:
        client.start()
    assert "body" not in str(raised.value)


@pytest.mark.parametrize("line", [3, None, "Ada Lovelace"])
def test_sandbox_reason_is_shown(
    server: ScriptedServer, client: Client, part: Path, line: object
) -> None:
    """Of the response to an upload, the line number and the reason are shown, nothing else."""
    body = {"error": {"line": line, "reason": "id is empty", "value": "Ada Lovelace"}}
    server.script("upload", Reply(400, json.dumps(body).encode()))
    with pytest.raises(SessionExpiredError) as raised:
        client.upload("s1", part)
    where = "line 3: " if line == 3 else ""
    assert f"({where}id is empty)" in str(raised.value)
    assert "Ada" not in str(raised.value)


# Retries


@pytest.mark.parametrize("call", RETRIED)
@pytest.mark.parametrize("status", [408, 429, 500, 502, 503, 504])
def test_transient_status_is_retried(
    server: ScriptedServer,
    client: Client,
    part: Path,
    waits: list[float],
    call: str,
    status: int,
) -> None:
    """Until the call succeeds."""
    server.script(call, Reply(status), Reply(status))
    CALLS[call](client, part)
    assert len(server.requests) == 3
    assert len(waits) == 2


def test_last_error_says_how_often_and_what_to_do(
    server: ScriptedServer,
    client: Client,
    waits: list[float],
    caplog: pytest.LogCaptureFixture,
) -> None:
    """After `max_retries` retries, the error says how many attempts there were."""
    server.always("start", Reply(503))
    with pytest.raises(
        TransientApiError, match=r"answered 503, 3 times.*network.*status page"
    ) as raised:
        client.start()
    assert raised.value.status == 503
    assert len(server.requests) == 3
    assert len(waits) == 2
    assert [record.levelname for record in caplog.records if "Retrying" in record.message] == [
        "WARNING"
    ] * 2


@pytest.mark.parametrize("retries", [0, 1, 4])
def test_max_retries_counts_attempts_after_the_first(
    server: ScriptedServer, waits: list[float], retries: int
) -> None:
    """Zero means a single attempt."""
    server.always("start", Reply(500))
    client = Client(KEY, api_url=server.url, max_retries=retries)
    with pytest.raises(TransientApiError):
        client.start()
    client.close()
    assert len(server.requests) == retries + 1
    assert len(waits) == retries


def test_waits_grow_with_full_jitter(server: ScriptedServer, waits: list[float]) -> None:
    """The n-th wait is between 0 and 2ⁿ⁻¹ seconds, and never over a minute."""
    server.always("start", Reply(500))
    client = Client(KEY, api_url=server.url, max_retries=40)
    with pytest.raises(TransientApiError):
        client.start()
    client.close()
    longest = [min(2.0**n, MAX_BACKOFF_SECONDS) for n in range(40)]
    assert all(0 <= wait <= most for wait, most in zip(waits, longest, strict=True))
    shares = [wait / most for wait, most in zip(waits, longest, strict=True)]
    assert min(shares) < 0.5 < max(shares), "40 draws, evenly from the whole range"
    assert max(waits) > 2


def _http_date(seconds: float) -> str:
    then = datetime.datetime.now(tz=datetime.timezone.utc) + datetime.timedelta(seconds=seconds)
    return email.utils.format_datetime(then, usegmt=True)


@pytest.mark.parametrize(
    ("value", "shortest", "longest"),
    [
        pytest.param("7", 7, 7, id="seconds"),
        pytest.param("7.5", 7.5, 7.5, id="fraction"),
        pytest.param(" 7 ", 7, 7, id="padded"),
        pytest.param(
            _http_date(3600 * 24 * 365),
            MAX_RETRY_AFTER_SECONDS,
            MAX_RETRY_AFTER_SECONDS,
            id="date next year",
        ),
        pytest.param("1" * 400, MAX_RETRY_AFTER_SECONDS, MAX_RETRY_AFTER_SECONDS, id="huge"),
        pytest.param("86400", MAX_RETRY_AFTER_SECONDS, MAX_RETRY_AFTER_SECONDS, id="a day"),
        pytest.param(_http_date(-3600), 0, 1, id="past date"),
        pytest.param("Wed, 21 Oct 99999999999 07:28:00 GMT", 0, 1, id="overflowing date"),
        pytest.param("0", 0, 1, id="zero"),
        pytest.param("-5", 0, 1, id="negative"),
        pytest.param("NaN", 0, 1, id="NaN"),
        pytest.param("", 0, 1, id="empty"),
        pytest.param("soon", 0, 1, id="word"),
        pytest.param("7 seconds", 0, 1, id="unit"),
    ],
)
def test_retry_after_is_honored(
    server: ScriptedServer,
    client: Client,
    waits: list[float],
    value: str,
    shortest: float,
    longest: float,
) -> None:
    """Up to ten minutes; a value that asks for no wait is ignored."""
    server.script("start", Reply(429, headers={"Retry-After": value}))
    client.start()
    (wait,) = waits
    assert shortest <= wait <= longest


@pytest.mark.parametrize("zone", ["GMT", "-0000", "+0200"])
def test_retry_after_may_be_a_date(
    server: ScriptedServer, client: Client, waits: list[float], zone: str
) -> None:
    """In any time zone."""
    then = datetime.datetime.now(tz=datetime.timezone.utc) + datetime.timedelta(seconds=100)
    if zone == "+0200":
        then += datetime.timedelta(hours=2)
    date = f"{then:%a, %d %b %Y %H:%M:%S} {zone}"
    server.script("start", Reply(503, headers={"Retry-After": date}))
    client.start()
    (wait,) = waits
    assert 90 < wait <= 100


def test_wait_is_logged_and_kept(
    server: ScriptedServer, client: Client, caplog: pytest.LogCaptureFixture
) -> None:
    """The log says what failed, how long the wait is, and which attempt follows."""
    server.script("start", Reply(429, headers={"Retry-After": "0.3"}))
    client.start()
    assert "Start: Segment answered 429. Retrying in 0.3 s (attempt 2 of 3)." in caplog.text
    first, second = (request.at for request in server.requests)
    assert 0.3 <= second - first < 3


def test_retried_upload_is_sent_completely(
    server: ScriptedServer, client: Client, tmp_path: Path, waits: list[float]
) -> None:
    """Each attempt sends the file from its first byte, also after an interrupted one."""
    part = tmp_path / "part"
    part.write_bytes(bytes(range(256)) * 20_000)
    server.script("upload", Reply(500), Reply(201, cut=Cut.BEFORE_BODY))
    client.upload("s1", part)
    bodies = [request.body for request in server.requests]
    assert bodies[0] == bodies[2] == part.read_bytes()
    assert len(waits) == 2


@pytest.mark.parametrize("call", RETRIED)
@pytest.mark.parametrize("cut", Cut)
def test_reset_connection_is_retried(
    server: ScriptedServer,
    client: Client,
    part: Path,
    waits: list[float],
    caplog: pytest.LogCaptureFixture,
    call: str,
    cut: Cut,
) -> None:
    """Whenever the connection ends without a complete response."""
    status = EXPECTED[call]
    server.script(call, Reply(status, b'{"sync_id":"s"', cut=cut))
    CALLS[call](client, part)
    assert len(server.requests) == 2
    assert len(waits) == 1
    assert "no response from http://127.0.0.1" in caplog.text


def test_refused_connection_is_retried(waits: list[float]) -> None:
    """And the error says that it was refused."""
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        port = closed.getsockname()[1]
    client = Client(KEY, api_url=f"http://127.0.0.1:{port}", max_retries=1)
    with pytest.raises(TransientApiError, match=r"Connection refused\), 2 times") as raised:
        client.start()
    client.close()
    assert raised.value.status is None
    assert len(waits) == 1


@pytest.mark.parametrize(
    "url",
    [
        pytest.param("https://no-such-host.invalid", id="unknown host"),
        pytest.param("http://127.0.0.1:9", id="refused"),
        pytest.param("https://127.0.0.1:9", id="refused with TLS"),
    ],
)
def test_first_connection_is_given_up_after_a_few_attempts(waits: list[float], url: str) -> None:
    """Within seconds, whatever `max_retries` is; the error names api_url and the proxy."""
    client = Client(KEY, api_url=url)
    with pytest.raises(UnreachableError, match=r"3 times\. Check api_url, the proxy") as raised:
        client.start()
    client.close()
    assert "STATE" not in str(raised.value)
    assert len(waits) == 2
    assert sum(waits) <= 3


def test_wrong_proxy_is_given_up_after_a_few_attempts(
    waits: list[float], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The error says to check the proxy."""
    monkeypatch.setenv("HTTPS_PROXY", "http://127.0.0.1:9")
    for name in ("NO_PROXY", "no_proxy", "https_proxy", "ALL_PROXY", "all_proxy"):
        monkeypatch.delenv(name, raising=False)
    client = Client(KEY, api_url="https://segment.invalid")
    with pytest.raises(UnreachableError, match=r"3 times\. Check api_url, the proxy"):
        client.start()
    client.close()
    assert len(waits) == 2


def find_retries(caplog: pytest.LogCaptureFixture, level: int) -> list[str]:
    """Return the ends of the log lines about retries: which attempt is next."""
    return [
        record.getMessage().rpartition(" (")[2]
        for record in caplog.records
        if record.levelno == level and "Retrying in" in record.getMessage()
    ]


def start_four(client: Client, server: ScriptedServer) -> None:
    """Start four sessions, of which none gets a response before all have begun, and all fail."""
    release = threading.Event()
    server.script("start", *(Reply(503, until=release) for _ in range(4)))
    begun = len(server.requests)

    def start_session(_: int) -> None:
        with pytest.raises(TransientApiError):
            client.start()

    with ThreadPoolExecutor(4) as pool:
        results = pool.map(start_session, range(4))
        server.wait_for("start", begun + 4)
        release.set()
        list(results)


def test_an_outage_that_all_calls_meet_is_reported_once(
    server: ScriptedServer, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of four calls that fail alike, one reports its retries; the others are logged as DEBUG."""
    monkeypatch.setattr(client_module, "MAX_BACKOFF_SECONDS", 0.01)
    caplog.set_level(logging.DEBUG, logger=client_module.__name__)
    server.always("start", Reply(503))
    with Client(KEY, api_url=server.url, max_retries=2) as client:
        for _ in range(2):
            caplog.clear()
            start_four(client, server)
            attempts = ["attempt 2 of 3).", "attempt 3 of 3)."]
            assert find_retries(caplog, logging.WARNING) == attempts
            assert sorted(find_retries(caplog, logging.DEBUG)) == sorted(3 * attempts)


def test_different_failures_are_reported_each(
    server: ScriptedServer, caplog: pytest.LogCaptureFixture, waits: list[float]
) -> None:
    """A status is another outage than the one before, also for the same call."""
    server.script("start", Reply(503), Reply(500), Reply(503))
    with Client(KEY, api_url=server.url) as client:
        client.start()
    assert find_retries(caplog, logging.WARNING) == [f"attempt {n} of 11)." for n in (2, 3, 4)]
    assert len(waits) == 3


def test_another_call_reports_after_the_first_succeeded(
    server: ScriptedServer, caplog: pytest.LogCaptureFixture, waits: list[float]
) -> None:
    """An outage that ended for one call does not silence the next one."""
    with Client(KEY, api_url=server.url) as client:
        for _ in range(2):
            server.script("start", Reply(503))
            client.start()
    assert find_retries(caplog, logging.WARNING) == 2 * ["attempt 2 of 11)."]
    assert len(waits) == 2


def test_later_connection_failures_get_all_retries(waits: list[float]) -> None:
    """Once Segment has responded, an unreachable network is worth the wait."""
    with ScriptedServer() as server:
        client = Client(KEY, api_url=server.url, max_retries=5)
        server.script("start", Reply(400))
        with pytest.raises(PermanentApiError):
            client.start()
    with pytest.raises(UnreachableError, match=r"6 times\. Check the network"):
        client.start()
    client.close()
    assert len(waits) == 5


def test_unknown_host_is_named(waits: list[float]) -> None:
    """An error of DNS is retried."""
    client = Client(KEY, api_url="https://no-such-host.invalid", max_retries=1)
    with pytest.raises(TransientApiError, match=r"no response from https://no-such-host.invalid"):
        client.start()
    client.close()
    assert len(waits) == 1


def test_timeout_is_retried(server: ScriptedServer, waits: list[float]) -> None:
    """And the error says that the call timed out."""
    release = threading.Event()
    server.always("start", Reply(201, until=release))
    client = Client(KEY, api_url=server.url, timeout_seconds=0.2, max_retries=1)
    with pytest.raises(TransientApiError, match=r"timed out"):
        client.start()
    client.close()
    release.set()
    assert len(server.requests) == 2
    assert len(waits) == 1


def test_stalled_upload_times_out(tmp_path: Path) -> None:
    """A server that stops reading in the middle of an upload gave no response."""
    part = tmp_path / "part"
    part.write_bytes(bytes(20_000_000))
    with socket.socket() as listening:
        listening.bind(("127.0.0.1", 0))
        listening.listen()
        url = f"http://127.0.0.1:{listening.getsockname()[1]}"
        client = Client(KEY, api_url=url, timeout_seconds=0.2, max_retries=0)
        with pytest.raises(TransientApiError, match=r"timed out"):
            client.upload("s1", part)
        client.close()


def test_response_that_is_not_http(waits: list[float]) -> None:
    """A server of another protocol gave no response."""
    with socket.socket() as listening, ThreadPoolExecutor(1) as pool:
        listening.bind(("127.0.0.1", 0))
        listening.listen()

        def greet_client() -> None:
            connection, _ = listening.accept()
            with connection:
                connection.recv(65536)
                connection.sendall(b"220 smtp ready\r\n")

        pool.submit(greet_client)
        url = f"http://127.0.0.1:{listening.getsockname()[1]}"
        client = Client(KEY, api_url=url, max_retries=0)
        with pytest.raises(TransientApiError, match=r"no response from"):
            client.start()
        client.close()
    assert waits == []


@pytest.mark.parametrize(
    "url",
    [
        pytest.param("https://a..b", id="empty label"),
        pytest.param(f"https://{'a' * 64}.invalid", id="label over 63 characters"),
    ],
)
def test_a_host_name_that_cannot_be_encoded_is_final(url: str) -> None:
    """A request that cannot be sent at all is not tried again, and the error names `api_url`."""
    client = Client(KEY, api_url=url)
    with pytest.raises(PermanentApiError, match=r"cannot be sent.*Check api_url"):
        client.start()
    client.close()


def test_keep_alive_is_not_retried(server: ScriptedServer, client: Client) -> None:
    """The next one follows soon."""
    server.script("keep-alive", Reply(503))
    with pytest.raises(TransientApiError, match=r"Keep Alive of session s1: Segment answered 503$"):
        client.keep_alive("s1")
    assert len(server.requests) == 1


def test_abort_is_not_retried(server: ScriptedServer, client: Client) -> None:
    """Finish is sent once, with the error."""
    server.script("finish", Reply(503))
    with pytest.raises(TransientApiError):
        client.abort_session("s1", "stopped")
    assert [request.json for request in server.requests] == [{"error": "stopped"}]


def test_abort_is_bounded_in_time(
    server: ScriptedServer, client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It waits neither for a response nor for a slot longer than its timeout."""
    monkeypatch.setattr(client_module, "ABORT_TIMEOUT_SECONDS", 0.3)
    release = threading.Event()
    server.always("keep-alive", Reply(200, until=release))
    server.always("finish", Reply(202, until=release))
    began = time.monotonic()
    with pytest.raises(TransientApiError, match=r"timed out"):
        client.abort_session("s1", "stopped")
    with ThreadPoolExecutor(20) as pool:
        hanging = [pool.submit(client.keep_alive, "s1") for _ in range(20)]
        server.wait_for("keep-alive", 20)
        with pytest.raises(TransientApiError, match=r"not sent, 20 requests are under way"):
            client.abort_session("s1", "stopped")
        assert time.monotonic() - began < 3
        release.set()
        for future in hanging:
            future.result()


# The file


def test_missing_file_is_named(server: ScriptedServer, client: Client, tmp_path: Path) -> None:
    """With the cause; nothing is sent or retried."""
    with pytest.raises(SpoolError, match=r"Cannot read .*/gone\.gz: No such file"):
        client.upload("s1", tmp_path / "gone.gz")
    assert server.requests == []


@pytest.mark.skipif(
    not Path("/proc/self/mem").exists(), reason="needs a file that opens and cannot be read"
)
def test_unreadable_file_is_not_a_network_failure(server: ScriptedServer, client: Client) -> None:
    """A disk that fails during an upload is reported as such."""
    with pytest.raises(SpoolError, match=r"Cannot read /proc/self/mem: Input/output error"):
        client.upload("s1", Path("/proc/self/mem"))
    assert len(server.requests) <= 1


# Lost responses


@pytest.mark.parametrize("call", ["upload", "finish"])
@pytest.mark.parametrize(
    ("reply", "is_lost"),
    [
        pytest.param(Reply(408), True, id="408"),
        pytest.param(Reply(502), True, id="502"),
        pytest.param(Reply(504), True, id="504"),
        pytest.param(Reply(202, cut=Cut.AFTER_BODY), True, id="reset"),
        pytest.param(Reply(202, b"{}", cut=Cut.IN_RESPONSE), True, id="reset in the response"),
        pytest.param(Reply(500), False, id="500"),
        pytest.param(Reply(503), False, id="503"),
        pytest.param(Reply(429), False, id="429"),
    ],
)
def test_lost_response_is_reported(
    server: ScriptedServer,
    client: Client,
    part: Path,
    waits: list[float],
    call: str,
    reply: Reply,
    is_lost: bool,  # noqa: FBT001 - the expectation
) -> None:
    """The caller learns that an attempt may be carried out late, though the retry succeeded."""
    lost: list[str] = []
    server.script(call, reply)
    if call == "upload":
        client.upload("s1", part, on_lost_response=lambda: lost.append(call))
    else:
        client.finish("s1", on_lost_response=lambda: lost.append(call))
    assert len(waits) == 1
    assert lost == [call] * is_lost


def test_incomplete_upload_is_not_lost(
    server: ScriptedServer, client: Client, tmp_path: Path, waits: list[float]
) -> None:
    """A request whose body was not sent completely cannot be carried out."""
    part = tmp_path / "part"
    part.write_bytes(bytes(20_000_000))
    lost: list[str] = []
    server.script("upload", Reply(201, cut=Cut.BEFORE_BODY))
    client.upload("s1", part, on_lost_response=lambda: lost.append("upload"))
    assert len(waits) == 1
    assert lost == []


def test_next_finish_waits_longer_after_a_lost_response(server: ScriptedServer) -> None:
    """Twice as long: a second Finish of the same session would be refused."""
    client = Client(KEY, api_url=server.url, timeout_seconds=0.3, max_retries=0)
    server.script("finish", Reply(202, seconds=0.45), Reply(202, seconds=0.45))
    with pytest.raises(TransientApiError, match="timed out"):
        client.finish("s1")
    client.finish("s2")
    client.close()


# Secrets


@pytest.mark.parametrize("call", CALLS)
@pytest.mark.parametrize("status", [301, 400, 401, 413, 500])
def test_secrets_appear_in_no_message(
    server: ScriptedServer,
    client: Client,
    part: Path,
    waits: list[float],
    caplog: pytest.LogCaptureFixture,
    call: str,
    status: int,
) -> None:
    """No message, log or repr holds the key or a record, even if the server quotes both."""
    caplog.set_level(logging.DEBUG)
    quoted = f"Basic {TOKEN} {KEY} refused".encode()
    if call in {"upload", "finish"}:
        quoted += CONTENT
    bodies = [quoted, json.dumps({"error": quoted.decode()}).encode(), b"\xff" + quoted]
    if call in {"start", "keep-alive"}:
        bodies.append(json.dumps({"error": {"reason": quoted.decode()}}).encode())
    texts = [repr(client), str(client)]
    for body in bodies:
        server.always(call, Reply(status, body))
        with pytest.raises(ApiError) as raised:
            CALLS[call](client, part)
        texts += [str(raised.value), repr(raised.value)]
    texts.append(caplog.text)
    for private in (KEY, TOKEN, "Ada", "Lovelace"):
        assert private not in "\n".join(texts)
    assert len(waits) == (2 * len(bodies) if status == 500 and call in RETRIED else 0)


# Concurrency


def test_at_most_twenty_requests_are_under_way(server: ScriptedServer, part: Path) -> None:
    """Also with thirty threads that make all kinds of calls."""
    for call, reply in (("start", b'{"sync_id":"s"}'), ("upload", b'{"part_id":"p"}')):
        server.always(call, Reply(201, reply, seconds=0.01))
    server.always("keep-alive", Reply(200, seconds=0.01))
    client = Client(KEY, api_url=server.url)

    def make_calls(number: int) -> None:
        for step in range(8):
            CALLS[list(CALLS)[(number + step) % 4]](client, part)

    with ThreadPoolExecutor(30) as pool:
        list(pool.map(make_calls, range(30)))
    client.close()
    assert len(server.requests) == 30 * 8
    assert 10 < server.peak_concurrency <= limits.MAX_CONCURRENT_REQUESTS


def test_keep_alive_uses_the_reserved_slot(server: ScriptedServer, part: Path) -> None:
    """While 19 uploads hang and more wait for a slot, Keep Alive and abort are sent."""
    release = threading.Event()
    server.always("upload", Reply(201, b'{"part_id":"p"}', until=release))
    client = Client(KEY, api_url=server.url)
    with ThreadPoolExecutor(25) as pool:
        uploads = [pool.submit(client.upload, "s1", part) for _ in range(25)]
        server.wait_for("upload", 19)
        client.keep_alive("s1")
        client.abort_session("s2", "stopped")
        assert len(server.requests_to("upload")) == 19
        release.set()
        for future in uploads:
            future.result()
    client.close()
    assert len(server.requests_to("upload")) == 25
    assert server.peak_concurrency == limits.MAX_CONCURRENT_REQUESTS


def test_failed_calls_release_their_slots(server: ScriptedServer, part: Path) -> None:
    """However a call fails."""
    client = Client(KEY, api_url=server.url, max_retries=0)
    for call, act in CALLS.items():
        for reply in (Reply(500), Reply(400), Reply(500, cut=Cut.AFTER_BODY)):
            server.script(call, *[reply] * 8)
            for _ in range(8):
                with pytest.raises(ApiError):
                    act(client, part)
    client.start()
    client.close()
