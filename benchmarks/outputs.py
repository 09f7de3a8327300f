"""Check before measuring that the candidates' outputs are equal where they should be.

- Our output and the plain SDK target's have the same objects: the same ids, in the same order
  within a collection, with the same properties of the same JSON types. Two times are equal if they
  are the same instant (the SDK reformats it, we send the tap's text), two numbers if they are the
  same float.
- Loaded into a sandbox, which merges objects by id, both result in the same tables.
- Candidates that do not map (the lower bound, target-jsonl) output the input's records.
- target-csv writes the same values as we do, where it has a column for a property.
"""

from __future__ import annotations

import csv
import gzip
import itertools
import json
from collections import defaultdict
from datetime import datetime
from typing import TYPE_CHECKING, Any, Final

from benchmarks.plain_target import snake_case
from target_segment_objects.sandbox.server import Sandbox
from target_segment_objects.segment.client import Client

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from pathlib import Path

_SHOWN_CHARACTERS: Final = 300


class OutputsDifferError(Exception):
    """Two outputs that should be equal differ, so no figure would be comparable."""


def read_object_lines(folder: Path) -> Iterator[bytes]:
    """Yield the lines of all files in a folder, gzipped or not, in the order of their names."""
    for path in sorted(folder.iterdir()):
        with gzip.open(path) if path.suffix == ".gz" else path.open("rb") as file:
            yield from file


def read_records(path: Path) -> Iterator[Any]:
    """Yield the records of a Singer file."""
    with path.open("rb") as file:
        for line in file:
            message = json.loads(line)
            if message["type"] == "RECORD":
                yield message["record"]


def check_objects(ours: Path, theirs: Path) -> None:
    """Check that two folders have the same objects.

    Raises:
        OutputsDifferError: They differ.
    """
    first, second = _group_by_collection(ours), _group_by_collection(theirs)
    _check_equal(sorted(first), sorted(second), "collections")
    for collection, objects in first.items():
        for left, right in itertools.zip_longest(objects, second[collection]):
            if not _is_equal_value(left, right):
                raise _difference_error(left, right, f"objects of {collection}")


def check_warehouses(ours: Path, theirs: Path, scratch: Path) -> None:
    """Check that two folders of files result in the same warehouse.

    Raises:
        OutputsDifferError: They differ.
    """
    _check_equal(
        _load_tables(ours, scratch / "1.duckdb"), _load_tables(theirs, scratch / "2.duckdb"), "rows"
    )


def check_records(output: Path, source: Path) -> None:
    """Check that a folder has exactly the records of a Singer file of one stream.

    Raises:
        OutputsDifferError: They differ.
    """
    copied = map(json.loads, read_object_lines(output))
    for left, right in itertools.zip_longest(copied, read_records(source)):
        _check_equal(left, right, "records")


def check_rows(rows: Path, objects: Path) -> None:
    """Check that a folder of CSV files has the same rows as a folder of objects.

    Compared are the values of properties that have a column: an object in a record has only one.

    Raises:
        OutputsDifferError: They differ.
    """
    groups = _group_by_collection(objects)
    files = {snake_case(path.stem): path for path in rows.iterdir()}
    _check_equal(sorted(files), sorted(groups), "collections")
    for collection, path in files.items():
        with path.open(encoding="utf-8", newline="") as file:
            table = itertools.zip_longest(csv.DictReader(file), groups[collection])
            for row, item in table:
                if row is None or item is None:
                    raise _difference_error(row, item, f"rows of {collection}")
                properties = item["properties"]
                for column, cell in row.items():
                    value = properties.get(snake_case(column), cell)
                    if not _is_equal_cell(value, cell):
                        raise _difference_error(value, cell, f"values of {collection}.{column}")


def upload_files(files: Iterable[Path], client: Client) -> None:
    """Upload files one after the right, each in a session of its own."""
    for file in files:
        sync_id = client.start()
        client.upload(sync_id, file)
        client.finish(sync_id)


def _load_tables(folder: Path, warehouse: Path) -> dict[str, Any]:
    with Sandbox(warehouse) as sandbox:
        client = Client("benchmark", api_url=sandbox.url)
        upload_files(sorted(folder.iterdir()), client)
        client.close()
        return {
            name: (
                sandbox.warehouse.columns(name),
                sorted(sandbox.warehouse.rows(name), key=lambda row: str(row["id"])),
            )
            for name in sorted(sandbox.warehouse.collections())
        }


def _group_by_collection(folder: Path) -> dict[str, list[dict[str, Any]]]:
    groups = defaultdict(list)
    for line in read_object_lines(folder):
        item = json.loads(line)
        groups[item["collection"]].append(item)
    return groups


def _is_equal_value(left: object, right: object) -> bool:
    if isinstance(left, dict) and isinstance(right, dict):
        return left.keys() == right.keys() and all(
            _is_equal_value(left[key], right[key]) for key in left
        )
    if type(left) is type(right) and left == right:
        return True
    return (
        isinstance(left, str)
        and isinstance(right, str)
        and _parse_instant(left) == _parse_instant(right)
    )


def _is_equal_cell(value: object, cell: str) -> bool:
    """Compare a value with a cell of a CSV file, which has arrays as Python writes them."""
    if cell.startswith(("[", "{")):
        return True
    if type(value) in {int, float}:
        return float(cell) == value
    return _is_equal_value("" if value is None else str(value), cell)


def _parse_instant(text: str) -> datetime | str:
    try:
        return datetime.fromisoformat(text)
    except ValueError:
        return text


def _check_equal(left: object, right: object, what: str) -> None:
    if left != right:
        raise _difference_error(left, right, what)


def _difference_error(left: object, right: object, what: str) -> OutputsDifferError:
    shown = " and ".join(repr(value)[:_SHOWN_CHARACTERS] for value in (left, right))
    return OutputsDifferError(f"The {what} differ: {shown}")
