"""A warehouse file, or an address beside it, that someone else has made: `show` and `serve`."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from contextlib import contextmanager
from typing import TYPE_CHECKING

import duckdb
import pytest

from target_segment_objects.sandbox import WarehouseError
from target_segment_objects.sandbox.running_server import fetch_report
from target_segment_objects.sandbox.server import Sandbox
from target_segment_objects.sandbox.warehouse.database import Warehouse
from tests.support.bare_http import BareClient, object_line
from tests.support.foreign_server import serve_response

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

SHOW = [sys.executable, "-m", "target_segment_objects.sandbox.cli", "show"]
SECRET = "the-content-of-another-file"  # noqa: S105 - not a password


@pytest.fixture
def warehouse_file(tmp_path: Path) -> Path:
    """A warehouse with a row."""
    path = tmp_path / "w.duckdb"
    with Sandbox(path) as sandbox:
        BareClient(sandbox.url).load_files(object_line({"name": "Ada"}))
    return path


def change_file(path: Path, *statements: str) -> None:
    """Change a warehouse file with an unrestricted DuckDB, as its author could."""
    with duckdb.connect(str(path)) as connection:
        for statement in statements:
            connection.execute(statement)


def show(path: Path) -> subprocess.CompletedProcess[str]:
    """Run `show`."""
    return subprocess.run(
        [*SHOW, str(path)],
        capture_output=True,
        check=False,
        encoding="utf-8",
        env={**os.environ, "PYTHONIOENCODING": "utf-8", "COLUMNS": "120"},
        timeout=60,
    )


@pytest.mark.slow
def test_view_over_another_file(warehouse_file: Path, tmp_path: Path) -> None:
    """A view is not executed, whatever its name: the file that it reads is not shown."""
    (secret := tmp_path / "secret").write_text(SECRET)
    change_file(
        warehouse_file,
        f"CREATE VIEW stolen AS SELECT 'x' AS id, content FROM read_text('{secret}')",  # noqa: S608 - hostile
        "CREATE VIEW crypto AS SELECT range::VARCHAR AS id FROM range(1000000000000)",
    )
    done = show(warehouse_file)
    assert done.returncode == 0, done.stderr
    assert "Ada" in done.stdout
    assert SECRET not in done.stdout
    assert "stolen" not in done.stdout
    with Sandbox(warehouse_file, serve_page=True) as sandbox:
        assert sandbox.warehouse.collections() == ["users"]
        assert [*sandbox.warehouse.list_columns()] == ["users"]


@pytest.mark.parametrize("table", ["sessions", "losses", "parts"])
def test_view_in_place_of_the_metadata(warehouse_file: Path, table: str) -> None:
    """The metadata must be tables of the declared columns."""
    change_file(
        warehouse_file,
        f"ALTER TABLE sandbox_metadata.{table} RENAME TO old",
        f"CREATE VIEW sandbox_metadata.{table} AS FROM sandbox_metadata.old",
    )
    for read_only in (True, False):
        with pytest.raises(WarehouseError, match="not a warehouse of a sandbox"):
            Warehouse.open(warehouse_file, read_only=read_only)


@pytest.mark.parametrize(
    "statement",
    [
        "ALTER TABLE sandbox_metadata.sessions ALTER COLUMN objects TYPE VARCHAR",
        "ALTER TABLE sandbox_metadata.sessions ALTER COLUMN error DROP NOT NULL",
        "ALTER TABLE sandbox_metadata.sessions ADD COLUMN more VARCHAR",
        "CREATE TABLE sandbox_metadata.more (a VARCHAR)",
    ],
)
def test_other_metadata(warehouse_file: Path, statement: str) -> None:
    """Metadata that no sandbox writes is an error in one line, not a traceback."""
    change_file(warehouse_file, statement)
    with pytest.raises(WarehouseError, match="not a warehouse of a sandbox"):
        Warehouse.open(warehouse_file, read_only=True)


def test_warehouse_of_an_older_version(warehouse_file: Path) -> None:
    """A file without the history of objects is a warehouse, too."""
    change_file(warehouse_file, "DROP TABLE sandbox_metadata.parts")
    with Warehouse.open(warehouse_file, read_only=True) as warehouse:
        assert warehouse.count("users") == 1
    with Warehouse.open(warehouse_file) as warehouse:
        assert warehouse.find_history("users", "1").versions == ()


@pytest.mark.parametrize("read_only", [True, False])
def test_duckdb_has_no_access_elsewhere(
    warehouse_file: Path, tmp_path: Path, *, read_only: bool
) -> None:
    """No statement on an open warehouse reaches another file, an extension or a variable."""
    (secret := tmp_path / "secret").write_text(SECRET)
    python_variable = {"a": [1]}
    with Warehouse.open(warehouse_file, read_only=read_only) as warehouse:
        connection = warehouse._connection  # noqa: SLF001 - as SQL in the file would use it
        for statement in (
            f"FROM read_text('{secret}')",
            f"FROM read_csv('{secret}')",
            f"FROM glob('{tmp_path}/*')",
            f"COPY (SELECT 1) TO '{tmp_path}/copy.csv'",
            f"ATTACH '{tmp_path}/other.duckdb'",
            "INSTALL httpfs",
            "LOAD httpfs",
            "FROM 'https://example.invalid/x.csv'",
            "FROM python_variable",
            "SET enable_external_access = true",
            f"SET allowed_directories = ['{tmp_path}']",
        ):
            with pytest.raises(duckdb.Error):
                connection.execute(statement)
        if read_only:
            with pytest.raises(duckdb.Error, match="lock"):
                connection.execute("SET memory_limit = '100GB'")
    assert python_variable
    assert not (tmp_path / "copy.csv").exists()


@pytest.mark.parametrize("name", [":memory:", "md:w", "http:x.duckdb"])
def test_name_is_that_of_a_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    """A name that DuckDB takes for something else is the name of a file."""
    monkeypatch.chdir(tmp_path)
    with Sandbox(tmp_path.__class__(name)) as sandbox:
        BareClient(sandbox.url).load_files(object_line())
    assert [path.name for path in tmp_path.iterdir()] == [name]


def test_table_of_someone_else_is_not_loaded_into(warehouse_file: Path) -> None:
    """Names and types in the file are not put into SQL; Finish says which table it is."""
    change_file(
        warehouse_file,
        'CREATE TABLE things (id VARCHAR PRIMARY KEY, "a"") AS x, (SELECT 1) --" BIGINT)',
        "CREATE TABLE others (id VARCHAR PRIMARY KEY, a DECIMAL(5, 2))",
    )
    with Sandbox(warehouse_file) as sandbox:
        client = BareClient(sandbox.url)
        for collection in ("things", "others"):
            sync_id = client.start_session()
            client.upload_lines(sync_id, object_line(collection=collection))
            response = client.finish_session(sync_id)
            assert response.status == 500
            assert f"The table {collection} is not one that a sandbox" in response.reason


CONTROLS = "\x1b]0;title\x07\x1b[2Jclear\r\u202egnp"


@pytest.mark.slow
def test_control_characters_in_a_file(warehouse_file: Path) -> None:
    """Nothing in a file can control the terminal: names, types, ids, values, errors, outcomes."""
    statements = (
        "ALTER TABLE users ADD COLUMN \"~\" ENUM ('~')",
        "UPDATE users SET name = '~', \"~\" = '~'",
        "INSERT INTO sandbox_metadata.losses VALUES ('~', 'c', '~', 1, '~')",
        "UPDATE sandbox_metadata.sessions SET outcome = '~', collections = ['~'], error = '~'",
        'CREATE TABLE "~" (id VARCHAR)',
    )
    change_file(warehouse_file, *(each.replace("~", CONTROLS) for each in statements))
    done = show(warehouse_file)
    assert (done.returncode, done.stderr) == (0, "")
    assert "\\x1b" in done.stdout
    assert all(line.isprintable() for line in done.stdout.split("\n"))


# The address beside the warehouse


@contextmanager
def foreign_server(body: bytes, *headers: tuple[str, str], status: int = 200) -> Iterator[str]:
    """Serve the same response to everything on this machine, and yield the address."""
    with serve_response(body, *headers, status=status) as port:
        yield f"http://127.0.0.1:{port}"


def publish(warehouse: Path, url: str, **members: object) -> Path:
    """Write the file beside the warehouse, as the user's own file."""
    path = warehouse.with_name(f"{warehouse.name}.server.json")
    path.write_text(json.dumps({"url": url, "token": "t", **members}))
    path.chmod(0o600)
    return path


