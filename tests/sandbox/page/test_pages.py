"""The pages as a client gets them: what they show, their security headers, who may read them."""

from __future__ import annotations

import html
import re
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import quote

import pytest

from target_segment_objects.sandbox.column_names import describe_name
from target_segment_objects.sandbox.errors import WarehouseError
from target_segment_objects.sandbox.page.security import SECURITY_HEADERS
from target_segment_objects.sandbox.page.views import ROWS_PER_PAGE
from target_segment_objects.sandbox.request_log import MAX_REJECTIONS, MAX_REQUESTS
from target_segment_objects.sandbox.running_server import fetch_report
from target_segment_objects.sandbox.server import Sandbox
from target_segment_objects.sandbox.sessions import MAX_CALLS, MAX_SESSIONS
from target_segment_objects.sandbox.warehouse.database import Warehouse
from target_segment_objects.sandbox.warehouse.history import MAX_HISTORY_BYTES, MAX_VERSIONS
from target_segment_objects.sandbox.warehouse.losses import LOSS_LABELS
from tests.support import wait_for
from tests.support.bare_http import BareClient, object_line
from tests.support.page_client import get_page

if TYPE_CHECKING:
    import threading
    from collections.abc import Iterator

DOCS = Path(__file__).parents[3] / "docs"
MARKUP = "<script>alert('&\"')</script>"
"""What must be escaped wherever it is shown."""


@pytest.fixture
def sandbox(tmp_path: Path) -> Iterator[Sandbox]:
    """A running sandbox with a page and an empty warehouse."""
    with Sandbox(tmp_path / "warehouse.duckdb", serve_page=True) as running:
        yield running


def object_path(object_id: str) -> str:
    """Return the path of an object's page."""
    return f"/collections/users/object?id={quote(object_id, safe='')}"


# What the pages show


def test_empty_sandbox(sandbox: Sandbox) -> None:
    """Before the first session, the overview says how to send to it."""
    text = get_page(sandbox, "/").text
    assert "Nothing was sent yet." in text
    assert f'"api_url": "{sandbox.url}"' in text


def test_overview(sandbox: Sandbox) -> None:
    """It shows the result as the terminal does, collections, losses, rejections and sessions."""
    client = BareClient(sandbox.url)
    client.load_files(object_line({"n": 1}) + object_line({"n": 1.5}, object_id="2"))
    sync_id = client.start_session()
    client.upload_lines(sync_id, object_line() + b"{}\n")
    client.keep_alive(sync_id)
    text = get_page(sandbox, "/").text
    assert "All accepted objects were loaded (2); 1 value changed, see below." in text
    assert "users 2 objects 2 columns 1 value changed" in text
    assert f"users .n 1 {LOSS_LABELS['fraction']} 2" in text
    assert re.search(rf"400 POST /v0/upload/{sync_id} .* line 2 : ", text)
    assert re.search(rf"no part yet {sync_id} open 0 objects 0 parts, 0 bytes 1 Keep Alive", text)
    assert "at most 1 of 20" in text


def test_problems_come_first(sandbox: Sandbox) -> None:
    """Losses, rejections and sessions that failed are above the rest, and linked from the top."""
    client = BareClient(sandbox.url)
    client.load_files(object_line({"n": 1}) + object_line({"n": 1.5}, object_id="2"))
    body = get_page(sandbox, "/").body
    assert 'id="to-losses"' in body
    assert 'id="to-rejections"' not in body
    failed = client.start_session()
    client.upload_lines(failed, object_line())
    client.upload_lines(failed, b"{}\n")
    client.finish_session(failed, "the tap failed")
    page = get_page(sandbox, "/")
    first = re.search('<p class="banner bad">.*?</p>', page.body, re.DOTALL)
    assert first is not None
    links = re.findall('href="#([^"]*)">([^<]*)<', first.group())
    assert links == [
        ("missing-title", "1 session not loaded"),
        ("losses-title", "1 changed value"),
        ("rejections-title", "1 rejected request"),
    ]
    order = [page.body.index(f'id="{name}"') for name, _ in links]
    assert order == sorted(order)
    assert (
        order[-1] < page.body.index('id="load-title"') < page.body.index('id="collections-title"')
    )
    assert "discarded by the sender" in page.text[: page.text.index("Values that a warehouse")]


