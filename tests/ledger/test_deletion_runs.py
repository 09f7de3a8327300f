"""Runs that mark rows: the guard, what counts as seen, and each way into the target."""

from __future__ import annotations

import gzip
import json
import sqlite3
from contextlib import closing
from typing import TYPE_CHECKING, Any

import pytest
from click.testing import CliRunner

from target_segment_objects.cli.ledger_command import run_ledger_command
from target_segment_objects.ledger.marks import build_mark, clear_mark
from tests.support import record_line, schema_line, state_line
from tests.support.in_process import USERS, run_target_in_process

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

    from target_segment_objects.sandbox.server import Sandbox
    from tests.support import RunTarget


class Loads:
    """Loads of one table after another, with one ledger, by a tap that sends new versions."""

    def __init__(self, sandbox: Sandbox, folder: Path, **config: Any) -> None:  # noqa: ANN401 - settings of any type
        """Begin with no run."""
        self._sandbox = sandbox
        self._config = {
            "ledger_path": str(folder / "ledger.sqlite"),
            "deleted_records": "mark",
            "deleted_hours_between_runs": 0,
            **config,
        }
        self._version = 0

    def load(self, *lines: str, streams: Iterable[str] = ("users",), **config: Any) -> int:  # noqa: ANN401 - settings of any type
        """Load lines as complete tables; return the exit code."""
        self._version += 1
        versions = [activation_line(stream, self._version) for stream in streams]
        end = state_line(self._version)
        code, states = run_target_in_process(
            self._sandbox, *lines, *versions, end, **{**self._config, **config}
        )
        assert code != 0 or states == [self._version]
        return code

    def list_marked(self, collection: str = "users") -> set[str]:
        """Return the ids of the objects that are marked in the warehouse."""
        rows = self._sandbox.warehouse.rows(collection)
        return {row["id"] for row in rows if row.get("sdc_deleted_at") is not None}


def activation_line(stream: str, version: int) -> str:
    """Return an ACTIVATE_VERSION message."""
    return json.dumps({"type": "ACTIVATE_VERSION", "stream": stream, "version": version})


def users(numbers: Iterable[int], stream: str = "users") -> list[str]:
    """Return a SCHEMA and a RECORD for each id."""
    records = [record_line(stream, {"id": number, "name": "x"}) for number in numbers]
    return [USERS.replace('"users"', f'"{stream}"'), *records]


# The guard


@pytest.mark.parametrize(
    ("known", "gone", "trips"),
    [(150, 100, False), (150, 101, True), (1010, 101, False), (1009, 101, True)],
    ids=["100 of 150", "101 of 150", "10 %", "more than 10 %"],
)
def test_guard(sandbox: Sandbox, tmp_path: Path, known: int, gone: int, *, trips: bool) -> None:
    """Up to 100 objects, or 10 %, are marked; one more, and none is, until it is accepted."""
    loads = Loads(sandbox, tmp_path)
    for _ in range(2):
        assert loads.load(*users(range(known))) == 0
    rest = users(range(gone, known))
    assert loads.load(*rest) == 0
    assert loads.load(*rest) == int(trips)
    assert len(loads.list_marked()) == (0 if trips else gone)


def test_guard_is_passed_once(sandbox: Sandbox, tmp_path: Path, run_target: RunTarget) -> None:
    """The message names the numbers and the option; with the option, the run marks the rows."""
    loads = Loads(sandbox, tmp_path)
    for numbers in (range(150), range(150), range(101, 150)):
        assert loads.load(*users(numbers)) == 0
    config = {
        "write_key": "k",
        "api_url": sandbox.url,
        "ledger_path": str(tmp_path / "ledger.sqlite"),
        "deleted_records": "mark",
        "deleted_hours_between_runs": 0,
    }
    for version, options, code, marked in (
        (11, (), 1, 0),
        (12, ("--accept-deletes",), 0, 101),
        (13, (), 0, 101),
    ):
        lines = [*users(range(101, 150)), activation_line("users", version), state_line(version)]
        result = run_target(*options, lines=lines, config=config)
        assert (result.returncode, json.loads(result.stdout)) == (code, version)
        assert len(loads.list_marked()) == marked
        if code:
            assert "101 of 150 objects of collection users are gone" in result.stderr
            assert "--accept-deletes" in result.stderr.splitlines()[-1]
        elif version == 12:
            assert "101 missing at the source, 101 marked as deleted" in result.stderr
        else:
            assert "0 missing at the source, 0 marked as deleted" in result.stderr
            assert sum(session.objects for session in sandbox.warehouse.sessions()) == 251


