"""What goes wrong in a load: rows that cannot be sent, settings, the network, the caller's code."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from target_segment_objects import (
    ConfigurationError,
    InputError,
    InvalidRecordError,
    InvalidUrlError,
    InvalidWriteKeyError,
    LedgerError,
    Loader,
    MissingKeyError,
    RejectLimitError,
    SessionStateError,
    UnmappableStreamError,
    UnreachableError,
    limits,
    load,
)
from tests.support.faulty_proxy import FaultyProxy

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from target_segment_objects.sandbox.server import Sandbox

UNREACHABLE = "http://127.0.0.1:9"


def list_ids(sandbox: Sandbox, collection: str = "users") -> list[str]:
    """Return the ids that landed."""
    if collection not in sandbox.warehouse.collections():
        return []
    return [row["id"] for row in sandbox.warehouse.rows(collection)]


def load_and_raise(
    loader: Loader, error: BaseException, before: Callable[[], object] = lambda: None
) -> None:
    """Load a row, and raise an error before the end of the block, after something else."""
    with loader:
        loader.load("users", [{"id": 1}], key="id")
        before()
        raise error


# Rows that cannot be sent


def test_the_first_invalid_row_ends_the_load(sandbox: Sandbox) -> None:
    """The rows before it are loaded; the error names row, id and property, but no value."""
    rows: list[dict[str, Any]] = [{"id": 1, "age": 36}, {"id": 2, "age": "secret"}, {"id": 3}]
    with pytest.raises(InvalidRecordError) as raised:
        load("users", rows, key="id", write_key="k", api_url=sandbox.url)
    assert str(raised.value) == (
        "Invalid record: stream 'users', object '2', property 'age': this value is a string, and "
        "the first one was an integer. It is row 2. The first value that is not None decides the "
        "type. Convert the values, or pass a schema."
    )
    assert list_ids(sandbox) == ["1"]


def test_a_row_without_a_key_is_invalid(sandbox: Sandbox) -> None:
    """The number of the row says which one it is, across several calls."""
    rows: list[dict[str, Any]] = [{"id": 5}, {"name": "x"}]
    with Loader("k", api_url=sandbox.url) as loader:
        loader.load("users", ({"id": number} for number in range(1001)), key="id")
        with pytest.raises(MissingKeyError, match=r"property is missing\. It is row 1,003\.$"):
            loader.load("users", rows, key="id")
    assert len(list_ids(sandbox)) == 1001
    assert loader.results["users"].sent == 1002


def test_with_a_schema_the_advice_is_another(sandbox: Sandbox) -> None:
    """It does not speak of the settings of the command."""
    schema = {"properties": {"id": {"type": "integer"}}, "required": ["name"]}
    with pytest.raises(InvalidRecordError) as raised:
        load("users", [{"id": 1}], key="id", schema=schema, write_key="k", api_url=sandbox.url)
    assert str(raised.value).endswith("It is row 1. Convert the value, or change the schema.")


@pytest.mark.parametrize(("limit", "is_exceeded"), [(2, False), (1, True), ("40%", False)])
def test_max_invalid_records(sandbox: Sandbox, limit: object, *, is_exceeded: bool) -> None:
    """Two of five rows are invalid: at the limit, the load is complete; past it, it fails."""
    rows: list[dict[str, Any]] = [{"id": 1}, {}, {"id": 2}, {"id": None}, {"id": 3}]
    options: dict[str, Any] = {"invalid_records": "return", "max_invalid_records": limit}
    with Loader("k", api_url=sandbox.url, **options) as loader:
        if is_exceeded:
            with pytest.raises(RejectLimitError, match="2 of 4 records are invalid"):
                loader.load("users", rows, key="id")
        else:
            loader.load("users", rows, key="id")
    result = loader.results["users"]
    assert [reject.number for reject in result.rejects] == [2, 4]
    assert [reject.row for reject in result.rejects] == [{}, {"id": None}]
    assert list_ids(sandbox) == (["1", "2"] if is_exceeded else ["1", "2", "3"])


def test_a_value_at_the_limit_and_one_past_it(sandbox: Sandbox) -> None:
    """A string of as many bytes as Segment accepts is loaded, a longer one is rejected."""
    longest = limits.VALUE_BYTES_LIMIT - 1
    rows = [{"id": extra, "text": "x" * (longest + extra)} for extra in (0, 1)]
    result = load(
        "users", rows, key="id", write_key="k", api_url=sandbox.url, invalid_records="return"
    )
    assert (result.read, result.sent) == (2, 1)
    (reject,) = result.rejects
    assert (reject.number, reject.object_id, reject.property) == (2, "1", "text")
    assert list_ids(sandbox) == ["0"]
    assert "strings of more than 512 characters" in result.warnings[0]


@pytest.mark.parametrize(
    ("rows", "type_name"),
    [([{"id": 1}, ("id", 2)], "tuple"), ([{"id": 1}, None], "NoneType"), ({"id": 1}, "str")],
)
def test_a_row_that_is_no_dict(sandbox: Sandbox, rows: Any, type_name: str) -> None:  # noqa: ANN401 - anything
    """The error says which row, and of which type; the rows before it are loaded."""
    number = len(rows)
    with pytest.raises(InputError, match=f"^Row {number} of 'users' is of type {type_name}, not"):
        load("users", rows, key="id", write_key="k", api_url=sandbox.url)
    assert list_ids(sandbox) == ["1"][: number - 1]


# The caller's own errors


def test_when_the_rows_raise_an_error_those_before_it_are_loaded(sandbox: Sandbox) -> None:
    """The error comes through as it is."""

    def generate() -> Iterator[dict[str, int]]:
        yield {"id": 1}
        yield {"id": 2}
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        load("users", generate(), key="id", write_key="k", api_url=sandbox.url)
    assert list_ids(sandbox) == ["1", "2"]


def test_an_error_in_the_block_does_not_lose_rows(sandbox: Sandbox) -> None:
    """What was loaded before it is delivered."""
    loader = Loader("k", api_url=sandbox.url)
    with pytest.raises(ZeroDivisionError):
        load_and_raise(loader, ZeroDivisionError())
    assert list_ids(sandbox) == ["1"]
    assert loader.results["users"].sent == 1


def test_ctrl_c_ends_the_load_at_once(sandbox: Sandbox) -> None:
    """Nothing more is sent; what was not accepted is in the counts."""
    loader = Loader("k", api_url=sandbox.url)
    with pytest.raises(KeyboardInterrupt):
        load_and_raise(loader, KeyboardInterrupt())
    assert list_ids(sandbox) == []
    result = loader.results["users"]
    assert (result.read, result.sent, result.sync_ids) == (1, 0, ())


def test_ctrl_c_ends_a_session_that_is_under_way(sandbox: Sandbox) -> None:
    """It is finished with an error within seconds, so that Segment drops its data."""
    with FaultyProxy(sandbox.url, [None, "hold"]) as proxy:
        loader = Loader("k", api_url=proxy.url, batch_size_rows=1)
        with pytest.raises(KeyboardInterrupt):
            load_and_raise(loader, KeyboardInterrupt(), before=proxy.held.wait)
    (session,) = sandbox.warehouse.sessions()
    assert session.outcome == "error"
    assert list_ids(sandbox) == []


def test_a_loader_is_for_one_block(sandbox: Sandbox) -> None:
    """Before and after it, and a second time, it is refused."""
    loader = Loader("k", api_url=sandbox.url)
    with pytest.raises(SessionStateError, match="not open"):
        loader.load("users", [], key="id")
    with loader, pytest.raises(SessionStateError, match="one block"), loader:
        pass
    with pytest.raises(SessionStateError, match="not open"):
        loader.load("users", [], key="id")
    with pytest.raises(SessionStateError, match="one block"), loader:
        pass


# Settings


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"batch_size_row": 5}, "'batch_size_row' is not a setting of a load"),
        ({"stream_maps": {}}, "'stream_maps' is not a setting of a load"),
        ({"batch_size_rows": 0}, "batch_size_rows cannot be 0: it must be an integer of"),
        ({"null_properties": "x"}, 'null_properties cannot be "x": it must be "send" or "omit".'),
        ({"spool_dir": 5}, "spool_dir cannot be 5: it must be a string"),
        ({"invalid_records": "dead_letter"}, "invalid_records cannot be 'dead_letter': it must"),
    ],
)
def test_a_wrong_setting(options: dict[str, Any], message: str) -> None:
    """The error names it, before a row is read."""
    with pytest.raises(ConfigurationError) as raised:
        load("users", iter([]), key="id", write_key="k", **options)
    assert str(raised.value).startswith(message)


@pytest.mark.parametrize("write_key", [None, "", "a key", b"key"])
def test_a_wrong_write_key(write_key: Any) -> None:  # noqa: ANN401 - anything
    """It is refused as by the client."""
    with pytest.raises(InvalidWriteKeyError):
        Loader(write_key)


def test_a_wrong_address() -> None:
    """Plain http:// to another machine would expose the key."""
    with pytest.raises(InvalidUrlError):
        load("users", [], write_key="k", api_url="http://example.com")


