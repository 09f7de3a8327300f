"""`--dry-run` reports what a run would do, and sends and writes nothing."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import pytest

from target_segment_objects.cli.dry_run_json import FORMAT_VERSION
from target_segment_objects.sandbox.warehouse.database import Warehouse
from tests.support import DATA, RUN_SECONDS, TARGET, record_line, schema_line, state_line, wait_for
from tests.support.scripted_server import ScriptedServer

if TYPE_CHECKING:
    from pathlib import Path

    from target_segment_objects.sandbox.server import Sandbox
    from tests.support import RunTarget

pytestmark = pytest.mark.slow  # most of them start a process or wait

CHINOOK = DATA / "chinook.singer.gz"
NYCFLIGHTS = DATA.parents[1] / "samples" / "nycflights13.singer.gz"
USERS = schema_line("users", {"id": {"type": "integer"}, "name": {"type": ["string", "null"]}})
COLUMN_TYPES = {
    "BIGINT": "integer",
    "DOUBLE": "number",
    "BOOLEAN": "boolean",
    "VARCHAR": "string",
    "TIMESTAMP": "timestamp",
    "TIMESTAMP WITH TIME ZONE": "timestamp",
}


@dataclass
class StreamReport:
    """What a dry run printed about one stream."""

    collection: str
    read: int = 0
    rejected: int = 0
    objects: int = 0
    sessions: int = 0
    raw_bytes: int = 0
    gzip_bytes: int = 0
    rule: str = ""
    columns: dict[str, str] = field(default_factory=dict)
    remarks: dict[str, str] = field(default_factory=dict)
    warnings: list[str] = field(default_factory=list)
    violations: list[str] = field(default_factory=list)
    rejects: list[str] = field(default_factory=list)


def parse_report(printed: str) -> dict[str, StreamReport]:
    """Parse the text report of a dry run, stream by stream."""
    streams = {}
    _, *blocks = re.split(r"^Stream (?=\S.* becomes the collection )", printed, flags=re.MULTILINE)
    for block in blocks:
        heading, counts, sizes, rule, *rest = block.split("\n\n")[0].splitlines()
        stream, collection = heading.split(" becomes the collection ")
        shown = streams[stream] = StreamReport(collection)
        shown.read, shown.rejected = find_numbers(counts)
        shown.objects, shown.sessions, shown.raw_bytes, shown.gzip_bytes = find_numbers(sizes)
        shown.rule = rule.strip().removeprefix("id: ")
        section = ""
        for line in rest:
            if line.endswith(":") and not line.startswith("    "):
                section = line.strip(" :").removeprefix("schema ")
            elif section == "properties":
                name, kind, *remark = re.split(r" {2,}", line.strip())
                shown.columns[name] = kind
                shown.remarks[name] = "".join(remark)
            else:
                getattr(shown, section).append(line.strip())
    return streams


def find_numbers(line: str) -> list[int]:
    """Return the numbers in a line, in their order."""
    return [int(found.replace(",", "")) for found in re.findall(r"\d[\d,]*", line)]


@pytest.mark.slow
def test_report_of_chinook_equals_what_a_run_loads(tmp_path: Path, run_target: RunTarget) -> None:
    """Collections, objects, columns with types, sessions, bytes raw and gzipped: all equal."""
    dry = run_target("--dry-run", "--details", "--input", str(CHINOOK))
    assert dry.returncode == 0
    shown = {one.collection: one for one in parse_report(dry.stdout).values()}
    file = tmp_path / "warehouse.duckdb"
    wet = run_target("--sandbox", str(file), "--input", str(CHINOOK))
    assert wet.returncode == 0, wet.stderr
    with Warehouse.open(file, read_only=True) as warehouse:
        assert sorted(shown) == warehouse.collections()
        sessions = warehouse.sessions()
        for collection, one in shown.items():
            assert one.objects == one.read == warehouse.count(collection)
            columns = {
                name: COLUMN_TYPES[kind] for name, kind in warehouse.columns(collection).items()
            }
            assert {"id": "string", **one.columns} == {"id": "string", **columns}
            assert set(one.remarks.values()) == {""}
            ended = [row for row in sessions if row.collections == (collection,)]
            assert one.sessions == len(ended)
            assert one.raw_bytes == sum(row.raw_bytes for row in ended)
            assert one.gzip_bytes == sum(row.gzip_bytes for row in ended)
        raw, packed = (
            sum(getattr(row, name) for row in sessions) for name in ("raw_bytes", "gzip_bytes")
        )
    assert dry.stdout.endswith(
        "API calls of a run: 33 (11 Start, 11 Upload, 11 Finish)\n"
        "15,607 records of 11 streams; 15,607 objects for 11 collections; 11 sessions, "
        f"{raw:,} bytes ({packed:,} gzipped).\n"
        "Dry run: nothing was sent. 0 records rejected, 0 warnings.\n"
    )
    assert shown["public_playlist_track"].rule == "playlist_id and track_id, joined by _"


@pytest.mark.parametrize("file", [CHINOOK, NYCFLIGHTS], ids=["chinook", "nycflights13"])
def test_data_of_ordinary_taps_has_no_warning(run_target: RunTarget, file: Path) -> None:
    """The streams of a database and of files have names that every warehouse takes."""
    shown = parse_report(run_target("--dry-run", "--details", "--input", str(file)).stdout)
    assert shown
    for one in shown.values():
        assert one.warnings == []
        assert not [column for column in one.columns if "→" in column]


def test_types_that_a_later_schema_does_not_change_are_shown(
    sandbox: Sandbox, run_target: RunTarget
) -> None:
    """The names and types are those that a run sends, and so are those of a shared collection."""
    key = {"id": {"type": "integer"}}
    time = {"type": "string", "format": "date-time"}
    full = {"n": {"type": "integer"}, "t": time, "o": {"properties": {"x": {"type": "boolean"}}}}
    record = {"id": 1, "n": 2, "t": "2024-01-31 10:00:00", "o": {"x": True}}
    lines = [
        schema_line("de", {**key, **full}),
        record_line("de", record),
        schema_line("fr", {**key, "n": {"type": "integer"}}),
        schema_line("de", {**key, "extra": {"type": "string"}}),
        record_line("de", {**record, "id": 2}),
        schema_line("de", {**key, "n": {"type": "number"}}),
        record_line("de", {"id": 3, "n": 2.5}),
        record_line("fr", {"id": 4, "n": 3}),
    ]
    config = {
        "write_key": "k",
        "api_url": sandbox.url,
        "collection_map": {"de": "shop", "fr": "shop"},
        "type_changes": "new_property",
    }
    shown = parse_report(run_target("--dry-run", lines=lines, config=config).stdout)
    assert run_target(lines=lines, config=config).returncode == 0
    columns = sandbox.warehouse.columns("shop")
    sent = {name: COLUMN_TYPES[kind] for name, kind in columns.items()}
    assert sent == {
        "id": "string",
        "n": "integer",
        "t": "timestamp",
        "o_x": "boolean",
        "n_float": "number",
    }
    names = {stream: shown[stream].columns for stream in ("de", "fr")}
    assert names["de"] | {"id": "string", "extra": "string"} == sent | {"extra": "string"}
    assert names["fr"].keys() == {"id", "n_float"}


def test_columns_of_a_warehouse_are_shown(run_target: RunTarget) -> None:
    """A property with another column, one without, and an id that is not the object's id."""
    properties = {name: {"type": "integer"} for name in ("2fa", "Group", "uuid", "id", "n")}
    lines = [
        schema_line("users", properties, key_properties=["n"]),
        record_line("users", {"2fa": 1, "Group": 1, "uuid": 1, "id": 1, "n": 1, "Order": 1}),
    ]
    (shown,) = parse_report(run_target("--dry-run", lines=lines).stdout).values()
    assert shown.remarks == {
        "2fa → _2fa": "",
        "group → _group": "from Group",
        "uuid": "no column of its own",
        "id": "no column of its own",
        "n": "",
        "order → _order": "not in the schema",
    }
    assert len(shown.warnings) == 3  # the id, the declared names, the undeclared one
    report = json.loads(run_target("--dry-run", "--format", "json", lines=lines).stdout)
    columns = {prop["name"]: prop["column"] for prop in report["streams"][0]["properties"]}
    assert columns == {
        "2fa": "_2fa",
        "group": "_group",
        "uuid": None,
        "id": None,
        "n": "n",
        "order": "_order",
    }


