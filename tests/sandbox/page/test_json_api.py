"""The JSON below `/api/`: a program can ask what landed."""

from __future__ import annotations

import csv
import io
import re
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from target_segment_objects.sandbox.errors import WarehouseError
from target_segment_objects.sandbox.page.downloads import (
    name_columns,
    to_json_value,
    write_csv,
    write_json,
)
from target_segment_objects.sandbox.page.security import SECURITY_HEADERS
from target_segment_objects.sandbox.server import Sandbox
from target_segment_objects.sandbox.warehouse.database import Warehouse
from tests.support.bare_http import BareClient, object_line
from tests.support.page_client import get_page

if TYPE_CHECKING:
    import threading
    from collections.abc import Iterator


@pytest.fixture
def sandbox(tmp_path: Path) -> Iterator[Sandbox]:
    """A running sandbox with two rows, a loss, a rejected upload and an open session."""
    with Sandbox(tmp_path / "w.duckdb", serve_page=True) as running:
        client = BareClient(running.url)
        client.load_files(object_line({"n": 1}) + object_line({"n": 1.5}, object_id="2"))
        client.upload_lines(client.start_session(), b"{}\n")
        yield running


def test_overview(sandbox: Sandbox) -> None:
    """It has the sentence of the page, the numbers and the losses."""
    content = get_page(sandbox, "/api/").json
    assert content["result"].startswith("All accepted objects were loaded (2)")
    assert content["severity"] == "warn"
    assert (content["objects"], content["sessions"], content["rejected_requests"]) == (2, 2, 1)
    assert content["losses"] == [
        {"collection": "users", "column": "n", "kind": "fraction", "count": 1, "example_id": "2"}
    ]


def test_collections(sandbox: Sandbox) -> None:
    """Collections, columns with types, and rows; those that are not there are errors in JSON."""
    assert get_page(sandbox, "/api/collections").json == [
        {"name": "users", "objects": 2, "columns": 2, "changed_values": 1}
    ]
    content = get_page(sandbox, "/api/collections/users").json
    assert content["objects"] == 2
    assert [(column["name"], column["type"]) for column in content["columns"]] == [
        ("id", "varchar"),
        ("n", "bigint"),
    ]
    rows = "/api/collections/users/rows.json"
    assert get_page(sandbox, rows).json == [{"id": "1", "n": 1}, {"id": "2", "n": 1}]
    assert get_page(sandbox, f"{rows}?limit=1&offset=1").json == [{"id": "2", "n": 1}]
    assert get_page(sandbox, f"{rows}?id=nobody").json == []
    for path in ("collections/nothing", "collections/nothing/rows.json", "nothing"):
        page = get_page(sandbox, f"/api/{path}")
        assert page.status == 404
        assert page.json["error"]["reason"]
    assert get_page(sandbox, "/api/collections/users/rows.xml").status == 404


def test_object(sandbox: Sandbox) -> None:
    """An object has its row, and what each session sent."""
    content = get_page(sandbox, "/api/collections/users/object?id=2").json
    assert content["row"] == {"id": "2", "n": 1}
    [version] = content["versions"]
    assert (version["line"], version["properties"]) == (2, {"n": 1.5})
    assert get_page(sandbox, "/api/collections/users/object?id=3").status == 404


def test_sessions_and_requests(sandbox: Sandbox) -> None:
    """The newest session is the first; a session has its calls; a rejection has its line."""
    newest, oldest = get_page(sandbox, "/api/sessions").json
    assert (newest["state"], oldest["state"]) == ("running", "loaded")
    session = get_page(sandbox, f"/api/sessions/{oldest['sync_id']}").json
    assert [call["step"] for call in session["calls"]] == ["upload", "finish"]
    assert get_page(sandbox, "/api/sessions/x").status == 404
    content = get_page(sandbox, "/api/requests?rejected").json
    assert [(record["status"], record["line"]) for record in content["requests"]] == [(400, 1)]
    assert get_page(sandbox, "/api/requests").json["count"] == 5


def test_query(sandbox: Sandbox) -> None:
    """A result has the types of its columns and its rows; a second column of a name is renamed."""
    content = get_page(sandbox, "/api/sql?sql=SELECT+1+AS+a,+'x'+AS+a,+now()+IS+NULL+AS+b").json
    assert content["columns"] == {"a": "INTEGER", "a_2": "VARCHAR", "b": "BOOLEAN"}
    assert content["rows"] == [{"a": 1, "a_2": "x", "b": False}]
    assert content["is_truncated"] is False


