"""Names, types and keys of a stream are the same in every run with a ledger."""

from __future__ import annotations

import io
import shutil
from contextlib import closing
from typing import TYPE_CHECKING, Any, TypeAlias

import pytest

from target_segment_objects.cli.load import load_input
from target_segment_objects.ledger.file import LedgerFile
from target_segment_objects.ledger.property_table import PropertyTable
from target_segment_objects.mapping.schema import PropertyType
from target_segment_objects.sandbox.warehouse.database_file import connect_to_file
from target_segment_objects.target import TargetSegmentObjects
from tests.support import record_line, schema_line, state_line
from tests.support.in_process import run_target_in_process

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from target_segment_objects.mapping.properties.memory import SentProperty
    from target_segment_objects.sandbox.server import Sandbox
    from tests.support import RunTarget

ID = {"id": {"type": "integer"}}


Load: TypeAlias = "Callable[..., int]"


@pytest.fixture
def load(sandbox: Sandbox, tmp_path: Path) -> Load:
    """Return what loads records of the stream `orders`, and returns the exit code."""

    def load_orders(
        properties: dict[str, Any],
        *records: dict[str, Any],
        key: tuple[str, ...] = ("id",),
        **config: Any,  # noqa: ANN401 - settings of any type
    ) -> int:
        lines = [schema_line("orders", {**ID, **properties}, key)]
        lines += [record_line("orders", record) for record in records]
        config = {"ledger_path": str(tmp_path / "ledger.sqlite"), **config}
        return run_target_in_process(sandbox, *lines, state_line(1), **config)[0]

    return load_orders


def read_rows(sandbox: Sandbox) -> list[dict[str, Any]]:
    """Return what the warehouse has of the collection `orders`."""
    return sandbox.warehouse.rows("orders")


NUMBER = {"amount": {"type": ["number", "null"]}}
INTEGER = {"amount": {"type": ["integer", "null"]}}
STRING = {"amount": {"type": ["string", "null"]}}


def test_integer_goes_into_a_float_column(sandbox: Sandbox, load: Load) -> None:
    """The warehouse loses nothing, on the fast path and on the slow one."""
    assert load(NUMBER, {"id": 1, "amount": 1.5}) == 0
    assert load(INTEGER, {"id": 2, "amount": 2}, {"id": 3, "amount": 3, "x": "y"}) == 0
    assert [row["amount"] for row in read_rows(sandbox)] == [1.5, 2.0, 3.0]
    assert sandbox.warehouse.losses() == []


def test_fraction_does_not_go_into_an_integer_column(
    sandbox: Sandbox, load: Load, caplog: pytest.LogCaptureFixture
) -> None:
    """The run fails before the stream's first record, with every way out in the message."""
    assert load(INTEGER, {"id": 1, "amount": 1}) == 0
    assert load(NUMBER, {"id": 2, "amount": 2.5}) == 1
    assert len(read_rows(sandbox)) == 1
    message = caplog.messages[-1]
    for part in (
        "Stream 'orders': the type of the property 'amount' has changed from integer to number.",
        "type_changes to new_property",
        "stream_maps",
        "segment-objects-ledger forget ",
        " orders --only types",
    ):
        assert part in message
    assert "\n" not in message


def test_new_property_is_another_column_for_ever(sandbox: Sandbox, load: Load) -> None:
    """Also in later runs without the setting; the first column keeps its values."""
    assert load(INTEGER, {"id": 1, "amount": 1}) == 0
    assert load(NUMBER, {"id": 1, "amount": 2.5}, type_changes="new_property") == 0
    assert load(NUMBER, {"id": 2, "amount": 3.5}) == 0
    rows = [(row["amount"], row["amount_float"]) for row in read_rows(sandbox)]
    assert rows == [(1, 2.5), (None, 3.5)]


def test_null_makes_no_column(load: Load) -> None:
    """A property has no type until it has a value."""
    for properties, value in ((STRING, None), (INTEGER, None), (NUMBER, 1.5)):
        assert load(properties, {"id": 1, "amount": value}) == 0
    assert load(STRING, {"id": 1, "amount": "x"}) == 1