def test_id_that_is_the_objects_id_has_a_column(run_target: RunTarget) -> None:
    """The column of an id that is the only key property holds its value: nothing is warned of."""
    lines = [USERS, record_line("users", {"id": 1})]
    (shown,) = parse_report(run_target("--dry-run", lines=lines).stdout).values()
    assert shown.remarks["id"] == ""
    assert shown.warnings == []


@pytest.mark.parametrize(
    "max_file_bytes",
    [pytest.param(409_601, id="several files"), pytest.param(100_000_000, id="one file")],
)
def test_sessions_and_bytes_follow_the_settings(
    sandbox: Sandbox, run_target: RunTarget, max_file_bytes: int
) -> None:
    """A batch for every two objects, files of any size: as a run with the same settings."""
    lines = [USERS, *(record_line("users", {"id": n, "name": "x" * 9000 * n}) for n in range(4))]
    lines += [record_line("users", {"id": n, "name": "é" * 15_000}) for n in range(50)]
    config = {
        "write_key": "k",
        "api_url": sandbox.url,
        "batch_size_rows": 40,
        "max_file_bytes": max_file_bytes,
    }
    (shown,) = parse_report(run_target("--dry-run", lines=lines, config=config).stdout).values()
    assert sandbox.warehouse.sessions() == []
    assert run_target(lines=lines, config=config).returncode == 0
    rows = sandbox.warehouse.sessions()
    assert shown.sessions == len(rows) == 2
    assert shown.raw_bytes == sum(row.raw_bytes for row in rows)
    assert shown.gzip_bytes == sum(row.gzip_bytes for row in rows)


