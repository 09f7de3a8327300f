"""The benchmarks stop if outputs differ that should be equal."""

from __future__ import annotations

from contextlib import nullcontext
from typing import TYPE_CHECKING, Any

import pytest

from benchmarks import inputs, outputs
from benchmarks.outputs import OutputsDifferError
from benchmarks.runs import CHINOOK, OURS, PARQUET, PLAIN
from tests.support.benchmarks import build_object, create_bench, write_objects

if TYPE_CHECKING:
    from pathlib import Path


@pytest.mark.slow
@pytest.mark.parametrize("name", ["B", "C", "D", PARQUET, CHINOOK])
def test_our_and_the_plain_target_write_the_same_objects(tmp_path: Path, name: str) -> None:
    """Both write the same objects, and all of them; for A, see `test_comparison`."""
    bench = create_bench(tmp_path, name)
    if name == CHINOOK:
        source = bench.prepare_chinook()
    else:
        source = (
            bench.prepare_parquet() if name == PARQUET else bench.prepare_input(bench.shapes[0])
        )
    ours, plain = (bench.run_candidate(candidate, source).output for candidate in (OURS, PLAIN))
    outputs.check_objects(ours, plain)
    assert sum(1 for _ in outputs.read_object_lines(ours)) == source.records


@pytest.mark.parametrize(
    ("one", "other"),
    [
        pytest.param(build_object(a=1), build_object(a=2), id="value"),
        pytest.param(build_object(a=1), build_object(a=1.0), id="integer and float"),
        pytest.param(build_object(a=1), build_object(a=True), id="integer and boolean"),
        pytest.param(build_object(a=1), build_object(a="1"), id="integer and string"),
        pytest.param(build_object(a=1), build_object(a=1, b=None), id="additional property"),
        pytest.param(
            build_object(a="2024-01-01T00:00:00Z"),
            build_object(a="2024-01-01T00:00:00+01:00"),
            id="instant",
        ),
        pytest.param(build_object(a=1), build_object(a=1) | {"id": "2"}, id="id"),
        pytest.param(
            build_object(a=1), build_object(a=1) | {"collection": "others"}, id="collection"
        ),
    ],
)
def test_different_objects_are_found(
    tmp_path: Path, one: dict[str, Any], other: dict[str, Any]
) -> None:
    """Another value, type, property, id or collection stops the benchmark."""
    ours, theirs = write_objects(tmp_path / "1", one), write_objects(tmp_path / "2", other)
    with pytest.raises(OutputsDifferError):
        outputs.check_objects(ours, theirs)


def test_missing_and_misplaced_objects_are_found(tmp_path: Path) -> None:
    """A missing object, or two in another order, stop the benchmark."""
    first, second = build_object(a=1), build_object(a=2)
    both = write_objects(tmp_path / "both", first, second)
    for number, others in enumerate([(first,), (second, first)]):
        with pytest.raises(OutputsDifferError, match="objects of things"):
            outputs.check_objects(both, write_objects(tmp_path / str(number), *others))


def test_same_instant_is_equal(tmp_path: Path) -> None:
    """The same instant may be written in two ways."""
    outputs.check_objects(
        write_objects(tmp_path / "1", build_object(a="2024-01-01T00:00:00.000000+00:00")),
        write_objects(tmp_path / "2", build_object(a="2024-01-01T00:00:00+00:00")),
    )


def test_different_warehouses_are_found(tmp_path: Path) -> None:
    """The result of merging counts: the order of two versions of an object matters."""
    first, second = build_object(a=1), build_object(a=2)
    ours = write_objects(tmp_path / "1", first, second)
    scratch = tmp_path / "scratch"
    scratch.mkdir()
    with pytest.raises(OutputsDifferError, match="rows"):
        outputs.check_warehouses(ours, write_objects(tmp_path / "2", second, first), scratch)


def test_missing_record_is_found(tmp_path: Path) -> None:
    """A missing record stops the benchmark."""
    source = tmp_path / "input"
    inputs.write_input(source, inputs.A, 3)
    kept = list(outputs.read_records(source))[:2]
    with pytest.raises(OutputsDifferError, match="records"):
        outputs.check_records(write_objects(tmp_path / "1", *kept), source)


@pytest.mark.parametrize(
    ("header", "cells", "is_equal"),
    [
        ("orderId,placedAt,itemNames", "1,2024-01-01 00:00:00+00:00,['a']", True),
        ("orderId,placedAt,unknown", "1,2024-01-01 00:00:00+00:00,b", True),
        ("orderId,placedAt", "1.0,2024-01-01 00:00:00", False),
        ("orderId,placedAt", "2,2024-01-01 00:00:00+00:00", False),
        ("orderId,isPaid", "1,False", False),
        ("orderId,note", "1,none", False),
        ("orderId", "1\n1", False),
        ("orderId", "", False),
    ],
    ids=["all", "another column", "time", "number", "boolean", "null", "more rows", "fewer rows"],
)
def test_rows_are_compared_with_objects(
    tmp_path: Path, header: str, cells: str, *, is_equal: bool
) -> None:
    """Each column that is a property has its values, with as many rows as there are objects."""
    order = build_object(
        order_id=1, placed_at="2024-01-01T00:00:00Z", item_names='["a"]', is_paid=True, note=None
    )
    objects = write_objects(tmp_path / "objects", order)
    rows = tmp_path / "rows"
    rows.mkdir()
    (rows / "Things.csv").write_text(f"{header}\n{cells}\n", encoding="utf-8")
    with nullcontext() if is_equal else pytest.raises(OutputsDifferError):
        outputs.check_rows(rows, objects)