def fetch(path: Path) -> str | None:
    """Ask for a report with colors."""
    return fetch_report(path, rows=1, width=80, color_system="standard")


@pytest.mark.parametrize("status", [200, 503])
def test_answer_of_another_server_cannot_control_the_terminal(tmp_path: Path, status: int) -> None:
    """Colors and line breaks remain, everything else is escaped."""
    body = f"\x1b[1;31mred\x1b[0m\nnext{CONTROLS}".encode() + b"\xff"
    with foreign_server(body, status=status) as url:
        publish(tmp_path / "w.duckdb", url)
        if status == 503:
            with pytest.raises(WarehouseError) as caught:
                fetch(tmp_path / "w.duckdb")
            assert str(caught.value).isprintable()
            return
        report = fetch(tmp_path / "w.duckdb")
    assert report is not None
    lines = report.split("\n")
    assert lines[0] == "\x1b[1;31mred\x1b[0m"
    assert lines[1].isprintable()
    assert lines[1].startswith("next\\x1b]0;title\\x07\\x1b[2Jclear\\r\\u202egnp")


def test_answer_of_another_server_is_bounded(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Only the beginning of an answer is read, and a broken one is none."""
    monkeypatch.setattr("target_segment_objects.sandbox.running_server._MAX_REPORT_BYTES", 1000)
    with foreign_server(b"x" * 100_000) as url:
        publish(tmp_path / "w.duckdb", url)
        assert len(fetch(tmp_path / "w.duckdb") or "") == 1000
    with foreign_server(b"x", ("Transfer-Encoding", "chunked")) as url:
        publish(tmp_path / "w.duckdb", url)
        assert fetch(tmp_path / "w.duckdb") is None


@pytest.mark.parametrize(
    "url",
    [
        "http://192.0.2.1:8080",
        "http://localhost.evil.example",
        "http://127.0.0.1@192.0.2.1",
        "https://127.0.0.1",
        "file:///etc/passwd",
        "http://[::1",
        "",
    ],
)
def test_only_this_machine_is_asked(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, url: str
) -> None:
    """An address elsewhere is not contacted."""

    def fail(*_: object) -> None:
        pytest.fail("it was contacted")

    monkeypatch.setattr("requests.Session.get", fail)
    publish(tmp_path / "w.duckdb", url)
    assert fetch(tmp_path / "w.duckdb") is None


@pytest.mark.skipif(os.name == "nt", reason="Windows has other permissions")
@pytest.mark.parametrize("kind", ["link", "writable", "pipe", "foreign", "list", "deep", "missing"])
def test_planted_address_is_not_used(tmp_path: Path, kind: str) -> None:
    """The file must be a regular one that only the user can have written."""
    with foreign_server(b"planted") as url:
        path = publish(tmp_path / "w.duckdb", url)
        if kind == "link":
            path.rename(target := tmp_path / "target")
            path.symlink_to(target)
        elif kind == "writable":
            path.chmod(0o602)
        elif kind == "pipe":
            path.unlink()
            os.mkfifo(path, 0o600)
        elif kind == "foreign":
            if os.geteuid() != 0:
                pytest.skip("only root can give a file to another user")
            os.chown(path, 65534, -1)
        elif kind == "list":
            path.write_text("[1]")
        elif kind == "deep":
            path.write_text("[" * 9_000)
        else:
            path.unlink()
        assert fetch(tmp_path / "w.duckdb") is None
