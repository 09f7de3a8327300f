"""`--dry-run`: an account that is true, and nothing sent, written or promised."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import pytest

from target_segment_objects.sandbox.warehouse import Warehouse
from tests.support import DATA, record_line, schema_line, state_line
from tests.support.scripted_server import ScriptedServer

if TYPE_CHECKING:
    from pathlib import Path

    from target_segment_objects.sandbox.server import Sandbox
    from tests.support import RunTarget

CHINOOK = DATA / "chinook.singer.gz"
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
class Told:
    """What a dry run printed of one stream."""

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
    rejects: list[str] = field(default_factory=list)


def told_of(printed: str) -> dict[str, Told]:
    """Read a dry run's account back, stream by stream."""
    streams = {}
    _, *blocks = re.split(r"^Stream (?=\S.* becomes the collection )", printed, flags=re.MULTILINE)
    for block in blocks:
        heading, counts, sizes, rule, *rest = block.split("\n\n")[0].splitlines()
        stream, collection = heading.split(" becomes the collection ")
        told = streams[stream] = Told(collection)
        told.read, told.rejected = numbers(counts)
        told.objects, told.sessions, told.raw_bytes, told.gzip_bytes = numbers(sizes)
        told.rule = rule.strip().removeprefix("id: ")
        section = ""
        for line in rest:
            if line.endswith(":") and not line.startswith("    "):
                section = line.strip(" :")
            elif section == "properties":
                name, kind, *remark = re.split(r" {2,}", line.strip())
                told.columns[name] = kind
                told.remarks[name] = "".join(remark)
            else:
                getattr(told, section).append(line.strip())
    return streams


def numbers(line: str) -> list[int]:
    """Return the numbers in a line, in their order."""
    return [int(found.replace(",", "")) for found in re.findall(r"\d[\d,]*", line)]


@pytest.mark.slow
def test_the_account_of_chinook_is_what_the_sandbox_then_holds(
    tmp_path: Path, run_target: RunTarget
) -> None:
    """Collections, objects, columns with types, sessions, bytes raw and gzipped: all equal."""
    dry = run_target("--dry-run", "--input", str(CHINOOK))
    assert (dry.returncode, dry.stdout) == (0, "")
    told = {one.collection: one for one in told_of(dry.stderr).values()}
    file = tmp_path / "warehouse.duckdb"
    wet = run_target("--sandbox", str(file), "--input", str(CHINOOK))
    assert wet.returncode == 0, wet.stderr
    with Warehouse.open(file, read_only=True) as warehouse:
        assert sorted(told) == warehouse.collections()
        sessions = warehouse.sessions()
        for collection, one in told.items():
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
    assert dry.stderr.endswith(
        "Dry run: nothing was sent. 15,607 records of 11 streams; 15,607 objects for 11 "
        f"collections, 0 rejected; 11 sessions, {raw:,} bytes ({packed:,} gzipped).\n"
    )
    assert told["public_playlist_track"].rule == "playlist_id and track_id, joined by _"


@pytest.mark.parametrize("max_file_bytes", [409_601, 100_000_000])
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
    (told,) = told_of(run_target("--dry-run", lines=lines, config=config).stderr).values()
    assert sandbox.warehouse.sessions() == []
    assert run_target(lines=lines, config=config).returncode == 0
    rows = sandbox.warehouse.sessions()
    assert told.sessions == len(rows) == 2
    assert told.raw_bytes == sum(row.raw_bytes for row in rows)
    assert told.gzip_bytes == sum(row.gzip_bytes for row in rows)


def test_nothing_is_sent_written_or_promised(tmp_path: Path, run_target: RunTarget) -> None:
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
    assert (done.returncode, done.stdout) == (0, "")
    assert not rejects.exists()
    assert list(spool.iterdir()) == []
    (told,) = told_of(done.stderr).values()
    assert (told.read, told.objects, told.rejected) == (2, 1, 1)
    assert told.rejects == ["1 record: property 'id': the key property is missing"]


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


