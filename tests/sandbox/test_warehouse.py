"""What the sandbox's warehouse makes of objects: names, types, merges and losses."""

from __future__ import annotations

import doctest
import json
import string
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import TYPE_CHECKING, Any

import duckdb
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from target_segment_objects.sandbox import WarehouseError, names
from target_segment_objects.sandbox.loading import STAGED_OBJECTS
from target_segment_objects.sandbox.names import snake_case
from target_segment_objects.sandbox.objects import Object, parse
from target_segment_objects.sandbox.warehouse import Loss, SessionRow, Warehouse

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping


@pytest.fixture
def warehouse(tmp_path: Path) -> Iterator[Warehouse]:
    """Open a new warehouse."""
    with Warehouse.open(tmp_path / "w.duckdb") as opened:
        yield opened


def one(properties: str, object_id: str = "1", collection: str = "users") -> Object:
    """Make an object of properties written as JSON."""
    said = json.dumps({"id": object_id, "collection": collection})
    return parse(f'{said[:-1]},"properties":{properties}}}'.encode())


def session(sync_id: str = "s") -> SessionRow:
    """Make a session's row, of which only the name matters here."""
    now = datetime.now(timezone.utc).replace(tzinfo=None)
    return SessionRow(sync_id, "loaded", ("users",), 1, 1, 1, 1, now, now, "")


def load(warehouse: Warehouse, *objects: Object) -> None:
    """Load objects as one session."""
    warehouse.load(session(f"s{len(warehouse.sessions())}"), objects)


# Names


def test_snake_case_doctests() -> None:
    """Every example in the docstring is as it says."""
    found = doctest.testmod(names)
    assert found.attempted >= 10
    assert not found.failed


@pytest.mark.parametrize(
    ("name", "column"),
    [
        ("sampleText", "sample_text"),
        ("CStringRef", "cstring_ref"),
        ("FOO:BAR$BAZ", "foo_bar_baz"),
        ("THE5r", "the5r"),
        ("edf_6N", "edf_6n"),
        ("Enabled 2FA", "enabled_2fa"),
        ("___$$Base64Encode", "base64_encode"),
        ("lk0B@bFmjrLQ_Z6YL", "lk0_b_b_fmjr_lq_z6yl"),
        ("", ""),
        ("_", ""),
        ("a", "a"),
        ("A1b2C3", "a1b2_c3"),
        ("1a", "1a"),
        ("already_snake_case", "already_snake_case"),
        ("__a__b__", "a_b"),
        ("naïve", "na_ve"),
        ("ÜBER", "ber"),
        ("\u212a", ""),
        ("a\0b\n", "a_b"),
    ],
)
def test_snake_case(name: str, column: str) -> None:
    """Words are capitals and digits, then small letters and digits; all else separates."""
    assert snake_case(name) == column


@given(st.text(alphabet=string.ascii_letters + string.digits + "_ -é"))
def test_snake_case_is_stable(name: str) -> None:
    """A converted name is converted to itself: lowercase words, one underscore between two."""
    column = snake_case(name)
    assert snake_case(column) == column
    assert not set(column) - set(string.ascii_lowercase + string.digits + "_")
    assert column == column.strip("_")
    assert "__" not in column


# A column's type, and what fits it: first value, later value, type, stored, kind of loss

