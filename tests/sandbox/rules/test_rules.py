"""The rules of docs/sandbox-rules.md: every row is what the sandbox does."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from target_segment_objects.sandbox.server import Sandbox
from tests.sandbox.rules.scenarios import (
    CONNECTIONS,
    REQUESTS,
    SLOW_REQUESTS,
    Lab,
    send_bytes,
)
from tests.support.bare_http import BareClient, basic_auth, object_line
from tests.support.documented_rows import DocumentedRow, count_rows, read_rows

if TYPE_CHECKING:
    from tests.support.bare_http import ApiResponse

DOCUMENTATION = Path(__file__).parents[3] / "docs" / "sandbox-rules.md"
SECOND_HEADINGS = (
    "Authorization",
    "Request",
    "Connection",
    "Line",
    "Properties",
    "Sessions",
)
ENCODED = re.compile(r"base64\((.*)\)")
SOURCE = re.compile(r"our choice: .+|documented: .*\[[A-Z][A-Za-z ]+\].*")


def list_rows(heading: str) -> list[Any]:
    """Return the rows of the tables of rules with a second column."""
    return [
        pytest.param(
            row,
            id=f"line {row.line}",
            marks=[pytest.mark.slow] if row["Request"] in SLOW_REQUESTS else [],
        )
        for row in read_rows(DOCUMENTATION, "Rule", heading)
    ]


@pytest.fixture
def lab(client: BareClient, tmp_path: Path) -> Lab:
    """Where the requests are made."""
    return Lab(client, tmp_path)


def check_answer(response: ApiResponse, row: DocumentedRow) -> None:
    """Check that a response has the documented status and reason."""
    status, _, reason = row["Answer"].partition("`")
    assert response.status == int(status)
    if response.status >= 400:
        assert reason.strip()
        # A code mark in a reason is a part of it, but the documentation's last one ends the cell.
        assert reason.strip() in response.reason
    else:
        assert not reason


def test_every_row_is_a_test() -> None:
    """Every table has headings that a test knows, and every request has a row, and the reverse."""
    rows = [row for heading in SECOND_HEADINGS for row in read_rows(DOCUMENTATION, "Rule", heading)]
    assert len(rows) == count_rows(DOCUMENTATION) > 100
    requests = [row["Request"] for row in rows if "Request" in row.cells]
    assert sorted(requests) == sorted(REQUESTS)
    connections = [row["Connection"] for row in rows if "Connection" in row.cells]
    assert sorted(connections) == sorted(CONNECTIONS)


def test_every_rule_has_a_source() -> None:
    """A rule is documented on a page that has an address, or a choice with a reason."""
    text = DOCUMENTATION.read_text(encoding="utf-8")
    for heading in SECOND_HEADINGS:
        for row in read_rows(DOCUMENTATION, "Rule", heading):
            source = row["Source"]
            assert SOURCE.fullmatch(source), f"line {row.line}: {source}"
            for page in re.findall(r"\[([A-Z][A-Za-z ]+)\](?!\()", source):
                assert f"\n[{page}]: https://www.twilio.com/docs/segment/" in text


@pytest.mark.parametrize("row", list_rows("Authorization"))
def test_documented_credentials(lab: Lab, row: DocumentedRow) -> None:
    """A Start with the documented header has the documented answer."""
    value = ENCODED.sub(
        lambda found: basic_auth(found[1].replace(r"\n", "\n")).removeprefix("Basic "),
        row["Authorization"],
    )
    headers = {"Authorization": "" if value == "none" else value}
    check_answer(lab.client.send_request("/v0/start", headers=headers), row)


@pytest.mark.parametrize("row", list_rows("Request"))
def test_documented_requests(lab: Lab, row: DocumentedRow) -> None:
    """The documented request has the documented answer."""
    check_answer(REQUESTS[row["Request"]](lab), row)


@pytest.mark.parametrize("row", list_rows("Connection"))
def test_documented_connections(lab: Lab, row: DocumentedRow) -> None:
    """The documented connection ends as documented."""
    assert send_bytes(lab, CONNECTIONS[row["Connection"]]) == row["Answer"]


@pytest.mark.parametrize("row", list_rows("Line"))
def test_documented_lines(lab: Lab, row: DocumentedRow) -> None:
    """A file with the documented line as its second one has the documented answer."""
    response = lab.upload_lines(object_line() + row["Line"].encode())
    check_answer(response, row)
    if response.status >= 400:
        assert response.line == 2


def split_objects(cell: str) -> list[dict[str, Any]]:
    """Return the JSON objects of a cell."""
    return [json.loads(text) for text in cell.split("`, `")]


def read_stored(sandbox: Sandbox) -> list[dict[str, Any]]:
    """Return the rows of the collection as JSON, without ids and nulls."""
    rows = sandbox.warehouse.rows("things")
    shown = [{k: v for k, v in row.items() if k != "id" and v is not None} for row in rows]
    stored: list[dict[str, Any]] = json.loads(json.dumps(shown, default=str))
    return stored


@pytest.mark.parametrize("row", list_rows("Properties"))
def test_documented_columns(tmp_path: Path, row: DocumentedRow) -> None:
    """The documented properties are stored as documented, with the documented loss."""
    with Sandbox(tmp_path / "w.duckdb") as sandbox:
        for number, text in enumerate(row["Properties"].split("`, `"), start=1):
            # The text as it is: a number keeps its digits.
            line = f'{{"id":"{number}","collection":"things","properties":{text}}}\n'
            BareClient(sandbox.url).load_files(line.encode())
        assert repr(read_stored(sandbox)) == repr(split_objects(row["Stored"]))
        assert [loss.kind for loss in sandbox.warehouse.losses()] == row["Loss"].split()


@pytest.mark.parametrize("row", list_rows("Sessions"))
def test_documented_merges(tmp_path: Path, row: DocumentedRow) -> None:
    """Sessions with the same object are merged as documented."""
    with Sandbox(tmp_path / "w.duckdb") as sandbox:
        for properties in split_objects(row["Sessions"]):
            BareClient(sandbox.url).load_files(object_line(properties, collection="things"))
        assert read_stored(sandbox) == split_objects(row["Stored"])
        assert sandbox.warehouse.losses() == []