def test_nothing_is_sent_or_written(tmp_path: Path, run_target: RunTarget) -> None:
    """No request, no STATE, no dead-letter file, nothing left in the spool folder."""
    spool, rejects = tmp_path / "spool", tmp_path / "rejects.singer"
    spool.mkdir()
    with ScriptedServer() as server:
        done = run_target(
            "--dry-run",
            lines=[USERS, record_line("users", {"id": 1}), record_line("users", {}), state_line(1)],
            config={
                "write_key": "k",
                "api_url": server.url,
                "invalid_records": "dead_letter",
                "dead_letter_path": str(rejects),
                "spool_dir": str(spool),
            },
        )
        assert server.calls() == []
    assert done.returncode == 0
    assert not rejects.exists()
    assert list(spool.iterdir()) == []
    (shown,) = parse_report(done.stdout).values()
    assert (shown.read, shown.objects, shown.rejected) == (2, 1, 1)
    assert shown.rejects == ["1 record: property 'id': the key property is missing"]


def test_the_sandbox_of_the_environment_is_not_touched(
    tmp_path: Path, run_target: RunTarget, environment: dict[str, str]
) -> None:
    """A dry run is dry wherever the run would go."""
    file = tmp_path / "w.duckdb"
    done = run_target(
        "--dry-run",
        lines=[USERS, record_line("users", {"id": 1})],
        environment={**environment, "TARGET_SEGMENT_OBJECTS_SANDBOX": str(file)},
    )
    assert done.returncode == 0
    assert not file.exists()


