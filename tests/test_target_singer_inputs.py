"""Inputs as real taps write them, in `tests/data/singer`: what each becomes in the collection."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from target_segment_objects.sinks import SegmentObjectsSink
from tests.support import record_line, schema_line
from tests.support.in_process import run_target_in_process
from tests.support.two_decoders import run_and_collect

if TYPE_CHECKING:
    from target_segment_objects.sandbox.server import Sandbox
    from tests.support import RunTarget

INPUTS = Path(__file__).parent / "data" / "singer"
INTEGER = {"type": "integer"}


def read_sent(file: bytes) -> list[dict[str, Any]]:
    """Return the properties of each object, with the text of its numbers with a fraction."""
    return [json.loads(line, parse_float=str)["properties"] for line in file.splitlines()]


@pytest.mark.parametrize(
    ("name", "expected", "warned"),
    [
        (
            "schema_without_properties",
            [{"pk": "a1", "price": "1.5", "tags": '["x"]'}],
            (),
        ),
        (
            "draft_4_bounds",
            [
                {"id": 1, "balance": "19.99", "small": "0.07"},
                {"id": 2, "balance": "-123456789.123456789", "small": "100.00"},
            ],
            ["'small' has values that do not match its schema, which requires exclusiveMaximum"],
        ),
        (
            "keywords_without_meaning",
            [
                {
                    "id": 1,
                    "a": "text",
                    "changed": "2024-01-31T10:00:00Z",
                    "ref": "r",
                    "lost": "5",
                    "o": '{"k":1}',
                    "l": "[1]",
                    "n": "2.5",
                    "x": "true",
                }
            ],
            ["its SCHEMA has keywords that mean nothing in JSON Schema"],
        ),
        (
            "text_longer_than_declared",
            [
                {
                    "id": 1,
                    "code": "12345678901234567",
                    "age": 101,
                    "color": "green",
                    "mail": "none",
                    "extra": "kept",
                },
                {
                    "id": 2,
                    "code": "1234567890123456",
                    "age": 100,
                    "color": "red",
                    "mail": "a@b",
                },
            ],
            [
                "'code' has values that do not match its schema, which requires maxLength 16",
                "'age' has values that do not match its schema, which requires maximum 100",
                "'color' has values that do not match its schema, which requires enum",
                "'mail' has values that do not match its schema, which requires pattern",
                "there are records that do not match its schema, which allows no other properties",
            ],
        ),
        (
            "values_of_another_type",
            [
                {
                    "id": 1,
                    "taken_at": "235667",
                    "count": 1,
                    "whole": 1,
                    "price": "12.50",
                    "flag": True,
                    "active": True,
                    "text": "true",
                    "list_text": '[1,"a"]',
                    "meta": "[]",
                    "none": None,
                }
            ],
            [
                f"the property '{name}' has values that do not match its schema"
                for name in (
                    *("id", "taken_at", "count", "price", "flag", "active", "text", "list_text"),
                    *("meta", "none"),
                )
            ],
        ),
        ("decimal_as_text", [{"id": 1, "amount": "12345678901234567890.123456789012345678"}], ()),
    ],
)
def test_input_is_loaded_with_the_right_values(
    tmp_path: Path, name: str, expected: list[dict[str, Any]], warned: list[str]
) -> None:
    """All records are sent, each warning comes once and shows no value."""
    lines = (INPUTS / f"{name}.singer").read_bytes().splitlines(keepends=True)
    outcome = run_and_collect(lines, SegmentObjectsSink, tmp_path)
    assert outcome.code == 0
    assert not outcome.rejected
    assert [row for file in outcome.files for row in read_sent(file)] == expected
    for text in warned:
        assert sum(text in warning for warning in outcome.warnings) == 1, text
    assert len(outcome.warnings) == len(warned)
    assert "12345678901234567" not in "".join(outcome.warnings)


def test_every_input_is_tested() -> None:
    """Each file has its row above."""
    (mark,) = test_input_is_loaded_with_the_right_values.pytestmark
    assert {file.stem for file in INPUTS.glob("*.singer")} == {row[0] for row in mark.args[1]}


@pytest.mark.parametrize(
    ("declared", "value", "reason"),
    [
        (INTEGER, "", 'requires type "integer"'),
        (INTEGER, 1.5, 'requires type "integer"'),
        (INTEGER, "007", 'requires type "integer"'),
        ({"type": "number"}, "", 'requires type "number"'),
        ({"type": "number"}, "abc", 'requires type "number"'),
        ({"type": "boolean"}, "yes", 'requires type "boolean"'),
        (INTEGER, [1], 'requires type "integer"'),
        ({"type": "string", "format": "date-time"}, 1700000000, 'requires type "string"'),
        ({"type": "object", "properties": {"x": INTEGER}}, "x", 'requires type "object"'),
        ({"type": "object", "properties": {"x": INTEGER}}, [1], 'requires type "object"'),
        ({"type": "object", "properties": {"x": INTEGER}}, {"x": "a"}, 'requires type "integer"'),
        (
            {"type": "object", "properties": {"x": INTEGER}, "required": ["x"]},
            {},
            "requires the property 'x'",
        ),
        (
            {
                "anyOf": [
                    {"type": "object", "properties": {"x": INTEGER}, "required": ["x"]},
                    {"type": "null"},
                ]
            },
            {},
            "requires anyOf",
        ),
    ],
)
@pytest.mark.parametrize("other", ["1.5", "NaN"])
def test_value_that_would_lose_makes_the_record_invalid(
    tmp_path: Path, declared: dict[str, Any], value: object, reason: str, other: str
) -> None:
    """Also where a harmless violation comes before it, and whichever library validates."""
    schema = schema_line(
        "users", {"a": {"type": "string", "maxLength": 1}, "id": INTEGER, "v": declared}
    )
    record = record_line("users", {"a": "long", "id": 1, "v": value, "n": 0}).replace(
        '"n": 0', f'"n": {other}'
    )
    outcome = run_and_collect(
        [f"{schema}\n{record}\n".encode()], SegmentObjectsSink, tmp_path / "", validate_records=True
    )
    ((_, rejected),) = outcome.rejected
    assert f"the schema {reason}" in rejected["reason"]
    assert not outcome.files


@pytest.mark.parametrize(
    ("properties", "record"),
    [
        ({"v": {"type": "string", "maxLength": 1}}, {"v": "ab"}),
        ({"v": {"type": "string"}}, {"v": 1}),
        ({"v": INTEGER}, {"v": "1"}),
        ({"v": INTEGER}, {"v": None}),
    ],
)
def test_reject_is_as_strict_as_the_schema(
    tmp_path: Path, properties: dict[str, Any], record: dict[str, Any]
) -> None:
    """With `schema_violations: reject`, what is harmless makes a record invalid, too."""
    lines = [
        f"{schema_line('users', {'id': INTEGER, **properties})}\n".encode(),
        f"{record_line('users', {'id': 1, **record})}\n".encode(),
    ]
    strict = run_and_collect(lines, SegmentObjectsSink, tmp_path, schema_violations="reject")
    assert len(strict.rejected) == 1
    assert not strict.files
    (tmp_path / "SegmentObjectsSink.singer").unlink()
    lenient = run_and_collect(lines, SegmentObjectsSink, tmp_path)
    assert not lenient.rejected


def test_without_validation_what_can_be_converted_is(tmp_path: Path) -> None:
    """A column has one type where that is possible; what would lose goes as it is."""
    lines = [
        f"{schema_line('users', {'id': INTEGER, 'n': INTEGER, 'm': INTEGER})}\n".encode(),
        f"{record_line('users', {'id': 1, 'n': '7', 'm': 'x'})}\n".encode(),
    ]
    outcome = run_and_collect(lines, SegmentObjectsSink, tmp_path, validate_records=False)
    assert [read_sent(file) for file in outcome.files] == [[{"id": 1, "n": 7, "m": "x"}]]
    assert not outcome.warnings


def test_schema_with_neither_properties_nor_key_is_refused(
    sandbox: Sandbox,
    caplog: pytest.LogCaptureFixture,
) -> None:
    """As the SDK's standard suite wants it."""
    line = {"type": "SCHEMA", "stream": "s", "schema": {"type": "object"}, "key_properties": []}
    code, _ = run_target_in_process(sandbox, json.dumps(line))
    assert code == 1
    assert "its schema has no properties" in caplog.text


def test_violations_are_counted_in_metrics(
    sandbox: Sandbox, caplog: pytest.LogCaptureFixture
) -> None:
    """Records, not values: one record with two violations counts once."""
    properties = {"id": INTEGER, "a": {"maxLength": 1}, "b": {"maxLength": 1}}
    code, _ = run_target_in_process(
        sandbox,
        schema_line("users", properties),
        record_line("users", {"id": 1, "a": "long", "b": "long"}),
        record_line("users", {"id": 2, "a": "x", "b": "y"}),
        record_line("users", {"id": 3, "a": "long"}),
    )
    assert code == 0
    assert sandbox.warehouse.count("users") == 3
    assert caplog.text.count('"objects_violating":2') == 2  # of the collection, and of the run


def test_violations_are_counted_in_the_summary(sandbox: Sandbox, run_target: RunTarget) -> None:
    """In the log line of the collection and in that of the run."""
    done = run_target(
        lines=[
            schema_line("users", {"id": INTEGER}),
            record_line("users", {"id": "1"}),
            record_line("users", {"id": 2}),
        ],
        config={"write_key": "k", "api_url": sandbox.url},
    )
    assert done.returncode == 0
    assert done.stderr.count("0 rejected, 1 with schema violations, 0 not delivered") == 2