def test_a_schema_with_a_part_that_means_nothing_is_used(sandbox: Sandbox) -> None:
    """As a tap's: what has no meaning is left out, with a warning."""
    schema = {"properties": {"id": {"type": "integer", "minimum": "x"}}}
    result = load("users", [{"id": 1}], key="id", write_key="k", api_url=sandbox.url, schema=schema)
    assert result.sent == 1
    assert "mean nothing in JSON Schema: minimum of 'id'" in result.warnings[0]


def test_a_schema_that_is_not_valid() -> None:
    """The error says where."""
    schema = {"properties": {"name": {"type": "string", "pattern": "("}}}
    with pytest.raises(ConfigurationError, match=r"at properties\.name\.pattern"):
        load("users", [{"id": 1}], key="id", write_key="k", api_url=UNREACHABLE, schema=schema)


def test_a_name_that_segment_does_not_have() -> None:
    """A collection needs a letter or a digit, and two names may not be one in Segment."""
    with pytest.raises(UnmappableStreamError, match="no letter or digit"):
        load("--", [{"id": 1}], write_key="k", api_url=UNREACHABLE)
    with Loader("k", api_url=UNREACHABLE) as loader:
        loader.load("A", [])
        with pytest.raises(UnmappableStreamError, match="'A' and 'a' would both go"):
            loader.load("a", [])