def test_name_is_the_same_after_a_changed_schema(sandbox: Sandbox, load: Load) -> None:
    """A property keeps its number when the one that it collided with is gone."""
    text = {"type": "string"}
    both = {"userId": text, "user_id": text}
    assert load(both, {"id": 1, "userId": "a", "user_id": "b"}) == 0
    assert load({"userId": text}, {"id": 1, "userId": "c"}) == 0
    assert load({}, {"id": 1, "user-id": "d"}) == 0
    (row,) = read_rows(sandbox)
    assert (row["user_id"], row["user_id_2"], row["user_id_3"]) == ("b", "c", "d")


def test_memory_belongs_to_a_collection(load: Load) -> None:
    """A stream that goes to another collection has another table, so its types start anew."""
    assert load(INTEGER, {"id": 1, "amount": 1}) == 0
    other = {"collection_map": {"orders": "sales"}}
    assert load(NUMBER, {"id": 1, "amount": 2.5}, key=("amount",), **other) == 0
    assert load(NUMBER, {"id": 1, "amount": 2.5}) == 1


def test_changed_key_stops_the_stream(
    sandbox: Sandbox, load: Load, caplog: pytest.LogCaptureFixture
) -> None:
    """The message names both keys and the ways out; nothing is sent."""
    assert load(STRING, {"id": 1, "amount": "x"}) == 0
    assert load(STRING, {"id": 1, "amount": "x"}, key=("id", "amount")) == 1
    assert [row["id"] for row in read_rows(sandbox)] == ["1"]
    message = caplog.messages[-1]
    for part in (
        "Stream 'orders': its key properties have changed from id to id, amount.",
        "collection_map",
        "segment-objects-ledger forget ",
        " orders --only objects",
    ):
        assert part in message
    assert "\n" not in message


def test_a_key_that_is_gone_is_a_changed_key(load: Load, caplog: pytest.LogCaptureFixture) -> None:
    """Its ids would be digests."""
    assert load(STRING, {"id": 1, "amount": "x"}) == 0
    assert load(STRING, {"id": 1, "amount": "x"}, key=()) == 1
    assert "have changed from id to none" in caplog.messages[-1]


def test_without_a_ledger_a_type_may_change(load: Load, tmp_path: Path) -> None:
    """Nothing is remembered."""
    assert load(INTEGER, {"id": 1, "amount": 1}, ledger_path=None) == 0
    assert load(NUMBER, {"id": 2, "amount": 2.5}, ledger_path=None) == 0
    assert not list(tmp_path.glob("*ledger*"))


def test_dry_run_says_what_a_run_would(
    load: Load, tmp_path: Path, run_target: RunTarget, sandbox: Sandbox
) -> None:
    """It names the ledger, not its copy, and the types that would be sent."""
    assert load(INTEGER, {"id": 1, "amount": 1}) == 0
    ledger = tmp_path / "ledger.sqlite"
    config = {"write_key": "k", "api_url": sandbox.url, "ledger_path": str(ledger)}
    order = record_line("orders", {"id": 1, "amount": 2})
    for schema, message in (
        (schema_line("orders", {**ID, **INTEGER}, ("id", "amount")), f"forget {ledger} orders"),
        (schema_line("orders", {**ID, **NUMBER}), f"forget {ledger} orders --only types"),
    ):
        done = run_target("--dry-run", lines=[schema, order], config=config)
        assert done.returncode == 1
        assert message in done.stderr
    changed = {**config, "type_changes": "new_property"}
    lines = [schema_line("orders", {**ID, **NUMBER}), order]
    for _ in range(2):  # nothing is remembered
        done = run_target("--dry-run", lines=lines, config=changed)
        assert done.returncode == 0
        assert "amount_float" in done.stdout
        assert "From now on it is sent as amount_float" in done.stderr + done.stdout


