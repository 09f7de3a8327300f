"""The four calls over real sockets: what is sent, what answers become, and what is tried again."""

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
import requests
import urllib3.exceptions
from hypothesis import given
from hypothesis import strategies as st

from target_segment_objects import limits
from target_segment_objects.exceptions import (
    ApiError,
    AuthenticationError,
    PermanentApiError,
    SegmentObjectsError,
    SessionExpiredError,
    SpoolError,
    TransientApiError,
)
from target_segment_objects.segment import client as client_module
from target_segment_objects.segment.client import (
    MAX_BACKOFF_SECONDS,
    MAX_RETRY_AFTER_SECONDS,
    Client,
)
from tests.support.scripted_server import Cut, Reply, ScriptedServer

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    Call = Callable[[Client, Path], object]

KEY = "write-key-that-nobody-may-see"
TOKEN = base64.b64encode(f"{KEY}:".encode()).decode()
CONTENT = b'{"id":"1","collection":"users","properties":{"name":"Ada Lovelace"}}\n'

CALLS: dict[str, Call] = {
    "start": lambda client, _: client.start(),
    "upload": lambda client, file: client.upload("s1", file),
    "keep-alive": lambda client, _: client.keep_alive("s1"),
    "finish": lambda client, _: client.finish("s1"),
}
PATIENT = ("start", "upload", "finish")
EXPECTED = {"start": 201, "upload": 201, "keep-alive": 200, "finish": 202}


@pytest.fixture
def server() -> Iterator[ScriptedServer]:
    """A server that answers as documented, until told otherwise."""
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
    """The waits between tries, which are told and not waited for."""
    told: list[float] = []
    real = time.sleep

    def sleep(seconds: float) -> None:
        if threading.current_thread() is threading.main_thread():
            told.append(seconds)
        else:
            real(seconds)

    monkeypatch.setattr(time, "sleep", sleep)
    return told


@pytest.fixture
def client(server: ScriptedServer) -> Iterator[Client]:
    """A client that tries each call three times."""
    made = Client(KEY, api_url=server.url, timeout_seconds=10, max_retries=2, user_agent="t/1")
    yield made
    made.close()


# What is sent


def test_start(server: ScriptedServer, client: Client) -> None:
    """Start is a POST without a body, and returns the sync_id of the answer."""
    assert client.start() == "hjWdsur28j49LCQ"
    (request,) = server.requests
    assert (request.method, request.path, request.body) == ("POST", "/v0/start", b"")


def test_upload(server: ScriptedServer, client: Client, part: Path) -> None:
    """Upload sends the file's bytes as they are, with the documented headers and a length."""
    assert client.upload("hjWdsur28j49LCQ", part) == "dkf539GFfmj50fnm"
    (request,) = server.requests
    assert (request.method, request.path) == ("POST", "/v0/upload/hjWdsur28j49LCQ")
    assert request.headers["Content-Type"] == "binary/octet-stream"
    assert request.headers["Content-Encoding"] == "gzip"
    assert request.headers["Content-Length"] == str(part.stat().st_size)
    assert request.body == part.read_bytes()


def test_keep_alive(server: ScriptedServer, client: Client) -> None:
    """Keep Alive is a POST without a body."""
    client.keep_alive("s1")
    (request,) = server.requests
    assert (request.method, request.path, request.body) == ("POST", "/v0/keep-alive/s1", b"")


@pytest.mark.parametrize("error", ["", "Disk full: \ud800 ü"])
def test_finish(server: ScriptedServer, client: Client, error: str) -> None:
    """Finish sends its error as JSON: blank when all went well."""
    client.finish("s1", error)
    (request,) = server.requests
    assert (request.method, request.path) == ("POST", "/v0/finish/s1")
    assert request.headers["Content-Type"] == "application/json"
    assert request.json == {"error": error}


