"""A query of the page reads tables, and nothing else: whatever it says, the sandbox goes on."""

from __future__ import annotations

import sys
import time
from typing import TYPE_CHECKING
from urllib.parse import quote

import duckdb
import pytest

from target_segment_objects.sandbox.errors import RefusedQueryError
from target_segment_objects.sandbox.server import Sandbox
from target_segment_objects.sandbox.warehouse import read_only_query
from target_segment_objects.sandbox.warehouse.database import Warehouse
from target_segment_objects.sandbox.warehouse.read_only_query import (
    MAX_QUERY_CHARACTERS,
    run_query,
)
from tests.support.bare_http import BareClient, object_line
from tests.support.page_client import get_page

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

ENDLESS = "SELECT count(*) FROM range(1000000000000)"


@pytest.fixture
def warehouse(tmp_path: Path) -> Iterator[Warehouse]:
    """A warehouse that is open for loading, as in a running sandbox, with a file beside it."""
    (tmp_path / "secret.csv").write_text("word\nopensesame\n", encoding="utf-8")
    with Sandbox(tmp_path / "w.duckdb", serve_page=True) as sandbox:
        BareClient(sandbox.url).load_files(object_line({"name": "Ada"}))
        yield sandbox.warehouse


def refuse(warehouse: Warehouse, sql: str) -> str:
    """Return why a query is refused, which is one line."""
    with pytest.raises(RefusedQueryError) as refused:
        warehouse.run_query(sql, max_rows=10)
    reason = str(refused.value)
    assert reason
    assert len(reason.splitlines()) == 1
    assert "opensesame" not in reason
    return reason


@pytest.mark.parametrize(
    "source",
    [
        "'{}'",
        "read_csv('{}')",
        "READ_CSV('{}')",
        "read_text('{}')",
        "read_blob('{}')",
        "read_json('{}')",
        "read_parquet('{}')",
        "sniff_csv('{}')",
        "glob('{}')",
        "(SELECT * FROM read_text('{}'))",
        "users WHERE id IN (SELECT content FROM read_text('{}'))",
        "query('FROM read_text(''{}'')')",
        "query_table('{}')",
        "'http://127.0.0.1:9/x.csv'",
        "read_csv('http://127.0.0.1:9/x.csv')",
        "read_csv('s3://bucket/x.csv')",
        "read_duckdb('{}')",
    ],
)
def test_no_file_and_no_address_is_read(warehouse: Warehouse, tmp_path: Path, source: str) -> None:
    """Neither by its name nor by a function, also within a subquery."""
    refuse(warehouse, f"SELECT * FROM {source}".format(tmp_path / "secret.csv"))  # noqa: S608 - refused


@pytest.mark.parametrize(
    "sql",
    [
        "INSERT INTO users VALUES ('2', 'Bob')",
        "UPDATE users SET name = 'Eve'",
        "DELETE FROM users",
        "DROP TABLE users",
        "CREATE TABLE other (a INT)",
        "CREATE TEMP TABLE other AS SELECT 1",
        "CREATE VIEW other AS SELECT 1",
        "ALTER TABLE users ADD COLUMN other INT",
        "TRUNCATE users",
        "VACUUM",
        "CHECKPOINT",
        "BEGIN",
        "PREPARE other AS SELECT 1",
        "EXPLAIN ANALYZE DELETE FROM users",
        "WITH gone AS (DELETE FROM users RETURNING *) SELECT * FROM gone",
        "WITH other AS (INSERT INTO users VALUES ('2', 'Bob') RETURNING *) SELECT * FROM other",
        "SELECT * FROM (WITH gone AS (DELETE FROM users RETURNING *) FROM gone)",
    ],
)
def test_nothing_is_written(warehouse: Warehouse, sql: str) -> None:
    """Only a SELECT is run, and no statement within it that writes."""
    refuse(warehouse, sql)
    assert [row["name"] for row in warehouse.rows("users")] == ["Ada"]
    assert warehouse.collections() == ["users"]


def test_transaction_is_read_only(warehouse: Warehouse, monkeypatch: pytest.MonkeyPatch) -> None:
    """If a statement that writes got through, DuckDB would refuse it."""
    monkeypatch.setattr(read_only_query, "_parse_query", lambda _, sql: sql)
    assert "read-only" in refuse(warehouse, "DELETE FROM users")
    assert warehouse.count("users") == 1