def test_what_a_stream_becomes_is_told_with_renames_types_warnings_and_reasons(
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
    (told,) = told_of(done.stderr).values()
    assert told.collection == "user_events_two"
    assert told.rule == "a digest of the record, which has no key properties"
    assert told.columns == {
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
    assert told.remarks["user_id_2"] == "from userId"
    assert told.remarks["home_street"] == "from home.street"
    assert told.remarks["never"] == "never has a value"
    assert told.remarks["more_of"] == "not in the schema"
    shared, long = told.warnings
    assert "'userId' is sent as user_id_2" in shared
    assert "'home.street' has strings of more than 512 characters" in long
    assert told.rejects == [
        "1 record: property 'user_id': the schema requires type \"integer\"",
    ]
    assert "secret" not in done.stderr


def test_a_record_that_would_end_a_run_is_counted_and_reading_goes_on(
    run_target: RunTarget,
) -> None:
    """Every reject of the input is told; the exit code is that of the run, by the setting."""
    lines = [
        USERS,
        *(record_line("users", {"id": bad}) for bad in ("x", "y", None)),
        record_line("users", {"id": 1}),
    ]
    done = run_target("--dry-run", lines=lines)
    (told,) = told_of(done.stderr).values()
    assert done.returncode == 1
    assert (told.read, told.objects, told.rejected) == (4, 1, 3)
    assert told.rejects == ["3 records: property 'id': the schema requires type \"integer\""]
    assert "3 records cannot be sent. A run would end at the first" in done.stderr


def test_reasons_without_number_are_counted_together(run_target: RunTarget) -> None:
    """A reason for each record does not make an account without end."""
    lines = [USERS]
    lines += [record_line("users", {"id": n, "name": "x" * (32768 + n)}) for n in range(30)]
    (told,) = told_of(run_target("--dry-run", lines=lines).stderr).values()
    assert told.rejected == 30
    assert len(told.rejects) == 21
    assert "10 records: further reasons" in told.rejects


def test_streams_that_stream_maps_make_are_told_with_their_source(run_target: RunTarget) -> None:
    """An alias, a second stream of the same records, a filter, and other keys."""
    maps = {
        "users": {"__alias__": "people", "__key_properties__": ["name"], "__filter__": "id > 1"},
        "copies": {"__source__": "users", "name": "__NULL__"},
    }
    lines = [USERS, *(record_line("users", {"id": n, "name": f"n{n}"}) for n in range(3))]
    told = told_of(run_target("--dry-run", lines=lines, config={"stream_maps": maps}).stderr)
    people, copies = told["people (of stream users)"], told["copies (of stream users)"]
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
    told = told_of(run_target("--dry-run", lines=[*schemas, *records], config=config).stderr)
    assert (told["eu"].read, told["us"].read) == (1, 2)
    assert told["eu"].objects == told["us"].objects == 3
    assert told["eu"].columns == {"id": "integer", "eu": "integer"}


def test_what_ends_a_run_ends_a_dry_one_with_what_came_before(run_target: RunTarget) -> None:
    """A line that is no message: its number, exit code 1, and the account up to there."""
    done = run_target("--dry-run", lines=[USERS, record_line("users", {"id": 1}), "no message"])
    (told,) = told_of(done.stderr).values()
    assert (done.returncode, told.objects) == (1, 1)
    assert "Line 3 of the input is not a Singer message" in done.stderr


def test_other_settings_are_checked_as_for_a_run(run_target: RunTarget) -> None:
    """Only the write key may be missing; one that is given has to be good."""
    done = run_target("--dry-run", lines=[], config={"write_key": "a b", "batch_size_rows": 0})
    assert done.returncode == 1
    assert "write_key is not valid" in done.stderr
    assert "batch_size_rows cannot be 0" in done.stderr