LONG = "x" * 513
TYPED = [
    ("10", "11", "BIGINT", 11, None),
    ("10", "-9223372036854775808", "BIGINT", -(2**63), None),
    ("10", "9223372036854775807", "BIGINT", 2**63 - 1, None),
    ("10", "9223372036854775808", "BIGINT", None, "range"),
    ("10", "1" + "0" * 5000, "BIGINT", None, "range"),
    ("10", "10.0", "BIGINT", 10, None),
    ("10", "1e3", "BIGINT", 1000, None),
    ("10", "10.5", "BIGINT", 10, "fraction"),
    ("10", "-10.5", "BIGINT", -10, "fraction"),
    ("10", "1e-400", "BIGINT", 0, "fraction"),
    ("10", "1e-99999999999999999999", "BIGINT", 0, "fraction"),
    ("10", "9007199254740993.0", "BIGINT", 9007199254740993, None),
    ("10", "9.3e18", "BIGINT", None, "range"),
    ("10", "9223372036854775808.0", "BIGINT", None, "range"),
    ("10", "1e999999999", "BIGINT", None, "range"),
    ("10", '"11"', "BIGINT", None, "type"),
    ("10", "true", "BIGINT", None, "type"),
    ("10.0", "11", "DOUBLE", 11.0, None),
    ("10.0", "11.5", "DOUBLE", 11.5, None),
    ("1e0", "0.1", "DOUBLE", 0.1, None),
    ("1E0", "0.30000000000000004", "DOUBLE", 0.1 + 0.2, None),
    ("1.5", "0.123456789012345678", "DOUBLE", 0.12345678901234568, "precision"),
    ("1.5", "9007199254740993", "DOUBLE", 9007199254740992.0, None),
    ("1.5", "90071992547409931", "DOUBLE", 90071992547409936.0, "precision"),
    ("1.5", "1e-400", "DOUBLE", 0.0, "precision"),
    ("1.5", "1e400", "DOUBLE", None, "range"),
    ("1.5", '"1.5"', "DOUBLE", None, "type"),
    ("1.5", "false", "DOUBLE", None, "type"),
    ("true", "false", "BOOLEAN", False, None),
    ("true", "1", "BOOLEAN", None, "type"),
    ("true", '"true"', "BOOLEAN", None, "type"),
    ('"a"', '"b"', "VARCHAR", "b", None),
    ('""', '"2024-01-31"', "VARCHAR", "2024-01-31", None),
    ('"a"', '"\\u0000\\n😀\\u00e9"', "VARCHAR", "\0\n😀é", None),
    ('"a"', "1.50", "VARCHAR", "1.50", None),
    ('"a"', "1e3", "VARCHAR", "1e3", None),
    ('"a"', "-0", "VARCHAR", "-0", None),
    ('"a"', "true", "VARCHAR", "true", None),
    ('"a"', "false", "VARCHAR", "false", None),
    ('"a"', f'"{"é" * 512}"', "VARCHAR", "é" * 512, None),
    ('"a"', f'"{LONG}"', "VARCHAR", "x" * 512, "cut"),
    ('"a"', "1" * 513, "VARCHAR", "1" * 512, "cut"),
    ('"2024-01-31"', '"a"', "TIMESTAMP", None, "type"),
    ('"2024-01-31"', "1706659200", "TIMESTAMP", None, "type"),
    ('"2024-01-31"', '"2024-02-30"', "TIMESTAMP", None, "type"),
]


@pytest.mark.parametrize(("first", "later", "kind", "stored", "loss"), TYPED)
def test_first_value_gives_the_type(
    warehouse: Warehouse, first: str, later: str, kind: str, stored: object, loss: str | None
) -> None:
    """A later value is stored as far as it fits; what it loses is counted."""
    load(warehouse, one(f'{{"v":{first}}}', "1"))
    load(warehouse, one(f'{{"v":{later}}}', "2"))
    assert warehouse.columns("users") == {"id": "VARCHAR", "v": kind}
    value = warehouse.rows("users")[1]["v"]
    assert (value, type(value)) == (stored, type(stored))
    expected = [] if loss is None else [Loss("users", "v", loss, 1, "2")]
    assert warehouse.losses() == expected


@pytest.mark.parametrize(
    ("text", "stored"),
    [
        ("2024-01-31", "2024-01-31T00:00:00"),
        ("2024-01-31T10:20", "2024-01-31T10:20:00"),
        ("2024-01-31T10:20:30", "2024-01-31T10:20:30"),
        ("2024-01-31 10:20:30", "2024-01-31T10:20:30"),
        ("2024-01-31T10:20:30Z", "2024-01-31T10:20:30"),
        ("2024-01-31t10:20:30z", "2024-01-31T10:20:30"),
        ("2024-01-31T10:20:30.5Z", "2024-01-31T10:20:30.500000"),
        ("2024-01-31T10:20:30,123456Z", "2024-01-31T10:20:30.123456"),
        ("2024-01-31T10:20:30.123456000Z", "2024-01-31T10:20:30.123456"),
        ("2024-01-31T10:20:30+02:00", "2024-01-31T08:20:30"),
        ("2024-01-31T10:20:30-0530", "2024-01-31T15:50:30"),
        ("2024-01-31T23:20:30-01", "2024-02-01T00:20:30"),
        ("0001-01-01", "0001-01-01T00:00:00"),
        ("9999-12-31T23:59:59.999999Z", "9999-12-31T23:59:59.999999"),
    ],
)
def test_timestamps(warehouse: Warehouse, text: str, stored: str) -> None:
    """ISO 8601 makes a timestamp in UTC; without an offset it is read as UTC."""
    load(warehouse, one(json.dumps({"at": text})))
    assert warehouse.columns("users")["at"] == "TIMESTAMP"
    assert warehouse.rows("users")[0]["at"].isoformat() == stored
    assert warehouse.losses() == []


