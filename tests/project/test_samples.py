"""The sample Singer file is well-formed, and matches its README."""

from __future__ import annotations

import gzip
import json
import re
from datetime import datetime
from pathlib import Path
from typing import Any, TypeAlias

import pytest
from jsonschema import Draft202012Validator

Message: TypeAlias = dict[str, Any]

SAMPLES = Path(__file__).parents[2] / "samples"
SAMPLE = SAMPLES / "nycflights13.singer.gz"
TABLE_ROW = re.compile(r"^\| `(\w+)` \| (\d+) \| (.+) \| (.+) \|$", re.MULTILINE)


@pytest.fixture(scope="module")
def messages() -> list[Message]:
    """The messages of the file, in their order."""
    with gzip.open(SAMPLE, "rt", encoding="utf-8") as lines:
        return [json.loads(line) for line in lines]


@pytest.fixture(scope="module")
def schemas(messages: list[Message]) -> dict[str, Message]:
    """The SCHEMA message of each stream."""
    return {message["stream"]: message for message in messages if message["type"] == "SCHEMA"}


@pytest.fixture(scope="module")
def records(messages: list[Message]) -> dict[str, list[dict[str, Any]]]:
    """The records of each stream, in their order."""
    streams: dict[str, list[dict[str, Any]]] = {}
    for message in messages:
        if message["type"] == "RECORD":
            streams.setdefault(message["stream"], []).append(message["record"])
    return streams


def test_messages_have_three_types(messages: list[Message]) -> None:
    """Every line is a JSON object with a Singer type, and the last one is a STATE."""
    assert {message["type"] for message in messages} == {"SCHEMA", "RECORD", "STATE"}
    assert messages[-1]["type"] == "STATE"


def test_schema_precedes_its_records(messages: list[Message]) -> None:
    """Every stream has one SCHEMA, before its RECORDs."""
    known: set[str] = set()
    for message in messages:
        if message["type"] == "SCHEMA":
            assert message["stream"] not in known
            known.add(message["stream"])
        elif message["type"] == "RECORD":
            assert message["stream"] in known


def test_schemas_are_valid_and_complete(schemas: dict[str, Message]) -> None:
    """Each SCHEMA is valid JSON Schema, has lists of types, and requires its key."""
    for message in schemas.values():
        schema = message["schema"]
        Draft202012Validator.check_schema(schema)
        assert all(isinstance(column["type"], list) for column in schema["properties"].values())
        assert schema["required"] == message["key_properties"]
        assert all(
            "null" not in schema["properties"][key]["type"] for key in message["key_properties"]
        )


def test_records_are_valid(
    schemas: dict[str, Message], records: dict[str, list[dict[str, Any]]]
) -> None:
    """Every record is valid, and has exactly the columns of its schema."""
    for stream, rows in records.items():
        schema = schemas[stream]["schema"]
        validator = Draft202012Validator(schema)
        for row in rows:
            validator.validate(row)
            assert row.keys() == schema["properties"].keys()


def test_date_times_have_an_offset(
    schemas: dict[str, Message], records: dict[str, list[dict[str, Any]]]
) -> None:
    """Every value of a date-time column is ISO 8601 with an offset from UTC."""
    for stream, rows in records.items():
        columns = schemas[stream]["schema"]["properties"]
        moments = [name for name, column in columns.items() if column.get("format") == "date-time"]
        assert all(
            datetime.fromisoformat(row[name]).tzinfo is not None for row in rows for name in moments
        )


def test_keys_are_unique(
    schemas: dict[str, Message], records: dict[str, list[dict[str, Any]]]
) -> None:
    """Keys are unique in a stream, and no part of a key is null."""
    for stream, rows in records.items():
        keys = [tuple(row[name] for name in schemas[stream]["key_properties"]) for row in rows]
        assert len(set(keys)) == len(keys)
        assert all(part is not None for key in keys for part in key)


def test_references_between_streams_are_complete(records: dict[str, list[dict[str, Any]]]) -> None:
    """Each flight has its airline and its origin's weather, and each plane has a flight."""
    flights = records["flights"]
    assert {row["carrier"] for row in flights} <= {row["carrier"] for row in records["airlines"]}
    assert {row["tailnum"] for row in records["planes"]} <= {row["tailnum"] for row in flights}
    assert {row["origin"] for row in flights} == {row["origin"] for row in records["weather"]}


def test_bookmarks_follow_the_records(messages: list[Message]) -> None:
    """A STATE has a bookmark for each stream so far, at its newest record; it never goes back."""
    newest: dict[str, str] = {}
    seen: set[str] = set()
    replication_keys: dict[str, str | None] = {}
    for message in messages:
        if message["type"] == "SCHEMA":
            (replication_key,) = message.get("bookmark_properties", [None])
            replication_keys[message["stream"]] = replication_key
        elif message["type"] == "RECORD":
            stream, record = message["stream"], message["record"]
            seen.add(stream)
            if (key := replication_keys[stream]) is not None:
                assert record[key] >= newest.get(stream, "")
                newest[stream] = record[key]
        else:
            bookmarks = message["value"]["bookmarks"]
            assert bookmarks.keys() == seen
            assert newest == {
                stream: bookmark["replication_key_value"]
                for stream, bookmark in bookmarks.items()
                if bookmark
            }


def test_readme_describes_the_file(
    schemas: dict[str, Message], records: dict[str, list[dict[str, Any]]]
) -> None:
    """The table in the README has each stream with its number of records, key and columns."""
    readme = (SAMPLES / "README.md").read_text(encoding="utf-8")
    described = {
        stream: (int(count), re.findall(r"`(\w+)`", key), re.findall(r"`(\w+)`", columns))
        for stream, count, key, columns in TABLE_ROW.findall(readme)
    }
    assert described == {
        stream: (
            len(rows),
            schemas[stream]["key_properties"],
            list(schemas[stream]["schema"]["properties"]),
        )
        for stream, rows in records.items()
    }


def test_readme_counts_the_cancelled_flights(records: dict[str, list[dict[str, Any]]]) -> None:
    """The number of cancelled flights in the README is that of flights without a departure."""
    readme = (SAMPLES / "README.md").read_text(encoding="utf-8")
    cancelled = sum(row["dep_time"] is None for row in records["flights"])
    assert f"Of the flights, {cancelled} were cancelled" in " ".join(readme.split())


def test_file_is_small() -> None:
    """The file is smaller than 250 KB, because every clone of the repository contains it."""
    assert SAMPLE.stat().st_size < 250_000