def test_it_waits_until_all_is_loaded(sandbox: Sandbox, loading_gate: threading.Event) -> None:
    """What was accepted before a request is in its answer."""
    BareClient(sandbox.url).load_files(object_line(object_id="3"))
    loading_gate.set()
    assert get_page(sandbox, "/api/", waits=False).json["objects"] == 3


def test_failed_load(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A session that cannot be loaded is an error, and no half of an answer."""

    def fail(*_: object) -> None:
        raise OSError("no space left")

    monkeypatch.setattr(Warehouse, "load_session", fail)
    sandbox = Sandbox(tmp_path / "w.duckdb", serve_page=True)
    with suppress(WarehouseError), sandbox:  # its end raises it, too
        BareClient(sandbox.url).load_files(object_line())
        page = get_page(sandbox, "/api/", waits=False)
        assert page.status == 503
        assert "no space left" in page.json["error"]["reason"]


def test_token_in_a_header(sandbox: Sandbox) -> None:
    """A program sends the token as a bearer token; another one is refused."""
    token = sandbox.page_url.partition("=")[2]
    for sent, status in ((f"Bearer {token}", 200), (f"bearer {token}", 200), ("Bearer x", 403)):
        connection = BareClient(sandbox.url).open_connection()
        connection.request("GET", "/api/", headers={"Authorization": sent})
        response = connection.getresponse()
        assert (response.status, response.headers["Set-Cookie"]) == (status, None)
        connection.close()


@pytest.mark.parametrize(
    "path", ["", "collections", "sql?sql=SELECT+1", "sql.csv?sql=SELECT+1", "nothing"]
)
def test_security_headers(sandbox: Sandbox, path: str) -> None:
    """Every answer has the headers of the pages."""
    page = get_page(sandbox, f"/api/{path}")
    assert {name: page.headers[name] for name in SECURITY_HEADERS} == SECURITY_HEADERS


def test_only_get(sandbox: Sandbox) -> None:
    """A POST is none of the page's: it goes to the API that is sent to."""
    assert BareClient(sandbox.url).send_request("/api/").status == 404


def test_whole_collection_as_a_file(sandbox: Sandbox) -> None:
    """A file has all rows, in the order of the page: numbers as numbers."""
    lines = [object_line({"n": number}, object_id=str(number)) for number in range(1200)]
    BareClient(sandbox.url).load_files(b"".join(lines))
    page = get_page(sandbox, "/api/collections/users/rows.csv")
    assert page.headers["Content-Disposition"] == 'attachment; filename="users.csv"'
    rows = [*csv.DictReader(io.StringIO(page.body))]
    assert [row["id"] for row in rows] == [str(number) for number in range(1200)]
    assert len(get_page(sandbox, "/api/collections/users/rows.json").json) == 1200


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (float("nan"), "nan"),
        (b"\x01\xff", "01ff"),
        ({1: [float("inf")]}, {"1": ["inf"]}),
        (True, True),
        (2**70, 2**70),
        (None, None),
    ],
)
def test_json_values(value: object, expected: object) -> None:
    """What JSON does not have is text."""
    assert to_json_value(value) == expected


def test_csv_fields() -> None:
    """A list and a struct are JSON, bytes are hexadecimal, null is empty."""
    row = [["a", None], {"b": 1.5}, b"\x01", None, True]
    assert "".join(write_csv(["v"], [row])) == 'v\r\n"[""a"", null]","{""b"": 1.5}",01,,true\r\n'


def test_empty_files() -> None:
    """A result without rows is an empty list, and a line of names."""
    assert "".join(write_json(["a"], [])) == "[]\n"
    assert "".join(write_csv(["a"], [])) == "a\r\n"
    assert name_columns(["a", "a_2", "a", "a"]) == ["a", "a_2", "a_3", "a_4"]


def test_documented_paths(sandbox: Sandbox) -> None:
    """Every path of the documentation is there."""
    text = (Path(__file__).parents[3] / "docs" / "sandbox-page.md").read_text(encoding="utf-8")
    names = {
        "NAME": "users",
        "SYNC_ID": get_page(sandbox, "/api/sessions").json[0]["sync_id"],
        "QUERY": "FROM+users",
        "=ID": "=1",
    }
    paths = re.findall(r"`(/api/[^`]*)`", re.sub(r"(?s).*## JSON", "", text))
    assert len(set(paths)) == 11
    for path in paths:
        for name, value in names.items():
            path = path.replace(name, value)  # noqa: PLW2901 - one after the other
        assert get_page(sandbox, path).status == 200, path
    for path in ("/api/collections/users/rows.csv", "/api/sql.csv?sql=FROM+users"):
        assert get_page(sandbox, path).status == 200