@pytest.mark.parametrize("call", CALLS)
def test_each_call_authenticates(
    server: ScriptedServer, client: Client, part: Path, call: str
) -> None:
    """The key is the user name of HTTP Basic, with an empty password, and we say who we are."""
    CALLS[call](client, part)
    (request,) = server.requests
    assert request.headers["Authorization"] == f"Basic {TOKEN}"
    assert request.headers["User-Agent"] == "t/1"


def test_base_address_may_have_a_path(server: ScriptedServer) -> None:
    """A path of `api_url` precedes the calls', with or without a slash at its end."""
    server.always("v0", Reply(201, b'{"sync_id": "s"}'))
    client = Client(KEY, api_url=f"{server.url}/segment/")
    client.start()
    client.close()
    assert server.requests[0].path == "/segment/v0/start"


def test_a_sync_id_stays_one_step_of_the_path(server: ScriptedServer, client: Client) -> None:
    """Whatever a server calls its session, it leads to no other path."""
    client.keep_alive("../a?b#c d")
    assert server.requests[0].path == "/v0/keep-alive/..%2Fa%3Fb%23c%20d"


def test_no_proxy_gets_the_key_of_plain_http(
    server: ScriptedServer, part: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What goes to this machine in clear does not go through a proxy that the environment names."""
    with ScriptedServer() as proxy:
        for name in ("HTTP_PROXY", "http_proxy", "ALL_PROXY", "all_proxy"):
            monkeypatch.setenv(name, proxy.url)
        for name in ("NO_PROXY", "no_proxy"):
            monkeypatch.delenv(name, raising=False)
        client = Client(KEY, api_url=server.url)
        client.upload("s1", part)
        client.close()
        assert proxy.requests == []


# Answer → error

FINAL = [300, 301, 302, 303, 307, 308, 402, 405, 409, 411, 413, 415, 418, 422, 431, 451]
LOST = [400, 404, 410]
AGAIN = [408, 429, 500, 501, 502, 503, 504, 520, 599]


@pytest.mark.parametrize("call", CALLS)
@pytest.mark.parametrize(
    ("statuses", "kind"),
    [(FINAL, PermanentApiError), ([401, 403], AuthenticationError), (AGAIN, TransientApiError)],
)
def test_status_to_error(
    server: ScriptedServer, part: Path, call: str, statuses: list[int], kind: type[ApiError]
) -> None:
    """Each status becomes the error that the contract says, which keeps it and names the call."""
    client = Client(KEY, api_url=server.url, max_retries=0)
    for status in statuses:
        server.script(call, Reply(status))
        with pytest.raises(ApiError) as raised:
            CALLS[call](client, part)
        assert type(raised.value) is kind, status
        assert raised.value.status == status
        assert str(status) in str(raised.value)
        assert call.replace("-", " ") in str(raised.value).lower()
    assert len(server.requests) == len(statuses), "an answer that is final is asked for once"
    client.close()


@pytest.mark.parametrize("call", CALLS)
@pytest.mark.parametrize("status", LOST)
def test_a_session_may_be_unknown(
    server: ScriptedServer, client: Client, part: Path, call: str, status: int
) -> None:
    """400, 404 and 410 mean that a session may be lost; Start has none to lose."""
    server.script(call, Reply(status))
    with pytest.raises(PermanentApiError) as raised:
        CALLS[call](client, part)
    assert type(raised.value) is (PermanentApiError if call == "start" else SessionExpiredError)
    assert len(server.requests) == 1


@pytest.mark.parametrize("call", CALLS)
@pytest.mark.parametrize("status", [200, 201, 202, 204])
def test_only_the_documented_success_is_one(
    server: ScriptedServer, client: Client, part: Path, call: str, status: int
) -> None:
    """Another 2xx than the documented one is refused, naming both: who answers is not Segment."""
    if status == EXPECTED[call]:
        return
    server.script(call, Reply(status, b"" if status == 204 else b'{"sync_id":"s","part_id":"p"}'))
    with pytest.raises(
        PermanentApiError, match=f"{status}.*{EXPECTED[call]} was expected.*api_url"
    ):
        CALLS[call](client, part)


def test_what_to_do(server: ScriptedServer, client: Client, part: Path) -> None:
    """Errors say what to do about them: the key, the file's size, the network."""
    server.script("start", Reply(401))
    with pytest.raises(AuthenticationError, match=r"Check write_key"):
        client.start()
    server.script("upload", Reply(413))
    with pytest.raises(PermanentApiError, match=r"max_file_bytes smaller"):
        client.upload("s1", part)


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
@pytest.mark.parametrize("where", ["{other}/v0/start", "http://[", "/v0/start", "nope://x"])
def test_redirects_are_not_followed(
    server: ScriptedServer, client: Client, status: int, where: str
) -> None:
    """A redirect is a final answer, wherever it leads: neither key nor objects go there."""
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
        b"",
        b"{}",
        b"[]",
        b"null",
        b"7",
        b'"sync_id"',
        b'{"sync_id": ""}',
        b'{"sync_id": 7}',
        b'{"sync_id": null}',
        b'{"sync_id": "a\\nb"}',
        b'{"sync_id": ',
        b"<html>Welcome to the hotel</html>",
        b"\xff\xfe",
        b"[" * 60_000,
    ],
)
def test_malformed_answers(server: ScriptedServer, client: Client, body: bytes) -> None:
    """A 201 without the id that it must have is refused at once, and says what is missing."""
    server.script("start", Reply(201, body))
    with pytest.raises(PermanentApiError, match=r"Start: the answer has no sync_id.*api_url"):
        client.start()
    assert len(server.requests) == 1