def test_rejection_alone_is_a_warning(sandbox: Sandbox) -> None:
    """If all accepted objects were loaded, but a request was rejected, the top is not green."""
    client = BareClient(sandbox.url)
    client.load_files(object_line())
    assert 'class="banner good"' in get_page(sandbox, "/").body
    client.keep_alive("nothing")
    assert 'class="banner warn"' in get_page(sandbox, "/").body


def test_overview_has_some_collections_and_the_list_all(sandbox: Sandbox) -> None:
    """The overview has the first 12; the list can be filtered and sorted, and repeats no loss."""
    letters = "abcdefghijklm"
    client = BareClient(sandbox.url)
    client.load_files(
        b"".join(
            object_line({"n": number}, object_id=str(item), collection=f"c_{letter}")
            for number, letter in enumerate(letters)
            for item in range(number + 1)
        )
        + object_line({"n": "x"}, object_id="0", collection="c_a")
    )
    overview = get_page(sandbox, "/")
    assert "All 13 collections" in overview.text
    assert "c_l" in overview.text
    assert "c_m" not in overview.text

    def list_names(query: str) -> list[str]:
        return re.findall(r'id="c-([a-z_]+)"', get_page(sandbox, f"/collections{query}").body)

    names = [f"c_{letter}" for letter in letters]
    assert list_names("") == list_names("?sort=nothing") == names
    assert list_names("?sort=objects") == names[::-1]
    assert list_names("?sort=changed_values&name=c_") == names
    assert list_names("?name=_b") == ["c_b"]
    assert "1 collection of 13" in get_page(sandbox, "/collections?name=_b").text
    assert "No name contains zz" in get_page(sandbox, "/collections?name=zz").text
    assert "Values that a warehouse changes" in overview.text
    assert "Values that a warehouse changes" not in get_page(sandbox, "/collections").text


def test_ids_that_are_numbers_are_in_their_order(sandbox: Sandbox) -> None:
    """2 is before 10; numbers are before other ids, and too long ones are text."""
    ids = ["10", "b", "2", "-1", "007", "1.5", "9" * 30, "A"]
    lines = [object_line(object_id=object_id) for object_id in ids]
    BareClient(sandbox.url).load_files(b"".join(lines))
    body = get_page(sandbox, "/collections/users").body
    shown = re.findall(r"<bdi>([^<]*)</bdi></a>", body)
    assert shown == ["-1", "2", "007", "10", "1.5", "9" * 30, "A", "b"]


def test_overview_of_what_redshift_cuts_off(sandbox: Sandbox) -> None:
    """A string that only Redshift cuts off is reported, but not as a value that was changed."""
    BareClient(sandbox.url).load_files(object_line({"s": "é" * 257}))
    text = get_page(sandbox, "/").text
    assert "no value was lost. 1 value would be cut off on Redshift, see below." in text
    assert f"users .s 1 {LOSS_LABELS['bytes']} 1" in text
    assert "1 value changed" not in text
    assert "Values on Redshift" in text
    assert "changed value" not in text


def test_accepted_sessions_are_not_called_loaded(
    sandbox: Sandbox, loading_gate: threading.Event
) -> None:
    """While sessions are loaded, the page says so and does not wait."""
    client = BareClient(sandbox.url)
    first, second = client.load_files(object_line()), client.load_files(object_line())
    page = get_page(sandbox, "/", waits=False)
    assert "2 sessions being loaded: 2 objects." in page.text
    assert "All accepted objects" not in page.text
    wait_for(lambda: f"{first} loading" in get_page(sandbox, "/", waits=False).text)
    assert f"{second} accepted, not loaded yet" in page.text
    loading_gate.set()
    text = get_page(sandbox, "/").text
    assert "All accepted objects were loaded (2)" in text
    assert f"{second} loaded" in text