def test_report_has_renames_types_warnings_and_reject_reasons(
    run_target: RunTarget,
) -> None:
    """Everything that differs from what the tap said, and no value of a record."""
    schema = schema_line(
        "User-Events2",
        {
            "userId": {"type": "string"},
            "user_id": {"type": "integer"},
            "at": {"type": "string", "format": "date-time"},
            "home": {"type": "object", "properties": {"street": {"type": "string"}}},
            "tags": {"type": "array"},
            "ok": {"type": "boolean"},
            "score": {"type": "number"},
            "never": {"type": ["string", "null"]},
        },
        key_properties=(),
    )
    record = {
        "userId": "secret",
        "user_id": 1,
        "at": "2024-01-31 08:00:00",
        "home": {"street": "s" * 600},
        "tags": ["secret"],
        "ok": True,
        "score": 3,
        "never": None,
        "moreOf": "secret",
    }
    refused = record_line("User-Events2", {**record, "user_id": "secret"})
    done = run_target("--dry-run", lines=[schema, record_line("User-Events2", record), refused])
    (shown,) = parse_report(done.stdout).values()
    assert shown.collection == "user_events_two"
    assert shown.rule == "a digest of the record, which has no key properties"
    assert shown.columns == {
        "user_id_2": "string",
        "user_id": "integer",
        "at": "timestamp",
        "home_street": "string",
        "tags": "string",
        "ok": "boolean",
        "score": "number",
        "never": "string",
        "more_of": "string",
    }
    assert shown.remarks["user_id_2"] == "from userId"
    assert shown.remarks["home_street"] == "from home.street"
    assert shown.remarks["never"] == "never has a value"
    assert shown.remarks["more_of"] == "not in the schema"
    shared, long = shown.warnings
    assert "'userId' is sent as user_id_2" in shared
    assert "'home.street' has strings of more than 512 characters" in long
    assert shown.rejects == [
        "1 record: property 'user_id': the schema requires type \"integer\"",
    ]
    assert "secret" not in done.stdout + done.stderr


def test_a_record_that_would_end_a_run_is_counted_and_reading_goes_on(
    run_target: RunTarget,
) -> None:
    """Every reject of the input is reported; the exit code is that of the run, by the setting."""
    lines = [
        USERS,
        *(record_line("users", {"id": bad}) for bad in ("x", "y", None)),
        record_line("users", {"id": 1}),
    ]
    done = run_target("--dry-run", lines=lines)
    (shown,) = parse_report(done.stdout).values()
    assert done.returncode == 1
    assert (shown.read, shown.objects, shown.rejected) == (4, 1, 3)
    assert shown.rejects == [
        "2 records: property 'id': the schema requires type \"integer\"",
        "1 record: property 'id': the key property is null",
    ]
    assert "3 records cannot be sent. A run would end at the first" in done.stderr


def test_further_reject_reasons_are_counted_together(run_target: RunTarget) -> None:
    """A different reason for each record does not make an endless report."""
    lines = [USERS]
    lines += [record_line("users", {"id": n, "name": "x" * (32768 + n)}) for n in range(30)]
    (shown,) = parse_report(run_target("--dry-run", lines=lines).stdout).values()
    assert shown.rejected == 30
    assert len(shown.rejects) == 21
    assert "10 records: further reasons" in shown.rejects


def test_streams_of_stream_maps_are_reported_with_their_source(run_target: RunTarget) -> None:
    """An alias, a second stream of the same records, a filter, and other keys."""
    maps = {
        "users": {"__alias__": "people", "__key_properties__": ["name"], "__filter__": "id > 1"},
        "copies": {"__source__": "users", "name": "__NULL__"},
    }
    lines = [USERS, *(record_line("users", {"id": n, "name": f"n{n}"}) for n in range(3))]
    shown = parse_report(run_target("--dry-run", lines=lines, config={"stream_maps": maps}).stdout)
    people, copies = shown["people (of stream users)"], shown["copies (of stream users)"]
    assert (people.read, people.objects, people.rule) == (3, 1, "name")
    assert (copies.read, copies.objects, list(copies.columns)) == (3, 3, ["id"])


def test_a_collection_of_two_streams_has_its_numbers_and_each_stream_its_properties(
    run_target: RunTarget,
) -> None:
    """What another stream of the collection declares is no surprise."""
    schemas = [
        schema_line(name, {"id": {"type": "integer"}, name: {"type": "integer"}})
        for name in ("eu", "us")
    ]
    records = [record_line(name, {"id": n, name: n}) for n, name in enumerate(("eu", "us", "us"))]
    config = {"collection_map": {"eu": "orders", "us": "orders"}}
    shown = parse_report(run_target("--dry-run", lines=[*schemas, *records], config=config).stdout)
    assert (shown["eu"].read, shown["us"].read) == (1, 2)
    assert shown["eu"].objects == shown["us"].objects == 3
    assert shown["eu"].columns == {"id": "integer", "eu": "integer"}