def test_an_upload_without_part_id(server: ScriptedServer, client: Client, part: Path) -> None:
    """An upload that is not given a part_id did not go to Segment."""
    server.script("upload", Reply(201, b'{"sync_id": "s1"}'))
    with pytest.raises(PermanentApiError, match=r"Upload of session s1: the answer has no part_id"):
        client.upload("s1", part)


def test_a_huge_answer_is_not_read_whole(server: ScriptedServer, client: Client) -> None:
    """Of an answer without end the beginning is read, and the next call works."""
    server.script("start", Reply(400, b"x" * 5_000_000))
    with pytest.raises(PermanentApiError) as raised:
        client.start()
    assert len(str(raised.value)) < 500
    assert client.start()


def test_what_an_answer_says_is_shown(server: ScriptedServer, client: Client) -> None:
    """The answer to a call that carried no records is quoted: in one short, printable line."""
    server.script("start", Reply(400, b"no\n \x1b[31msuch\x00 thing " + b"x" * 1000))
    with pytest.raises(PermanentApiError, match=r"answered 400 \(no \[31msuch thing x{150,200}\)"):
        client.start()


def test_html_is_not_shown(server: ScriptedServer, client: Client) -> None:
    """The page of a load balancer tells a reader nothing that the status does not."""
    server.script("start", Reply(404, b"<html><body>404</body></html>"))
    with pytest.raises(PermanentApiError) as raised:
        client.start()
    assert "html" not in str(raised.value)


@pytest.mark.parametrize("line", [3, None, "Ada Lovelace"])
def test_the_sandbox_says_where_and_why(
    server: ScriptedServer, client: Client, part: Path, line: object
) -> None:
    """Of the answer to an upload, the line's number and the reason are shown."""
    said = {"error": {"line": line, "reason": "id is empty", "value": "Ada Lovelace"}}
    server.script("upload", Reply(400, json.dumps(said).encode()))
    with pytest.raises(SessionExpiredError) as raised:
        client.upload("s1", part)
    where = "line 3: " if line == 3 else ""
    assert f"({where}id is empty)" in str(raised.value)
    assert "Ada" not in str(raised.value)


# Tries


