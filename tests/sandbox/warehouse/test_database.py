"""The sandbox's warehouse: column names, types, merges, losses and files."""

from __future__ import annotations

import json
import subprocess
import sys
from datetime import datetime, timedelta, timezone
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

import duckdb
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from target_segment_objects.sandbox import WarehouseError
from target_segment_objects.sandbox.errors import RejectedRequestError
from target_segment_objects.sandbox.objects import MAX_PROPERTIES, Object, parse_object
from target_segment_objects.sandbox.session_record import LOADED, SessionRecord
from target_segment_objects.sandbox.warehouse.column_types import ColumnType
from target_segment_objects.sandbox.warehouse.database import Warehouse
from target_segment_objects.sandbox.warehouse.losses import Loss
from target_segment_objects.sandbox.warehouse.session_columns import ColumnCollector, Columns
from target_segment_objects.sandbox.warehouse.table_loader import MAX_STAGED_OBJECTS

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping


@pytest.fixture
def warehouse(tmp_path: Path) -> Iterator[Warehouse]:
    """Open a new warehouse."""
    with Warehouse.open(tmp_path / "w.duckdb") as opened:
        yield opened


def make_object(properties: str, object_id: str = "1", collection: str = "users") -> Object:
    """Return an object with properties given as JSON."""
    start = json.dumps({"id": object_id, "collection": collection})
    return parse_object(f'{start[:-1]},"properties":{properties}}}'.encode())


def make_record(sync_id: str = "s") -> SessionRecord:
    """Return the record of a session. Only its id matters here."""
    now = datetime.now(timezone.utc)
    return SessionRecord(sync_id=sync_id, outcome=LOADED, started=now, ended=now)


def collect_columns(objects: Iterable[Object]) -> Columns:
    """Return the columns that objects create in an empty warehouse."""
    collector = ColumnCollector()
    for item in objects:
        collector.add_object(item)
    return collector.columns


def load_objects(warehouse: Warehouse, *objects: Object) -> None:
    """Load objects as one session."""
    row = make_record(f"s{len(warehouse.sessions())}")
    warehouse.load_session(row, objects, collect_columns(objects))


# Column types: first value, later value, column type, stored value, kind of loss