# The ledger and the network


def test_a_ledger_of_another_key_or_type(sandbox: Sandbox, tmp_path: Path) -> None:
    """It belongs to one write key, and a property keeps the type of an earlier load."""
    ledger = tmp_path / "ledger"
    options: dict[str, Any] = {"key": "id", "api_url": sandbox.url, "ledger": ledger}
    load("users", [{"id": 1, "age": 36}], write_key="k", **options)
    with pytest.raises(LedgerError, match="segment-objects-ledger adopt-key"):
        load("users", [{"id": 1}], write_key="other", **options)
    with pytest.raises(UnmappableStreamError, match="'age' has changed from integer to string"):
        load("users", [{"id": 1, "age": "36"}], write_key="k", **options)


def test_a_server_that_does_not_respond(tmp_path: Path) -> None:
    """The error says so; nothing is counted as sent, and the spool is empty."""
    with (
        pytest.raises(UnreachableError),
        Loader("k", api_url=UNREACHABLE, max_retries=0, spool_dir=tmp_path) as loader,
    ):
        loader.load("users", [{"id": 1}], key="id")
    result = loader.results["users"]
    assert (result.read, result.sent, result.sync_ids) == (1, 0, ())
    assert not [*tmp_path.iterdir()]


@pytest.mark.parametrize("faults", [["503"], [None, "reset after"], [None, None, "expire"]])
def test_a_failure_that_passes_costs_nothing(sandbox: Sandbox, faults: list[str | None]) -> None:
    """Calls are repeated, and lost sessions, as by the command."""
    with FaultyProxy(sandbox.url, faults) as proxy:
        result = load("users", [{"id": 1}], key="id", write_key="k", api_url=proxy.url)
    assert (result.sent, list_ids(sandbox)) == (1, ["1"])
    assert result.sync_ids[-1] in {session.sync_id for session in sandbox.warehouse.sessions()}


def test_delivery_that_fails_during_the_load_stops_it() -> None:
    """An endless generator is not read on: the error comes from the load itself."""

    def generate() -> Iterator[dict[str, int]]:
        number = 0
        while True:
            number += 1
            yield {"id": number}

    with pytest.raises(UnreachableError):
        load(
            "users",
            generate(),
            key="id",
            write_key="k",
            api_url=UNREACHABLE,
            max_retries=0,
            batch_size_rows=10,
        )