def test_report_marks_nothing(sandbox: Sandbox, tmp_path: Path, run_target: RunTarget) -> None:
    """By default, missing objects are counted: in the summary and in the METRIC lines."""
    config = {
        "write_key": "k",
        "api_url": sandbox.url,
        "ledger_path": str(tmp_path / "ledger.sqlite"),
    }
    missing = []
    for version, numbers in enumerate((range(5), range(5), range(3), range(3), range(5))):
        lines = [*users(numbers), activation_line("users", version), state_line(version)]
        result = run_target(lines=lines, config=config)
        assert result.returncode == 0
        metric = next(line for line in result.stderr.splitlines() if "batch_count" in line)
        missing.append(json.loads(metric.split("METRIC: ")[1])["tags"].get("objects_missing"))
        assert "objects_marked" not in metric
    assert missing == [None, 0, 2, 2, 0]
    assert "sdc_deleted_at" not in sandbox.warehouse.columns("users")


@pytest.mark.parametrize("gone", [1, 60])
def test_guard_of_an_empty_table(sandbox: Sandbox, tmp_path: Path, gone: int) -> None:
    """A table that is read as empty is never marked without a look, however small it is."""
    loads = Loads(sandbox, tmp_path)
    for _ in range(2):
        assert loads.load(*users(range(gone))) == 0
    assert [loads.load(USERS) for _ in range(3)] == [0, 1, 1]
    assert loads.list_marked() == set()
    assert loads.load(*users(range(gone))) == 0  # the tap may read the table again


def test_guard_of_an_empty_stream_of_a_full_collection(sandbox: Sandbox, tmp_path: Path) -> None:
    """It trips for one empty stream, though the other stream of the collection has its rows."""
    loads = Loads(sandbox, tmp_path, collection_map={"users": "people", "members": "people"})
    both = ("users", "members")
    empty = USERS.replace('"users"', '"members"')
    for _ in range(2):
        assert loads.load(*users(range(50)), *users((100,), "members"), streams=both) == 0
    codes = [loads.load(*users(range(50)), empty, streams=both) for _ in range(2)]
    assert codes == [0, 1]
    assert loads.list_marked("people") == set()


@pytest.mark.parametrize("with_state", [False, True], ids=["no STATE after it", "a STATE after it"])
def test_tap_that_dies_before_the_rows_of_a_listed_stream(
    sandbox: Sandbox, tmp_path: Path, *, with_state: bool
) -> None:
    """A SCHEMA alone is no evidence that the table was read: nothing is marked, no run fails."""
    config = {
        "ledger_path": str(tmp_path / "ledger.sqlite"),
        "deleted_records": "mark",
        "deleted_hours_between_runs": 0,
        "full_table_streams": ["users", "members"],
    }
    complete = [*users(range(90)), state_line(1), *users(range(90), "members"), state_line(2)]
    died = [*users(range(90)), state_line(3), USERS.replace('"users"', '"members"')]
    if with_state:
        died.append(state_line(4))
    for lines in (complete, complete, died, died, died):
        assert run_target_in_process(sandbox, *lines, **config)[0] == 0
    assert "sdc_deleted_at" not in sandbox.warehouse.columns("members")


# Runs in a row