LONG = "x" * 513
CONVERSIONS = [
    pytest.param("10", "11", "BIGINT", 11, None, id="integer"),
    pytest.param("10", "-9223372036854775808", "BIGINT", -(2**63), None, id="smallest integer"),
    pytest.param("10", "9223372036854775807", "BIGINT", 2**63 - 1, None, id="largest integer"),
    pytest.param(
        "10", "9223372036854775808", "BIGINT", None, "range", id="integer beyond the range"
    ),
    pytest.param("10", "1" + "0" * 5000, "BIGINT", None, "range", id="huge integer"),
    pytest.param("10", "10.0", "BIGINT", 10, None, id="integer from a whole float"),
    pytest.param("10", "1e3", "BIGINT", 1000, None, id="integer from an exponent"),
    pytest.param("10", "10.5", "BIGINT", 10, "fraction", id="integer from a fraction"),
    pytest.param("10", "-10.5", "BIGINT", -10, "fraction", id="integer from a negative fraction"),
    pytest.param("10", "1e-400", "BIGINT", 0, "fraction", id="integer from a tiny float"),
    pytest.param(
        "10",
        "1e-99999999999999999999",
        "BIGINT",
        0,
        "fraction",
        id="integer from a float below any decimal",
    ),
    pytest.param(
        "10", "9007199254740993.0", "BIGINT", 9007199254740993, None, id="integer from a long float"
    ),
    pytest.param(
        "10", "9.3e18", "BIGINT", None, "range", id="integer from a float beyond the range"
    ),
    pytest.param(
        "10",
        "9223372036854775808.0",
        "BIGINT",
        None,
        "range",
        id="integer from a float just beyond the range",
    ),
    pytest.param("10", "1e999999999", "BIGINT", None, "range", id="integer from a huge float"),
    pytest.param("10", '"11"', "BIGINT", None, "type", id="integer from a string"),
    pytest.param("10", "true", "BIGINT", None, "type", id="integer from a boolean"),
    pytest.param("10.0", "11", "DOUBLE", 11.0, None, id="float from an integer"),
    pytest.param("10.0", "11.5", "DOUBLE", 11.5, None, id="float"),
    pytest.param("1e0", "0.1", "DOUBLE", 0.1, None, id="float from a fraction"),
    pytest.param(
        "1E0", "0.30000000000000004", "DOUBLE", 0.1 + 0.2, None, id="float with all its digits"
    ),
    pytest.param(
        "1.5",
        "0.123456789012345678",
        "DOUBLE",
        0.12345678901234568,
        "precision",
        id="float with too many digits",
    ),
    pytest.param(
        "1.5",
        "9007199254740993",
        "DOUBLE",
        9007199254740992.0,
        "precision",
        id="float from an odd integer beyond 2**53",
    ),
    pytest.param(
        "1.5",
        "90071992547409931",
        "DOUBLE",
        90071992547409936.0,
        "precision",
        id="float from a long integer",
    ),
    pytest.param(
        "1.5",
        "9007199254740992",
        "DOUBLE",
        9007199254740992.0,
        None,
        id="float from an even integer beyond 2**53",
    ),
    pytest.param(
        "1.5", "9223372036854775808.0", "DOUBLE", 2.0**63, None, id="float equal to a long number"
    ),
    pytest.param("1.5", "1e-400", "DOUBLE", 0.0, "precision", id="float from a tiny number"),
    pytest.param("1.5", "1e400", "DOUBLE", None, "range", id="float from a huge number"),
    pytest.param("1.5", '"1.5"', "DOUBLE", None, "type", id="float from a string"),
    pytest.param("1.5", "false", "DOUBLE", None, "type", id="float from a boolean"),
    pytest.param("true", "false", "BOOLEAN", False, None, id="boolean"),
    pytest.param("true", "1", "BOOLEAN", None, "type", id="boolean from an integer"),
    pytest.param("true", '"true"', "BOOLEAN", None, "type", id="boolean from a string"),
    pytest.param('"a"', '"b"', "VARCHAR", "b", None, id="string"),
    pytest.param('""', '"2024-01-31"', "VARCHAR", "2024-01-31", None, id="string like a date"),
    pytest.param(
        '"a"', '"\\t\\n😀\\u00e9"', "VARCHAR", "\t\n😀é", None, id="string with any character"
    ),
    pytest.param('"a"', '"\\u0000a\\u0000b"', "VARCHAR", "ab", "nul", id="string with NUL"),
    pytest.param('"a"', f'"\\u0000{LONG}"', "VARCHAR", "x" * 512, "cut", id="long string with NUL"),
    pytest.param('"a"', "1.50", "VARCHAR", "1.50", None, id="string from a float"),
    pytest.param('"a"', "1e3", "VARCHAR", "1e3", None, id="string from an exponent"),
    pytest.param('"a"', "-0", "VARCHAR", "0", None, id="string from a negative zero"),
    pytest.param('"a"', "true", "VARCHAR", "true", None, id="string from true"),
    pytest.param('"a"', "false", "VARCHAR", "false", None, id="string from false"),
    pytest.param('"a"', f'"{LONG[:512]}"', "VARCHAR", "x" * 512, None, id="string at the limit"),
    pytest.param('"a"', f'"{"é" * 256}"', "VARCHAR", "é" * 256, None, id="bytes at the limit"),
    pytest.param('"a"', f'"{"é" * 257}"', "VARCHAR", "é" * 257, "bytes", id="bytes past the limit"),
    pytest.param('"a"', f'"{"é" * 512}"', "VARCHAR", "é" * 512, "bytes", id="characters at it"),
    pytest.param('"a"', f'"{"é" * 513}"', "VARCHAR", "é" * 512, "cut", id="both past their limits"),
    pytest.param('"a"', f'"{LONG}"', "VARCHAR", "x" * 512, "cut", id="string beyond the limit"),
    pytest.param('"a"', "1" * 513, "VARCHAR", "1" * 512, "cut", id="string from a long integer"),
    pytest.param('"2024-01-31"', '"a"', "TIMESTAMP", None, "type", id="timestamp from a string"),
    pytest.param(
        '"2024-01-31"', "1706659200", "TIMESTAMP", None, "type", id="timestamp from an integer"
    ),
    pytest.param(
        '"2024-01-31"',
        '"2024-02-30"',
        "TIMESTAMP",
        None,
        "type",
        id="timestamp from an impossible date",
    ),
]