def test_timestamp_beyond_microseconds(warehouse: Warehouse) -> None:
    """Digits past the microsecond are dropped, and reported."""
    load(warehouse, one('{"at":"2024-01-31T10:20:30.123456789Z"}'))
    assert warehouse.rows("users")[0]["at"].isoformat() == "2024-01-31T10:20:30.123456"
    assert warehouse.losses() == [Loss("users", "at", "precision", 1, "1")]


@pytest.mark.parametrize(
    "text",
    [
        "",
        "2024",
        "2024-01",
        "20240131",
        "2024-1-31",
        "2024-02-30",
        "2024-13-01",
        "0000-01-01",
        "2024-01-31T",
        "2024-01-31T24:00:00",
        "2024-01-31T10:60",
        "2024-01-31T10:20:60",
        "2024-01-31T10:20:30+24:00",
        "2024-01-31T10:20:30+02:60",
        "0001-01-01T00:00:00+01:00",
        "9999-12-31T23:59:59-01:00",
        "2024-01-31T10:20:30 UTC",
        " 2024-01-31",
        "2024-01-31\n",
        "٢٠٢٤-01-31",
    ],
)
def test_what_is_no_timestamp(warehouse: Warehouse, text: str) -> None:
    """A string that is no ISO 8601 date makes a column of strings, and is kept as it is."""
    load(warehouse, one(json.dumps({"at": text})))
    assert warehouse.columns("users")["at"] == "VARCHAR"
    assert warehouse.rows("users") == [{"id": "1", "at": text}]


def test_first_value_that_is_too_large(warehouse: Warehouse) -> None:
    """The first value gives the type also where it does not fit itself."""
    load(warehouse, one(f'{{"i":9223372036854775808,"f":1e999,"s":"{LONG}"}}'))
    assert warehouse.columns("users") == {
        "id": "VARCHAR",
        "i": "BIGINT",
        "f": "DOUBLE",
        "s": "VARCHAR",
    }
    assert warehouse.rows("users") == [{"id": "1", "i": None, "f": None, "s": "x" * 512}]
    assert [(loss.column, loss.kind) for loss in warehouse.losses()] == [
        ("f", "range"),
        ("i", "range"),
        ("s", "cut"),
    ]


# Merging


def test_merge(warehouse: Warehouse) -> None:
    """What is not sent keeps its old value, a null clears; the same in one session and in two."""
    objects = [
        one('{"a":1,"b":2,"c":3}'),
        one('{"a":10}'),
        one('{"b":null}'),
        one('{"d":true}', "2"),
        one('{"a":null,"d":null}', "2"),
        one('{"d":false}', "2"),
    ]
    expected = [
        {"id": "1", "a": 10, "b": None, "c": 3, "d": None},
        {"id": "2", "a": None, "b": None, "c": None, "d": False},
    ]
    load(warehouse, *objects)
    assert warehouse.rows("users") == expected
    for single in objects:
        load(warehouse, single)
    assert warehouse.rows("users") == expected
    assert warehouse.count("users") == 2


def test_null_makes_no_column(warehouse: Warehouse) -> None:
    """A column is created at the first value that is not null."""
    load(warehouse, one('{"a":null}'), one('{"a":null}', "2"))
    assert warehouse.columns("users") == {"id": "VARCHAR"}
    assert warehouse.rows("users") == [{"id": "1"}, {"id": "2"}]
    load(warehouse, one('{"a":1.5}', "3"))
    assert warehouse.columns("users") == {"id": "VARCHAR", "a": "DOUBLE"}