def set_clock_back(folder: Path, hours: float) -> None:
    """Let the runs so far have been some hours earlier."""
    change = f"{-hours * 3600:+.0f} seconds"
    with closing(sqlite3.connect(folder / "ledger.sqlite")) as connection, connection:
        connection.execute(
            "UPDATE missing SET counted_at = strftime('%Y-%m-%dT%H:%M:%S+00:00', counted_at, ?)",
            (change,),
        )


def test_retry_is_no_second_run(sandbox: Sandbox, tmp_path: Path) -> None:
    """By default, four hours have to lie between two runs that both count; a retry does nothing."""
    loads = Loads(sandbox, tmp_path, deleted_hours_between_runs=None, deleted_after_runs=3)
    for numbers in ((1, 2), (1, 2), (1,), (1,), (1,), (1,)):
        assert loads.load(*users(numbers)) == 0
    for hours, marked in ((3.9, set()), (0.2, set()), (3.8, set()), (4.1, {"2"})):
        set_clock_back(tmp_path, hours)
        assert loads.load(*users((1,))) == 0
        assert loads.list_marked() == marked


def test_clock_that_was_ahead_delays_no_mark_for_long(sandbox: Sandbox, tmp_path: Path) -> None:
    """A run that counted at a time that is still to come counts as one of now."""
    loads = Loads(sandbox, tmp_path, deleted_hours_between_runs=4)
    for numbers in ((1, 2), (1, 2), (1,)):
        assert loads.load(*users(numbers)) == 0
    for hours, marked in ((-10_000, set()), (4.1, {"2"})):
        set_clock_back(tmp_path, hours)
        assert loads.load(*users((1,))) == 0
        assert loads.list_marked() == marked


# What counts as seen


def test_rejected_record_is_not_gone(sandbox: Sandbox, tmp_path: Path) -> None:
    """A row whose record is rejected is at the source; if its id is not known, none is marked."""
    config = {"invalid_records": "dead_letter", "dead_letter_path": str(tmp_path / "rejects")}
    loads = Loads(sandbox, tmp_path, **config)
    invalid = record_line("users", {"id": 2, "name": 5})
    without_id = record_line("users", {"name": "x"})
    for _ in range(2):
        assert loads.load(*users((1, 2, 3))) == 0
    for _ in range(3):
        assert loads.load(*users((1,)), without_id) == 0
        assert loads.list_marked() == set()
    for _ in range(3):
        assert loads.load(*users((1,)), invalid) == 0
    assert loads.list_marked() == {"3"}


def test_streams_of_one_collection(sandbox: Sandbox, tmp_path: Path) -> None:
    """A row of a shared collection is gone if no stream of the collection has it."""
    loads = Loads(sandbox, tmp_path, collection_map={"users": "people", "members": "people"})
    both = ("users", "members")
    for _ in range(2):
        assert loads.load(*users((1, 2)), *users((2, 3), "members"), streams=both) == 0
    for _ in range(3):  # one of them is absent
        assert loads.load(*users((1,))) == 0
        assert loads.list_marked("people") == set()
    for _ in range(3):
        assert loads.load(*users((1,)), *users((2,), "members"), streams=both) == 0
    assert loads.list_marked("people") == {"3"}


def test_filtered_stream(sandbox: Sandbox, tmp_path: Path) -> None:
    """What a stream map leaves out is not gone."""
    loads = Loads(sandbox, tmp_path)
    maps = {"users": {"__filter__": "record['id'] < 3"}}
    for config in ({}, {}, *[{"stream_maps": maps}] * 4):
        assert loads.load(*users((1, 2, 3)), **config) == 0
        assert loads.list_marked() == set()


def test_renamed_stream(sandbox: Sandbox, tmp_path: Path) -> None:
    """A version of the tap's stream counts for the streams that stream maps make of it."""
    maps = {"users": {"__alias__": "people"}, "more": {"__source__": "users"}}
    loads = Loads(sandbox, tmp_path, stream_maps=maps)
    for numbers in ((1, 2), (1, 2), (1,), (1,)):
        assert loads.load(*users(numbers)) == 0
    assert loads.list_marked("people") == loads.list_marked("more") == {"2"}