@pytest.mark.parametrize(("first", "later", "column_type", "stored", "loss"), CONVERSIONS)
def test_first_value_determines_the_type(
    warehouse: Warehouse, first: str, later: str, column_type: str, stored: object, loss: str | None
) -> None:
    """The first value determines the type; a later one is converted, and its loss counted."""
    load_objects(warehouse, make_object(f'{{"v":{first}}}', "1"))
    load_objects(warehouse, make_object(f'{{"v":{later}}}', "2"))
    assert warehouse.columns("users") == {"id": "VARCHAR", "v": column_type}
    value = warehouse.rows("users")[1]["v"]
    assert (value, type(value)) == (stored, type(stored))
    expected = [] if loss is None else [Loss("users", "v", loss, 1, "2")]
    assert warehouse.losses() == expected


@pytest.mark.parametrize(
    ("text", "stored"),
    [
        pytest.param("2024-01-31", "2024-01-31T00:00:00", id="date"),
        pytest.param("2024-01-31T10:20", "2024-01-31T10:20:00", id="minutes"),
        pytest.param("2024-01-31T10:20:30", "2024-01-31T10:20:30", id="seconds"),
        pytest.param("2024-01-31 10:20:30", "2024-01-31T10:20:30", id="space separator"),
        pytest.param("2024-01-31T10:20:30Z", "2024-01-31T10:20:30", id="Z"),
        pytest.param("2024-01-31T1020", "2024-01-31T10:20:00", id="time without colons"),
        pytest.param("2024-01-31T102030.5+0200", "2024-01-31T08:20:30.500000", id="no colon"),
        pytest.param("2024-01-31T10:20:30.5Z", "2024-01-31T10:20:30.500000", id="fraction"),
        pytest.param("2024-01-31T10:20:30,123456Z", "2024-01-31T10:20:30.123456", id="comma"),
        pytest.param(
            "2024-01-31T10:20:30.123456000Z", "2024-01-31T10:20:30.123456", id="trailing zeros"
        ),
        pytest.param("2024-01-31T10:20:30+02:00", "2024-01-31T08:20:30", id="offset with colon"),
        pytest.param("2024-01-31T10:20:30-0530", "2024-01-31T15:50:30", id="offset without colon"),
        pytest.param("2024-01-31T23:20:30-01", "2024-02-01T00:20:30", id="offset of hours"),
        pytest.param("0001-01-01", "0001-01-01T00:00:00", id="first day"),
        pytest.param(
            "9999-12-31T23:59:59.999999Z", "9999-12-31T23:59:59.999999", id="last microsecond"
        ),
    ],
)
def test_iso_string_is_a_timestamp(warehouse: Warehouse, text: str, stored: str) -> None:
    """An ISO 8601 string is a timestamp in UTC; without an offset it is read as UTC."""
    load_objects(warehouse, make_object(json.dumps({"at": text})))
    assert warehouse.columns("users")["at"] == "TIMESTAMP"
    assert warehouse.rows("users")[0]["at"].isoformat() == stored
    assert warehouse.losses() == []


def test_digits_beyond_microseconds_are_a_loss(warehouse: Warehouse) -> None:
    """Digits beyond microseconds are dropped and reported."""
    load_objects(warehouse, make_object('{"at":"2024-01-31T10:20:30.123456789Z"}'))
    assert warehouse.rows("users")[0]["at"].isoformat() == "2024-01-31T10:20:30.123456"
    assert warehouse.losses() == [Loss("users", "at", "precision", 1, "1")]


