"""Another user of the machine can connect to the sandbox's port, and sees nothing of the page."""

from __future__ import annotations

import http.client
import re
import sys
from subprocess import PIPE, Popen
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

import pytest
from selenium.webdriver.common.by import By

from target_segment_objects.sandbox.running_server import fetch_report
from target_segment_objects.sandbox.server import Sandbox
from tests.support import wait_for
from tests.support.bare_http import BareClient, object_line
from tests.support.browser import find_browser, running_browser

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

PATHS = (
    "/",
    "/collections",
    "/collections/users",
    "/requests",
    "/sql",
    "/report.txt",
    "/static/page.js",
    "/api/",
    "/api/collections/users/rows.csv",
    "/api/sql?sql=FROM+users",
)
SERVE = [sys.executable, "-m", "target_segment_objects.sandbox.cli", "serve", "--port", "0"]


@pytest.fixture
def sandbox(tmp_path: Path) -> Iterator[Sandbox]:
    """A running sandbox with a page and a row."""
    with Sandbox(tmp_path / "warehouse.duckdb", serve_page=True) as running:
        BareClient(running.url).load_files(object_line({"name": "Ada"}))
        _ = running.warehouse
        yield running


def get_page(
    url: str, path: str, *, cookie: str = "", method: str = "GET"
) -> tuple[int, str, str | None]:
    """Get a page; return the status, the body and the cookie that is set."""
    address = urlsplit(url)
    connection = http.client.HTTPConnection(str(address.hostname), address.port, timeout=30)
    try:
        connection.request(method, path, headers={"Cookie": cookie} if cookie else {})
        response = connection.getresponse()
        return response.status, response.read().decode(), response.headers["Set-Cookie"]
    finally:
        connection.close()


def read_token(url: str) -> str:
    """Return the token in an address."""
    return urlsplit(url).query.removeprefix("token=")


@pytest.mark.parametrize("path", PATHS)
@pytest.mark.parametrize("query", ["", "?token=", "?token=0", "?token=%ff", "?token=%C3%A9"])
def test_nothing_without_the_token(sandbox: Sandbox, path: str, query: str) -> None:
    """The answer says where the address with the token is, and has nothing of what was loaded."""
    status, body, cookie = get_page(sandbox.url, path + query)
    assert (status, cookie) == (403, None)
    assert "open the address that the sandbox printed" in body
    assert "users" not in body
    assert "Ada" not in body
    assert get_page(sandbox.url, path, method="HEAD")[0] == 403


def test_token_is_kept_in_a_cookie(sandbox: Sandbox) -> None:
    """The first page sets a cookie that no script and no other website can use."""
    status, body, cookie = get_page(sandbox.url, f"/?{urlsplit(sandbox.page_url).query}")
    assert status == 200
    assert "users" in body
    assert cookie is not None
    value, *attributes = cookie.split("; ")
    assert sorted(attributes) == ["HttpOnly", "Path=/", "SameSite=Strict"]
    assert value.startswith(f"segment-sandbox-{urlsplit(sandbox.url).port}=")
    for path in PATHS:
        assert get_page(sandbox.url, path, cookie=value)[0] == 200
    for other in (value[:-1], value.replace("sandbox-", "sandbox-1"), value.partition("=")[0]):
        assert get_page(sandbox.url, "/", cookie=other)[0] == 403


def test_every_start_has_another_token(tmp_path: Path) -> None:
    """The address of an earlier run does not work."""
    tokens = set()
    for _ in range(2):
        with Sandbox(tmp_path / "w.duckdb", serve_page=True) as sandbox:
            tokens.add(token := read_token(sandbox.page_url))
            assert re.fullmatch(r"[0-9a-f]{32}", token)
    assert len(tokens) == 2


def test_address_for_a_browser_works_once(sandbox: Sandbox) -> None:
    """Every user of the machine can read the browser's command line, so its token is used up."""
    token = read_token(sandbox.make_single_use_url())
    assert token != read_token(sandbox.page_url)
    status, _, cookie = get_page(sandbox.url, f"/?token={token}")
    assert status == 200
    assert get_page(sandbox.url, f"/?token={token}")[0] == 403
    assert cookie is not None
    assert token not in cookie
    assert get_page(sandbox.url, "/", cookie=cookie.partition(";")[0])[0] == 200


@pytest.mark.usefixtures("sandbox")
def test_show_has_the_token(tmp_path: Path) -> None:
    """It is in the file beside the warehouse, which only the user can read."""
    path = tmp_path / "warehouse.duckdb"
    report = fetch_report(path, rows=1, width=80, color_system=None)
    assert report is not None
    assert "Ada" in report


@pytest.mark.slow
def test_printed_address_has_the_token(tmp_path: Path) -> None:
    """The API needs the write key only; the log of the requests has no token."""
    command = [*SERVE, "--warehouse", str(tmp_path / "w.duckdb")]
    with Popen(command, stdout=PIPE, stderr=PIPE, encoding="utf-8") as process:
        try:
            assert process.stdout is not None
            url = process.stdout.readline().removeprefix("api_url: ").strip()
            page_url = process.stdout.readline().split()[1]
            assert page_url.startswith(f"{url}/?token=")
            BareClient(url).load_files(object_line())
            assert get_page(url, f"/?token={read_token(page_url)}")[0] == 200
            assert get_page(url, "/")[0] == 403
            process.terminate()
            out, err = process.communicate(timeout=30)
        finally:
            process.kill()
    assert read_token(page_url) not in out + err


@pytest.mark.slow
@pytest.mark.skipif(find_browser() is None, reason="chromium and chromedriver are not installed")
def test_browser_keeps_the_token_out_of_sight(sandbox: Sandbox, tmp_path: Path) -> None:
    """The token leaves the address bar, no script can read it, and links and updates work."""
    (tmp_path / "profile").mkdir()
    with running_browser(tmp_path / "profile") as browser:
        browser.driver.get(sandbox.make_single_use_url())
        assert browser.driver.current_url == f"{sandbox.url}/"
        assert browser.evaluate("return document.cookie") == ""
        BareClient(sandbox.url).load_files(object_line(collection="later"))
        wait_for(lambda: "later" in browser.driver.find_element(By.ID, "collections").text)
        browser.driver.find_element(By.ID, "c-users").click()
        wait_for(lambda: browser.driver.current_url.endswith("/collections/users"))
        assert "Ada" in browser.driver.find_element(By.ID, "main").text
        browser.driver.get(f"{sandbox.url}/")
        browser.driver.delete_all_cookies()
        wait_for(lambda: browser.driver.find_element(By.ID, "live").text == "Stopped")