def test_batch_files(sandbox: Sandbox, tmp_path: Path) -> None:
    """Records of BATCH files are seen, too."""
    loads = Loads(sandbox, tmp_path)
    for numbers in ((1, 2, 3), (1, 2, 3), (1, 2), (1, 2)):
        file = tmp_path / "batch.jsonl.gz"
        records = [json.dumps({"id": number, "name": "x"}) for number in numbers]
        file.write_bytes(gzip.compress("\n".join(records).encode()))
        batch = {
            "type": "BATCH",
            "stream": "users",
            "encoding": {"format": "jsonl", "compression": "gzip"},
            "manifest": [file.as_uri()],
        }
        assert loads.load(USERS, json.dumps(batch)) == 0
    assert loads.list_marked() == {"3"}


@pytest.mark.parametrize("ids", [("1", "10", "a"), ("x y", 'q"', "ü\\")], ids=["mixed", "special"])
def test_ids_of_all_kinds(sandbox: Sandbox, tmp_path: Path, ids: tuple[str, ...]) -> None:
    """Ids that are numbers, strings, or need escapes are marked and unmarked."""
    loads = Loads(sandbox, tmp_path)
    schema = schema_line("users", {"id": {"type": "string"}})
    first, *others = [record_line("users", {"id": object_id}) for object_id in ids]
    for lines in ([first, *others], [first, *others], [first], [first]):
        assert loads.load(schema, *lines) == 0
    assert loads.list_marked() == set(ids[1:])
    assert loads.load(schema, first, *others) == 0
    assert loads.list_marked() == set()


def test_version_between_the_records(sandbox: Sandbox, tmp_path: Path) -> None:
    """It says neither that a table begins nor that it ends: nothing is marked."""
    config = {
        "ledger_path": str(tmp_path / "ledger.sqlite"),
        "deleted_records": "mark",
        "deleted_hours_between_runs": 0,
    }
    tables = ((1, 2, 3), (1, 2, 3), (1, 2), (1, 2), (1, 2))
    for version, numbers in enumerate(tables):
        schema, first, *others = users(numbers)
        lines = [schema, first, activation_line("users", version), *others, state_line(version)]
        assert run_target_in_process(sandbox, *lines, **config)[0] == 0
    assert "sdc_deleted_at" not in sandbox.warehouse.columns("users")


def test_parent_and_children_that_are_read_as_a_whole(sandbox: Sandbox, tmp_path: Path) -> None:
    """A full-table parent is judged, although its children come between its rows."""
    config = {
        "ledger_path": str(tmp_path / "ledger.sqlite"),
        "deleted_records": "mark",
        "deleted_hours_between_runs": 0,
    }
    tables: list[tuple[int, ...]] = [(1, 2, 3), (1, 2, 3), (1, 2), (1, 2)]
    for version, numbers in enumerate(tables):
        schema, *rows = users(numbers)
        lines = [schema, activation_line("users", version)]
        for row in rows:
            child, *children = users((7,), "orders")
            lines += [child, activation_line("orders", version), *children, row]
        assert run_target_in_process(sandbox, *lines, state_line(version), **config)[0] == 0
    marked = [row["id"] for row in sandbox.warehouse.rows("users") if row.get("sdc_deleted_at")]
    assert marked == ["3"]


# Rows that come back


@pytest.mark.parametrize("null_properties", ["send", "omit"])
def test_row_that_returns(sandbox: Sandbox, tmp_path: Path, null_properties: str) -> None:
    """It is sent whole, with a null for the mark, once; then it is unchanged."""
    loads = Loads(sandbox, tmp_path, null_properties=null_properties)
    sent = []
    for numbers in ((1, 2), (1, 2), (1,), (1,), (1,), (1, 2), (1, 2), (1,), (1,)):
        assert loads.load(*users(numbers)) == 0
        sent.append(sum(session.objects for session in sandbox.warehouse.sessions()))
        if numbers == (1, 2):
            assert loads.list_marked() == set()
    assert sent == [2, 2, 2, 3, 3, 4, 4, 4, 5]
    assert loads.list_marked() == {"2"}