@pytest.mark.parametrize(
    "text",
    [
        pytest.param("", id="empty"),
        pytest.param("2024", id="year"),
        pytest.param("2024-01", id="month"),
        pytest.param("20240131", id="basic format"),
        pytest.param("2024-1-31", id="one digit"),
        pytest.param("2024-02-30", id="impossible day"),
        pytest.param("2024-13-01", id="impossible month"),
        pytest.param("0000-01-01", id="year 0"),
        pytest.param("2024-01-31T", id="no time"),
        pytest.param("2024-01-31T24:00:00", id="hour 24"),
        pytest.param("2024-01-31T10:60", id="minute 60"),
        pytest.param("2024-01-31T10:20:60", id="second 60"),
        pytest.param("2024-01-31T10:20:30+24:00", id="offset hour 24"),
        pytest.param("2024-01-31T10:20:30+02:60", id="offset minute 60"),
        pytest.param("0001-01-01T00:00:00+01:00", id="before year 1"),
        pytest.param("9999-12-31T23:59:59-01:00", id="after year 9999"),
        pytest.param("2024-01-31T10:20:30 UTC", id="time zone name"),
        pytest.param("2024-01-31t10:20:30", id="lowercase t"),
        pytest.param("2024-01-31T10:20:30z", id="lowercase z"),
        pytest.param("2024-01-31 10:20:30 +02:00", id="space before the offset"),
        pytest.param(" 2024-01-31", id="leading space"),
        pytest.param("2024-01-31\n", id="trailing newline"),
        pytest.param("٢٠٢٤-01-31", id="other digits"),
    ],
)
def test_other_string_is_not_a_timestamp(warehouse: Warehouse, text: str) -> None:
    """Any other string creates a string column and is stored unchanged."""
    load_objects(warehouse, make_object(json.dumps({"at": text})))
    assert warehouse.columns("users")["at"] == "VARCHAR"
    assert warehouse.rows("users") == [{"id": "1", "at": text}]


def test_first_value_out_of_range(warehouse: Warehouse) -> None:
    """The first value determines the type even if it does not fit itself."""
    load_objects(warehouse, make_object(f'{{"i":9223372036854775808,"f":1e999,"s":"{LONG}"}}'))
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


def test_properties_are_merged(warehouse: Warehouse) -> None:
    """A property that is not sent keeps its value, a null clears it; in one session or several."""
    objects = [
        make_object('{"a":1,"b":2,"c":3}'),
        make_object('{"a":10}'),
        make_object('{"b":null}'),
        make_object('{"d":true}', "2"),
        make_object('{"a":null,"d":null}', "2"),
        make_object('{"d":false}', "2"),
    ]
    expected = [
        {"id": "1", "a": 10, "b": None, "c": 3, "d": None},
        {"id": "2", "a": None, "b": None, "c": None, "d": False},
    ]
    load_objects(warehouse, *objects)
    assert warehouse.rows("users") == expected
    for single in objects:
        load_objects(warehouse, single)
    assert warehouse.rows("users") == expected
    assert warehouse.count("users") == 2


def test_null_creates_no_column(warehouse: Warehouse) -> None:
    """A column is created by the first value that is not null."""
    load_objects(warehouse, make_object('{"a":null}'), make_object('{"a":null}', "2"))
    assert warehouse.columns("users") == {"id": "VARCHAR"}
    assert warehouse.rows("users") == [{"id": "1"}, {"id": "2"}]
    load_objects(warehouse, make_object('{"a":1.5}', "3"))
    assert warehouse.columns("users") == {"id": "VARCHAR", "a": "DOUBLE"}


def test_different_names_of_one_column(warehouse: Warehouse) -> None:
    """Two objects may use different names for one column."""
    load_objects(warehouse, make_object('{"firstName":"Ada"}'), make_object('{"first_name":"Bob"}'))
    assert warehouse.rows("users") == [{"id": "1", "first_name": "Bob"}]


def test_property_named_id(warehouse: Warehouse) -> None:
    """A property that would be the column `id` is a loss, unless it equals the object's id."""
    load_objects(
        warehouse,
        make_object('{"id":"1"}', "1"),
        make_object('{"ID":2}', "2"),
        make_object('{"_id":null}', "3"),
        make_object('{"Id":true}', "true"),
    )
    assert warehouse.losses() == []
    assert [row["id"] for row in warehouse.rows("users")] == ["1", "2", "3", "true"]
    load_objects(
        warehouse, make_object('{"id":1.0}', "1"), make_object('{"id":"other","a":1}', "2")
    )
    assert warehouse.losses() == [Loss("users", "id", "shadowed", 2, "1")]
    assert warehouse.columns("users") == {"id": "VARCHAR", "a": "BIGINT"}


