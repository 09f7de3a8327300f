"""The gate before any figure: are the outputs equal where they should be?

- Ours and the plain target's hold the same objects: the same ids, in the same order within a
  collection, with the same properties of the same JSON types. A time is the same when the instant
  is (the SDK writes it anew, we send it as the tap wrote it), a number when the float is.
- Loaded into a sandbox, where objects of one id are merged, both make the same tables.
- What neither maps nor uploads (the floor, target-jsonl) holds the input's records.
"""

from __future__ import annotations

import gzip
import itertools
import json
from collections import defaultdict
from datetime import datetime
from typing import TYPE_CHECKING, Any, Final

from target_segment_objects.sandbox.server import Sandbox
from target_segment_objects.segment.client import Client

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from pathlib import Path

_SHOWN_CHARACTERS: Final = 300


class OutputsDifferError(Exception):
    """Two outputs that should be equal are not: no figure would mean anything."""


def object_lines(folder: Path) -> Iterator[bytes]:
    """Yield the lines of the files in a folder, gzipped or not, in the order of their names."""
    for path in sorted(folder.iterdir()):
        with gzip.open(path) if path.suffix == ".gz" else path.open("rb") as file:
            yield from file


def records(path: Path) -> Iterator[Any]:
    """Yield the records of a Singer file."""
    with path.open("rb") as file:
        for line in file:
            message = json.loads(line)
            if message["type"] == "RECORD":
                yield message["record"]


def check_objects(ours: Path, theirs: Path) -> None:
    """Check that two folders hold the same objects.

    Raises:
        OutputsDifferError: They do not.
    """
    first, second = _by_collection(ours), _by_collection(theirs)
    _check_equal(sorted(first), sorted(second), "collections")
    for collection, objects in first.items():
        for one, other in itertools.zip_longest(objects, second[collection]):
            if not _is_same(one, other):
                raise _difference(one, other, f"objects of {collection}")


def check_warehouses(ours: Path, theirs: Path, scratch: Path) -> None:
    """Check that two folders of files make the same warehouse.

    Args:
        ours: One folder.
        theirs: The other.
        scratch: An empty folder, for the warehouses.

    Raises:
        OutputsDifferError: They do not.
    """
    _check_equal(_tables(ours, scratch / "1.duckdb"), _tables(theirs, scratch / "2.duckdb"), "rows")


def check_records(output: Path, source: Path) -> None:
    """Check that a folder holds the records of a Singer file of one stream, and nothing else.

    Raises:
        OutputsDifferError: It does not.
    """
    copied = map(json.loads, object_lines(output))
    for one, other in itertools.zip_longest(copied, records(source)):
        _check_equal(one, other, "records")


def upload(files: Iterable[Path], client: Client) -> None:
    """Deliver files as they are, each in a session of its own, one after the other."""
    for file in files:
        sync_id = client.start()
        client.upload(sync_id, file)
        client.finish(sync_id)


def _tables(folder: Path, warehouse: Path) -> dict[str, Any]:
    with Sandbox(warehouse) as sandbox:
        client = Client("benchmark", api_url=sandbox.url)
        upload(sorted(folder.iterdir()), client)
        client.close()
        return {
            name: (
                sandbox.warehouse.columns(name),
                sorted(sandbox.warehouse.rows(name), key=lambda row: str(row["id"])),
            )
            for name in sorted(sandbox.warehouse.collections())
        }


def _by_collection(folder: Path) -> dict[str, list[dict[str, Any]]]:
    found = defaultdict(list)
    for line in object_lines(folder):
        one = json.loads(line)
        found[one["collection"]].append(one)
    return found


def _is_same(one: object, other: object) -> bool:
    if isinstance(one, dict) and isinstance(other, dict):
        return one.keys() == other.keys() and all(_is_same(one[key], other[key]) for key in one)
    if type(one) is type(other) and one == other:
        return True
    return isinstance(one, str) and isinstance(other, str) and _instant(one) == _instant(other)


def _instant(text: str) -> datetime | str:
    try:
        return datetime.fromisoformat(text)
    except ValueError:
        return text


def _check_equal(one: object, other: object, what: str) -> None:
    if one != other:
        raise _difference(one, other, what)


def _difference(one: object, other: object, what: str) -> OutputsDifferError:
    shown = " and ".join(repr(value)[:_SHOWN_CHARACTERS] for value in (one, other))
    return OutputsDifferError(f"Not the same {what}: {shown}")