def test_what_ends_a_run_ends_a_dry_run_with_what_came_before(run_target: RunTarget) -> None:
    """A line that is not a message: its number, exit code 1, and the report up to there."""
    done = run_target("--dry-run", lines=[USERS, record_line("users", {"id": 1}), "no message"])
    (shown,) = parse_report(done.stdout).values()
    assert (done.returncode, shown.objects) == (1, 1)
    assert "Line 3 of the input is not a Singer message" in done.stderr


def test_other_settings_are_checked_as_for_a_run(run_target: RunTarget) -> None:
    """Only the write key may be missing; one that is given has to be good."""
    done = run_target("--dry-run", lines=[], config={"write_key": "a b", "batch_size_rows": 0})
    assert done.returncode == 2
    assert "write_key is not valid" in done.stderr
    assert "batch_size_rows cannot be 0" in done.stderr


# Many streams


def many_streams() -> list[str]:
    """Return 100 streams; one has a warning, one a reject and one schema violations."""
    properties = {"id": {"type": "integer"}, "n": {"maxLength": 2}}
    lines = []
    for number in range(100):
        stream = f"Table {chr(97 + number // 26)}{chr(97 + number % 26)}"
        added = {"2fa": {"type": "string"}} if stream == "Table ah" else {}
        lines += [
            schema_line(stream, {**properties, **added}),
            record_line(stream, {"id": None if stream == "Table bb" else 1}),
            record_line(stream, {"id": 2, "n": "long" if stream == "Table cc" else "ok"}),
        ]
    return lines


def test_many_streams_are_shown_at_a_glance_first(run_target: RunTarget) -> None:
    """Counts, then a line for each stream; only the streams with findings have details."""
    done = run_target("--dry-run", lines=many_streams())
    first, blank, headings, *rest = done.stdout.splitlines()
    assert first == "100 streams: 200 records, 1 rejected, 2 warnings, 300 API calls"
    assert blank == ""
    assert headings.split() == ["stream", "records", "rejected", "violations", "warnings", "calls"]
    rows = dict(re.split(" {2,}", line, maxsplit=1) for line in rest[:100])
    assert list(rows)[:2] == ["Table aa → table_aa", "Table ab → table_ab"]
    assert rows["Table aa → table_aa"].split() == ["2", "0", "0", "0", "3"]
    assert rows["Table ah → table_ah"].split() == ["2", "0", "0", "1", "3"]
    assert rows["Table bb → table_bb"].split() == ["2", "1", "0", "0", "3"]
    assert rows["Table cc → table_cc"].split() == ["2", "0", "1", "1", "3"]
    assert list(parse_report(done.stdout)) == ["Table ah", "Table bb", "Table cc"]
    assert "97 streams without warnings or rejects: --details shows" in done.stdout


def test_the_last_line_counts_the_warnings(run_target: RunTarget) -> None:
    """Those of the streams, and those of the input as a whole, which only the log has."""
    done = run_target("--dry-run", lines=many_streams())
    last = "Dry run: nothing was sent. 1 record rejected, 2 warnings."
    assert done.stdout.splitlines()[-1] == last
    done = run_target("--dry-run", lines=[USERS], config={"collection_map": {"orders": "sales"}})
    last = "Dry run: nothing was sent. 0 records rejected, 1 warning."
    assert done.stdout.splitlines()[-1] == last


def test_details_of_all_streams_can_be_asked_for(run_target: RunTarget) -> None:
    """With `--details`, and always of a few streams."""
    lines = many_streams()
    assert len(parse_report(run_target("--dry-run", "--details", lines=lines).stdout)) == 100
    few = run_target("--dry-run", lines=lines[: 5 * 3]).stdout
    assert len(parse_report(few)) == 5
    assert "--details" not in few
    assert len(parse_report(run_target("--dry-run", lines=lines[: 6 * 3]).stdout)) == 0


def test_calls_of_a_shared_collection_are_counted_once(run_target: RunTarget) -> None:
    """The first stream of a collection has its calls, so that the column adds up to the total."""
    lines = [
        line
        for stream in ("eu", "us")
        for line in (schema_line(stream, {"id": {}}), record_line(stream, {"id": 1}))
    ]
    config = {"collection_map": {"eu": "orders", "us": "orders"}}
    report = run_target("--dry-run", lines=lines, config=config).stdout.splitlines()
    assert report[0] == "2 streams: 2 records, 0 rejected, 0 warnings, 3 API calls"
    assert [line.split()[2:] for line in report[3:5]] == [
        ["orders", "1", "0", "0", "3"],
        ["orders", "1", "0", "0"],
    ]


