"""`load` and `Loader`, with a sandbox: what lands, and what is returned."""

from __future__ import annotations

import functools
import gzip
import inspect
import json
import re
import subprocess
import sys
from decimal import Decimal
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from target_segment_objects import Client, Loader, LoadResult, Session, load
from target_segment_objects.rows.loader import OTHER_SETTINGS
from target_segment_objects.sandbox.server import Sandbox
from target_segment_objects.settings import Settings
from tests.support import DATA, RUN_SECONDS

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.support import RunTarget

DOCUMENT = (Path(__file__).parents[2] / "docs" / "python.md").read_text(encoding="utf-8")
FIRST, *OTHERS = re.findall(r"```python\n(.*?)```", DOCUMENT, re.DOTALL)
SAMPLE = DATA / "chinook.singer.gz"


def run_python(code: str, folder: Path) -> str:
    """Run code in a process of its own, and return what it prints."""
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", code],
        cwd=folder,
        capture_output=True,
        text=True,
        timeout=RUN_SECONDS,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert not done.stderr
    return done.stdout


# The documentation


def test_the_five_lines_of_the_documentation_load_rows(sandbox: Sandbox, tmp_path: Path) -> None:
    """The page starts with them. As they are printed, they load two users and show the session."""
    assert DOCUMENT.startswith(f"# Python API\n\n[All pages](index.md)\n\n```python\n{FIRST}")
    assert len([line for line in FIRST.splitlines() if line]) == 5
    printed = run_python(FIRST.replace("http://127.0.0.1:8080", sandbox.url), tmp_path)
    (session,) = sandbox.warehouse.sessions()
    assert printed == f"2 ('{session.sync_id}',)\n"
    first, second = sandbox.warehouse.rows("users")
    assert (first["id"], first["name"], first["address_city"]) == ("1", "Ada", "London")
    assert (second["id"], second["name"]) == ("2", "Alan")