@pytest.mark.parametrize("call", PATIENT)
@pytest.mark.parametrize("status", [408, 429, 500, 502, 503, 504])
def test_tries_again(
    server: ScriptedServer,
    client: Client,
    part: Path,
    waits: list[float],
    call: str,
    status: int,
) -> None:
    """What may be better later is tried again, and then all is well."""
    server.script(call, Reply(status), Reply(status))
    CALLS[call](client, part)
    assert len(server.requests) == 3
    assert len(waits) == 2


def test_tries_are_counted(
    server: ScriptedServer,
    client: Client,
    waits: list[float],
    caplog: pytest.LogCaptureFixture,
) -> None:
    """After `max_retries` further tries the error says how many there were and where to go on."""
    server.always("start", Reply(503))
    with pytest.raises(
        TransientApiError, match=r"answered 503, 3 times.*network.*last STATE"
    ) as it:
        client.start()
    assert it.value.status == 503
    assert len(server.requests) == 3
    assert len(waits) == 2
    assert [record.levelname for record in caplog.records if "Trying" in record.message] == [
        "WARNING"
    ] * 2


@pytest.mark.parametrize("retries", [0, 1, 4])
def test_max_retries(server: ScriptedServer, waits: list[float], retries: int) -> None:
    """`max_retries` is the number of tries after the first, also none."""
    server.always("start", Reply(500))
    client = Client(KEY, api_url=server.url, max_retries=retries)
    with pytest.raises(TransientApiError):
        client.start()
    client.close()
    assert len(server.requests) == retries + 1
    assert len(waits) == retries


def test_waits_grow_with_full_jitter(server: ScriptedServer, waits: list[float]) -> None:
    """The n-th wait is somewhere between nothing and 2ⁿ⁻¹ seconds, and never over a minute."""
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
    ("said", "shortest", "longest"),
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
def test_retry_after(
    server: ScriptedServer,
    client: Client,
    waits: list[float],
    said: str,
    shortest: float,
    longest: float,
) -> None:
    """A wait that is asked for is kept, up to ten minutes; what asks for none gets our own."""
    server.script("start", Reply(429, headers={"Retry-After": said}))
    client.start()
    (wait,) = waits
    assert shortest <= wait <= longest


@pytest.mark.parametrize("zone", ["GMT", "-0000", "+0200"])
def test_retry_after_as_a_date(
    server: ScriptedServer, client: Client, waits: list[float], zone: str
) -> None:
    """A date is waited for, in whatever zone it is said."""
    then = datetime.datetime.now(tz=datetime.timezone.utc) + datetime.timedelta(seconds=100)
    if zone == "+0200":
        then += datetime.timedelta(hours=2)
    date = f"{then:%a, %d %b %Y %H:%M:%S} {zone}"
    server.script("start", Reply(503, headers={"Retry-After": date}))
    client.start()
    (wait,) = waits
    assert 90 < wait <= 100


@given(st.text(max_size=60) | st.from_regex(r"\w{3}, \d+ \w{3} \d+ \d+:\d+:\d+ [+-]?\w*"))
def test_any_retry_after_is_a_wait_or_none(said: str) -> None:
    """Whatever stands in `Retry-After` is a wait within bounds, or is passed over."""
    seconds = client_module._retry_after(said)  # noqa: SLF001 - too many cases for a server
    assert seconds is None or 0 < seconds <= MAX_RETRY_AFTER_SECONDS


def test_a_wait_is_really_waited_and_logged(
    server: ScriptedServer, client: Client, caplog: pytest.LogCaptureFixture
) -> None:
    """The log says what failed, how long the wait is and which try comes; then it is waited."""
    server.script("start", Reply(429, headers={"Retry-After": "0.3"}))
    client.start()
    assert "Start: Segment answered 429. Trying again in 0.3 s (try 2)." in caplog.text
    first, second = (request.at for request in server.requests)
    assert 0.3 <= second - first < 3


