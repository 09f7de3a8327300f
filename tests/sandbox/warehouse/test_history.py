"""The history of an object: which versions are found, and how much is kept."""

from __future__ import annotations

import gzip
import os
from datetime import datetime, timezone
from typing import TYPE_CHECKING

import pytest

from target_segment_objects.sandbox.session_record import LOADED, SessionRecord
from target_segment_objects.sandbox.warehouse import history
from target_segment_objects.sandbox.warehouse.database import Warehouse
from tests.support.bare_http import object_line

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


@pytest.fixture
def warehouse(tmp_path: Path) -> Iterator[Warehouse]:
    """An empty warehouse."""
    with Warehouse.open(tmp_path / "w.duckdb") as opened:
        yield opened


def write_part(path: Path, lines: bytes) -> Path:
    """Write an uploaded file."""
    path.write_bytes(gzip.compress(lines))
    return path


def keep_parts(warehouse: Warehouse, sync_id: str, paths: list[Path]) -> None:
    """Record a session without objects that has parts."""
    now = datetime(2024, 1, 31, tzinfo=timezone.utc)
    row = SessionRecord(sync_id=sync_id, outcome=LOADED, parts=len(paths), started=now, ended=now)
    warehouse.load_session(row, [], {}, paths)


def list_versions(warehouse: Warehouse, object_id: str = "1") -> list[tuple[str, int, int]]:
    """Return session, part and line of each version of an object."""
    found = warehouse.find_history("users", object_id)
    return [(version.sync_id, version.part, version.line) for version in found.versions]


def test_versions_of_one_object(warehouse: Warehouse, tmp_path: Path) -> None:
    """All lines of the object are found in their order, and no other collection's or object's."""
    lines = object_line(object_id="11") + object_line() + object_line(collection="teams")
    first = write_part(tmp_path / "a", lines)
    second = write_part(tmp_path / "b", object_line() + object_line().removesuffix(b"\n"))
    keep_parts(warehouse, "s", [first, second])
    keep_parts(warehouse, "t", [first])
    expected = [("s", 1, 2), ("s", 2, 1), ("s", 2, 2), ("t", 1, 2)]
    assert list_versions(warehouse) == expected


@pytest.mark.parametrize(
    "line",
    [
        rb'{"id": "a/\u00e9", "collection": "users", "properties": {"a": 1}}',
        rb'{"id": "a\/\u00E9", "collection": "users", "properties": {"a": 1}}',
        rb'{"properties": {"a": 1}, "collection": "users", "\u0069\u0064": "\u0061/\u00e9"}',
        '{"id": "a/é", "collection": "users", "properties": {"a": 1}}'.encode(),
    ],
    ids=["escaped", "escaped slash", "escaped key", "as it is"],
)
def test_spellings_of_an_id(warehouse: Warehouse, tmp_path: Path, line: bytes) -> None:
    """An id is found in every spelling that JSON has for it."""
    keep_parts(warehouse, "s", [write_part(tmp_path / "a", line + b"\n")])
    assert list_versions(warehouse, "a/é") == [("s", 1, 1)]


def test_newest_parts_are_kept(
    warehouse: Warehouse, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Beyond the limit, the oldest parts are deleted; a part that is too large is not kept."""
    monkeypatch.setattr(history, "MAX_HISTORY_BYTES", 1_000)
    noise = os.urandom(200).hex()
    part = write_part(tmp_path / "a", object_line({"a": noise}))
    assert 250 < part.stat().st_size < 500
    large = write_part(tmp_path / "b", object_line({"a": os.urandom(1_000).hex()}))
    for number in range(5):
        keep_parts(warehouse, str(number), [large, part])
    found = list_versions(warehouse)
    assert found == [(str(number), 2, 1) for number in range(5)][-len(found) :]
    assert len(found) == 1_000 // part.stat().st_size


@pytest.mark.parametrize("count", [100, 101], ids=["at the limit", "one more"])
def test_newest_versions_are_found(warehouse: Warehouse, tmp_path: Path, count: int) -> None:
    """Of more than 100 versions, the newest 100 are returned, and that there are more is said."""
    keep_parts(warehouse, "s", [write_part(tmp_path / "a", object_line() * count)])
    found = warehouse.find_history("users", "1")
    assert len(found.versions) == 100
    assert found.versions[-1].line == count
    assert found.is_complete is (count == 100)