def test_collections_are_independent(warehouse: Warehouse) -> None:
    """Collections have their own ids and column types."""
    load_objects(
        warehouse,
        make_object('{"a":1}', collection="select"),
        make_object('{"a":"x"}', collection="duckdb_tables"),
        make_object('{"a":true,"order":1,"from":2}', collection="orders"),
    )
    assert warehouse.collections() == ["select", "duckdb_tables", "orders"]
    assert warehouse.rows("select") == [{"id": "1", "a": 1}]
    assert warehouse.rows("duckdb_tables") == [{"id": "1", "a": "x"}]
    assert warehouse.rows("orders") == [{"id": "1", "a": True, "_order": 1, "_from": 2}]
    with pytest.raises(WarehouseError, match="no collection other"):
        warehouse.rows("other")


def test_losses_are_counted(warehouse: Warehouse) -> None:
    """Losses are counted by value, across sessions, with the first object as the example."""
    load_objects(
        warehouse,
        make_object('{"a":1}'),
        make_object('{"a":1.5}', "2"),
        make_object('{"a":2.5}', "3"),
    )
    load_objects(warehouse, make_object('{"a":3.5}', "4"), make_object('{"a":"x"}', "5"))
    assert warehouse.losses() == [
        Loss("users", "a", "fraction", 3, "2"),
        Loss("users", "a", "type", 1, "5"),
    ]


def test_session_is_loaded_completely_or_not_at_all(warehouse: Warehouse) -> None:
    """If the objects cannot be read to the end, there is no row, no column and no loss."""
    load_objects(warehouse, make_object('{"a":1}'))

    def fail_after_many() -> Iterator[Object]:
        for number in range(MAX_STAGED_OBJECTS + 1):
            yield make_object('{"a":2.5,"b":1}', str(number))
        message = "read error"
        raise ValueError(message)

    with pytest.raises(ValueError, match="read error"):
        warehouse.load_session(
            make_record("failed"), fail_after_many(), {"users": {"b": ColumnType.INTEGER}}
        )
    assert warehouse.columns("users") == {"id": "VARCHAR", "a": "BIGINT"}
    assert warehouse.rows("users") == [{"id": "1", "a": 1}]
    assert warehouse.losses() == []
    assert [row.sync_id for row in warehouse.sessions()] == ["s0"]


def test_objects_are_written_in_chunks(warehouse: Warehouse) -> None:
    """Objects that are written in several chunks are merged like those written in one."""
    total = 2 * MAX_STAGED_OBJECTS + 1
    load_objects(
        warehouse, *(make_object(f'{{"a":{n}}}', str(n % (total - 5))) for n in range(total))
    )
    load_objects(warehouse, *(make_object(f'{{"b{n % 3}":{n}}}', str(n)) for n in range(10)))
    rows = {row["id"]: row for row in warehouse.rows("users")}
    assert len(rows) == total - 5
    assert rows["4"] == {"id": "4", "a": total - 1, "b0": None, "b1": 4, "b2": None}
    assert rows["5"] == {"id": "5", "a": 5, "b0": None, "b1": None, "b2": 5}
    assert len(warehouse.rows("users", limit=3)) == 3


@pytest.mark.slow
def test_columns_added_in_many_steps(warehouse: Warehouse) -> None:
    """Objects with ever other properties get the same table as if all columns were known first."""
    load_objects(warehouse, make_object('{"p1":0,"kept":true}', "first"))
    objects = [make_object(f'{{"p{n}":{n}}}', f"{n % 1000}") for n in range(MAX_PROPERTIES - 1)]
    load_objects(warehouse, *objects)
    assert len(warehouse.columns("users")) == 1 + MAX_PROPERTIES
    rows = {row.pop("id"): row for row in warehouse.rows("users")}
    kept = {name: {k: v for k, v in row.items() if v is not None} for name, row in rows.items()}
    assert kept["first"] == {"p1": 0, "kept": True}
    assert kept["7"] == {"p7": 7, "p1007": 1007}
    assert len(kept) == 1001
    assert warehouse.losses() == []
    assert len(warehouse.sessions()) == 2