def test_names_that_fold_to_one_column(warehouse: Warehouse) -> None:
    """Two objects may name a column differently."""
    load(warehouse, one('{"firstName":"Ada"}'), one('{"first_name":"Bob"}'))
    assert warehouse.rows("users") == [{"id": "1", "first_name": "Bob"}]


def test_the_id_is_the_objects(warehouse: Warehouse) -> None:
    """A property that would be the column `id` is not stored: a loss, unless it says the same."""
    load(
        warehouse,
        one('{"id":"1"}', "1"),
        one('{"ID":2}', "2"),
        one('{"_id":null}', "3"),
        one('{"Id":true}', "true"),
    )
    assert warehouse.losses() == []
    assert [row["id"] for row in warehouse.rows("users")] == ["1", "2", "3", "true"]
    load(warehouse, one('{"id":1.0}', "1"), one('{"id":"other","a":1}', "2"))
    assert warehouse.losses() == [Loss("users", "id", "shadowed", 2, "1")]
    assert warehouse.columns("users") == {"id": "VARCHAR", "a": "BIGINT"}


def test_collections_are_apart(warehouse: Warehouse) -> None:
    """The same id, and a column of another type, may be in another collection."""
    load(
        warehouse,
        one('{"a":1}', collection="select"),
        one('{"a":"x"}', collection="duckdb_tables"),
        one('{"a":true,"order":1,"from":2}', collection="orders"),
    )
    assert warehouse.collections() == ["duckdb_tables", "orders", "select"]
    assert warehouse.rows("select") == [{"id": "1", "a": 1}]
    assert warehouse.rows("duckdb_tables") == [{"id": "1", "a": "x"}]
    assert warehouse.rows("orders") == [{"id": "1", "a": True, "order": 1, "from": 2}]
    with pytest.raises(WarehouseError, match="no collection other"):
        warehouse.rows("other")


def test_losses_are_counted(warehouse: Warehouse) -> None:
    """A loss is counted for each value, over sessions, with the first object as its example."""
    load(warehouse, one('{"a":1}'), one('{"a":1.5}', "2"), one('{"a":2.5}', "3"))
    load(warehouse, one('{"a":3.5}', "4"), one('{"a":"x"}', "5"))
    assert warehouse.losses() == [
        Loss("users", "a", "fraction", 3, "2"),
        Loss("users", "a", "type", 1, "5"),
    ]


def test_a_session_is_loaded_whole_or_not(warehouse: Warehouse) -> None:
    """When the objects break off, nothing of them is there: no row, no column, no loss."""
    load(warehouse, one('{"a":1}'))

    def breaking() -> Iterator[Object]:
        for number in range(STAGED_OBJECTS + 1):
            yield one('{"a":2.5,"b":1}', str(number))
        message = "broken off"
        raise ValueError(message)

    with pytest.raises(ValueError, match="broken off"):
        warehouse.load(session("broken"), breaking())
    assert warehouse.columns("users") == {"id": "VARCHAR", "a": "BIGINT"}
    assert warehouse.rows("users") == [{"id": "1", "a": 1}]
    assert warehouse.losses() == []
    assert [row.sync_id for row in warehouse.sessions()] == ["s0"]


def test_many_objects(warehouse: Warehouse) -> None:
    """Objects that are written at several times are merged like those written at once."""
    total = 2 * STAGED_OBJECTS + 1
    load(warehouse, *(one(f'{{"a":{n}}}', str(n % (total - 5))) for n in range(total)))
    load(warehouse, *(one(f'{{"b{n % 3}":{n}}}', str(n)) for n in range(10)))
    rows = {row["id"]: row for row in warehouse.rows("users")}
    assert len(rows) == total - 5
    assert rows["4"] == {"id": "4", "a": total - 1, "b0": None, "b1": 4, "b2": None}
    assert rows["5"] == {"id": "5", "a": 5, "b0": None, "b1": None, "b2": 5}
    assert len(warehouse.rows("users", limit=3)) == 3