def test_an_upload_is_sent_again_whole(
    server: ScriptedServer, client: Client, tmp_path: Path, waits: list[float]
) -> None:
    """Each try sends the file from its first byte, also after a try that got half through."""
    part = tmp_path / "part"
    part.write_bytes(bytes(range(256)) * 20_000)
    server.script("upload", Reply(500), Reply(201, cut=Cut.BEFORE_BODY))
    client.upload("s1", part)
    bodies = [request.body for request in server.requests]
    assert bodies[0] == bodies[2] == part.read_bytes()
    assert len(waits) == 2


@pytest.mark.parametrize("call", PATIENT)
@pytest.mark.parametrize("cut", Cut)
def test_a_reset_is_tried_again(
    server: ScriptedServer,
    client: Client,
    part: Path,
    waits: list[float],
    caplog: pytest.LogCaptureFixture,
    call: str,
    cut: Cut,
) -> None:
    """A connection that ends without a whole answer is tried again, whenever it ends."""
    status = EXPECTED[call]
    server.script(call, Reply(status, b'{"sync_id":"s"', cut=cut))
    CALLS[call](client, part)
    assert len(server.requests) == 2
    assert len(waits) == 1
    assert "no answer from http://127.0.0.1" in caplog.text


def test_refused(waits: list[float]) -> None:
    """A port that nobody listens on is tried again, and the error says that it was refused."""
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        port = closed.getsockname()[1]
    client = Client(KEY, api_url=f"http://127.0.0.1:{port}", max_retries=1)
    with pytest.raises(TransientApiError, match=r"Connection refused\), 2 times") as raised:
        client.start()
    client.close()
    assert raised.value.status is None
    assert len(waits) == 1


def test_an_unknown_host(waits: list[float]) -> None:
    """A host that is not known is tried again, and named."""
    client = Client(KEY, api_url="https://no-such-host.invalid", max_retries=1)
    with pytest.raises(TransientApiError, match=r"no answer from https://no-such-host.invalid"):
        client.start()
    client.close()
    assert len(waits) == 1


def test_a_timeout(server: ScriptedServer, waits: list[float]) -> None:
    """No answer in time is tried again, and the error says that nothing came."""
    release = threading.Event()
    server.always("start", Reply(201, until=release))
    client = Client(KEY, api_url=server.url, timeout_seconds=0.2, max_retries=1)
    with pytest.raises(TransientApiError, match=r"nothing came in time"):
        client.start()
    client.close()
    release.set()
    assert len(server.requests) == 2
    assert len(waits) == 1


def test_a_body_that_is_not_taken_in_time(tmp_path: Path) -> None:
    """A server that stops reading in the middle of an upload is no answer either."""
    part = tmp_path / "part"
    part.write_bytes(bytes(20_000_000))
    with socket.socket() as listening:
        listening.bind(("127.0.0.1", 0))
        listening.listen()
        url = f"http://127.0.0.1:{listening.getsockname()[1]}"
        client = Client(KEY, api_url=url, timeout_seconds=0.2, max_retries=0)
        with pytest.raises(TransientApiError, match=r"nothing came in time"):
            client.upload("s1", part)
        client.close()


def test_not_http(waits: list[float]) -> None:
    """A server that speaks something else is no answer."""
    with socket.socket() as listening, ThreadPoolExecutor(1) as pool:
        listening.bind(("127.0.0.1", 0))
        listening.listen()

        def speak() -> None:
            connection, _ = listening.accept()
            with connection:
                connection.recv(65536)
                connection.sendall(b"220 smtp ready\r\n")

        pool.submit(speak)
        url = f"http://127.0.0.1:{listening.getsockname()[1]}"
        client = Client(KEY, api_url=url, max_retries=0)
        with pytest.raises(TransientApiError, match=r"no answer from"):
            client.start()
        client.close()
    assert waits == []