def test_too_many_properties_of_a_collection_are_rejected(warehouse: Warehouse) -> None:
    """A collection has at most 1,600 properties, counted over all objects; nothing is loaded."""
    first = make_object(json.dumps({f"p{n}": n for n in range(MAX_PROPERTIES)}))
    load_objects(warehouse, first, make_object('{"p0":1,"more":null}', "2"))
    with pytest.raises(RejectedRequestError, match="users has more than 1600 properties"):
        load_objects(warehouse, first, make_object('{"more":1}'))
    assert warehouse.count("users") == 2
    assert len(warehouse.sessions()) == 1


def test_too_many_properties_of_a_session_are_rejected(warehouse: Warehouse) -> None:
    """The collections of a session together have a limit, too."""
    properties = json.dumps({f"p{n}": n for n in range(MAX_PROPERTIES)})
    objects = [make_object(properties, collection=name) for name in ("a", "b", "c", "d")]
    with pytest.raises(RejectedRequestError, match="more than 4800 properties in all"):
        load_objects(warehouse, *objects)
    assert warehouse.collections() == []


WIDE_OBJECTS = """
import datetime, json, sys
from pathlib import Path
from target_segment_objects.sandbox.objects import MAX_PROPERTIES, parse_object
from target_segment_objects.sandbox.session_record import SessionRecord
from target_segment_objects.sandbox.warehouse.database import Warehouse
from target_segment_objects.sandbox.warehouse.session_columns import ColumnCollector

def read_objects():
    if sys.argv[2] == "many":
        for number in range(40_000):
            item = {"id": str(number), "collection": "users",
                "properties": {f"p{n}": f"{number}" + 500 * "x" for n in range(10)}}
            yield parse_object(json.dumps(item).encode())
        return
    for number in range(MAX_PROPERTIES):
        names = [f"p{number}"] if sys.argv[2] == "sparse" else [
            f"p{n}" for n in range(MAX_PROPERTIES)]
        item = {"id": str(number % 300), "collection": "users",
            "properties": dict.fromkeys(names, "text")}
        yield parse_object(json.dumps(item).encode())
        if number == 200 and sys.argv[2] == "dense":
            return

now = datetime.datetime(2024, 1, 1, tzinfo=datetime.timezone.utc)
row = SessionRecord(sync_id="s", outcome="loaded", started=now, ended=now)
collector = ColumnCollector()
for item in read_objects():
    collector.add_object(item)
with Warehouse.open(Path(sys.argv[1])) as warehouse:
    warehouse.load_session(row, read_objects(), collector.columns)
# Not ru_maxrss, which includes the memory of the process that started this one.
(peak,) = [line for line in open("/proc/self/status") if line.startswith("VmHWM")]
print(int(peak.split()[1]) // 1024)
"""


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="needs /proc")
@pytest.mark.parametrize("kind", ["sparse", "dense", "many"])
def test_memory_is_bounded(tmp_path: Path, kind: str) -> None:
    """At most 500 MB, for objects with ever other properties, with all, and for 200 MB of them."""
    done = subprocess.run(
        [sys.executable, "-c", WIDE_OBJECTS, str(tmp_path / "w.duckdb"), kind],
        capture_output=True,
        check=True,
        text=True,
        timeout=120,
    )
    assert int(done.stdout) <= 500