@pytest.mark.skipif(os.name != "posix", reason="Windows has no pseudo-terminals")
@pytest.mark.parametrize("columns", [80, 40])
def test_report_fits_the_terminal(tmp_path: Path, columns: int) -> None:
    """No line is longer than the terminal, and no word is broken."""
    from tests.support.terminal import Terminal  # noqa: PLC0415 - POSIX only

    arguments = [*TARGET, "--dry-run", "--details"]
    with Terminal(
        arguments, folder=tmp_path, output=True, has_errors=False, size=(columns, 24)
    ) as terminal:
        terminal.write_lines(*many_streams())
        assert terminal.close_input() == 1
    lines = terminal.raw.decode().replace("\r\n", "\n").splitlines()
    assert max(map(len, lines)) <= columns
    assert " ".join(" ".join(lines[:2]).split()).endswith(" 2 warnings, 300 API calls")
    assert " ".join(terminal.lines[-2:]).split()[-2:] == ["2", "warnings."]


# --format json


def test_json_report_is_all_of_standard_output(run_target: RunTarget) -> None:
    """Each documented key has the value of the run; the log goes to standard error."""
    lines = [
        schema_line("Users", {"id": {"type": "integer"}, "fullName": {"type": "string"}}),
        record_line("Users", {"id": 1, "fullName": "a", "moreOf": True}),
        record_line("Users", {"id": 2}),
        record_line("Users", {"id": None}),
    ]
    config = {
        "batch_size_rows": 1,
        "invalid_records": "dead_letter",
        "dead_letter_path": "x.singer",
    }
    done = run_target("--dry-run", "--format", "json", lines=lines, config=config)
    assert done.returncode == 0, done.stderr
    report = json.loads(done.stdout)
    raw, packed = (report["totals"].pop(name) for name in ("raw_bytes", "gzip_bytes"))
    (collection,), (stream,) = report.pop("collections"), report.pop("streams")
    calls = {"start": 2, "upload": 2, "finish": 2, "total": 6}
    assert report == {
        "format_version": FORMAT_VERSION,
        "exit_code": 0,
        "errors": [],
        "totals": {
            "records_read": 3,
            "records_rejected": 1,
            "records_violating": 0,
            "objects": 2,
            "objects_unchanged": None,
            "sessions": 2,
            "api_calls": calls,
        },
    }
    assert collection == {
        "name": "users",
        "streams": ["Users"],
        "objects": 2,
        "objects_unchanged": None,
        "objects_missing": None,
        "objects_marked": None,
        "sessions": 2,
        "raw_bytes": raw,
        "gzip_bytes": packed,
        "api_calls": calls,
    }
    assert raw > 0
    assert stream["rejects"] == [
        {"reason": "property 'id': the key property is null", "records": 1}
    ]
    assert stream["properties"] == [
        {"name": "id", "column": "id", "path": ["id"], "type": "integer", "has_value": True},
        {
            "name": "full_name",
            "column": "full_name",
            "path": ["fullName"],
            "type": "string",
            "has_value": True,
        },
        {"name": "more_of", "column": "more_of", "path": None, "type": "string", "has_value": True},
    ]
    rest = {name: stream[name] for name in stream.keys() - {"rejects", "properties"}}
    assert rest == {
        "name": "Users",
        "source": "Users",
        "collection": "users",
        "records_read": 3,
        "records_rejected": 1,
        "records_violating": 0,
        "key_properties": ["id"],
        "violations": [],
        "warnings": [],
    }


