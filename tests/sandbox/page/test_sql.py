"""The page for SQL: what it shows, and its links to files."""

from __future__ import annotations

import csv
import html
import io
import re
import threading
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import quote

import pytest

from target_segment_objects.sandbox.errors import RefusedQueryError
from target_segment_objects.sandbox.page import queries
from target_segment_objects.sandbox.page.queries import (
    MAX_DOWNLOADED_ROWS,
    MAX_QUERIES,
    MAX_SHOWN_ROWS,
    QueryRunner,
)
from target_segment_objects.sandbox.server import Sandbox
from target_segment_objects.sandbox.warehouse.lost_values import (
    MAX_COLUMN_VALUES,
    MAX_LOST_VALUES,
)
from target_segment_objects.sandbox.warehouse.read_only_query import (
    MAX_QUERY_CHARACTERS,
    MAX_RESULT_BYTES,
    QUERY_SECONDS,
)
from tests.support.bare_http import BareClient, object_line
from tests.support.page_client import get_page

if TYPE_CHECKING:
    from collections.abc import Iterator


@pytest.fixture
def sandbox(tmp_path: Path) -> Iterator[Sandbox]:
    """A running sandbox with two rows."""
    with Sandbox(tmp_path / "w.duckdb", serve_page=True) as running:
        lines = object_line({"name": "Ann", "n": 1}) + object_line(
            {"name": 'B"b', "n": 2.5}, object_id="2"
        )
        BareClient(running.url).load_files(lines)
        yield running


def test_page_has_the_tables(sandbox: Sandbox) -> None:
    """Before the first query it lists tables and columns, also those of the metadata."""
    text = get_page(sandbox, "/sql").text
    assert "users id, name, n" in text
    assert "sandbox_metadata.losses collection, column_name, kind, count, example_id" in text


def test_result(sandbox: Sandbox) -> None:
    """A result is a table; the query stays in the box; the links to files have the query."""
    sql = "SELECT name, n, NULL AS nothing FROM users ORDER BY id"
    page = get_page(sandbox, f"/sql?sql={quote(sql)}")
    assert 'name n nothing Ann 1 null B"b 2 null' in page.text
    assert "2 rows in" in page.text
    assert html.escape(sql, quote=False) in page.body
    links = [html.unescape(link) for link in re.findall(r'href="(/api/sql[^"]*)"', page.body)]
    assert len(links) == 2
    for link in links:
        assert get_page(sandbox, link).status == 200


@pytest.mark.parametrize(
    ("sql", "count"),
    [
        ("FROM users", 2),
        ("WITH x AS (FROM users) SELECT * FROM x JOIN users USING (id)", 2),
        ("DESCRIBE users", 3),
        ("SUMMARIZE users", 3),
        ("SHOW TABLES", 1),
        ("SELECT unnest(collections) FROM sandbox_metadata.sessions", 1),
        ("SELECT * FROM range(3) UNION ALL VALUES (7)", 4),
        ("SELECT (SELECT max(n) FROM users) -- the highest", 1),
        ("SELECT n, row_number() OVER (ORDER BY n) FROM users QUALIFY n = 1;", 1),
    ],
)
def test_what_a_query_can_be(sandbox: Sandbox, sql: str, count: int) -> None:
    """Whatever only reads tables is run."""
    content = get_page(sandbox, f"/api/sql?sql={quote(sql)}").json
    assert len(content["rows"]) == count


def test_long_result_is_cut(sandbox: Sandbox) -> None:
    """The page has the first 1,000 rows, and says so; the file has all."""
    path = f"?sql=SELECT+*+FROM+range({MAX_SHOWN_ROWS + 1})"
    page = get_page(sandbox, f"/sql{path}")
    assert "The first 1,000 rows of more" in page.text
    assert page.body.count("<tr>") == MAX_SHOWN_ROWS + 1
    assert "of more" not in get_page(sandbox, f"/sql?sql=FROM+range({MAX_SHOWN_ROWS})").text
    assert len(get_page(sandbox, f"/api/sql.json{path}").json) == MAX_SHOWN_ROWS + 1


def test_result_as_csv(sandbox: Sandbox) -> None:
    """A file of CSV has the names of the columns, and quotes what it must."""
    page = get_page(sandbox, "/api/sql.csv?sql=SELECT+name,+n,+NULL+AS+x+FROM+users+ORDER+BY+id")
    assert page.headers["Content-Type"] == "text/csv; charset=utf-8"
    assert page.headers["Content-Disposition"] == 'attachment; filename="result.csv"'
    assert [*csv.reader(io.StringIO(page.body))] == [
        ["name", "n", "x"],
        ["Ann", "1", ""],
        ['B"b', "2", ""],
    ]


def test_too_many_rows_are_no_file(sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch) -> None:
    """A file is whole or refused, and never cut without a word."""
    monkeypatch.setattr(queries, "MAX_DOWNLOADED_ROWS", 3)
    assert len(get_page(sandbox, "/api/sql.json?sql=FROM+range(3)").json) == 3
    for kind in ("csv", "json"):
        page = get_page(sandbox, f"/api/sql.{kind}?sql=FROM+range(4)")
        assert page.status == 400
        assert "more than 3 rows" in page.json["error"]["reason"]


def test_queries_at_once(sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch) -> None:
    """Only so many queries run at once; one that waits too long is refused."""
    monkeypatch.setattr(queries, "QUERY_SECONDS", 0.1)
    runner = QueryRunner(sandbox.warehouse)
    entered, leave = threading.Semaphore(0), threading.Event()

    def block(*_: object, **__: object) -> None:
        entered.release()
        leave.wait(30)

    monkeypatch.setattr(type(sandbox.warehouse), "run_query", block)
    threads = [threading.Thread(target=runner.run_query, args=("",)) for _ in range(MAX_QUERIES)]
    for thread in threads:
        thread.start()
        entered.acquire()
    with pytest.raises(RefusedQueryError, match="still running"):
        runner.run_query("")
    leave.set()
    for thread in threads:
        thread.join()
    runner.run_query("")


def test_collection_links_to_its_query_and_files(sandbox: Sandbox) -> None:
    """A reserved word is a table with an underscore, and its link has that."""
    BareClient(sandbox.url).load_files(object_line(collection="user"))
    body = get_page(sandbox, "/collections/user").body
    [link] = re.findall(r'href="(/sql\?[^"]*)"', body)
    assert "1 row in" in get_page(sandbox, html.unescape(link)).text
    files = re.findall(r'href="(/api/[^"]*)"', body)
    assert files == ["/api/collections/user/rows.csv", "/api/collections/user/rows.json"]


def test_documented_limits() -> None:
    """The documentation has the numbers of the code."""
    text = (Path(__file__).parents[3] / "docs" / "sandbox-page.md").read_text(encoding="utf-8")
    for sentence in (
        f"of at most {MAX_QUERY_CHARACTERS:,} characters",
        f"| Time | {QUERY_SECONDS:g} seconds |",
        f"| Queries at once | {MAX_QUERIES};",
        f"| Rows | {MAX_SHOWN_ROWS:,} on the page, and {MAX_DOWNLOADED_ROWS:,} in a file",
        f"| Text in a result | {MAX_RESULT_BYTES // 1_000_000} MB |",
        f"the first {MAX_COLUMN_VALUES:,} of a column and {MAX_LOST_VALUES:,} in all",
    ):
        assert sentence in text