VALUES: Mapping[str, st.SearchStrategy[Any]] = {
    "text": st.text(
        st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=20
    ).map("t".__add__),
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


def to_iso(value: datetime) -> str:
    """Return a time as it is sent."""
    return value.isoformat()


def to_stored(value: object) -> object:
    """Return a value as the warehouse stores it: times in UTC, without a time zone."""
    if isinstance(value, datetime):
        return value.astimezone(timezone.utc).replace(tzinfo=None)
    return value


@pytest.mark.slow
@settings(max_examples=60, deadline=None)
@given(runs=st.lists(st.lists(OBJECTS, max_size=6), max_size=4))
def test_warehouse_merges_like_a_dict(runs: list[list[tuple[str, dict[str, Any]]]]) -> None:
    """A row has the last value of each property, however the objects are split into sessions."""
    model: dict[str, dict[str, object]] = {}
    with TemporaryDirectory() as folder, Warehouse.open(Path(folder) / "w.duckdb") as warehouse:
        for run in runs:
            load_objects(
                warehouse,
                *(make_object(json.dumps(p, default=to_iso), object_id) for object_id, p in run),
            )
            for object_id, properties in run:
                model.setdefault(object_id, {}).update(properties)
        found = {} if not model else {row.pop("id"): row for row in warehouse.rows("users")}
        assert warehouse.losses() == []
    assert found.keys() == model.keys()
    for object_id, row in found.items():
        kept = {k: v for k, v in row.items() if v is not None}
        assert kept == {k: to_stored(v) for k, v in model[object_id].items() if v is not None}


# Files


def test_warehouse_can_be_reopened(tmp_path: Path) -> None:
    """A file can be opened again, for reading and for loading more."""
    path = tmp_path / "w.duckdb"
    with Warehouse.open(path) as opened:
        load_objects(opened, make_object('{"a":1}'))
    with Warehouse.open(path) as opened:
        load_objects(opened, make_object('{"a":2.5,"b":1}'))
    with Warehouse.open(path, read_only=True) as opened:
        assert opened.rows("users") == [{"id": "1", "a": 2, "b": 1}]
        assert opened.losses() == [Loss("users", "a", "fraction", 1, "1")]
        with pytest.raises(duckdb.Error):
            load_objects(opened, make_object('{"a":1}', "2"))


@pytest.mark.parametrize("read_only", [True, False])
def test_file_that_is_not_a_warehouse_is_rejected(tmp_path: Path, *, read_only: bool) -> None:
    """A file that is not a warehouse is rejected in one line and left unchanged."""
    (text := tmp_path / "text").write_text("hello" * 1000)
    with duckdb.connect(str(other := tmp_path / "other.duckdb")) as connection:
        connection.execute("CREATE TABLE mine (a INTEGER)")
    for path, why in ((text, "not a DuckDB file"), (other, "not a warehouse of a sandbox")):
        before = path.read_bytes()
        with pytest.raises(WarehouseError, match=why) as caught:
            Warehouse.open(path, read_only=read_only)
        assert "\n" not in str(caught.value)
        assert path.read_bytes() == before


@pytest.mark.parametrize("cut", [5_000, 100])
@pytest.mark.parametrize("read_only", [True, False])
def test_file_that_is_cut_off(tmp_path: Path, cut: int, *, read_only: bool) -> None:
    """A file without its end is damaged."""
    with Warehouse.open(path := tmp_path / "w.duckdb") as opened:
        load_objects(opened, make_object('{"a":1}'))
    path.write_bytes(path.read_bytes()[:cut])
    with pytest.raises(WarehouseError, match=r"w\.duckdb is damaged: "):
        Warehouse.open(path, read_only=read_only)


@pytest.mark.parametrize("position", [4_096, 8_192, 12_288])
def test_file_that_was_changed(tmp_path: Path, position: int) -> None:
    """A file with other bytes is damaged, and not "in use" because DuckDB names a block."""
    with Warehouse.open(path := tmp_path / "w.duckdb") as opened:
        load_objects(opened, make_object('{"a":1}'))
    content = bytearray(path.read_bytes())
    content[position : position + 100] = b"\1" * 100
    path.write_bytes(content)
    with pytest.raises(WarehouseError, match=r"w\.duckdb is damaged: ") as caught:
        Warehouse.open(path, read_only=True)
    assert "Error:" not in str(caught.value)
    assert "\n" not in str(caught.value)


def test_missing_file_or_folder(tmp_path: Path) -> None:
    """A missing file cannot be read, and no file can be created in a missing folder."""
    with pytest.raises(WarehouseError, match="Warehouse not found"):
        Warehouse.open(tmp_path / "missing.duckdb", read_only=True)
    with pytest.raises(WarehouseError, match="Cannot open the warehouse"):
        Warehouse.open(tmp_path / "missing" / "w.duckdb")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("name", ["sandbox", "main", "temp", "system", "users"])
def test_warehouse_file_may_have_any_name(tmp_path: Path, name: str) -> None:
    """DuckDB names a catalog after its file: no name may collide with schemas or tables."""
    path = tmp_path / f"{name}.duckdb"
    for _ in range(2):
        with Warehouse.open(path) as warehouse:
            assert warehouse.sessions() == []
            assert warehouse.losses() == []