def test_stream_whose_name_is_not_unicode_is_refused(
    sandbox: Sandbox, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """SQLite cannot store it; the message says what to do."""
    lines = [schema_line("s\ud800", ID), record_line("s\ud800", {"id": 1})]
    ledger = str(tmp_path / "ledger.sqlite")
    assert run_target_in_process(sandbox, *lines, ledger_path=ledger) == (1, [])
    assert "has an unpaired surrogate. Rename the stream" in caplog.messages[-1]


class WatchingApi:
    """Accepts everything, and reads the ledger as a kill at each Start would leave it."""

    def __init__(self, ledger: Path) -> None:
        """Take the ledger."""
        self._ledger = ledger
        self.seen: list[list[SentProperty]] = []

    def start(self) -> str:
        """Copy the ledger, and read the copy."""
        copy = self._ledger.with_name(f"{len(self.seen)}.sqlite")
        for path in self._ledger.parent.glob(f"{self._ledger.name}*"):
            shutil.copy(path, f"{copy}{path.name.removeprefix(self._ledger.name)}")
        with closing(LedgerFile.open_existing(copy)) as file:
            self.seen.append(PropertyTable(file).read_properties("orders"))
        return "s"

    def upload(self, sync_id: str, file: Path, **_: object) -> str:  # noqa: ARG002 - the client's
        """Accept."""
        return "p"

    def keep_alive(self, sync_id: str) -> None:
        """Accept."""

    def finish(self, sync_id: str, error: str = "", **_: object) -> None:
        """Accept."""

    def abort_session(self, sync_id: str, error: str) -> None:
        """Accept."""


def test_names_and_types_are_durable_before_a_session_starts(tmp_path: Path) -> None:
    """Those of the objects in it; a run that is killed there is no exception."""
    ledger = tmp_path / "ledger.sqlite"
    api = WatchingApi(ledger)
    lines = [
        schema_line("orders", {**ID, **INTEGER}),
        record_line("orders", {"id": 1, "amount": None}),
        record_line("orders", {"id": 2, "amount": 2}),
        record_line("orders", {"id": 3, "amount": 3, "undeclared": 1}),
    ]
    config = {"write_key": "k", "ledger_path": str(ledger), "batch_size_rows": 1}
    target = TargetSegmentObjects(config=config)
    text = "".join(f"{line}\n" for line in lines)
    assert load_input(target, io.BytesIO(text.encode()), api=api) == 0
    names = [{prop.name: prop.type for prop in known} for known in api.seen]
    # The sessions of a collection follow each other; more may be known by then.
    assert names[0].keys() >= {"id", "amount"}
    assert names[1]["amount"] is PropertyType.INTEGER
    assert names[2]["undeclared"] is PropertyType.STRING


def test_flattening_options_may_change(sandbox: Sandbox, load: Load) -> None:
    """A name that is known stays with another key length, and a flattened object with a depth."""
    names = ["a_long_name_of_a_property", "another_long_name_of_a_property"]
    home = {"type": ["object", "null"], "properties": {"city": {"type": ["string", "null"]}}}
    first = {"home": home, names[0]: {}}
    both = {**first, names[1]: {}}
    record = {"id": 1, "home": {"city": "Bonn"}, names[0]: "x"}
    assert load(first, record) == 0
    short = {"flattening_enabled": True, "flattening_max_key_length": 20}
    assert load(both, {**record, names[1]: "y"}, **short) == 0
    row = {"id": "1", "home_city": "Bonn", names[0]: "x", "another_l_zryjnakeor": "y"}
    assert read_rows(sandbox) == [row]
    flat = {"flattening_enabled": True, "flattening_max_depth": 0}
    assert load(both, {**record, "home": {"city": "Ulm"}, names[1]: "y"}, **flat) == 0
    assert read_rows(sandbox) == [{**row, "home_city": "Ulm"}]
    assert load(both, {**record, "home": None, names[1]: "z"}) == 0
    assert read_rows(sandbox) == [{**row, "home_city": None, "another_l_zryjnakeor": "z"}]


BOOLEAN = {"amount": {"type": ["boolean", "null"]}}
DAYS: list[tuple[dict[str, Any], Any]] = [
    (INTEGER, 5),
    (NUMBER, 5.5),
    (INTEGER, 7),
    (NUMBER, None),
    (INTEGER, 8),
    (STRING, "x"),
    (INTEGER, 9),
    (STRING, None),
    (NUMBER, 9.5),
    (BOOLEAN, True),
]


@pytest.mark.parametrize("nulls", ["send", "omit"])
def test_query_of_the_documentation_reads_the_last_value(
    sandbox: Sandbox, load: Load, tmp_path: Path, nulls: str
) -> None:
    """After each change of the type and each return, in this run or in a later one."""
    expected = None
    for properties, value in DAYS:
        config = {"type_changes": "new_property", "null_properties": nulls}
        assert load(properties, {"id": 1, "amount": value}, **config) == 0
        if value is not None or nulls == "send":
            expected = value
        # Cast, since there is a column of text at the end.
        newest_first = ("amount_string", "amount_float", "amount")
        columns = [name for name in newest_first if name in sandbox.warehouse.columns("orders")]
        newest = ", ".join(f"{name}::text" for name in columns)
        (found,) = read_query(sandbox, tmp_path, f"coalesce({newest})")
        found = found and found.removesuffix(".0")
        assert found == (None if expected is None else str(expected).lower())


def test_query_of_numbers_needs_no_cast(sandbox: Sandbox, load: Load, tmp_path: Path) -> None:
    """As the documentation writes it: 5, 5.5, 7, and the row that was never sent again."""
    assert load(INTEGER, {"id": 1, "amount": 5}, {"id": 2, "amount": 3}) == 0
    for properties, value in ((NUMBER, 5.5), (INTEGER, 7)):
        assert load(properties, {"id": 1, "amount": value}, type_changes="new_property") == 0
    assert read_query(sandbox, tmp_path, "coalesce(amount_float, amount)") == [7.0, 3.0]


def read_query(sandbox: Sandbox, folder: Path, expression: str) -> list[Any]:
    """Return an expression for each row of the sandbox's warehouse, sorted by id."""
    assert sandbox.warehouse.count("orders")  # waits for running loads
    with connect_to_file(folder / "warehouse.duckdb") as connection:  # its file is open already
        rows = connection.table("orders").order("id").project(expression).fetchall()
    return [value for (value,) in rows]


def test_ledger_does_not_change_names(sandbox: Sandbox, load: Load) -> None:
    """Names are given in the order of the SCHEMA, as without a ledger; the output is sorted."""
    text = {"type": "string"}
    declared = {"userId": text, "user-id": text, "User_Id": text}
    values = {"userId": "a", "user-id": "b", "User_Id": "c"}
    assert load(declared, {"id": 1, **values}, ledger_path=None) == 0
    assert load(declared, {"id": 2, **values}) == 0
    rows = [
        [row[name] for name in ("user_id", "user_id_2", "user_id_3")] for row in read_rows(sandbox)
    ]
    assert rows == [["a", "b", "c"]] * 2


def test_order_of_the_schema_does_not_change_an_object(sandbox: Sandbox, load: Load) -> None:
    """It is not sent again when the tap writes its properties in another order."""
    inner = {"x": {"type": "integer"}, "a": {"type": "integer"}}
    nested = {"type": "object", "properties": inner}
    swapped = {"type": "object", "properties": dict(reversed(inner.items()))}
    record = {"id": 1, "b": {"x": 1, "a": 2}, "a": "x"}
    assert load({"b": nested, "a": {"type": "string"}}, record) == 0
    assert load({"a": {"type": "string"}, "b": swapped}, record) == 0
    assert len(sandbox.warehouse.sessions()) == 1


def test_streams_that_share_a_collection_share_its_types(sandbox: Sandbox, tmp_path: Path) -> None:
    """Also when each is loaded in a run of its own, and where names collide."""
    ledger = str(tmp_path / "ledger.sqlite")
    config: dict[str, Any] = {
        "collection_map": {"de": "shop", "fr": "shop"},
        "ledger_path": ledger,
    }
    runs: list[tuple[str, dict[str, Any], dict[str, Any]]] = [
        ("de", {**NUMBER, "userId": {}, "user_id": {}}, {"amount": 1.5, "userId": 1, "user_id": 2}),
        ("fr", {**INTEGER, "userId": {}}, {"amount": 2, "userId": 3}),
    ]
    for number, (stream, properties, record) in enumerate(runs):
        lines = [
            schema_line(stream, {**ID, **properties}),
            record_line(stream, {"id": number, **record}),
        ]
        assert run_target_in_process(sandbox, *lines, **config)[0] == 0
    rows = sandbox.warehouse.rows("shop")
    assert [(row["amount"], row["user_id"], row["user_id_2"]) for row in rows] == [
        (1.5, "2", "1"),
        (2.0, None, "3"),
    ]
    assert sandbox.warehouse.losses() == []