@pytest.mark.parametrize("null_properties", ["send", "omit"])
@pytest.mark.parametrize("arguments", [["users"], ["--only", "objects"]], ids=["one", "all"])
def test_row_that_returns_after_it_was_forgotten(
    sandbox: Sandbox, tmp_path: Path, null_properties: str, arguments: list[str]
) -> None:
    """`forget` keeps which rows are marked, so that the null is sent; then the row may go again."""
    loads = Loads(sandbox, tmp_path, null_properties=null_properties)
    for rows in ((1, 2, 3, 4), (1, 2, 3, 4), (1, 4), (1, 4)):
        assert loads.load(*users(rows)) == 0
    assert loads.list_marked() == {"2", "3"}
    file = str(tmp_path / "ledger.sqlite")
    forgotten = CliRunner().invoke(run_ledger_command, ["forget", file, *arguments, "--yes"])
    assert forgotten.exit_code == 0
    for numbers, marked in (
        ((1, 2, 4), {"3"}),
        ((1, 2, 4), {"3"}),
        ((1, 4), {"3"}),
        ((1, 4), {"2", "3"}),
        ((1, 2, 3, 4), set()),
        ((1, 2, 3, 4), set()),
    ):
        assert loads.load(*users(numbers)) == 0
        assert loads.list_marked() == marked