def test_tls_that_is_none(server: ScriptedServer) -> None:
    """`https://` to a server that speaks plain HTTP is an error of ours, and the key stays here."""
    client = Client(KEY, api_url=server.url.replace("http://", "https://"), max_retries=0)
    with pytest.raises(ApiError, match=r"no answer from https://"):
        client.start()
    client.close()
    assert server.requests == []


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


def test_keep_alive_is_tried_once(server: ScriptedServer, client: Client) -> None:
    """A Keep Alive that fails is not tried again: the next one comes soon."""
    server.script("keep-alive", Reply(503))
    with pytest.raises(TransientApiError, match=r"Keep Alive of session s1: Segment answered 503$"):
        client.keep_alive("s1")
    assert len(server.requests) == 1


def test_finish_now_is_one_try(server: ScriptedServer, client: Client) -> None:
    """The last words are said once, with the error."""
    server.script("finish", Reply(503))
    with pytest.raises(TransientApiError):
        client.abort_session("s1", "stopped")
    assert [request.json for request in server.requests] == [{"error": "stopped"}]


def test_finish_now_is_short(
    server: ScriptedServer, client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The last words wait neither for an answer nor for a place longer than theirs."""
    monkeypatch.setattr(client_module, "ABORT_TIMEOUT_SECONDS", 0.3)
    release = threading.Event()
    server.always("keep-alive", Reply(200, until=release))
    server.always("finish", Reply(202, until=release))
    began = time.monotonic()
    with pytest.raises(TransientApiError, match=r"nothing came in time"):
        client.abort_session("s1", "stopped")
    with ThreadPoolExecutor(20) as pool:
        hanging = [pool.submit(client.keep_alive, "s1") for _ in range(20)]
        server.wait_for("keep-alive", 20)
        with pytest.raises(TransientApiError, match=r"not sent, 20 requests are under way"):
            client.abort_session("s1", "stopped")
        assert time.monotonic() - began < 3
        release.set()
        for each in hanging:
            each.result()


# The file


def test_a_file_that_is_gone(server: ScriptedServer, client: Client, tmp_path: Path) -> None:
    """A file that is not there is named, with the cause, and nothing is sent or tried again."""
    with pytest.raises(SpoolError, match=r"Cannot read .*/gone\.gz: No such file"):
        client.upload("s1", tmp_path / "gone.gz")
    assert server.requests == []


@pytest.mark.skipif(not Path("/proc/self/mem").exists(), reason="no file that opens and fails")
def test_a_file_that_cannot_be_read(server: ScriptedServer, client: Client) -> None:
    """A disk that fails while a file is sent is not taken for the network."""
    with pytest.raises(SpoolError, match=r"Cannot read /proc/self/mem: Input/output error"):
        client.upload("s1", Path("/proc/self/mem"))
    assert len(server.requests) <= 1


# Every error of `requests`


def _subclasses(kind: type[BaseException]) -> set[type[BaseException]]:
    found = {kind}
    for below in kind.__subclasses__():
        found |= _subclasses(below)
    return found


OF_REQUESTS = sorted(
    (kind for kind in _subclasses(requests.RequestException) if kind.__module__.startswith("req")),
    key=lambda kind: kind.__name__,
)
FINAL_OF_REQUESTS = {
    requests.exceptions.InvalidHeader,
    requests.exceptions.InvalidJSONError,
    requests.exceptions.InvalidProxyURL,
    requests.exceptions.InvalidSchema,
    requests.exceptions.InvalidURL,
    requests.exceptions.JSONDecodeError,
    requests.exceptions.MissingSchema,
    requests.exceptions.URLRequired,
}


class _Raising(requests.adapters.HTTPAdapter):
    """A transport that fails."""

    def __init__(self, error: BaseException) -> None:
        super().__init__()
        self.error = error

    def send(self, *_: object, **__: object) -> requests.Response:
        raise self.error


@pytest.mark.parametrize("kind", OF_REQUESTS)
def test_every_error_of_requests_is_mapped(kind: type[BaseException]) -> None:
    """No error of `requests` comes out as itself; those that a try cannot better are final."""
    error = kind(f"about {KEY}", "", 0) if "Decode" in kind.__name__ else kind(f"about {KEY}")
    client = Client(KEY, max_retries=0)
    client._http.mount("https://", _Raising(error))  # noqa: SLF001 - as `requests` has it done
    expected = PermanentApiError if kind in FINAL_OF_REQUESTS else TransientApiError
    with pytest.raises(SegmentObjectsError) as raised:
        client.start()
    client.close()
    if kind is requests.exceptions.ContentDecodingError:
        assert isinstance(error, urllib3.exceptions.HTTPError)
    assert type(raised.value) is expected
    assert KEY not in str(raised.value)


# Nothing private


@pytest.mark.parametrize("call", CALLS)
@pytest.mark.parametrize("status", [301, 400, 401, 413, 500])
def test_nothing_private_is_said(
    server: ScriptedServer,
    client: Client,
    part: Path,
    waits: list[float],
    caplog: pytest.LogCaptureFixture,
    call: str,
    status: int,
) -> None:
    """No message, log or repr has the key or a record, though the server quote both."""
    caplog.set_level(logging.DEBUG)
    quoted = f"Basic {TOKEN} {KEY} refused".encode()
    if call in {"upload", "finish"}:
        quoted += CONTENT
    bodies = [quoted, json.dumps({"error": quoted.decode()}).encode(), b"\xff" + quoted]
    if call in {"start", "keep-alive"}:
        bodies.append(json.dumps({"error": {"reason": quoted.decode()}}).encode())
    said = [repr(client), str(client)]
    for body in bodies:
        server.always(call, Reply(status, body))
        with pytest.raises(ApiError) as raised:
            CALLS[call](client, part)
        said += [str(raised.value), repr(raised.value)]
    said.append(caplog.text)
    for private in (KEY, TOKEN, "Ada", "Lovelace"):
        assert private not in "\n".join(said)
    assert len(waits) == (2 * len(bodies) if status == 500 and call in PATIENT else 0)


# Requests at once


def test_never_more_than_twenty_at_once(server: ScriptedServer, part: Path) -> None:
    """Thirty threads with all kinds of calls never have more than 20 requests under way."""
    for call, reply in (("start", b'{"sync_id":"s"}'), ("upload", b'{"part_id":"p"}')):
        server.always(call, Reply(201, reply, seconds=0.01))
    server.always("keep-alive", Reply(200, seconds=0.01))
    client = Client(KEY, api_url=server.url)

    def work(number: int) -> None:
        for step in range(8):
            CALLS[list(CALLS)[(number + step) % 4]](client, part)

    with ThreadPoolExecutor(30) as pool:
        list(pool.map(work, range(30)))
    client.close()
    assert len(server.requests) == 30 * 8
    assert 10 < server.most_at_once <= limits.MAX_CONCURRENT_REQUESTS


def test_keep_alive_gets_through(server: ScriptedServer, part: Path) -> None:
    """While 19 uploads hang and more wait for a place, Keep Alive and last words are sent."""
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
        for each in uploads:
            each.result()
    client.close()
    assert len(server.requests_to("upload")) == 25
    assert server.most_at_once == limits.MAX_CONCURRENT_REQUESTS


def test_places_come_back(server: ScriptedServer, part: Path) -> None:
    """Calls that fail, in whatever way, leave their places to others."""
    client = Client(KEY, api_url=server.url, max_retries=0)
    for call, act in CALLS.items():
        for reply in (Reply(500), Reply(400), Reply(500, cut=Cut.AFTER_BODY)):
            server.script(call, *[reply] * 8)
            for _ in range(8):
                with pytest.raises(ApiError):
                    act(client, part)
    client.start()
    client.close()