def test_failed_load(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A session that cannot be loaded is the first thing that the page and the report say."""

    def fail(*_: object) -> None:
        raise OSError("no space left")

    monkeypatch.setattr(Warehouse, "load_session", fail)
    sandbox = Sandbox(tmp_path / "w.duckdb", serve_page=True)
    with suppress(WarehouseError), sandbox:  # its end raises it, too
        sync_id = BareClient(sandbox.url).load_files(object_line())
        reason = "A session cannot be loaded into the warehouse: no space left"
        wait_for(lambda: reason in get_page(sandbox, "/", waits=False).text)
        assert f"{sync_id} could not be loaded" in get_page(sandbox, "/", waits=False).text
        report = get_page(sandbox, "/report.txt", waits=False)
        assert report.status == 503
        assert "no space left" in report.body
        with pytest.raises(WarehouseError, match="no space left"):
            fetch_report(tmp_path / "w.duckdb", rows=1, width=80, color_system=None)


def test_collection(sandbox: Sandbox) -> None:
    """It shows columns with their types and losses, and rows."""
    client = BareClient(sandbox.url)
    client.load_files(object_line({"sampleText": "a", "n": 1}))
    client.load_files(object_line({"sampleText": None, "n": "x"}, object_id="2"))
    text = get_page(sandbox, "/collections/users").text
    assert "2 objects, 3 columns" in text
    assert f"n bigint 1 value {LOSS_LABELS['type']}, for example in 2" in text
    assert "sample_text varchar nothing" in text
    assert "1 a 1 2 null null" in text
    assert "users" in get_page(sandbox, "/collections").text


def test_lost_value_is_marked_in_its_row(sandbox: Sandbox) -> None:
    """A row shows what a value was; the object's page says, too, what happened to it."""
    client = BareClient(sandbox.url)
    client.load_files(object_line({"n": 1, "s": "a"}))
    client.load_files(object_line({"n": "soon", "id": "other", "s": "b"}, object_id="2"))
    page = get_page(sandbox, "/collections/users")
    assert "1 1 a 2 null was soon b" in page.text
    assert page.body.count(' class="was"') == 1
    text = get_page(sandbox, object_path("2")).text
    assert f"n bigint null was soon : {LOSS_LABELS['type']}" in text
    assert f"id not stored was other : {LOSS_LABELS['shadowed']}" in text
    assert text.count("was other") == 1
    client.load_files(object_line({"n": 2}, object_id="2"))
    assert "was soon" not in get_page(sandbox, "/collections/users").text


def test_names_that_a_warehouse_changes(sandbox: Sandbox) -> None:
    """Renamed tables and columns are shown as in the terminal; the collection keeps its name."""
    BareClient(sandbox.url).load_files(object_line({"2fa": 1}))
    title = "Names that a warehouse does not take as they are"
    text = get_page(sandbox, "/collections").text
    assert f"{title} Table or column Name users._2fa {describe_name('_2fa')}" in text
    assert title not in get_page(sandbox, "/").text  # it is no problem of a load
    assert f"_2fa bigint {describe_name('_2fa')}" in get_page(sandbox, "/collections/users").text
    BareClient(sandbox.url).load_files(object_line(collection="user"))
    assert f"_user {describe_name('_user')}" in get_page(sandbox, "/collections").text
    assert "1 object, 2 columns" in get_page(sandbox, "/collections/user").text


def test_discarded_property(sandbox: Sandbox) -> None:
    """A property that Segment discards has no column, and is shown with its loss."""
    BareClient(sandbox.url).load_files(object_line({"received_at": "2026-01-01", "a": 1}))
    text = get_page(sandbox, "/collections/users").text
    assert "1 object, 2 columns" in text
    assert f"received_at not stored 1 value {LOSS_LABELS['discarded']}" in text


def test_no_name_is_shown_that_every_warehouse_takes(sandbox: Sandbox) -> None:
    """Without such a name there is no table of them."""
    BareClient(sandbox.url).load_files(object_line())
    assert "does not take" not in get_page(sandbox, "/collections").text


def test_rows_are_paged_and_searched(sandbox: Sandbox) -> None:
    """A page has 50 rows; a search finds parts of ids; a page too far is the last one."""
    lines = [object_line(object_id=f"{number:03d}") for number in range(2 * ROWS_PER_PAGE + 1)]
    BareClient(sandbox.url).load_files(b"".join(lines))
    first = get_page(sandbox, "/collections/users")
    assert "1 to 50 of 101" in first.text
    assert 'rel="next"' in first.body
    assert 'rel="prev"' not in first.body
    assert "101 to 101 of 101" in get_page(sandbox, "/collections/users?page=9").text
    assert "1 to 50 of 101" in get_page(sandbox, "/collections/users?page=x").text
    assert "1 to 1 of 1" in get_page(sandbox, "/collections/users?id=77").text
    assert "No id contains zz" in get_page(sandbox, "/collections/users?id=zz&page=3").text
    following = re.findall(
        r'rel="next" href="([^"]*)"', get_page(sandbox, "/collections/users?id=0").body
    )
    assert [html.unescape(link) for link in following] == ["?id=0&page=2"]


def test_object_with_its_history(sandbox: Sandbox) -> None:
    """Its page shows the stored values, and what each session brought and changed."""
    client = BareClient(sandbox.url)
    first = client.load_files(object_line({"name": "Ann", "n": 1}))
    second = client.load_files(
        object_line({"a": 1}, object_id="2"), object_line({"name": "Bob", "n": 1, "x": None})
    )
    text = get_page(sandbox, object_path("1")).text
    stored, _, versions = text.partition("History")
    assert "name varchar Bob n bigint 1 a bigint null" in stored
    newest, oldest = versions.split(f"session {first}")
    assert f"session {second} , part 2, line 1" in newest
    assert "name changed Bob n same 1 x new null" in newest
    assert "name new Ann n new 1" in oldest
    assert "may be missing" not in text


def test_history_of_a_warehouse_that_had_no_page(tmp_path: Path) -> None:
    """What was loaded without a page has no history, and the page says that it may be missing."""
    path = tmp_path / "w.duckdb"
    with Sandbox(path) as sandbox:
        BareClient(sandbox.url).load_files(object_line({"a": 1}))
    with Sandbox(path, serve_page=True) as sandbox:
        BareClient(sandbox.url).load_files(object_line({"a": 2}))
        text = get_page(sandbox, object_path("1")).text
    assert "Earlier versions may be missing" in text
    assert "a new 2" in text


def test_session(sandbox: Sandbox) -> None:
    """Its page shows its calls, its end with the sender's error, and its rejected requests."""
    client = BareClient(sandbox.url)
    sync_id = client.start_session()
    client.upload_lines(sync_id, object_line())
    client.upload_lines(sync_id, b"{}\n")
    client.finish_session(sync_id, "the tap failed")
    for path in ("/sessions", f"/sessions/{sync_id}"):
        text = get_page(sandbox, path).text
        assert "discarded by the sender" in text
        assert "the tap failed" in text
    assert re.search(r"upload accepted .* upload rejected .* finish accepted", text)
    assert f"400 POST /v0/upload/{sync_id}" in text


def test_session_of_an_earlier_run(tmp_path: Path) -> None:
    """A session that an earlier run of the sandbox recorded is shown without its calls."""
    path = tmp_path / "w.duckdb"
    with Sandbox(path) as sandbox:
        sync_id = BareClient(sandbox.url).load_files(object_line())
    with Sandbox(path, serve_page=True) as sandbox:
        text = get_page(sandbox, f"/sessions/{sync_id}").text
    assert "loaded" in text
    assert "Its calls are not kept" in text


def test_requests(sandbox: Sandbox) -> None:
    """All requests to the API are listed, or those that were rejected; the page's own are not."""
    client = BareClient(sandbox.url)
    sync_id = client.start_session()
    client.upload_lines(sync_id, b"{}\n")
    every, rejected = (
        get_page(sandbox, "/requests").text,
        get_page(sandbox, "/requests?rejected").text,
    )
    assert "2 requests since the sandbox was started, 1 rejected." in every
    assert "201 POST /v0/start" in every
    assert f"400 POST /v0/upload/{sync_id}" in every
    assert "POST /v0/start" not in rejected
    assert f"400 POST /v0/upload/{sync_id}" in rejected


def test_rejected_request_links_to_its_lines(sandbox: Sandbox) -> None:
    """Wherever a rejection is listed, its line is a link to the line and those beside it."""
    client = BareClient(sandbox.url)
    sync_id = client.start_session()
    lines = [object_line({"name": f"row {number}"}) for number in range(1, 6)]
    lines[2] = object_line({"name": ["row 3"]})
    client.upload_lines(sync_id, b"".join(lines))
    for path in ("/", "/requests", "/requests?rejected", f"/sessions/{sync_id}"):
        assert re.search('<a [^>]*href="/requests/1">line 3</a>', get_page(sandbox, path).body)
    text = get_page(sandbox, "/requests/1").text
    assert re.search(r'line 3 : .* 2 {"id".*"row 2".* 3 rejected {"id".*"row 3".* 4 {"id"', text)
    assert "row 1" not in text
    assert "row 5" not in text
    assert get_page(sandbox, "/requests/2").status == 404
    [record] = get_page(sandbox, "/api/requests?rejected").json["requests"]
    assert [number for number, _ in record["lines"]] == [2, 3, 4]


def test_rejection_without_lines(sandbox: Sandbox) -> None:
    """A request that was rejected for another reason says so."""
    BareClient(sandbox.url).keep_alive("nothing")
    assert "not in one line of a file" in get_page(sandbox, "/requests/1").text


def test_report(sandbox: Sandbox) -> None:
    """The report is also there as text."""
    BareClient(sandbox.url).load_files(object_line({"name": "Ann"}))
    report = get_page(sandbox, "/report.txt?rows=1&width=80")
    assert report.headers["Content-Type"] == "text/plain; charset=utf-8"
    assert report.body.startswith("All accepted objects were loaded (1)")
    assert max(map(len, report.body.splitlines())) <= 80
    assert "\x1b[" not in report.body
    assert "\x1b[" in get_page(sandbox, "/report.txt?color=standard").body


# Escaping and security


def test_everything_sent_is_escaped(sandbox: Sandbox) -> None:
    """Markup in ids, names, values, errors and paths is text on every page that shows it."""
    client = BareClient(sandbox.url)
    client.load_files(object_line({MARKUP: MARKUP, "cut": MARKUP * 20}, object_id=MARKUP))
    sync_id = client.start_session()
    client.upload_lines(sync_id, object_line({"a": {MARKUP: MARKUP}}, object_id=MARKUP))
    client.send_request(f"/v0/{quote(MARKUP)}")
    client.finish_session(sync_id, MARKUP)
    paths = ["/", "/collections", "/collections/users", "/sessions", f"/sessions/{sync_id}"]
    paths += [
        "/requests",
        "/requests/1",
        object_path(MARKUP),
        f"/collections/users?id={quote(MARKUP[:5])}",
    ]
    shown = 0
    for path in paths:
        page = get_page(sandbox, path)
        assert page.status == 200, path
        assert "<script>" not in page.body, path
        assert page.body.count("<script") == 1, path  # our own file
        shown += MARKUP in page.text
    assert shown == 6  # requests have paths and lines as they were sent; collections have no value


@pytest.mark.parametrize(
    "path",
    [
        "/",
        "/collections",
        "/sessions",
        "/requests",
        "/sql",
        "/report.txt",
        "/static/page.js",
        "/none",
    ],
)
def test_security_headers(sandbox: Sandbox, path: str) -> None:
    """Every response has the headers, and the policy allows nothing inline or from elsewhere."""
    page = get_page(sandbox, path)
    assert {name: page.headers[name] for name in SECURITY_HEADERS} == SECURITY_HEADERS
    policy = page.headers["Content-Security-Policy"]
    assert not re.search(r"unsafe|http|\*|data:", policy)
    assert "frame-ancestors 'none'" in policy
    assert not re.search(r"""\son\w+=|style=|(?:src|href|action)=["']?(?:https?:)?//""", page.body)


@pytest.mark.parametrize(
    ("host", "status"),
    [
        ("localhost:8080", 200),
        ("LOCALHOST", 200),
        ("127.0.0.1", 200),
        ("[::1]:80", 200),
        ("example.org", 403),
        ("localhost.example.org", 403),
        ("127.0.0.1.example.org:80", 403),
        ("192.0.2.1", 403),
        ("user@example.org", 403),
        ("[::1", 403),
        ("", 403),
    ],
)
def test_host_must_be_this_machine(sandbox: Sandbox, host: str, status: int) -> None:
    """A request to another name is refused: a website could point its own name to this machine."""
    BareClient(sandbox.url).load_files(object_line())
    for path in ("/", "/report.txt", "/static/page.css"):
        page = get_page(sandbox, path, host=host)
        assert page.status == status
        assert ("users" in page.body) == (status == 200 and path != "/static/page.css")


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "OPTIONS"])
def test_pages_are_for_get_only(sandbox: Sandbox, method: str) -> None:
    """Another method is not a page: the API answers it."""
    page = get_page(sandbox, "/collections", method=method)
    assert (page.status, page.headers["Content-Type"]) == (404, "application/json")


