"""The sandbox's API and page answer no other website, whatever it makes a browser send."""

from __future__ import annotations

import http.client
import http.server
from contextlib import contextmanager
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

import pytest
from starlette.datastructures import Headers

from target_segment_objects.sandbox.middleware import find_reason
from target_segment_objects.sandbox.server import Sandbox
from tests.support import wait_for
from tests.support.bare_http import FINISH_HEADERS, UPLOAD_HEADERS, BareClient, object_line
from tests.support.browser import find_browser, running_browser
from tests.support.foreign_server import serve_response

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from target_segment_objects.sandbox.request_log import RequestRecord

CALLS = {
    "start": ("/v0/start", {}),
    "upload": ("/v0/upload/{}", UPLOAD_HEADERS),
    "keep-alive": ("/v0/keep-alive/{}", {}),
    "finish": ("/v0/finish/{}", FINISH_HEADERS),
    "unknown": ("/v0/none", {}),
    "no call": ("/", {}),
}
FOREIGN_HOSTS = (
    "evil.example",
    "evil.example:8080",
    "localhost.evil.example",
    "127.0.0.1.evil.example:80",
    "192.0.2.1",
    "localhost@evil.example",
    "evil.example@localhost",
    "localhost/evil.example",
    "localhost:x",
    "[::1",
    "",
)
FOREIGN_ORIGINS = (
    "http://evil.example",
    "null",
    "http://127.0.0.1:1",
    "http://localhost",
    "https://{}",
    "http://{}.evil.example",
)


@pytest.fixture
def requests_seen() -> list[RequestRecord]:
    """What the sandbox has logged."""
    return []


@pytest.fixture
def sandbox(tmp_path: Path, requests_seen: list[RequestRecord]) -> Iterator[Sandbox]:
    """A running sandbox with a page."""
    path = tmp_path / "warehouse.duckdb"
    with Sandbox(path, serve_page=True, on_request=requests_seen.append) as running:
        yield running


def send_raw(
    sandbox: Sandbox, method: str, path: str, *headers: tuple[str, str]
) -> tuple[int, str]:
    """Send a request with these headers and no others; return the status and the body."""
    address = urlsplit(sandbox.url)
    connection = http.client.HTTPConnection(str(address.hostname), address.port, timeout=30)
    try:
        connection.putrequest(method, path, skip_host=True, skip_accept_encoding=True)
        for name, value in headers:
            connection.putheader(name, value)
        connection.endheaders()
        response = connection.getresponse()
        return response.status, response.read().decode()
    finally:
        connection.close()


@pytest.mark.parametrize("host", FOREIGN_HOSTS)
def test_api_does_not_answer_to_another_name(sandbox: Sandbox, host: str) -> None:
    """No call works under a name that a website could point to this machine, and all say why."""
    client = BareClient(sandbox.url)
    sync_id = client.start_session()
    assert client.upload_lines(sync_id, object_line()).status == 201
    for path, headers in CALLS.values():
        sent = [("Authorization", "Basic a2V5Og=="), ("Content-Length", "0"), *headers.items()]
        status, body = send_raw(sandbox, "POST", path.format(sync_id), ("Host", host), *sent)
        assert status == 403, path
        assert "does not answer to the name in the header Host" in body
    assert client.finish_session(sync_id).status == 202
    assert [row.outcome for row in sandbox.warehouse.sessions()] == ["loaded"]


@pytest.mark.parametrize("origin", FOREIGN_ORIGINS)
@pytest.mark.parametrize("call", CALLS)
def test_api_does_not_answer_another_website(sandbox: Sandbox, call: str, origin: str) -> None:
    """A browser names the website with each POST; only the sandbox's own page is answered."""
    path, headers = CALLS[call]
    client = BareClient(sandbox.url)
    sync_id = client.start_session()
    sent = {**headers, "Origin": origin.format(urlsplit(sandbox.url).netloc)}
    response = client.send_request(path.format(sync_id), headers=sent)
    assert response.status == 403
    assert "the header Origin names another website" in response.reason
    assert client.finish_session(sync_id).status == 202


def test_refusals_are_logged(sandbox: Sandbox, requests_seen: list[RequestRecord]) -> None:
    """Who uses a wrong address sees in the log why nothing works."""
    BareClient(sandbox.url).send_request("/v0/start", headers={"Host": "evil.example"})
    wait_for(lambda: requests_seen)
    assert requests_seen[0].status == 403
    assert "the name in the header Host" in requests_seen[0].reason