@pytest.mark.parametrize(
    "sql",
    [
        "COPY users TO '{}'",
        "COPY users FROM '{}'",
        "EXPORT DATABASE '{}'",
        "IMPORT DATABASE '{}'",
        "ATTACH '{}' AS other",
        "DETACH w",
        "USE memory",
        "INSTALL httpfs",
        "LOAD httpfs",
        "INSTALL '{}'",
        "SET threads = 9",
        "SET enable_external_access = true",
        "RESET memory_limit",
        "SET VARIABLE a = 1",
        "PRAGMA enable_profiling",
        "PRAGMA profiling_output = '{}'",
        "CALL enable_logging()",
        "CREATE SECRET (TYPE s3)",
    ],
)
def test_nothing_is_attached_installed_or_set(
    warehouse: Warehouse, tmp_path: Path, sql: str
) -> None:
    """No statement that is for DuckDB itself is run, and no file appears."""
    before = sorted(tmp_path.iterdir())
    refuse(warehouse, sql.format(tmp_path / "other"))
    assert sorted(tmp_path.iterdir()) == before


@pytest.mark.parametrize(
    "name", ["enable_logging", "disable_logging", "checkpoint", "force_checkpoint", "pandas_scan"]
)
def test_table_functions_with_effects(warehouse: Warehouse, name: str) -> None:
    """Some change settings or files in a SELECT, too: `enable_logging` would end the process."""
    reason = refuse(warehouse, f"SELECT * FROM {name}()")  # noqa: S608 - refused
    assert f"{name} cannot be used" in reason


@pytest.mark.parametrize("name", ["threads", "enable_external_access", "allowed_configs"])
def test_settings_are_locked(tmp_path: Path, name: str) -> None:
    """If a SET got through, DuckDB would refuse it; a load changes the limit of memory only."""
    with Warehouse.open(tmp_path / "w.duckdb") as warehouse, warehouse.snapshot() as inner:
        connection = inner._connection  # noqa: SLF001 - what a query gets
        known = connection.execute("SELECT name FROM duckdb_settings()").fetchall()
        if ("allowed_configs",) not in known:
            pytest.skip("this DuckDB cannot lock all settings but one")
        with pytest.raises(duckdb.Error, match=r"(?i)locked|cannot"):
            connection.execute(f"SET {name} = DEFAULT")


@pytest.mark.parametrize(
    ("sql", "count"), [("", 0), ("-- nothing", 0), ("SELECT 1; SELECT 2", 2), ("SELECT 1;;", 1)]
)
def test_one_statement(warehouse: Warehouse, sql: str, count: int) -> None:
    """A query is one statement; a semicolon at its end is none."""
    if count == 1:
        assert warehouse.run_query(sql, max_rows=1).rows == [(1,)]
    else:
        assert refuse(warehouse, sql) == f"One statement can be run, and not {count}"


@pytest.mark.parametrize(
    "sql",
    [
        ENDLESS,
        "SELECT * FROM range(10000000) a, range(10000000) b ORDER BY a.range * b.range LIMIT 1",
        "WITH RECURSIVE t AS (SELECT 1 a UNION ALL SELECT a + 1 FROM t) SELECT count(*) FROM t",
        "WITH RECURSIVE t AS (SELECT 1 a UNION ALL SELECT a + 1 FROM t) FROM t WHERE a < 0",
    ],
)
def test_time_limit(warehouse: Warehouse, sql: str) -> None:
    """A query that would run for ever is stopped, wherever it spends its time."""
    began = time.monotonic()
    with warehouse.snapshot() as inner:
        connection = inner._connection.cursor()  # noqa: SLF001 - to set the limit
        with pytest.raises(RefusedQueryError) as refused, connection:
            run_query(connection, sql, max_rows=10**9, max_seconds=0.3)
    assert str(refused.value) in {
        "The query was stopped after 0.3 seconds",
        "The query needs more memory than the sandbox gives it",
    }
    assert time.monotonic() - began < 5
    assert warehouse.run_query("SELECT 1", max_rows=1).rows == [(1,)]


@pytest.mark.parametrize(
    "value",
    [
        "repeat('x', 3000000000)",
        "range(1000000000)",
        "generate_series(1, 1000000000)",
        "lpad('x', 1000000000, 'y')",
        "list_resize([1], 1000000000)",
        "format('{:>1000000000}', 1)",
        "sleep_ms(100000)",
    ],
)
def test_functions_that_no_limit_stops(warehouse: Warehouse, value: str) -> None:
    """What makes one value of any size, or waits, cannot be interrupted, so it is not run."""
    assert "cannot be used" in refuse(warehouse, f"SELECT {value}")