VALUES: Mapping[str, st.SearchStrategy[Any]] = {
    "text": st.text(st.characters(exclude_categories=["Cs"]), max_size=20).map("t".__add__),
    "whole": st.integers(-(2**63), 2**63 - 1),
    "real": st.floats(allow_nan=False, allow_infinity=False),
    "flag": st.booleans(),
    "at": st.datetimes(
        datetime.fromisoformat("0002-01-01"),
        datetime.fromisoformat("9998-01-01"),
        timezones=st.integers(-1439, 1439).map(lambda m: timezone(timedelta(minutes=m))),
    ),
}
OBJECTS = st.tuples(
    st.sampled_from(["1", "2", "3", "é\0"]),
    st.fixed_dictionaries({}, optional={k: st.none() | v for k, v in VALUES.items()}).filter(bool),
)


def sent(value: datetime) -> str:
    """Give a time as it is sent."""
    return value.isoformat()


def stored(value: object) -> object:
    """Give a value as the warehouse holds it: times in UTC without saying so."""
    if isinstance(value, datetime):
        return value.astimezone(timezone.utc).replace(tzinfo=None)
    return value


@settings(max_examples=60, deadline=None)
@given(runs=st.lists(st.lists(OBJECTS, max_size=6), max_size=4))
def test_the_warehouse_is_a_dict(runs: list[list[tuple[str, dict[str, Any]]]]) -> None:
    """Whatever is sent, in whatever pieces, a row is the last of each property."""
    model: dict[str, dict[str, object]] = {}
    with Warehouse.open(Path(":memory:")) as warehouse:
        for run in runs:
            load(warehouse, *(one(json.dumps(p, default=sent), object_id) for object_id, p in run))
            for object_id, properties in run:
                model.setdefault(object_id, {}).update(properties)
        found = {} if not model else {row.pop("id"): row for row in warehouse.rows("users")}
        assert warehouse.losses() == []
    assert found.keys() == model.keys()
    for object_id, row in found.items():
        kept = {k: v for k, v in row.items() if v is not None}
        assert kept == {k: stored(v) for k, v in model[object_id].items() if v is not None}


# Files


def test_a_warehouse_stays(tmp_path: Path) -> None:
    """What was loaded is there when the file is opened again, to read it or to load more."""
    path = tmp_path / "w.duckdb"
    with Warehouse.open(path) as opened:
        load(opened, one('{"a":1}'))
    with Warehouse.open(path) as opened:
        load(opened, one('{"a":2.5,"b":1}'))
    with Warehouse.open(path, read_only=True) as opened:
        assert opened.rows("users") == [{"id": "1", "a": 2, "b": 1}]
        assert opened.losses() == [Loss("users", "a", "fraction", 1, "1")]
        with pytest.raises(duckdb.Error):
            load(opened, one('{"a":1}', "2"))


@pytest.mark.parametrize("read_only", [True, False])
def test_what_is_no_warehouse(tmp_path: Path, *, read_only: bool) -> None:
    """A file that is something else is refused in one line, and left as it is."""
    (text := tmp_path / "text").write_text("hello" * 1000)
    with duckdb.connect(str(other := tmp_path / "other.duckdb")) as connection:
        connection.execute("CREATE TABLE mine (a INTEGER)")
    for path, why in ((text, "not a DuckDB file"), (other, "not a sandbox's warehouse")):
        before = path.read_bytes()
        with pytest.raises(WarehouseError, match=why) as caught:
            Warehouse.open(path, read_only=read_only)
        assert "\n" not in str(caught.value)
        assert path.read_bytes() == before


def test_where_no_warehouse_can_be(tmp_path: Path) -> None:
    """A missing file cannot be read, and none can be made in a missing folder."""
    with pytest.raises(WarehouseError, match="no warehouse"):
        Warehouse.open(tmp_path / "missing.duckdb", read_only=True)
    with pytest.raises(WarehouseError, match="Cannot open the warehouse"):
        Warehouse.open(tmp_path / "missing" / "w.duckdb")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("name", ["sandbox", "main", "temp", "system", "users"])
def test_a_warehouse_may_have_any_name(tmp_path: Path, name: str) -> None:
    """DuckDB calls a file's catalog after it: no name may get in the way of the tables."""
    path = tmp_path / f"{name}.duckdb"
    for _ in range(2):
        with Warehouse.open(path) as warehouse:
            assert warehouse.sessions() == []
            assert warehouse.losses() == []