def test_json_report_of_a_failed_dry_run_has_the_errors(run_target: RunTarget) -> None:
    """Exit code and errors are in the report, with what was read before."""
    lines = [USERS, record_line("users", {"id": "x"}), "no message"]
    done = run_target("--dry-run", "--format=json", lines=lines)
    report = json.loads(done.stdout)
    assert report["exit_code"] == done.returncode == 1
    parse_error, rejected = report["errors"]
    assert "Line 3 of the input is not a Singer message" in parse_error
    assert "1 record cannot be sent." in rejected
    assert report["totals"]["records_read"] == 1
    assert done.stderr.splitlines()[-1].endswith(rejected)


def test_json_report_of_names_with_control_characters_is_printable(run_target: RunTarget) -> None:
    """Names keep their characters, escaped as JSON does."""
    stream = "a\x1b[31m\nb"
    lines = [schema_line(stream, {"id": {"type": "integer"}}), record_line(stream, {"id": 1})]
    done = run_target("--dry-run", "--format=json", lines=lines)
    assert all(line.isprintable() for line in done.stdout.splitlines())
    assert json.loads(done.stdout)["streams"][0]["name"] == stream


def test_text_report_is_escaped_for_the_encoding_of_standard_output(
    run_target: RunTarget, environment: dict[str, str]
) -> None:
    """A name that the encoding does not have does not end the report."""
    lines = [
        schema_line("users", {"id": {"type": "integer"}, "größe": {"type": "integer"}}),
        record_line("users", {"id": 1, "größe": 2}),
    ]
    done = run_target(
        "--dry-run", lines=lines, environment={**environment, "PYTHONIOENCODING": "ascii"}
    )
    assert done.returncode == 0, done.stderr
    assert r"gr\xf6\xdfe" in done.stdout


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="only Linux has it")  # noqa: PTH110 - a device
def test_report_that_cannot_be_written_is_an_error() -> None:
    """The reason is the last line of the log, and the exit code is 1."""
    with open("/dev/full", "w", encoding="utf-8") as output:  # noqa: PTH123 - a device
        done = subprocess.run(
            [*TARGET, "--dry-run"],
            input=f"{USERS}\n".encode(),
            stdout=output,
            stderr=subprocess.PIPE,
            timeout=RUN_SECONDS,
            check=False,
        )
    assert done.returncode == 1
    last = done.stderr.decode().splitlines()[-1]
    assert "The report cannot be written to standard output: No space left on device." in last


def test_schema_violations_are_counted_by_property(run_target: RunTarget) -> None:
    """As text and as JSON; the same count is in the METRIC lines and the summary."""
    schema = schema_line("users", {"id": {"type": "integer"}, "code": {"maxLength": 2}})
    lines = [
        schema,
        *(record_line("users", {"id": n, "code": "long"}) for n in (1, 2)),
        record_line("users", {"id": "3", "code": "ok"}),
        record_line("users", {"id": 4, "code": "ok"}),
    ]
    done = run_target("--dry-run", lines=lines)
    assert done.returncode == 0
    assert "  schema violations:\n    2 records: code\n    1 record: id\n" in done.stdout
    done = run_target("--dry-run", "--format", "json", lines=lines)
    report = json.loads(done.stdout)
    assert report["totals"]["records_violating"] == 3
    (stream,) = report["streams"]
    assert stream["records_violating"] == 3
    assert stream["violations"] == [
        {"property": "code", "records": 2},
        {"property": "id", "records": 1},
    ]


@pytest.mark.skipif(os.name != "posix", reason="Windows has no such signals")
def test_stopped_dry_run_reports_what_was_read(tmp_path: Path) -> None:
    """The log says so: a dry run delivers nothing."""
    spool = tmp_path / "spool"
    spool.mkdir()
    (tmp_path / "config.json").write_text(json.dumps({"spool_dir": str(spool)}))
    with subprocess.Popen(
        [*TARGET, "--dry-run", "--config", "config.json"],
        cwd=tmp_path,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stdin is not None
        lines = [schema_line("users", {"id": {"type": "integer"}}), record_line("users", {"id": 1})]
        process.stdin.write("\n".join(lines) + "\n")
        process.stdin.flush()
        wait_for(lambda: list(spool.rglob("*.gz")))
        process.send_signal(signal.SIGINT)
        out, err = process.communicate(timeout=60)
    assert process.returncode == 130
    assert re.search(r"Stopped reading after \d lines?. Reporting what was read; press", err), err
    assert "users" in out
