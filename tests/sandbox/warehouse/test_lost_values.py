"""What a value was that is not stored as it was sent, as long as it is the object's value."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from target_segment_objects.sandbox.server import Sandbox
from target_segment_objects.sandbox.warehouse import lost_values
from tests.support.bare_http import BareClient, object_line

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


@pytest.fixture
def sandbox(tmp_path: Path) -> Iterator[Sandbox]:
    """A running sandbox whose collection has a column of integers."""
    with Sandbox(tmp_path / "w.duckdb") as running:
        BareClient(running.url).load_files(object_line({"n": 1}, object_id="0"))
        yield running


def load(sandbox: Sandbox, *objects: tuple[str, dict[str, object]]) -> None:
    """Load objects in one session."""
    lines = [object_line(properties, object_id=object_id) for object_id, properties in objects]
    BareClient(sandbox.url).load_files(b"".join(lines))


def find(sandbox: Sandbox, *ids: str) -> list[tuple[str, str, str, str]]:
    """Return what is kept of some objects."""
    return [
        (lost.column, lost.object_id, lost.kind, lost.value)
        for lost in sandbox.warehouse.lost_values("users", ids)
    ]


def test_values_of_each_kind(sandbox: Sandbox) -> None:
    """A value is kept with its text and with what happened; one that fits is not."""
    load(
        sandbox,
        ("1", {"n": "soon", "s": "x" * 600}),
        ("2", {"n": 2.5, "received_at": "now", "id": "other"}),
        ("3", {"n": 3, "s": "é" * 300}),
    )
    assert find(sandbox, "1", "2", "3") == [
        ("id", "2", "shadowed", "other"),
        ("n", "1", "type", "soon"),
        ("n", "2", "fraction", "2.5"),
        ("received_at", "2", "discarded", "now"),
        ("s", "1", "cut", "x" * 600),
    ]
    assert find(sandbox, "1") == [("n", "1", "type", "soon"), ("s", "1", "cut", "x" * 600)]


@pytest.mark.parametrize("properties", [{"n": 5}, {"n": None}])
def test_another_value_replaces_it(sandbox: Sandbox, properties: dict[str, object]) -> None:
    """Once the object has another value, or null, nothing is kept of the lost one."""
    load(sandbox, ("1", {"n": "soon"}), ("2", {"n": "late"}))
    load(sandbox, ("1", properties))
    assert find(sandbox, "1", "2") == [("n", "2", "type", "late")]


def test_another_property_does_not(sandbox: Sandbox) -> None:
    """A session without the property leaves its value as it is, and the note, too."""
    load(sandbox, ("1", {"n": "soon", "s": "a"}))
    load(sandbox, ("1", {"s": "b"}), ("2", {"n": 2}))
    assert find(sandbox, "1") == [("n", "1", "type", "soon")]


def test_last_value_of_a_session_counts(sandbox: Sandbox) -> None:
    """Of several values of an object, the stored one is the last."""
    load(sandbox, ("1", {"n": "soon"}), ("1", {"n": 1}), ("2", {"n": 1}), ("2", {"n": "late"}))
    load(sandbox, ("2", {"n": "later"}))
    assert find(sandbox, "1", "2") == [("n", "2", "type", "later")]


def test_limits(sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of each column, and of all, only so many values are kept; every loss is counted."""
    monkeypatch.setattr(lost_values, "MAX_COLUMN_VALUES", 2)
    monkeypatch.setattr(lost_values, "MAX_LOST_VALUES", 3)
    load(sandbox, ("0", {"m": 1}))
    lost: dict[str, object] = {"n": "soon", "m": "late"}
    load(sandbox, *((str(number), lost) for number in range(1, 5)))
    kept = find(sandbox, "1", "2", "3", "4")
    assert [(column, object_id) for column, object_id, *_ in kept] == [
        ("m", "1"),
        ("n", "1"),
        ("n", "2"),
    ]
    assert [loss.count for loss in sandbox.warehouse.losses()] == [4, 4]


def test_long_value(sandbox: Sandbox) -> None:
    """Of a long value the beginning is kept."""
    load(sandbox, ("1", {"s": "x" * 20_000}))
    assert find(sandbox, "1") == [("s", "1", "cut", "x" * 1_000)]