def test_rejected_row_that_returns(
    sandbox: Sandbox, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Its record cannot be sent, but the row is there: the mark alone is cleared, once."""
    caplog.set_level("INFO", logger="target-segment-objects")
    config = {"invalid_records": "dead_letter", "dead_letter_path": str(tmp_path / "rejects")}
    loads = Loads(sandbox, tmp_path, **config)
    invalid = record_line("users", {"id": 2, "name": 5})
    for numbers in ((1, 2), (1, 2), (1,), (1,)):
        assert loads.load(*users(numbers)) == 0
    assert loads.list_marked() == {"2"}
    sent = []
    for lines in ((*users((1,)), invalid), (*users((1,)), invalid), users((1, 2)), users((1, 2))):
        caplog.clear()
        assert loads.load(*lines) == 0
        assert "2 records read" in caplog.text
        assert "Collection users: 2 read" in caplog.text
        assert loads.list_marked() == set()
        sent.append(sum(session.objects for session in sandbox.warehouse.sessions()))
    assert sent == [4, 4, 5, 5]
    for numbers in ((1,), (1,)):
        assert loads.load(*users(numbers)) == 0
    assert loads.list_marked() == {"2"}


def test_clear_mark_keeps_the_line() -> None:
    """Only the null is added, and not to an object that has a value of its own."""
    line = b'{"id":"1","collection":"users","properties":{"a":1.50,"b":"\xc3\xbc"}}'
    cleared = line.replace(b'"}}', b'","sdc_deleted_at":null}}')
    assert clear_mark(line) == cleared
    mark = build_mark("users", 1, "2026-01-01T00:00:00+00:00")
    assert clear_mark(mark) == mark


# What the user sees of it


def test_show_lists_what_is_gone(sandbox: Sandbox, tmp_path: Path) -> None:
    """`segment-objects-ledger show` has the ids, since when they are gone, and the marks."""
    loads = Loads(sandbox, tmp_path, deleted_after_runs=3)
    for numbers in ((1, 2, 3, 4), (1, 2, 3, 4), (1, 2), (1, 2), (1,), (1,)):
        assert loads.load(*users(numbers)) == 0
    file = str(tmp_path / "ledger.sqlite")
    text = CliRunner().invoke(run_ledger_command, ["show", file, "users"]).output
    assert "Gone at the source: 3 objects, 2 of them marked as deleted." in text
    shown = CliRunner().invoke(run_ledger_command, ["show", file, "users", "--format", "json"])
    gone = {
        row["id"]: (row["runs"], bool(row["marked_at"])) for row in json.loads(shown.output)["gone"]
    }
    assert gone == {"2": (2, False), "3": (3, True), "4": (3, True)}


def test_show_writes_ids_as_they_were_sent(sandbox: Sandbox, tmp_path: Path) -> None:
    """Not as the file has them; in the text, what is not printable is escaped."""
    loads = Loads(sandbox, tmp_path)
    schema = schema_line("users", {"id": {"type": "string"}})
    first, *others = [
        record_line("users", {"id": key}) for key in ("1", "a\\b", "c\\0", "d\x1b[1m")
    ]
    for lines in ([first, *others], [first, *others], [first]):
        assert loads.load(schema, *lines) == 0
    file = str(tmp_path / "ledger.sqlite")
    shown = CliRunner().invoke(run_ledger_command, ["show", file, "users", "--format", "json"])
    gone = {row["id"] for row in json.loads(shown.output)["gone"]}
    assert gone == {"a\\b", "c\\0", "d\x1b[1m"}
    text = CliRunner().invoke(run_ledger_command, ["show", file, "users"]).output
    assert "a\\b " in text
    assert "\x1b" not in text


def test_marked_rows_are_not_due(sandbox: Sandbox, tmp_path: Path) -> None:
    """No run sends them again; they are still known."""
    loads = Loads(sandbox, tmp_path)
    for numbers in ((1, 2, 3), (1, 2, 3), (1,), (1,)):
        assert loads.load(*users(numbers)) == 0
    file = tmp_path / "ledger.sqlite"
    with closing(sqlite3.connect(file)) as connection, connection:
        connection.execute("UPDATE object SET sent_day = sent_day - 100")
    shown = CliRunner().invoke(run_ledger_command, ["show", str(file), "--format", "json"])
    (collection,) = json.loads(shown.output)["collections"]
    assert (collection["objects"], collection["sent_again"][0]) == (3, 1)


def test_forget_ends_the_wait_for_an_absent_stream(sandbox: Sandbox, tmp_path: Path) -> None:
    """A stream that is not loaded any more holds its collection up, until it is forgotten."""
    loads = Loads(sandbox, tmp_path, collection_map={"users": "people", "members": "people"})
    for _ in range(2):
        assert (
            loads.load(*users((1, 2)), *users((3,), "members"), streams=("users", "members")) == 0
        )
    for _ in range(2):
        assert loads.load(*users((1,))) == 0
    assert loads.list_marked("people") == set()
    file = str(tmp_path / "ledger.sqlite")
    assert (
        CliRunner().invoke(run_ledger_command, ["forget", file, "people", "--yes"]).exit_code == 0
    )
    for numbers in ((1, 2), (1,), (1,)):
        assert loads.load(*users(numbers)) == 0
    assert loads.list_marked("people") == {"2"}


def test_dry_run_says_what_would_be_marked(
    sandbox: Sandbox, tmp_path: Path, run_target: RunTarget
) -> None:
    """A dry run counts what is gone and what would be marked, and changes nothing."""
    loads = Loads(sandbox, tmp_path)
    for numbers in ((1, 2, 3), (1, 2, 3), (1,)):
        assert loads.load(*users(numbers)) == 0
    config = {
        "write_key": "k",
        "api_url": sandbox.url,
        "ledger_path": str(tmp_path / "ledger.sqlite"),
        "deleted_records": "mark",
        "deleted_hours_between_runs": 0,
    }
    lines = [*users((1,)), activation_line("users", 11), state_line(11)]
    for _ in range(2):
        result = run_target("--dry-run", lines=lines, config=config)
        assert "Collection users: 2 objects missing at the source; 2 would be marked." in (
            result.stdout.splitlines()
        )
    assert loads.list_marked() == set()
    report = run_target("--dry-run", "--format", "json", lines=lines, config=config).stdout
    collection = json.loads(report)["collections"][0]
    assert (collection["objects_missing"], collection["objects_marked"]) == (2, 2)