def test_limits_of_rows_and_bytes(warehouse: Warehouse, monkeypatch: pytest.MonkeyPatch) -> None:
    """At most so many rows are read, and the result says so; more text than fits is refused."""
    result = warehouse.run_query("SELECT * FROM range(1000000000)", max_rows=3)
    assert (result.rows, result.is_truncated) == ([(0,), (1,), (2,)], True)
    assert not warehouse.run_query("SELECT * FROM range(3)", max_rows=3).is_truncated
    monkeypatch.setattr(read_only_query, "MAX_RESULT_BYTES", 10)
    wide = "SELECT 'abcde' AS a FROM range({})"
    assert len(warehouse.run_query(wide.format(2), max_rows=9).rows) == 2
    assert "larger than 10 bytes" in refuse(warehouse, wide.format(3))


def test_memory_limit(warehouse: Warehouse) -> None:
    """A query that needs more memory than there is ends; the next one runs."""
    assert "memory" in refuse(warehouse, "SELECT list(range) FROM range(1000000000)")
    assert warehouse.run_query("SELECT 1", max_rows=1).rows == [(1,)]


@pytest.mark.parametrize(
    "sql",
    [
        "SELECT " + "(" * 5_000 + "1" + ")" * 5_000,
        "SELECT " + "[" * 900 + "]" * 900,
        "SELECT '" + "x" * MAX_QUERY_CHARACTERS + "'",
        "SELECT \x00",
        "SELECT $1",
        "SELECT \ud83d",
        "SELECT error('a\nb')",
    ],
    ids=["parentheses", "lists", "long", "nul", "parameter", "surrogate", "newline"],
)
def test_strange_queries(warehouse: Warehouse, sql: str) -> None:
    """Whatever is sent, the answer is one line."""
    refuse(warehouse, sql)


@pytest.mark.parametrize(
    "planted",
    [
        "CREATE VIEW trap AS SELECT * FROM range(10)",
        "CREATE MACRO trap(a) AS a + 1",
        "CREATE MACRO upper(a) AS lower(a)",
        "CREATE MACRO trap() AS TABLE SELECT * FROM range(10)",
    ],
)
def test_file_of_someone_else(tmp_path: Path, planted: str) -> None:
    """What a view or a macro calls cannot be seen in a query: a file that has one takes none."""
    path = tmp_path / "w.duckdb"
    Warehouse.open(path).close()
    with duckdb.connect(str(path)) as connection:
        connection.execute(planted)
    with Warehouse.open(path) as warehouse:
        assert "no query is run on it" in refuse(warehouse, "SELECT 1")


def test_query_needs_the_token_and_the_own_name(tmp_path: Path) -> None:
    """No other user and no website can send a query, or read its result."""
    with Sandbox(tmp_path / "w.duckdb", serve_page=True) as sandbox:
        client = BareClient(sandbox.url)
        for path in ("/sql", "/sql?sql=SELECT+1", "/api/", "/api/sql?sql=SELECT+1"):
            page = get_page(sandbox, path, host="evil.example")
            assert page.status == 403
            connection = client.open_connection()
            connection.request("GET", path)
            assert connection.getresponse().status == 403
            connection.close()
            connection = client.open_connection()
            origin = {"Origin": "http://evil.example", "Authorization": bearer(sandbox)}
            connection.request("GET", path, headers=origin)
            assert connection.getresponse().status == 403
            connection.close()


def bearer(sandbox: Sandbox) -> str:
    """Return the header that a program sends."""
    return "Bearer " + sandbox.page_url.partition("=")[2]


def test_refusal_is_escaped(tmp_path: Path) -> None:
    """Markup in a query, in names and in values is text on the page."""
    markup = "<script>alert(1)</script>"
    with Sandbox(tmp_path / "w.duckdb", serve_page=True) as sandbox:
        for sql in (f"SELECT '{markup}' AS \"{markup}\"", f'SELECT "{markup}"', markup):
            page = get_page(sandbox, f"/sql?sql={quote(sql)}")
            assert "<script>" not in page.body
            assert markup in page.text
            assert page.body.count("<script") == 1  # our own file


@pytest.mark.skipif(sys.platform == "win32", reason="no such file")
def test_refusal_on_the_page(tmp_path: Path) -> None:
    """The page and the API answer 400 with the reason, and the sandbox goes on."""
    sql = quote("SELECT * FROM read_text('/etc/passwd')")
    with Sandbox(tmp_path / "w.duckdb", serve_page=True) as sandbox:
        page = get_page(sandbox, f"/sql?sql={sql}")
        assert page.status == 400
        assert "The table function read_text cannot be used" in page.text
        for path in ("sql", "sql.csv", "sql.json"):
            answer = get_page(sandbox, f"/api/{path}?sql={sql}")
            assert answer.status == 400
            assert "read_text cannot be used" in answer.json["error"]["reason"]
            assert "root:" not in answer.body