def test_head(sandbox: Sandbox) -> None:
    """HEAD is GET without the body."""
    page = get_page(sandbox, "/", method="HEAD")
    assert (page.status, page.body) == (200, "")


@pytest.mark.parametrize(
    "path",
    [
        "/none",
        "/collections/none",
        "/collections/sandbox_metadata",
        "/collections/users%22--",
        object_path("none"),
        "/sessions/none",
        "/static/none",
        "/static/..%2fpages.py",
    ],
)
def test_unknown_page(sandbox: Sandbox, path: str) -> None:
    """What there is not is 404, as a page with a way back."""
    BareClient(sandbox.url).load_files(object_line())
    page = get_page(sandbox, path)
    assert page.status == 404
    assert 'href="/"' in page.body


def test_without_a_page(tmp_path: Path) -> None:
    """Without `serve_page`, only the API is served."""
    with Sandbox(tmp_path / "w.duckdb") as sandbox:
        for path in ("/", "/report.txt"):
            assert BareClient(sandbox.url).send_request(path, method="GET").status == 404
        with pytest.raises(RuntimeError, match="not running"):
            _ = sandbox.page_url


@pytest.mark.parametrize("count", [40, 41], ids=["at the limit", "one more"])
def test_wide_collection(sandbox: Sandbox, count: int) -> None:
    """The table of rows has 40 columns at most; the object's page has all."""
    BareClient(sandbox.url).load_files(object_line({f"p{n}": n for n in range(count - 1)}))
    text = get_page(sandbox, "/collections/users").text
    assert ("And 1 more column" in text) == (count == 41)
    assert f"p{count - 2} bigint {count - 2}" in get_page(sandbox, object_path("1")).text


# Documentation


def test_documented_limits() -> None:
    """The documentation has the numbers of the code, and a picture that loads fast."""
    text = " ".join((DOCS / "sandbox-page.md").read_text(encoding="utf-8").split())
    for sentence in (
        f"the newest {MAX_REQUESTS}, and the newest {MAX_REJECTIONS} that were rejected",
        f"the newest {MAX_SESSIONS}, each with its newest {MAX_CALLS} calls",
        f"the newest {MAX_HISTORY_BYTES // 1_000_000} MB of compressed parts",
        f"the newest {MAX_VERSIONS} versions of an object",
    ):
        assert sentence in text
    assert (DOCS / "sandbox-page.png").stat().st_size <= 200_000