@pytest.mark.parametrize("count", [0, 2], ids=["none", "two"])
def test_one_host_is_required(sandbox: Sandbox, count: int) -> None:
    """A request without a Host, or with two, is not answered."""
    hosts = [("Host", urlsplit(sandbox.url).netloc), ("Host", "evil.example")][:count]
    key = ("Authorization", "Basic a2V5Og==")
    status, _ = send_raw(sandbox, "POST", "/v0/start", key, ("Content-Length", "0"), *hosts)
    assert status in {400, 403}
    assert sandbox.waiting_sessions == []


def test_preflight_is_refused(sandbox: Sandbox) -> None:
    """A browser that asks whether another website may send a call gets a refusal."""
    asked = ("Access-Control-Request-Method", "POST")
    host, origin = ("Host", urlsplit(sandbox.url).netloc), ("Origin", "http://evil.example")
    status, _ = send_raw(sandbox, "OPTIONS", "/v0/start", host, origin, asked)
    assert status == 403


def test_own_names_and_own_page_are_answered(sandbox: Sandbox) -> None:
    """Every loopback name works, as does what the sandbox's own page sends."""
    client, port = BareClient(sandbox.url), urlsplit(sandbox.url).port
    for host in (f"localhost:{port}", "LOCALHOST", "127.0.0.1:80", "[::1]:9000", "127.8.8.8"):
        for headers in ({}, {"Origin": f"http://{host.lower()}"}):
            assert client.send_request("/v0/start", headers={"Host": host, **headers}).status == 201


@pytest.mark.parametrize("path", ["/", "/report.txt", "/static/page.css", "/none"])
def test_page_answers_neither(sandbox: Sandbox, path: str) -> None:
    """Even with its token, the page is not for another name or another website."""
    url = f"{path}?{urlsplit(sandbox.page_url).query}"
    for headers in (
        [("Host", "evil.example")],
        [("Host", urlsplit(sandbox.url).netloc), ("Origin", "http://evil.example")],
    ):
        status, body = send_raw(sandbox, "GET", url, *headers)
        assert status == 403
        assert "the header " in body


@pytest.mark.parametrize(
    ("own_host", "host", "is_answered"),
    [
        pytest.param("192.0.2.1", "192.0.2.1:8080", True, id="own address"),
        pytest.param("192.0.2.1", "localhost:9000", True, id="published by a container"),
        pytest.param("192.0.2.1", "192.0.2.2", False, id="other address"),
        pytest.param("2001:db8::1", "[2001:db8::1]:8080", True, id="own IPv6 address"),
        pytest.param("Sandbox.Example", "sandbox.example:8080", True, id="own name"),
        pytest.param("sandbox.example", "www.sandbox.example", False, id="other name"),
        pytest.param("0.0.0.0", "192.0.2.2:8080", True, id="any address"),  # noqa: S104 - not opened
        pytest.param("0.0.0.0", "sandbox.example", False, id="a name for any address"),  # noqa: S104
        pytest.param("::", "[2001:db8::1]", True, id="any IPv6 address"),
    ],
)
def test_names_of_a_remote_sandbox(own_host: str, host: str, *, is_answered: bool) -> None:
    """It answers to what `--host` says, to loopback names, and on all addresses to any of them."""
    assert (find_reason(Headers({"host": host}), own_host) is None) == is_answered


FORM = """<!doctype html><body onload="document.forms[0].submit()">
<form method="post" action="http://key@{address}/v0/start"></form>"""


@contextmanager
def foreign_website(page: str) -> Iterator[str]:
    """Serve a page on a port of its own, and yield its address."""
    body = page.encode()
    headers = ("Content-Type", "text/html"), ("Content-Length", str(len(body)))
    with serve_response(body, *headers) as port:
        yield f"http://localhost:{port}/"


@pytest.mark.slow
@pytest.mark.skipif(find_browser() is None, reason="chromium and chromedriver are not installed")
def test_form_of_another_website(
    sandbox: Sandbox, tmp_path: Path, requests_seen: list[RequestRecord]
) -> None:
    """A real browser that submits a foreign form with a write key in its address starts nothing."""
    page = FORM.format(address=urlsplit(sandbox.url).netloc)
    (tmp_path / "profile").mkdir()
    with foreign_website(page) as url, running_browser(tmp_path / "profile") as browser:
        browser.driver.get(url)
        wait_for(lambda: requests_seen)
    assert {record.status for record in requests_seen} == {403}