@pytest.mark.parametrize("block", [block for block in OTHERS if not block.startswith("import")])
def test_the_other_examples_run(
    block: str, sandbox: Sandbox, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each block of the documentation runs with rows and a key."""
    monkeypatch.chdir(tmp_path)
    names = {
        "load": functools.partial(load, api_url=sandbox.url),
        "Loader": functools.partial(Loader, api_url=sandbox.url),
        "write_key": "k",
        "rows": [{"id": 1}, {"id": None}],
        "users": [{"id": 1}],
        "orders": [{"shop": "a", "number": 1}],
    }
    exec(block, names)  # noqa: S102 - it is our documentation
    assert sandbox.warehouse.sessions()


@pytest.mark.parametrize("documented", [load, Loader, Session])
def test_the_examples_of_the_docstrings_run(
    documented: Any,  # noqa: ANN401 - a function or a class
    sandbox: Sandbox,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """What `help` shows can be copied."""
    monkeypatch.chdir(tmp_path)
    line = b'{"id":"1","collection":"users","properties":{"age":36}}\n'
    Path("users.jsonl.gz").write_bytes(gzip.compress(line))
    description, *_ = re.split(r"\n(?:Args|Attributes):", inspect.getdoc(documented) or "")
    lines = [line for line in description.splitlines() if line.startswith("    ")]
    example = "\n".join(line[4:] for line in lines).replace('"…"', "write_key")
    names = {
        "Client": functools.partial(Client, api_url=sandbox.url),
        "Session": Session,
        "Path": Path,
        "Loader": functools.partial(Loader, api_url=sandbox.url),
        "load": functools.partial(load, api_url=sandbox.url),
        "write_key": "k",
        "users": [{"id": 1}],
        "orders": [{"shop": "a", "number": 1}],
    }
    exec(example.replace("from target_segment_objects import load\n", ""), names)  # noqa: S102 - ours
    assert sandbox.warehouse.rows("users")


def test_each_setting_is_documented_or_does_not_apply() -> None:
    """The page and the docstring name those that a load takes; others belong to taps."""
    for name in OTHER_SETTINGS:
        assert f"`{name}`" in DOCUMENT
        assert name in (load.__doc__ or "")
    assert {*Settings.__struct_fields__} - OTHER_SETTINGS == {
        *("write_key", "api_url", "ledger_path", "invalid_records"),  # arguments
        *("collection_map", "dead_letter_path", "load_method", "flattening_separator"),
        *("deleted_records", "full_table_streams", "deleted_after_runs"),
        *("deleted_hours_between_runs", "deleted_limit_percent"),
    }


def test_the_sdk_is_not_imported(sandbox: Sandbox, tmp_path: Path) -> None:
    """Neither to load rows, with a rejected one and a ledger, nor to raise an error."""
    code = (
        "import sys\n"
        "from target_segment_objects import load, InvalidRecordError\n"
        f"options = dict(key='id', write_key='k', api_url={sandbox.url!r}, ledger='ledger')\n"
        "load('users', [{'id': 1}, {'id': None}], invalid_records='return', **options)\n"
        "try:\n"
        "    load('users', [{'id': None}], **options)\n"
        "except InvalidRecordError:\n"
        "    print([name for name in ('singer_sdk', 'rich', 'click') if name in sys.modules])"
    )
    assert run_python(code, tmp_path) == "[]\n"


# What lands


def test_rows_land_as_the_records_of_a_tap(
    run_target: RunTarget, sandbox: Sandbox, tmp_path: Path
) -> None:
    """With the schema of a stream, its records make the same tables as with the command."""
    lines = gzip.decompress(SAMPLE.read_bytes()).decode().splitlines()
    config = {"write_key": "k", "api_url": sandbox.url}
    assert run_target(lines=lines, config=config).returncode == 0
    messages = [json.loads(line, parse_float=Decimal) for line in lines]
    records: dict[str, list[dict[str, Any]]] = {}
    for message in messages:
        if message["type"] == "RECORD":
            records.setdefault(message["stream"], []).append(message["record"])
    with (
        Sandbox(tmp_path / "rows.duckdb") as other,
        Loader("k", api_url=other.url) as loader,
    ):
        for message in messages:
            if message["type"] == "SCHEMA":
                name = message["stream"]
                loader.load(
                    name,
                    records.get(name, ()),
                    key=message["key_properties"],
                    schema=message["schema"],
                )
        loader.__exit__(None, None, None)
        results = loader.results
        assert sum(result.sent for result in results.values()) > 1000
        for result in results.values():
            assert result.read == result.sent
            if result.sent:
                assert other.warehouse.rows(result.collection) == sandbox.warehouse.rows(
                    result.collection
                )


def test_a_generator_is_read_once_and_the_last_row_counts(sandbox: Sandbox) -> None:
    """Rows are delivered in their order, in as many sessions as `batch_size_rows` makes."""

    def generate() -> Iterator[dict[str, int]]:
        for number in range(1000):
            yield {"id": number % 10, "number": number}

    result = load(
        "numbers", generate(), key="id", write_key="k", api_url=sandbox.url, batch_size_rows=400
    )
    assert (result.collection, result.read, result.sent) == ("numbers", 1000, 1000)
    assert [row["number"] for row in sandbox.warehouse.rows("numbers")] == [*range(990, 1000)]
    sync_ids = [session.sync_id for session in sandbox.warehouse.sessions()]
    assert len(sync_ids) == 3
    assert result.sync_ids == tuple(sync_ids)


def test_nothing_is_sent_for_no_rows(sandbox: Sandbox) -> None:
    """The result says so."""
    result = load("users", [], key="id", write_key="k", api_url=sandbox.url)
    assert result == LoadResult("users", 0, 0, 0, (), (), ())
    assert not sandbox.warehouse.sessions()


def test_names_and_ids_are_those_of_the_command(sandbox: Sandbox) -> None:
    """Snake case, digits as words in collections, composite ids, and digests without a key."""
    rows = [{"shopName": "a_b", "number": 1, "user-ID": 5}]
    load("Orders2", rows, key=["shopName", "number"], write_key="k", api_url=sandbox.url)
    (row,) = sandbox.warehouse.rows("orders_two")
    assert (row["id"], row["shop_name"], row["user_id"]) == ("a%5Fb_1", "a_b", 5)
    result = load("events", rows * 2, write_key="k", api_url=sandbox.url)
    (row,) = sandbox.warehouse.rows("events")
    assert (len(row["id"]), result.sent) == (64, 2)


# Several collections


def test_a_loader_takes_several_collections(sandbox: Sandbox) -> None:
    """Each has a result of its own; a collection may be loaded again, and in another way."""
    with Loader("k", api_url=sandbox.url) as loader:
        loader.load("users", [{"id": 1}], key="id")
        loader.load("orders", [{"id": 1}, {"id": 2}], key="id")
        loader.load("users", [{"id": 2, "name": "Ada"}], key="id")
        loader.load("users", [{"id": 3, "name": "Alan"}], key=["id", "name"])
        assert loader.results["users"].read == 3
    assert {name: result.sent for name, result in loader.results.items()} == {
        "users": 3,
        "orders": 2,
    }
    assert [row["id"] for row in sandbox.warehouse.rows("users")] == ["1", "2", "3_Alan"]
    assert len(loader.results["users"].sync_ids) == 1


# The ledger


def test_with_a_ledger_only_changes_are_sent(sandbox: Sandbox, tmp_path: Path) -> None:
    """The second load sends the changed and the new row, and counts the others."""
    options: dict[str, Any] = {
        "key": "id",
        "write_key": "k",
        "api_url": sandbox.url,
        "ledger": tmp_path / "ledger",
    }
    rows: list[dict[str, Any]] = [{"id": number, "name": "a"} for number in range(5)]
    first = load("users", rows, **options)
    assert (first.sent, first.unchanged) == (5, 0)
    rows[2]["name"] = "b"
    second = load("users", [*rows, {"id": 9}], **options)
    assert (second.read, second.sent, second.unchanged) == (6, 2, 4)


def test_with_a_ledger_types_last(sandbox: Sandbox, tmp_path: Path) -> None:
    """A number stays one when the next load begins with an integer, and a null clears an object."""
    options: dict[str, Any] = {
        "key": "id",
        "write_key": "k",
        "api_url": sandbox.url,
        "ledger": tmp_path / "ledger",
    }
    load("users", [{"id": 1, "price": 0.5, "address": {"city": "a"}}], **options)
    rows: list[dict[str, Any]] = [
        {"id": 1, "price": 3, "address": {"city": None}},
        {"id": 2, "price": 0.25, "address": None},
    ]
    result = load("users", rows, **options)
    assert result.sent == 2
    first, second = sandbox.warehouse.rows("users")
    assert (first["price"], first["address_city"]) == (3.0, None)
    assert (second["price"], second["address_city"]) == (0.25, None)
